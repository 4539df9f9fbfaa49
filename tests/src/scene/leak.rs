//! A process that grows steadily until it is killed.
//!
//! Emits its death and how fast it grew. Refuses nothing.

use anyhow::Result;
use oom_agent::{hierarchy::Hierarchy, trigger::scratch::ScratchCgroup};

use super::{Birth, Limit, MIB, Truth, actor::Actor, scratch};

/// A death after a steady growth.
#[derive(Debug)]
pub struct Leaked {
    /// The death.
    pub death: Truth,
    /// Bytes in a second.
    pub bytes_per_s: u64,
    /// Where: it stays until everybody has told of it.
    _cgroup: ScratchCgroup,
}

/// A leak that takes its cgroup to the limit within seconds.
pub fn leak(hierarchy: &Hierarchy) -> Result<Leaked> {
    const SECONDS: u64 = 6;
    const LIMIT: u64 = 48 * MIB;
    let cgroup = scratch(hierarchy, "", Some(LIMIT))?;
    let born = Birth::now();
    let rate = (LIMIT / SECONDS).to_string();
    let mut actor = Actor::start("grower", b"leak", 1000, &cgroup, &["--bytes-per-s", &rate])?;
    actor.killed()?;
    Ok(Leaked {
        death: Truth {
            anon_bytes: LIMIT / 2..=LIMIT + MIB,
            ..Truth::own(&actor, Limit::of(&cgroup)?, &born)
        },
        bytes_per_s: LIMIT / SECONDS,
        _cgroup: cgroup,
    })
}
