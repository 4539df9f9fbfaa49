//! Telling a correlator once more what its predecessor was told, up to where that was cut off.
//!
//! Reads evidence with the moment of each; emits the events that come of it, which are those of the
//! first time, for the correlator has no clock and no chance in it. Whoever knows what has been told
//! already leaves that out. Refuses to ask anybody for memory: the cgroups of then may be gone.

use super::Correlator;
use crate::{
    clock::Now,
    event::Event,
    evidence::{Evidence, KmsgEvidence},
};

impl Correlator {
    /// Takes evidence of before, in its order; appends the events that it completes. What is still pending
    /// then waits from `now` on as if it had just begun: what it waits for has not been read meanwhile.
    pub fn replay(
        &mut self,
        evidence: impl IntoIterator<Item = (Now, Evidence)>,
        now: Now,
        out: &mut Vec<Event>,
    ) {
        self.go_through(evidence, out);
        self.wait_anew(now);
    }

    /// The observations, and what came due between them; the last moment. Where another agent had gone on, all waited
    /// anew then, and no time passes before.
    fn go_through(
        &mut self,
        evidence: impl IntoIterator<Item = (Now, Evidence)>,
        out: &mut Vec<Event>,
    ) -> Option<Now> {
        let mut last: Option<Now> = None;
        for (now, evidence) in evidence {
            if matches!(evidence, Evidence::Resumed) {
                self.wait_anew(now);
            } else {
                self.pass_time(last.map_or(0, |last| last.monotonic_ns), now, out);
                self.observe(evidence, now, out);
            }
            last = Some(now);
        }
        last
    }

    fn wait_anew(&mut self, now: Now) {
        self.wishes.clear();
        // Asked for once more when somebody waits again.
        self.victims.watches.clear();
        for instance in self.instances.values_mut() {
            let waits = !instance.closed && instance.memory_until_ns.is_some_and(|until| until > 0);
            if waits {
                self.audit.counts.memory_missed += 1;
                instance.memory_until_ns = Some(0);
            }
            instance.waits_since_ns = now.monotonic_ns;
            instance.active_ns = now.monotonic_ns;
        }
        for (until_ns, _) in &mut self.waiting_lines {
            *until_ns = now.monotonic_ns + self.timing.grace_ns;
        }
        for (until_ns, _) in &mut self.held_marks {
            *until_ns = now.monotonic_ns + self.timing.window_ns;
        }
    }

    /// Takes the evidence of a boot that is over, and closes what is open behind the last of it: nobody will say
    /// more. What a source had not said by then stays unknown, and is not taken for silence; how a held mark or a
    /// decision without one came out, too. Gives the number of victims whose end nobody saw.
    pub fn replay_to_the_end(
        &mut self,
        evidence: impl IntoIterator<Item = (Now, Evidence)>,
        out: &mut Vec<Event>,
    ) -> u64 {
        let Some(last) = self.go_through(evidence, out) else {
            return self.victims.living.len() as u64;
        };
        (self.bpf_up, self.kmsg_up) = (false, false);
        (self.memory_up, self.victims_up) = (false, false);
        let before = self.audit.counts.ends_missed;
        self.watch_none(last, out);
        let missed = self.audit.counts.ends_missed - before;
        self.finish(last, out);
        missed
    }

    /// Every moment at which something was due, one after the other, since the last observation; what was due by then
    /// was done then.
    fn pass_time(&mut self, since_ns: u64, now: Now, out: &mut Vec<Event>) {
        let mut last_ns = None;
        while let Some(due_ns) = self.next_deadline() {
            let at_ns = due_ns.max(since_ns);
            // What is still due after its turn waits for something else than time.
            if at_ns > now.monotonic_ns || last_ns >= Some(at_ns) {
                break;
            }
            last_ns = Some(at_ns);
            let then = Now {
                monotonic_ns: at_ns,
                ..now
            };
            self.tick(then, out);
        }
    }
}

/// The record of the log that an observation is of, where one stands for one record.
#[must_use]
pub fn log_record(evidence: &Evidence) -> Option<u64> {
    let Evidence::Kmsg(kmsg) = evidence else {
        return None;
    };
    match kmsg {
        KmsgEvidence::Killed(kill) => Some(kill.seq),
        KmsgEvidence::GroupKill { seq, .. } | KmsgEvidence::Forged { seq } => Some(*seq),
        KmsgEvidence::AlreadyExiting { end, .. }
        | KmsgEvidence::NoVictim(end)
        | KmsgEvidence::Panic(end) => Some(end.seq),
        KmsgEvidence::Malformed { seq } => *seq,
        KmsgEvidence::Reaped { .. }
        | KmsgEvidence::Suppressed { .. }
        | KmsgEvidence::Abandoned { .. }
        | KmsgEvidence::Lost { .. } => None,
    }
}
