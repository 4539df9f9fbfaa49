//! A service as systemd lays it out, `/system.slice/NAME.service`: no systemd has to run for its path to
//! mean something.
//!
//! Makes the cgroup by hand and puts the payload into it.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use oom_agent::event::{LimitLevel, Owner, OwnerKind};

use super::{
    Container, LIMIT, Running,
    plain::{Place, Plain},
    stage::{Programs, Stage},
};

/// Nothing but the payload.
pub const PROGRAMS: Programs = &[];

const SLICE: &str = "/system.slice";

/// A service; removed when dropped.
#[derive(Debug)]
pub struct Unit(Plain);

impl Unit {
    /// Starts one.
    pub fn run(stage: &Stage, args: &[&str]) -> Result<Self> {
        let place = place();
        let plain = Plain::run(
            &stage.machine.hierarchy,
            &place,
            LIMIT,
            stage.payload(),
            args,
        )?;
        Ok(Self(plain))
    }
}

/// A service that nobody else has.
#[must_use]
pub fn place() -> Place {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("oom-test-{}-{number}.service", std::process::id());
    Place {
        path: format!("{SLICE}/{name}"),
        owner: Owner {
            unit: Some(name),
            ..Owner::of(OwnerKind::Unit)
        },
        level: LimitLevel::Unit,
    }
}

impl Running for Unit {
    fn container(&self) -> &Container {
        self.0.container()
    }

    fn remove(&mut self) -> Result<()> {
        self.0.remove()
    }
}
