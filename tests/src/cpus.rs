//! Whether the CPUs of this machine run who wants to run.
//!
//! Two measures that know nothing of the agent: [`settle`] waits until nobody wants a CPU, [`Stalls`] notes
//! when one ran nobody. A test guest is emulated beside others, and one of its CPUs may stand still for a
//! second: what came and went meanwhile nobody can have seen. Refuses to wait for ever.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use oom_agent::{clock::Now, realtime};
use rustix::{
    thread::{CpuSet, sched_getaffinity},
    time::{ClockId, clock_gettime},
};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// So long each CPU must have had nothing better to do: longer than the agent pauses between two looks.
const IDLE: Duration = Duration::from_millis(5);

/// No machine is busy for longer with what a scene has begun.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often the CPUs are asked for a turn.
const BEAT: Duration = Duration::from_millis(2);

/// A turn that comes later than this is a stall: half of what an alert waits for names.
const STALL: Duration = Duration::from_millis(10);

/// Waits until every CPU has had time for a thread that runs only where no other wants to.
pub fn settle() -> Result<()> {
    let cpus = cpus()?;
    thread::scope(|scope| {
        let idlers: Vec<_> = cpus.iter().map(|cpu| scope.spawn(|| idle(*cpu))).collect();
        idlers
            .into_iter()
            .try_for_each(|idler| idler.join().map_err(|_| anyhow!("panicked"))?)
    })
}

fn idle(cpu: usize) -> Result<()> {
    realtime::pin_thread(cpu).map_err(|error| anyhow!(error))?;
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy)
        .map_err(|error| anyhow!("the idle class: {error}"))?;
    let start = Instant::now();
    while own_time()? < IDLE {
        if start.elapsed() > DEADLINE {
            bail!("CPU {cpu} had something else to do for {DEADLINE:?}");
        }
    }
    Ok(())
}

/// CPU time of the calling thread.
fn own_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).context("negative CPU time")
}

fn cpus() -> Result<Vec<usize>> {
    let allowed = sched_getaffinity(None).context("the CPUs of this process")?;
    let all = 0..CpuSet::MAX_CPU;
    Ok(all.filter(|&cpu| allowed.is_set(cpu)).collect())
}

/// Times at which a CPU ran nobody.
#[derive(Debug)]
pub struct Stalls {
    seen: Arc<Mutex<Vec<[u64; 2]>>>,
    over: Arc<AtomicBool>,
    beating: Vec<JoinHandle<()>>,
}

impl Stalls {
    /// Asks every CPU for a turn, again and again, as urgently as the agent does for names.
    pub fn watch() -> Result<Self> {
        let mut stalls = Self {
            seen: Arc::default(),
            over: Arc::default(),
            beating: Vec::new(),
        };
        for cpu in cpus()? {
            let (seen, over) = (stalls.seen.clone(), stalls.over.clone());
            stalls
                .beating
                .push(thread::spawn(move || beat(cpu, &seen, &over)));
        }
        Ok(stalls)
    }

    /// Whether one began, ended or went on between these two moments, `CLOCK_MONOTONIC` in ns.
    #[must_use]
    pub fn within(&self, [from, to]: [u64; 2]) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .any(|[began, ended]| *began < to && from < *ended)
    }

    /// Ends it, once every CPU has had a turn more.
    pub fn end(&mut self) {
        self.over.store(true, Relaxed);
        for beating in self.beating.drain(..) {
            let _ = beating.join();
        }
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.end();
    }
}

fn beat(cpu: usize, seen: &Mutex<Vec<[u64; 2]>>, over: &AtomicBool) {
    let placed = realtime::pin_thread(cpu).and_then(|()| realtime::favour_thread());
    if let Err(error) = placed {
        eprintln!("stalls of CPU {cpu} are told later than they are: {error}");
    }
    while !over.load(Relaxed) {
        let due = now() + ns(BEAT);
        thread::sleep(BEAT);
        let came = now();
        if came > due + ns(STALL) {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.push([due, came]);
        }
    }
}

/// `CLOCK_MONOTONIC`, ns.
#[must_use]
pub fn now() -> u64 {
    Now::read().monotonic_ns
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_counts_for_all_that_it_meets() {
        let stalls = Stalls {
            seen: Arc::new(Mutex::new(vec![[20, 30], [50, 60]])),
            over: Arc::default(),
            beating: Vec::new(),
        };
        for (life, truth) in [
            ([0, 20], false),
            ([0, 21], true),
            ([22, 23], true),
            ([10, 40], true),
            ([29, 40], true),
            ([30, 50], false),
            ([40, 70], true),
            ([60, 70], false),
        ] {
            assert_eq!(stalls.within(life), truth, "{life:?}");
        }
    }
}
