//! What the waiters do under the lock: ring and inbox through the correlator to the hub.

use std::fmt;

use super::journal::Journal;
use crate::{
    attribute::{Ask, Desk, desk::DeskCounts},
    clock::Now,
    correlate::{Correlator, Counts, Up},
    event::{Event, OomKill},
    evidence::{Evidence, RingPlace, Watch, Wish},
    hub::{Hub, Output},
    source::{
        audit::OomKillCounter,
        bpf::ring::{BpfSource, KernelStats},
    },
    store::Entry,
};

/// Without evidence or deadlines the ring is looked at, and the counter compared, this often.
const SLOW_TURN_NS: u64 = 10_000_000_000;

/// A difference is looked at again after this long.
const AUDIT_AGAIN_NS: u64 = 1_000_000_000;

/// Everything between the sources and the hub.
pub struct Core {
    correlator: Correlator,
    bpf: Option<BpfSource>,
    counter: Option<OomKillCounter>,
    desk: Desk,
    helpers: Helpers,
    /// Those who help are there, or never will be.
    helped: bool,
    /// They are to come.
    awaits_help: bool,
    hub: Hub,
    journal: Journal,
    evidence: Vec<Evidence>,
    /// As the correlator makes them, and as the desk passes them on.
    events: Vec<Event>,
    named: Vec<Event>,
    /// When the correlator's next deadline is, as far as is known, `CLOCK_MONOTONIC`.
    due_ns: u64,
    /// When the counter is compared next, `CLOCK_MONOTONIC`.
    audit_at_ns: u64,
    /// What the last comparison left over, and what of it has been said.
    unexplained: i64,
    warned: i64,
}

/// Who finds out what the detection threads must not wait for. Each takes a question at once or says that
/// it cannot; answers come as evidence.
#[derive(Default)]
pub struct Helpers {
    /// Names of a cgroup's owner.
    pub names: Option<Helper<Ask>>,
    /// Memory of a cgroup.
    pub memory: Option<Helper<Wish>>,
    /// The end of a victim.
    pub victims: Option<Helper<Watch>>,
}

/// Takes a question, or says that it cannot.
pub type Helper<Question> = Box<dyn FnMut(&Question) -> bool + Send>;

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("correlator", &self.correlator)
            .finish_non_exhaustive()
    }
}

/// What was seen from start to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Counted by the correlator.
    pub counts: Counts,
    /// Counted where owners are named.
    pub desk: DeskCounts,
    /// Counted by the kernel side.
    pub kernel: KernelStats,
    /// The sources that deliver.
    pub up: Up,
    /// Kills that the kernel has counted; `None` where it has no counter.
    pub kernel_kills: Option<u64>,
    /// The audit's verdict; `None` where the kernel has no counter.
    pub unexplained: Option<i64>,
    /// Ring records that could not be decoded.
    pub refused: u64,
}

impl Core {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        correlator: Correlator,
        bpf: Option<BpfSource>,
        counter: Option<OomKillCounter>,
        desk: Desk,
        hub: Hub,
    ) -> Self {
        Self {
            correlator,
            bpf,
            counter,
            desk,
            helpers: Helpers::default(),
            helped: false,
            awaits_help: false,
            hub,
            journal: Journal::default(),
            evidence: Vec::with_capacity(256),
            events: Vec::with_capacity(256),
            named: Vec::with_capacity(256),
            due_ns: u64::MAX,
            audit_at_ns: 0,
            unexplained: 0,
            warned: 0,
        }
    }

    /// One output more.
    pub fn add_output(&mut self, output: impl Output + 'static) {
        self.hub.add(output);
    }

    /// What detection does is kept from now on, and what has been told is not told again. `events` are
    /// those that a predecessor owed, `alerts` those it told whose report is still to come.
    pub fn keep(&mut self, journal: Journal, events: Vec<Event>, alerts: &[OomKill]) {
        let now = Now::read();
        for alert in alerts {
            self.desk.told_before(alert);
        }
        self.journal = journal;
        self.events = events;
        self.publish(now);
        if !self.correlator.is_quiet() {
            // Whoever goes through this journal once more must come to the same reports.
            let copy = self.journal.copy(&Evidence::Resumed, false);
            self.journal.evidence(copy, now, None);
        }
    }

    /// Begins: what there is to be known at the start, and the base of the audit, which no journal tells.
    pub fn begin(&mut self, evidence: impl IntoIterator<Item = Evidence>) {
        for evidence in evidence {
            self.observe(evidence, None);
        }
        // What a predecessor owed may wait for its names.
        if self.correlator.is_quiet() && self.desk.is_quiet() {
            let now = Now::read();
            self.journal.quiet(&self.correlator, now.monotonic_ns, true);
        }
        self.journal.wake();
    }

    /// Whether questions will be answered soon: then an alert of before waits for its names as one of later does.
    pub fn await_help(&mut self, comes: bool) {
        self.awaits_help = comes;
        self.desk.answered(comes);
    }

    /// From now on questions are answered.
    pub(super) fn help(&mut self, helpers: Helpers) {
        self.desk.answered(helpers.names.is_some());
        self.helpers = helpers;
        self.helped = true;
        self.publish(Now::read());
    }

    /// The ring, to wait on.
    #[must_use]
    pub fn ring(&self) -> Option<&BpfSource> {
        self.bpf.as_ref()
    }

    pub(super) fn has_ring(&self) -> bool {
        self.bpf.is_some()
    }

    /// Whether nothing is pending.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.drain_ring();
        self.correlator.is_quiet() && self.desk.is_quiet()
    }

    /// Takes evidence of other sources. The ring is looked at before each: a mark precedes its log
    /// line, and an alert does not wait for a backlog of the log.
    pub(super) fn take(&mut self, evidence: impl IntoIterator<Item = Evidence>) {
        for evidence in evidence {
            self.drain_ring();
            self.observe(evidence, None);
        }
        self.journal.wake();
    }

    /// Everything that is in the ring, record by record: an alert does not wait for the next record.
    pub(super) fn drain_ring(&mut self) {
        let Some(mut bpf) = self.bpf.take() else {
            return;
        };
        let mut seen = std::mem::take(&mut self.evidence);
        while bpf.next(&mut seen) {
            // Of what a record tells, the last brings its place: only then has all of it been seen.
            let mut left = seen.len();
            for evidence in seen.drain(..) {
                left -= 1;
                self.observe(evidence, (left == 0).then(|| bpf.place()));
            }
        }
        self.release(&bpf);
        self.journal.wake();
        self.evidence = seen;
        self.bpf = Some(bpf);
    }

    /// Who keeps the events lets go of the ring; where nobody does, it is done here.
    fn release(&self, bpf: &BpfSource) {
        if !self.journal.keeps() {
            bpf.release().release(bpf.place().end);
        }
    }

    fn observe(&mut self, evidence: Evidence, ring: Option<RingPlace>) {
        let now = Now::read();
        if self.journal.is_known(&evidence, ring) {
            // Its record is done with all the same.
            let place = ring.map(|_| Box::new(Evidence::RingGap { lost: 0 }));
            self.journal.evidence(place, now, ring);
            return;
        }
        self.tick_if_due(now);
        let copy = self
            .journal
            .copy(&evidence, self.correlator.wants_counter());
        if let Evidence::LogRead { through } = evidence {
            self.journal.entry(Entry::LogRead { through });
        } else if let Evidence::Cgroup(cgroup) = evidence {
            self.desk.observe(*cgroup, now, &mut self.named);
        } else {
            self.correlator.observe(evidence, now, &mut self.events);
        }
        self.publish(now);
        self.journal.evidence(copy, now, ring);
        // Behind what waits for it in the journal, too: a replay must be told in the same order.
        if self.correlator.wants_counter() {
            self.audit();
            self.publish(now);
        }
    }

    /// What was due comes before what has just been seen, as it does in a replay.
    fn tick_if_due(&mut self, now: Now) {
        if now.monotonic_ns >= self.due_ns {
            self.correlator.tick(now, &mut self.events);
            self.due_ns = self.correlator.next_deadline().unwrap_or(u64::MAX);
        }
    }

    /// Lets time pass; gives the next moment at which it matters, on `CLOCK_MONOTONIC`.
    pub(super) fn turn(&mut self) -> u64 {
        let now = Now::read();
        self.correlator.tick(now, &mut self.events);
        if self.correlator.wants_counter() {
            self.audit();
        }
        self.desk.tick(now, &mut self.named);
        self.publish(now);
        if now.monotonic_ns >= self.audit_at_ns && self.correlator.is_quiet() {
            self.audit();
            self.publish(now);
            self.audit_at_ns = now.monotonic_ns + self.judge();
        }
        if self.correlator.is_quiet() && self.desk.is_quiet() {
            self.journal
                .quiet(&self.correlator, now.monotonic_ns, false);
        }
        self.journal.wake();
        let slow = now.monotonic_ns + SLOW_TURN_NS;
        let correlator_due = self.correlator.next_deadline();
        self.due_ns = correlator_due.unwrap_or(u64::MAX);
        let deadlines = [correlator_due, self.desk.next_deadline()];
        let deadline = deadlines.into_iter().flatten().min().unwrap_or(slow);
        // An audit that is overdue waits for quiet, which comes with a deadline or with evidence.
        let audit = Some(self.audit_at_ns).filter(|&at| at > now.monotonic_ns);
        deadline.min(audit.unwrap_or(slow)).min(slow)
    }

    fn audit(&mut self) {
        let Some(counter) = &mut self.counter else {
            return;
        };
        match counter.evidence() {
            Ok(evidence) => {
                let now = Now::read();
                let copy = self
                    .journal
                    .copy(&evidence, self.correlator.wants_counter());
                self.correlator.observe(evidence, now, &mut self.events);
                self.journal.evidence(copy, now, None);
            }
            Err(error) => tracing::warn!("audit: {error}"),
        }
    }

    /// Says what the counter has and no source has shown; gives the time until the next comparison.
    /// The kernel counts before it marks, so in a burst the counter is ahead: only what is left over
    /// twice is said.
    fn judge(&mut self) -> u64 {
        let Some(left) = self.correlator.audit().unexplained() else {
            return SLOW_TURN_NS;
        };
        let before = std::mem::replace(&mut self.unexplained, left);
        let confirmed = left.min(before);
        if confirmed > self.warned {
            self.warned = confirmed;
            tracing::warn!(
                "the kernel counts {confirmed} OOM kills that no source has shown \
                 (/proc/vmstat oom_kill against events and repeats)"
            );
        }
        if left > self.warned {
            AUDIT_AGAIN_NS
        } else {
            SLOW_TURN_NS
        }
    }

    /// Asks what is to be asked, first what is soonest gone; then hands over what is ready.
    fn publish(&mut self, now: Now) {
        let wishes: Vec<Wish> = self.correlator.wishes().collect();
        for wish in wishes {
            let grant = self.helpers.memory.as_mut();
            if !grant.is_some_and(|grant| grant(&wish)) {
                self.correlator.refuse(&wish);
            }
        }
        let watches: Vec<Watch> = if self.helped {
            self.correlator.watches().collect()
        } else {
            Vec::new()
        };
        for watch in watches {
            let wait = self.helpers.victims.as_mut();
            if !wait.is_some_and(|wait| wait(&watch)) {
                self.correlator.refuse_watch(&watch);
            }
        }
        for event in self.events.drain(..) {
            if self.journal.is_told(&event) {
                continue;
            }
            self.desk.take(event, now, &mut self.named);
        }
        let later = self.awaits_help && !self.helped;
        let asks = (!later).then(|| self.desk.asks());
        for ask in asks.into_iter().flatten() {
            // One that is not taken is not answered: what waits for it does so for its time, and no more.
            if let Some(names) = &mut self.helpers.names {
                names(&ask);
            }
        }
        for event in self.named.drain(..) {
            self.hub.publish(event);
        }
    }

    /// The end: the last records, the last reading of the counter, and everything closed.
    pub(super) fn finish(&mut self) -> Tally {
        self.drain_ring();
        let mut losses = Vec::new();
        if let Some(bpf) = &mut self.bpf {
            bpf.settle(&mut losses);
        }
        // With their place: the next agent does not miss the same records once more.
        let place = self.bpf.as_ref().map(BpfSource::place);
        for loss in losses {
            self.observe(loss, place);
        }
        self.audit();
        let now = Now::read();
        let goes_on = self.bpf.as_ref().is_some_and(|bpf| bpf.pinned().is_some());
        if goes_on && self.journal.keeps() {
            self.correlator.hand_over(now, &mut self.events);
        } else {
            self.correlator.finish(now, &mut self.events);
        }
        self.publish(now);
        self.desk.finish(now, &mut self.named);
        self.publish(now);
        if self.correlator.is_quiet() {
            self.journal.quiet(&self.correlator, now.monotonic_ns, true);
        }
        self.hub = Hub::default();
        self.journal.wake();
        self.journal = Journal::default();
        self.tally()
    }

    /// What has been seen up to now, with the counter read now where nothing is pending: it must not be
    /// compared in the middle of a kill.
    pub(super) fn tally_now(&mut self) -> Tally {
        if self.correlator.is_quiet() {
            self.audit();
            self.publish(Now::read());
        }
        self.tally()
    }

    fn tally(&self) -> Tally {
        Tally {
            counts: self.correlator.counts(),
            desk: self.desk.counts(),
            kernel: self
                .bpf
                .as_ref()
                .map(BpfSource::kernel_stats)
                .unwrap_or_default(),
            up: self.correlator.up(),
            kernel_kills: self.correlator.audit().kernel_kills(),
            unexplained: self.correlator.audit().unexplained(),
            refused: self.bpf.as_ref().map_or(0, BpfSource::refused),
        }
    }
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
