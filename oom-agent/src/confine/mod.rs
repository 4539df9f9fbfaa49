//! What the agent gives up once it has what it needs: a process with its privileges that reads what
//! strangers write must be of little use to them.
//!
//! Takes what the daemon makes use of ([`Feature`]), and leaves capabilities, writable files and system
//! calls for that alone. Emits what is on and why the rest is not ([`Protection`]). Refuses nothing: a
//! kernel that lacks a protection is no reason not to watch.
//!
//! Capabilities, `no_new_privs` and Landlock are of a thread, and a thread has them from the one that starts
//! it. So the order is: [`Confinement::begin`], everything that takes privileges,
//! [`Confinement::threads`], then the threads, and [`Confinement::system_calls`] last, for all of them.
//! A thread that is started before calls [`idle_thread`] first.

pub mod capabilities;
pub mod landlock;
pub mod seccomp;

use std::{
    fmt, fs, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::thread::set_no_new_privs;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::seccomp::Threads;
use crate::realtime;

/// Where the kernel keeps how soon it would kill this process (`proc_pid_oom_score_adj(5)`).
const OOM_SCORE_ADJ: &str = "/proc/self/oom_score_adj";

/// The agent's `oom_score_adj` if nobody says otherwise: killed after nearly all else, but not never, for an
/// agent that has gone wild must not take the machine with it.
pub const WANTED_SCORE: i16 = -900;

/// A protection, by the name that `--without` takes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Guard {
    /// The kernel kills the agent last.
    OomScore,
    /// The agent's memory stays in memory.
    MemoryLock,
    /// No privilege can be gained by executing a file. Landlock and seccomp rest on it.
    NoNewPrivs,
    /// No capability beyond those that are needed.
    Capabilities,
    /// No file written, made, removed or executed, but below the agent's own directories.
    Landlock,
    /// No system call beyond those that are needed.
    Seccomp,
}

/// In the order in which they are told.
pub const GUARDS: [Guard; 6] = [
    Guard::OomScore,
    Guard::MemoryLock,
    Guard::NoNewPrivs,
    Guard::Capabilities,
    Guard::Landlock,
    Guard::Seccomp,
];

/// Something that the daemon does, and that takes privileges or system calls of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// BPF programs that have been loaded and pinned; those that watch cgroups are loaded when the threads run.
    Bpf,
    /// The kernel log, which may have to be opened again.
    Log,
    /// What container runtimes leave on disk.
    Names,
    /// Real-time priority, where the limits do not allow it to everybody.
    Priority,
    /// Locked memory, where the limits do not allow it to everybody.
    LockedMemory,
    /// The store on disk.
    Store,
    /// Sockets that others connect to; they must be bound before.
    Server,
    /// Connections to others over the network, by TCP, with look-ups of their names.
    Client,
}

/// How one protection stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is put on when its time has come.
    Later,
    /// As it should be.
    On,
    /// On, but for what is said.
    Partly(String),
    /// Off, and why.
    Off(String),
}

/// One protection of the running agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Protection {
    /// Which.
    pub name: Guard,
    /// How it stands.
    pub state: State,
}

/// What the command line says of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Protections that are not wanted.
    pub without: Vec<Guard>,
    /// The agent's own `oom_score_adj`; one that is lower already is kept.
    pub oom_score_adj: i16,
}

/// The protections of this process, as far as they have got. Clones share them.
#[derive(Clone, Debug)]
pub struct Confinement {
    without: Arc<[Guard]>,
    states: Arc<Mutex<[State; GUARDS.len()]>>,
    limits: realtime::Limits,
}

impl Confinement {
    /// Raises limits, so that fewer capabilities are needed, and has the agent killed last. To be called
    /// before BPF is loaded: its self-check looks at `oom_score_adj`.
    #[must_use]
    pub fn begin(options: &Options) -> Self {
        let states = GUARDS.map(|guard| {
            if options.without.contains(&guard) {
                State::Off("by --without".to_owned())
            } else {
                State::Later
            }
        });
        let confinement = Self {
            without: options.without.as_slice().into(),
            states: Arc::new(Mutex::new(states)),
            limits: realtime::raise_limits(),
        };
        confinement.guard(Guard::OomScore, || {
            oom_score(Path::new(OOM_SCORE_ADJ), options.oom_score_adj)
        });
        confinement
    }

    /// Confines the calling thread, and those that it starts from now on, to what `features` take and to
    /// writing below `writable`, directories that exist.
    pub fn threads(&self, features: &[Feature], writable: &[&Path]) {
        let mut features = features.to_vec();
        if !self.limits.priority {
            features.push(Feature::Priority);
        }
        if !self.limits.memory && self.wants(Guard::MemoryLock) {
            features.push(Feature::LockedMemory);
        }
        self.guard(Guard::NoNewPrivs, no_new_privs);
        self.guard(Guard::Landlock, || {
            self.resting(|| landlock::restrict(writable))
        });
        self.guard(Guard::Capabilities, || capabilities::keep_for(&features));
    }

    /// Confines all threads of the process to the system calls that `features` take.
    pub fn system_calls(&self, features: &[Feature]) {
        self.guard(Guard::Seccomp, || {
            self.resting(|| seccomp::install(features, Threads::All))
        });
    }

    /// Locks the memory of the process.
    pub fn lock_memory(&self) {
        self.guard(Guard::MemoryLock, || match realtime::lock_memory() {
            Ok(()) => State::On,
            Err(note) => {
                tracing::info!("slower than it could be: {note}");
                State::Off(note)
            }
        });
    }

    /// How each stands now.
    #[must_use]
    pub fn protections(&self) -> Vec<Protection> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = GUARDS.into_iter().zip(states.iter().cloned());
        pairs
            .map(|(name, state)| Protection { name, state })
            .collect()
    }

    /// The same, now and later.
    pub fn telling(&self) -> impl Fn() -> Vec<Protection> + Send + Sync + 'static {
        let confinement = self.clone();
        move || confinement.protections()
    }

    /// Those that are on, and why the others are not, as log lines.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        told(&self.protections())
    }

    fn wants(&self, guard: Guard) -> bool {
        !self.without.contains(&guard)
    }

    fn guard(&self, guard: Guard, put_on: impl FnOnce() -> State) {
        if !self.wants(guard) {
            return;
        }
        let state = put_on();
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states[guard as usize] = state;
    }

    /// The kernel wants `no_new_privs` first, or `CAP_SYS_ADMIN`, and that is not to be kept for it.
    fn resting(&self, put_on: impl FnOnce() -> State) -> State {
        if self.wants(Guard::NoNewPrivs) {
            put_on()
        } else {
            State::Off(format!("it rests on {}", Guard::NoNewPrivs))
        }
    }
}

/// Confines the calling thread, and those that it starts, to what is open already. For threads that are
/// started before [`Confinement::threads`]. `without` as in [`Options`].
pub fn idle_thread(without: &[Guard]) {
    let wants = |guard| !without.contains(&guard);
    let mut off = Vec::new();
    let mut put_on = |guard, state| {
        if let State::Off(why) | State::Partly(why) = state {
            off.push(format!("{guard}: {why}"));
        }
    };
    if wants(Guard::NoNewPrivs) {
        put_on(Guard::NoNewPrivs, no_new_privs());
        if wants(Guard::Landlock) {
            put_on(Guard::Landlock, landlock::restrict(&[]));
        }
    }
    if wants(Guard::Capabilities) {
        put_on(Guard::Capabilities, capabilities::keep_for(&[]));
    }
    // The same is told of the whole process, where somebody reads it.
    for why in off {
        tracing::debug!("a thread is not confined: {why}");
    }
}

/// Puts everything on the calling thread, which had better end then, to see what can be. The process's own
/// `oom_score_adj` and its memory are as they were afterwards.
#[must_use]
pub fn attempt(features: &[Feature]) -> Vec<Protection> {
    let file = Path::new(OOM_SCORE_ADJ);
    let score = fs::read(file);
    let confinement = Confinement::begin(&Options {
        without: Vec::new(),
        oom_score_adj: WANTED_SCORE,
    });
    if let Ok(score) = score
        && let Err(error) = fs::write(file, score)
    {
        tracing::debug!("oom_score_adj stays lowered: {error}");
    }
    confinement.lock_memory();
    if let Err(error) = rustix::mm::munlockall() {
        tracing::debug!("memory stays locked: {error}");
    }
    confinement.threads(features, &[]);
    confinement.guard(Guard::Seccomp, || seccomp::install(features, Threads::This));
    confinement.protections()
}

fn no_new_privs() -> State {
    set_no_new_privs(true).map_or_else(|error| State::Off(error.to_string()), |()| State::On)
}

/// Lowers the score in this file to `to`, unless it is lower already.
fn oom_score(file: &Path, to: i16) -> State {
    let lower = || -> io::Result<()> {
        let now = fs::read_to_string(file)?;
        let now: i16 = now.trim().parse().map_err(io::Error::other)?;
        if now <= to {
            return Ok(());
        }
        fs::write(file, to.to_string())
    };
    match lower() {
        Ok(()) => State::On,
        Err(error) => State::Off(format!(
            "oom_score_adj cannot be {to}: {error} (needs CAP_SYS_RESOURCE; systemd: OOMScoreAdjust={to})"
        )),
    }
}

/// One line for those that are on, one for each that is not.
fn told(protections: &[Protection]) -> Vec<String> {
    let on = |it: &&Protection| matches!(it.state, State::On | State::Partly(_));
    let on = protections.iter().filter(on);
    let on: Vec<_> = on.map(|it| it.name.to_string()).collect();
    let on = if on.is_empty() {
        "nothing".to_owned()
    } else {
        on.join(", ")
    };
    let mut lines = vec![format!("confined by: {on}")];
    for it in protections {
        match &it.state {
            State::On | State::Later => {}
            State::Partly(why) => lines.push(format!("  {} in part: {why}", it.name)),
            State::Off(why) => lines.push(format!("  not by {}: {why}", it.name)),
        }
    }
    lines
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OomScore => "oom-score",
            Self::MemoryLock => "memory-lock",
            Self::NoNewPrivs => "no-new-privs",
            Self::Capabilities => "capabilities",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        })
    }
}

#[cfg(test)]
mod tests;
