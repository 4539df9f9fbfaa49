//! Ends of victims: in the report, after it, or never; who is meant; and what a restart remembers.

mod living;
mod meant;
mod reported;

use std::sync::Arc;

use super::bench::{Bench, MS, bpf, mark};
use crate::{
    event::{Memory, OomKill},
    evidence::{Evidence, Feed, KmsgEvidence, VictimEvidence},
};

fn bench(bpf: bool) -> Bench {
    let mut bench = Bench::new(bpf, true);
    bench.at(0, state(true));
    bench
}

fn state(up: bool) -> Evidence {
    Evidence::SourceState {
        source: Feed::Victims,
        up,
    }
}

fn victim(evidence: VictimEvidence) -> Evidence {
    Evidence::Victim(Box::new(evidence))
}

/// The start that [`mark`] gives to a process.
fn start(pid: u32) -> u64 {
    u64::from(pid) * 1000
}

fn exited(ms: u64, pid: u32, left_bytes: Option<u64>) -> Evidence {
    victim(VictimEvidence::Exited {
        pid,
        start_boottime_ns: start(pid),
        monotonic_ns: ms * MS,
        left_bytes,
    })
}

fn freed(ms: u64, pid: u32) -> Evidence {
    victim(VictimEvidence::Freed {
        pid,
        start_boottime_ns: start(pid),
        monotonic_ns: ms * MS,
    })
}

fn id(pid: u32) -> Arc<str> {
    format!("b0071d-{pid}-{}", start(pid)).into()
}

fn gone(ms: u64, pid: u32, at_most: bool) -> Evidence {
    victim(VictimEvidence::Gone {
        kill: id(pid),
        tid: pid,
        monotonic_ns: ms * MS,
        at_most,
        tells_reaper: true,
    })
}

fn alive(ms: u64, pid: u32) -> Evidence {
    victim(VictimEvidence::Alive {
        kill: id(pid),
        tid: pid,
        monotonic_ns: ms * MS,
        thread: None,
        threads: Some(2),
        uninterruptible: Some(1),
        held_bytes: Some(7),
    })
}

fn reaping(ms: u64, tid: u32) -> Evidence {
    let monotonic_ns = ms * MS;
    victim(VictimEvidence::Reaping { tid, monotonic_ns })
}

fn reaped_by_log(tid: u32, reaped: bool) -> Evidence {
    Evidence::Kmsg(KmsgEvidence::Reaped {
        monotonic_ns: 0,
        tid,
        reaped,
        left_bytes: reaped.then_some(4096),
    })
}

fn sized(ms: u64, tid: u32) -> Evidence {
    let mut mark = mark(ms, tid);
    mark.memory = Memory {
        anon_bytes: Some(1000),
        file_bytes: Some(20),
        shmem_bytes: Some(3),
        ..Memory::default()
    };
    bpf(mark)
}

fn reported(bench: &Bench) -> OomKill {
    bench.instances()[0].kills[0].clone()
}
