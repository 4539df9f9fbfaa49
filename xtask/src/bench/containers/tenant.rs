//! A process in a cgroup: this program, started again.
//!
//! Enters the cgroup and takes memory there: all of it, to be killed, or now more and now less, until its
//! stdin ends. Refuses to take any unless the cgroup has a limit.

use std::{
    convert::Infallible,
    env,
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _, stdin},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{MemfdFlags, memfd_create};

/// Limit of a cgroup whose process dies.
pub(super) const LIMIT_TO_DIE: u64 = 4 << 20;
/// Limit of a cgroup whose process moves.
pub(super) const LIMIT_TO_MOVE: u64 = 16 << 20;
/// Held all the time by one that moves: above half of its limit.
const HELD: usize = 10 << 20;
/// Taken and given back.
const SWING: usize = 1 << 20;
/// Between the two; out of step with whoever reads each second.
const PAUSE: Duration = Duration::from_millis(350);

/// What it is to do (hidden: bench starts itself with it).
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(in super::super) enum Part {
    /// Take memory until it is killed.
    Die,
    /// Take more and less.
    Move,
}

/// A running tenant, gone when dropped.
pub(super) struct Tenant(Child);

impl Tenant {
    pub(super) fn start(part: Part, cgroup: &Path) -> Result<Self> {
        let part = match part {
            Part::Die => "die",
            Part::Move => "move",
        };
        let mut command = Command::new(env::current_exe()?);
        command.args(["bench", "--tenant", part, "--tenant-of"]);
        let child = command
            .arg(cgroup)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start a tenant")?;
        Ok(Self(child))
    }

    /// Waits until it has been killed.
    pub(super) fn must_die(mut self) -> Result<()> {
        let status = self.0.wait()?;
        ensure!(status.code().is_none(), "a tenant was not killed: {status}");
        Ok(())
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        if let Err(error) = self.0.wait() {
            eprintln!("bench: a tenant: {error}");
        }
    }
}

/// The tenant's own life.
pub(in super::super) fn live(part: Part, cgroup: &Path) -> Result<Infallible> {
    let limit = ["memory.limit_in_bytes", "memory.max"]
        .iter()
        .find_map(|file| fs::read_to_string(cgroup.join(file)).ok());
    let limit: Option<u64> = limit.and_then(|text| text.trim().parse().ok());
    ensure!(
        limit.is_some_and(|limit| limit <= LIMIT_TO_MOVE),
        "no limit in {}",
        cgroup.display()
    );
    fs::write("/proc/self/oom_score_adj", "1000")?;
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())?;
    match part {
        Part::Die => {
            let mut taken = Vec::new();
            for _ in 0..64 {
                taken.push(vec![1_u8; 1 << 20]);
            }
            bail!("took {} MiB and lives", taken.len());
        }
        Part::Move => {
            thread::spawn(|| {
                let _ = stdin().read(&mut [0; 1]);
                std::process::exit(0);
            });
            let _held = vec![1_u8; HELD];
            // Not from the allocator, which keeps what it is given back.
            let mut file = File::from(memfd_create("more", MemfdFlags::CLOEXEC)?);
            loop {
                file.rewind()?;
                file.write_all(&vec![1_u8; SWING])?;
                thread::sleep(PAUSE);
                file.set_len(0)?;
                thread::sleep(PAUSE);
            }
        }
    }
}
