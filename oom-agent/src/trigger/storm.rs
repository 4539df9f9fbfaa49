//! Many kills, as fast as the machine makes them, each in a cgroup of its own.
//!
//! Emits one report per kill; nothing is tried twice. Refuses to call a storm with a failure a
//! success.

use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use serde::Serialize;

use crate::{
    hierarchy::Hierarchy,
    trigger::{TriggerError, TriggerOptions, TriggerReport, kill_in, monotonic_ns, scratch},
};

/// Workers per CPU: most of a kill is waiting, for the kernel to move a process into a cgroup.
const WORKERS_PER_CPU: usize = 4;

/// What a storm did.
#[derive(Debug, Serialize)]
pub struct StormReport {
    /// The kills, in the order in which they were seen to end.
    pub kills: Vec<TriggerReport>,
    /// `CLOCK_MONOTONIC` before the first process was started.
    pub started_ns: u64,
    /// `CLOCK_MONOTONIC` after the last death.
    pub ended_ns: u64,
}

impl StormReport {
    /// Kills per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn kills_per_second(&self) -> f64 {
        let ns = self.ended_ns.saturating_sub(self.started_ns).max(1);
        self.kills.len() as f64 * 1e9 / ns as f64
    }
}

/// Makes `count` real OOM kills, several at a time. The first failure ends the storm.
pub fn storm(options: &TriggerOptions, count: u32) -> Result<StormReport, TriggerError> {
    let hierarchy = Hierarchy::find()?;
    scratch::remove_stale(&hierarchy)?;
    let workers = thread::available_parallelism().map_or(1, NonZero::get) * WORKERS_PER_CPU;
    let next = AtomicU32::new(0);
    let done = Mutex::new((Vec::with_capacity(count as usize), None));
    let started_ns = monotonic_ns();
    let work = || {
        while next.fetch_add(1, Ordering::Relaxed) < count {
            let result = kill_in(&hierarchy, options);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            match result {
                Ok(report) => done.0.push(report),
                Err(error) => {
                    done.1.get_or_insert(error);
                }
            }
            if done.1.is_some() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    let ended_ns = monotonic_ns();
    let (kills, failure) = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    match failure {
        None => Ok(StormReport {
            kills,
            started_ns,
            ended_ns,
        }),
        Some(error) => Err(TriggerError::Storm {
            made: kills.len(),
            count,
            error: Box::new(error),
        }),
    }
}
