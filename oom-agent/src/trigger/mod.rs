//! A real OOM kill, on purpose and safely: to prove the whole alert path, and for tests and benches.
//!
//! Starts a process (the [`hog`]) in a scratch cgroup ([`scratch`]) whose memory limit it then
//! exceeds. Emits what an event about it must say: pid, name, cgroup, limit, times. Refuses to call
//! anything a success but a death by SIGKILL that the cgroup's own counter confirms.

pub mod hog;
pub mod scratch;
mod storm;

use std::{
    ffi::OsString,
    io::{self, Read as _},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::Signal,
    time::{ClockId, clock_gettime},
};
use serde::Serialize;
use thiserror::Error;

use self::scratch::{ScratchCgroup, ScratchError, Settings};
pub use self::storm::{StormReport, storm};
use crate::{
    hierarchy::{Hierarchy, HierarchyError},
    text::Comm,
};

/// How the hog is started and how tight its memory is.
#[derive(Clone, Debug)]
pub struct TriggerOptions {
    /// Program and leading arguments that end in [`hog::run`]; the hog's own arguments follow.
    pub hog: Vec<OsString>,
    /// Memory limit of the scratch cgroup in bytes.
    pub limit_bytes: u64,
    /// Name of the process that dies.
    pub comm: OsString,
    /// How long one kill may take.
    pub deadline: Duration,
    /// Ends the work early, cleaning up, when set.
    pub cancel: Cancel,
}

impl Default for TriggerOptions {
    fn default() -> Self {
        Self {
            // This very program, even if its file has been replaced since it was started.
            hog: vec!["/proc/self/exe".into(), "trigger-hog".into()],
            limit_bytes: 4 << 20,
            comm: "oom-trigger".into(),
            deadline: Duration::from_secs(30),
            cancel: Cancel::default(),
        }
    }
}

/// Why there was no proper kill.
#[derive(Debug, Error)]
pub enum TriggerError {
    /// There is no hierarchy of the memory controller.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    /// The scratch cgroup.
    #[error(transparent)]
    Cgroup(#[from] ScratchError),
    /// A limit that is not safe, or too small for a process to start in.
    #[error(
        "a limit of {limit_bytes} bytes is outside {MIN_LIMIT} to {} bytes",
        hog::MAX_LIMIT
    )]
    Limit {
        /// The limit asked for.
        limit_bytes: u64,
    },
    /// The hog could not be started.
    #[error("cannot start {program:?}")]
    Start {
        /// What was to be started.
        program: OsString,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Waiting for the hog failed.
    #[error("cannot wait for the hog")]
    Wait(#[source] io::Error),
    /// The hog lived too long.
    #[error("the hog (pid {pid}) was not killed within {deadline:?}")]
    Deadline {
        /// Its pid.
        pid: u32,
        /// How long was waited.
        deadline: Duration,
    },
    /// The hog ended, but not by the OOM killer.
    #[error("the hog (pid {pid}) was not killed for memory: {status}, it said {message:?}")]
    NotKilled {
        /// Its pid.
        pid: u32,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        message: String,
    },
    /// A storm ended before its time.
    #[error("only {made} of {count} kills were made")]
    Storm {
        /// How many were made.
        made: usize,
        /// How many were asked for.
        count: u32,
        /// What ended it.
        #[source]
        error: Box<TriggerError>,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Cancelled,
}

/// Below this, the kernel's per-CPU charge batches alone may fill the limit.
const MIN_LIMIT: u64 = 1 << 20;

/// One kill: what an event about it must agree with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TriggerReport {
    /// Who died.
    pub pid: u32,
    /// Its name.
    pub comm: Comm,
    /// Path of its cgroup as the kernel prints it; null inside a cgroup namespace.
    pub cgroup_path: Option<String>,
    /// kernfs id of that cgroup.
    pub cgroup_id: u64,
    /// Version of the hierarchy, 1 or 2.
    pub cgroup_version: u8,
    /// The limit that was hit.
    pub limit_bytes: u64,
    /// `CLOCK_MONOTONIC` before the process was started.
    pub started_ns: u64,
    /// `CLOCK_MONOTONIC` after its death was seen.
    pub ended_ns: u64,
}

/// A flag to stop the work from outside.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that SIGINT and SIGTERM set, so that the scratch cgroups are removed on the way out.
    pub fn on_signals() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        let cancel = Self::default();
        let flag = cancel.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            )
        };
        thread::Builder::new()
            .name("trigger-signals".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
                });
                flag.cancel();
            })?;
        Ok(cancel)
    }

    /// Asks the work to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes one real OOM kill. Leftovers of earlier triggers are removed first, its own cgroup after.
pub fn one_kill(options: &TriggerOptions) -> Result<TriggerReport, TriggerError> {
    let hierarchy = Hierarchy::find()?;
    scratch::remove_stale(&hierarchy)?;
    kill_in(&hierarchy, options)
}

/// One kill in a fresh scratch cgroup.
fn kill_in(hierarchy: &Hierarchy, options: &TriggerOptions) -> Result<TriggerReport, TriggerError> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);

    let limit_bytes = options.limit_bytes;
    if !(MIN_LIMIT..=hog::MAX_LIMIT).contains(&limit_bytes) {
        return Err(TriggerError::Limit { limit_bytes });
    }
    let name = format!(
        "{}{}-{}",
        scratch::PREFIX,
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    );
    let settings = Settings {
        limit_bytes: Some(limit_bytes),
        oom_group: false,
    };
    let cgroup = ScratchCgroup::create(hierarchy, &name, settings)?;
    let started_ns = monotonic_ns();
    let mut hog = Hog::start(options, cgroup.dir().to_owned())?;
    let (status, message) = hog.wait(options)?;
    let ended_ns = monotonic_ns();
    let pid = hog.0.id();
    let counted = cgroup.oom_kills()?;
    if status.signal() != Some(Signal::KILL.as_raw()) || counted == Some(0) {
        return Err(TriggerError::NotKilled {
            pid,
            status,
            message,
        });
    }
    let report = TriggerReport {
        pid,
        comm: Comm::new(options.comm.as_encoded_bytes()),
        cgroup_path: cgroup.kernel_path(),
        cgroup_id: cgroup.id(),
        cgroup_version: cgroup.version().number(),
        limit_bytes: cgroup.limit_bytes().unwrap_or(limit_bytes),
        started_ns,
        ended_ns,
    };
    cgroup.remove()?;
    Ok(report)
}

/// The running hog; killed and reaped when dropped, so that its cgroup can be removed.
struct Hog(Child);

impl Hog {
    fn start(options: &TriggerOptions, cgroup: PathBuf) -> Result<Self, TriggerError> {
        let program = options.hog.first().cloned().unwrap_or_default();
        Command::new(&program)
            .args(options.hog.iter().skip(1))
            .arg("--cgroup")
            .arg(cgroup)
            .arg("--comm")
            .arg(&options.comm)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map(Self)
            .map_err(|source| TriggerError::Start { program, source })
    }

    /// Waits until its stderr closes, which no kernel is too old for, then reaps it.
    fn wait(&mut self, options: &TriggerOptions) -> Result<(ExitStatus, String), TriggerError> {
        let end = Instant::now() + options.deadline;
        let mut message = Vec::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            let mut chunk = [0; 1024];
            loop {
                if options.cancel.is_cancelled() {
                    return Err(TriggerError::Cancelled);
                }
                if Instant::now() > end {
                    return Err(TriggerError::Deadline {
                        pid: self.0.id(),
                        deadline: options.deadline,
                    });
                }
                let tick = Timespec {
                    tv_sec: 0,
                    tv_nsec: 100_000_000,
                };
                let mut fds = [PollFd::new(&stderr, PollFlags::IN)];
                match poll(&mut fds, Some(&tick)) {
                    Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                    Ok(_) => {}
                    Err(error) => return Err(TriggerError::Wait(error.into())),
                }
                match stderr.read(&mut chunk).map_err(TriggerError::Wait)? {
                    0 => break,
                    n => message.extend_from_slice(&chunk[..n]),
                }
            }
        }
        let status = self.0.wait().map_err(TriggerError::Wait)?;
        Ok((status, String::from_utf8_lossy(&message).trim().to_owned()))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        // An error here means that it is dead and reaped already.
        if self.0.kill().is_ok()
            && let Err(error) = self.0.wait()
        {
            tracing::warn!(%error, "cannot reap the hog");
        }
    }
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The monotonic clock starts at 0 and is never negative.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
