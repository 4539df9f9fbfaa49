//! The store, from its opening to its end: what the last agent left goes in, what this one does comes out.
//!
//! Reads the options; emits a correlator that goes on, the store thread, and an output of the hub. A store
//! that cannot be written now is only read, and tried again by its thread; one of a later version, or of
//! another program, is left alone: both cost durability, not detection. Refuses that of a running agent.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{
    Options, RunError,
    backfill::Backfill,
    own_death::OwnDeath,
    resume::{Resumed, resume},
    system,
};
use crate::{
    bpf::load,
    clock::Now,
    correlate::{Correlator, Host, Timing},
    detect::{Core, journal::Journal},
    error::chain,
    event::Event,
    evidence::Evidence,
    hub::Output,
    source::{
        bpf::ring::BpfSource,
        kmsg::{self, Position},
        victim::own_start_ns,
    },
    store::{
        self, Counts, Entry, Offer, QueryError, Release, Retention, Run, Snapshot, Store,
        StoreError, Storing, journal::encode_snapshot,
    },
};

/// A correlator forgets a kill when its memory is over; the journal keeps some more.
const SLACK_NS: u64 = 10_000_000_000;

/// Where the store is, and what it keeps.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The database; `None` for no store.
    pub path: Option<PathBuf>,
    /// Read kills of before the first start back from the log.
    pub backfill: bool,
    /// How much is kept.
    pub retention: Retention,
}

/// The store before detection starts.
#[derive(Debug)]
pub(super) struct Durable {
    path: PathBuf,
    options: StoreOptions,
    host: Host,
    timing: Timing,
    /// `None` if it could not be opened yet.
    store: Option<Store>,
    /// There is one of which nothing is known.
    is_unread: bool,
    /// What the last agent left; taken by [`Durable::start`].
    pub(super) resumed: Resumed,
}

/// The store while detection runs.
#[derive(Debug)]
pub(super) struct Keeping {
    offer: Arc<Offer>,
    pub(super) storing: Storing,
    /// Up to this record of the log, what it tells is to be read back.
    backfill_through: Option<u64>,
}

impl Durable {
    /// Opens the store, if one is wanted, and brings the correlator to where the last agent was.
    pub(super) fn open(
        options: &StoreOptions,
        host: &Host,
        timing: Timing,
        correlator: &mut Correlator,
    ) -> Result<Option<Self>, RunError> {
        let Some(path) = options.path.clone() else {
            return Ok(None);
        };
        let mut durable = Self {
            path,
            options: options.clone(),
            host: host.clone(),
            timing,
            store: None,
            is_unread: false,
            resumed: Resumed {
                is_first: true,
                ..Resumed::default()
            },
        };
        let opened = Store::open(&durable.path, durable.boot_id(), durable.keep_ns());
        match opened.and_then(|store| Ok((store.left()?, store))) {
            Ok((left, store)) => {
                durable.resumed = resume(left, correlator);
                durable.store = Some(store);
            }
            Err(error @ StoreError::Held { .. }) => return Err(RunError::Store(error)),
            Err(error) if error.is_lasting() => {
                tracing::error!(
                    "NOTHING IS STORED, and what the last agent left is not read: {}",
                    chain(&error)
                );
                return Ok(None);
            }
            Err(error) => {
                // The thread says more, and when it is over.
                tracing::debug!("{}", chain(&error));
                durable.read_back(correlator);
            }
        }
        durable.say();
        Ok(Some(durable))
    }

    /// What the last agent left counts also while nothing can be written.
    fn read_back(&mut self, correlator: &mut Correlator) {
        match Store::read_back(&self.path, self.boot_id()) {
            Ok(left) => self.resumed = resume(left, correlator),
            Err(error @ QueryError::Missing(_)) => tracing::debug!("{}", chain(&error)),
            Err(error) => {
                self.is_unread = true;
                tracing::warn!(
                    "what the last agent left cannot be read, what it owed is lost, and what it told may be \
                     told again: {}",
                    chain(&error)
                );
            }
        }
    }

    fn boot_id(&self) -> &str {
        self.host.boot_id.as_deref().unwrap_or_default()
    }

    fn keep_ns(&self) -> u64 {
        self.timing.memory_ns + SLACK_NS
    }

    /// What the last agent left, in a line for people.
    fn say(&self) {
        let Resumed { owed, recovery, .. } = &self.resumed;
        let Some(run) = &recovery.last_run else {
            return;
        };
        if !recovery.last_run_is_of_this_boot {
            return;
        }
        let how = if recovery.had_clean_end {
            "ended"
        } else {
            "was killed or crashed"
        };
        tracing::info!(
            "going on from oom-agent {} (pid {}), which {how}: it owed {} events",
            run.version,
            run.pid,
            owed.len()
        );
    }

    /// At the first start of a boot: what the kernel has counted, and how far the log goes, is what all that
    /// follows is measured against. It must be durable before the programs are attached.
    pub(super) fn first(
        &mut self,
        correlator: &mut Correlator,
        base: Option<Evidence>,
        log_read: Option<u64>,
    ) {
        if !self.resumed.is_first {
            return;
        }
        let Some(store) = &mut self.store else {
            // The store's thread notes it down once it can. Of a boot that has begun, it is noted already.
            let recovery = &mut self.resumed.recovery;
            if !self.is_unread && recovery.first_start_ns.is_none() {
                recovery.first_log = log_read;
            }
            return;
        };
        let now = Now::read();
        if let Some(base) = base {
            correlator.observe(base, now, &mut Vec::new());
        }
        let state = encode_snapshot(&correlator.snapshot());
        let noted = state.map_err(|error| chain(&error)).and_then(|state| {
            let snapshot = Snapshot {
                monotonic_ns: now.monotonic_ns,
                state,
            };
            let noted = store.first_start(&snapshot, log_read, &now);
            noted.map_err(|error| chain(&error))
        });
        match noted {
            Ok(true) => self.resumed.recovery.first_log = log_read,
            Ok(false) => {}
            Err(error) => {
                tracing::warn!("the start is not noted down yet: {error}");
                let recovery = &mut self.resumed.recovery;
                if recovery.first_start_ns.is_none() {
                    recovery.first_log = log_read;
                }
            }
        }
    }

    /// From where on the log is read.
    pub(super) fn log_position(&self) -> Position {
        self.resumed
            .recovery
            .log_read
            .map_or(Position::End, Position::AfterSeq)
    }

    /// The last record of a ring that is stored, and of which ring.
    pub(super) fn ring_read(&self) -> Option<load::Resume> {
        let recovery = &self.resumed.recovery;
        Some(load::Resume {
            generation: recovery.ring_generation.clone()?,
            seq: recovery.ring_seq?,
        })
    }

    /// Starts the thread, and lets `core` hand over what it does.
    pub(super) fn start(mut self, core: &mut Core) -> Result<Keeping, RunError> {
        let keep_ns = self.keep_ns();
        let mut resumed = std::mem::take(&mut self.resumed);
        let recovery = resumed.recovery;
        if let Some(died) = OwnDeath::watch(recovery.cut_off, Now::read().monotonic_ns) {
            core.add_output(died);
        }
        let (generation, release_of, capacity) = match core.ring() {
            Some(ring) => (
                ring.generation().map(str::to_owned),
                release(ring),
                ring.capacity(),
            ),
            None => (None, Box::new(|_| ()) as Release, u64::MAX),
        };
        let known = recovery.ring_generation;
        let other = !resumed.is_first && known != generation;
        let overlap = other || core.ring().is_some_and(BpfSource::overlap);
        if other && known.is_none() && core.ring().is_some_and(BpfSource::inherits) {
            // The last agent told by other means what this ring holds, or some of it.
            let deaths = self.store.as_ref().map(Store::deaths).transpose();
            match deaths {
                Ok(deaths) => deaths.into_iter().flatten().for_each(|(tid, at_ns)| {
                    resumed.told.deaths.entry(tid).or_default().push(at_ns);
                }),
                Err(error) => tracing::warn!("{}", chain(&error)),
            }
        }
        let options = store::Options {
            path: self.path,
            host: self.host,
            keep_ns,
            timing: self.timing,
            retention: self.options.retention,
            run: this_run(generation, recovery.first_log),
            ring_room: capacity / 4 * 3,
        };
        // The ring of an earlier agent, whose store is not this one, tells of kills that the log tells of, too.
        let doubled = resumed.is_first && core.ring().is_some_and(BpfSource::inherits);
        let first_log = recovery.first_log;
        let wanted = self.options.backfill && !recovery.backfilled && first_log.is_some();
        let (offer, storing) = store::start(self.store, options, release_of)
            .map_err(system("cannot start a thread"))?;
        let offer = Arc::new(offer);
        core.add_output(Stored(offer.clone()));
        let journal = Journal::new(offer.clone(), resumed.told, keep_ns, overlap);
        core.keep(journal, resumed.owed, &resumed.alerts);
        if wanted && doubled {
            tracing::info!(
                "no history from the log: the programs of an earlier agent have recorded it"
            );
            offer.offer(Entry::Backfilled);
        }
        Ok(Keeping {
            offer,
            storing,
            backfill_through: first_log.filter(|_| wanted && !doubled),
        })
    }
}

/// What lets go of a ring's records.
fn release(ring: &BpfSource) -> Release {
    let release = ring.release();
    Box::new(move |end| release.release(end))
}

impl Keeping {
    /// Reads back what was before the first start, if it has not been, on a thread of its own; `counted` is
    /// what the kernel has counted.
    pub(super) fn backfill(
        &self,
        host: &Host,
        options: &Options,
        counted: Option<u64>,
    ) -> Result<(), RunError> {
        let Some(through) = self.backfill_through else {
            return Ok(());
        };
        let backfill = Backfill {
            host: host.clone(),
            timing: options.timing,
            kmsg: kmsg::Options {
                accept_forged: options.accept_forged,
            },
            through,
            counted,
        };
        let offer = self.offer.clone();
        let deliver = move |event: Option<Event>| {
            let entry = event.map_or(Entry::Backfilled, |event| Entry::Event(Arc::new(event)));
            offer.offer(entry);
            offer.wake();
        };
        backfill
            .start(deliver)
            .map_err(system("cannot start a thread"))
    }

    /// Waits until all is stored, and closes the database. Detection must have ended.
    pub(super) fn finish(self, at_most: Duration) -> Counts {
        drop(self.offer);
        self.storing.finish(at_most)
    }
}

/// Hands events to the store.
struct Stored(Arc<Offer>);

impl Output for Stored {
    fn offer(&mut self, event: &Arc<Event>) -> bool {
        self.0.offer(Entry::Event(event.clone()));
        true
    }
}

fn this_run(ring_generation: Option<String>, first_log: Option<u64>) -> Run {
    let now = Now::read();
    Run {
        pid: std::process::id(),
        pid_start_ns: own_start_ns(),
        started: now.wall(now.monotonic_ns),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ring_generation,
        first_log,
    }
}

#[cfg(test)]
#[path = "durable_tests.rs"]
mod tests;
