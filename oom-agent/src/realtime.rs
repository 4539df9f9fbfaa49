//! Being there at the moment when the node has nothing left: priority, place and memory.
//!
//! All of it is best effort: without the privilege the agent is slower, not wrong.

use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Below the kernel's own real-time threads (50), above all else.
const PRIORITY: u8 = 40;

/// Ahead of nearly all that is not real-time.
const NICE: i32 = -15;

/// Behind what is not told otherwise.
const DEFERRED: i32 = 5;

/// What limits allow without a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Real-time priority and the nice value.
    pub priority: bool,
    /// Any amount of locked memory. A limit is not enough: memory that the agent wants later and that would
    /// be above it is refused, where the capability is gone.
    pub memory: bool,
}

/// Raises the limits of this process as far as it may, so that its threads need neither `CAP_SYS_NICE` nor
/// `CAP_IPC_LOCK`. What is above the hard limits takes `CAP_SYS_RESOURCE`.
#[must_use]
pub fn raise_limits() -> Limits {
    // setrlimit(2): the least nice value is 20 minus the limit.
    let nice = u64::from((20 - NICE).unsigned_abs());
    Limits {
        priority: raise(Resource::Rtprio, Some(PRIORITY.into()))
            && raise(Resource::Nice, Some(nice)),
        memory: raise(Resource::Memlock, None),
    }
}

/// `None` is without limit. Whether it is that much now.
fn raise(resource: Resource, to: Option<u64>) -> bool {
    let now = getrlimit(resource);
    let enough = |limit: Option<u64>| match (limit, to) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(limit), Some(to)) => limit >= to,
    };
    if enough(now.current) {
        return true;
    }
    let maximum = if enough(now.maximum) { now.maximum } else { to };
    let wanted = Rlimit {
        current: to,
        maximum,
    };
    setrlimit(resource, wanted).is_ok()
}

/// Lets this process have so many files open, as far as it may. How many it may now.
#[must_use]
pub fn raise_files(wanted: u64) -> u64 {
    raise(Resource::Nofile, Some(wanted));
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Keeps what the agent has touched, and will touch, in memory: the OOM path evicts program text.
/// Needs `CAP_IPC_LOCK` or a sufficient `RLIMIT_MEMLOCK`.
pub fn lock_memory() -> Result<(), String> {
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
        .map_err(|error| format!("memory is not locked: {error} (needs CAP_IPC_LOCK)"))
}

/// Real-time priority for the calling thread. Needs `CAP_SYS_NICE`.
pub fn raise_thread() -> Result<(), String> {
    let priority = ThreadPriority::Crossplatform(
        PRIORITY
            .try_into()
            .map_err(|error| format!("priority {PRIORITY}: {error}"))?,
    );
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    set_thread_priority_and_policy(thread_native_id(), priority, policy)
        .map_err(|error| format!("no real-time priority: {error} (needs CAP_SYS_NICE)"))
}

/// A large share of the CPU, and an early turn, for the calling thread (`nice` -15). For threads that
/// alerts wait for and that read disks: real-time ones would hold up the machine. Needs `CAP_SYS_NICE`
/// or a sufficient `RLIMIT_NICE`.
pub fn favour_thread() -> Result<(), String> {
    // On Linux each thread has a nice value of its own, and "none" is the calling one (setpriority(2)).
    setpriority_process(None, NICE)
        .map_err(|error| format!("no nice value of {NICE}: {error} (needs CAP_SYS_NICE)"))
}

/// A smaller share of the CPU for the calling thread (`nice` 5): for one that nobody waits for.
pub fn defer_thread() -> Result<(), String> {
    setpriority_process(None, DEFERRED)
        .map_err(|error| format!("no nice value of {DEFERRED}: {error}"))
}

/// Up to two CPUs that this process may use, as far apart as can be.
#[must_use]
pub fn two_cpus() -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(None) else {
        return Vec::new();
    };
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    let (first, last) = (cpus.next(), cpus.next_back());
    first.into_iter().chain(last).collect()
}

/// Binds the calling thread to one CPU.
pub fn pin_thread(cpu: usize) -> Result<(), String> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).map_err(|error| format!("cannot run on CPU {cpu}: {error}"))
}
