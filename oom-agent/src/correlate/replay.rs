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
        for (now, evidence) in evidence {
            self.pass_time(now, out);
            self.observe(evidence, now, out);
        }
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
        let mut last = None;
        for (now, evidence) in evidence {
            self.pass_time(now, out);
            self.observe(evidence, now, out);
            last = Some(now);
        }
        let Some(last) = last else {
            return self.victims.living.len() as u64;
        };
        (self.bpf_up, self.kmsg_up) = (false, false);
        (self.memory_up, self.victims_up) = (false, false);
        let before = self.audit.counts.ends_missed;
        self.watch_none(last, out);
        let missed = self.audit.counts.ends_missed - before;
        // What was in the ring is gone with the boot.
        self.ring_gap(1);
        for (_, mark) in std::mem::take(&mut self.held_marks) {
            let key = self.bare_mark(mark, last);
            if let Some(instance) = self.instances.get_mut(&key) {
                (instance.outcome, instance.ring_lost) = (None, 1);
            }
        }
        self.finish(last, out);
        missed
    }

    /// Every moment at which something was due, one after the other.
    fn pass_time(&mut self, now: Now, out: &mut Vec<Event>) {
        let mut last_ns = 0;
        while let Some(at_ns) = self.next_deadline()
            && (last_ns + 1..=now.monotonic_ns).contains(&at_ns)
        {
            last_ns = at_ns;
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
