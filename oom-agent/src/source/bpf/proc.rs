//! `/proc/<tid>` of a thread that was just marked: what a mark that carries only its id lacks.
//!
//! Reads `stat`, `status`, `oom_score_adj` and `cgroup` while the process is still there, as a zombie
//! too. Emits identity only: its memory is being taken back already, so sizes would be wrong. Refuses a
//! thread that may have got the id after the mark: it must have started before, or have SIGKILL pending.

use std::fs;

use crate::{clock::TICK_NS, event::Victim, text::Comm};

/// SIGKILL in a mask of signals.
const KILL_BIT: u64 = 1 << 8;

/// What `/proc` says of the victim.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) victim: Victim,
    /// `CLOCK_BOOTTIME` at which the process began, to a tick.
    pub(super) start_boottime_ns: Option<u64>,
    /// The text of `cgroup`.
    pub(super) cgroup: Option<String>,
}

/// The thread that was marked at this moment of `CLOCK_BOOTTIME`; `None` if it is gone.
pub(super) fn read(tid: u32, marked_ns: u64) -> Option<Found> {
    let file = |id: u32, name: &str| fs::read(format!("/proc/{id}/{name}")).ok();
    let text = |name: &str| String::from_utf8(file(tid, name)?).ok();
    // In this order: whatever has the id at the end has had it since `stat` was read.
    let stat = Stat::parse(&file(tid, "stat")?)?;
    let cgroup = text("cgroup");
    let oom_score_adj = text("oom_score_adj").and_then(|text| text.trim().parse().ok());
    let status = Status::parse(&text("status")?)?;
    if !is_the_marked(&stat, &status, marked_ns) {
        return None;
    }
    let leader = if status.tgid == tid {
        Some(stat.start_ns)
    } else {
        file(status.tgid, "stat").and_then(|stat| Some(Stat::parse(&stat)?.start_ns))
    };
    Some(Found {
        victim: Victim {
            pid: Some(status.tgid),
            tid,
            ns_pid: status.ns_pid,
            ppid: Some(status.ppid),
            comm: stat.comm,
            uid: Some(status.uid),
            threads: status.threads,
            oom_score_adj,
            ..Victim::default()
        },
        start_boottime_ns: leader,
        cgroup,
    })
}

/// An id is given again only after its thread is gone. Of one that began within the tick of the mark
/// only a pending SIGKILL tells.
fn is_the_marked(stat: &Stat, status: &Status, marked_ns: u64) -> bool {
    stat.start_ns + TICK_NS <= marked_ns || status.kill_pending
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    comm: Comm,
    start_ns: u64,
}

impl Stat {
    /// `tid (comm) state ppid …`: comm may hold anything, so fields are counted from the last
    /// parenthesis; the 20th from there is the start, in ticks since boot (proc(5)).
    fn parse(stat: &[u8]) -> Option<Self> {
        let open = stat.iter().position(|&byte| byte == b'(')?;
        let close = stat.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
        let ticks: u64 = rest.split_ascii_whitespace().nth(19)?.parse().ok()?;
        Some(Self {
            comm: Comm::new(stat.get(open + 1..close)?),
            start_ns: ticks.checked_mul(TICK_NS)?,
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Status {
    tgid: u32,
    ppid: u32,
    uid: u32,
    ns_pid: Option<u32>,
    threads: Option<u32>,
    kill_pending: bool,
}

impl Status {
    /// `Name:\tvalue …`; the name of the process is escaped there and cannot forge a line.
    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let mut lines = status.lines();
            let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            Some(line.split_ascii_whitespace())
        };
        let number = |name: &str| field(name)?.next()?.parse::<u32>().ok();
        let pending = |name: &str| {
            let mask = field(name).and_then(|mut words| words.next());
            let mask = mask.and_then(|mask| u64::from_str_radix(mask, 16).ok());
            mask.is_some_and(|mask| mask & KILL_BIT != 0)
        };
        Some(Self {
            tgid: number("Tgid")?,
            ppid: number("PPid")?,
            uid: number("Uid")?,
            ns_pid: field("NSpid").and_then(|ids| ids.last()?.parse().ok()),
            // An exiting process counts none.
            threads: number("Threads").filter(|&threads| threads > 0),
            kill_pending: pending("SigPnd") || pending("ShdPnd"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tx\\nPPid:\t7\nUmask:\t0022\nState:\tR (running)\nTgid:\t40\nNgid:\t0\n\
        Pid:\t41\nPPid:\t12\nTracerPid:\t0\nUid:\t1000\t0\t0\t0\nNSpid:\t41\t3\nThreads:\t2\n\
        SigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n";

    #[test]
    fn a_name_cannot_shift_the_fields_of_stat() {
        let rest = " R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for comm in [&b"hog"[..], b"a) R 9 (b", b"\xff)", b"new\nline"] {
            let text = [b"41 (", comm, b")", rest.as_bytes()].concat();
            let stat = Stat::parse(&text).unwrap();
            assert_eq!(stat.comm, Comm::new(comm));
            assert_eq!(stat.start_ns, 4711 * TICK_NS);
        }
        for damaged in [&b""[..], b"41 (hog", b"41 (hog) R 1", b")41("] {
            assert_eq!(Stat::parse(damaged), None);
        }
    }

    #[test]
    fn status_gives_process_parent_and_real_uid() {
        let expected = Status {
            tgid: 40,
            ppid: 12,
            uid: 1000,
            ns_pid: Some(3),
            threads: Some(2),
            kill_pending: true,
        };
        assert_eq!(Status::parse(STATUS), Some(expected));
        assert_eq!(Status::parse("Name:\tx\n"), None);
    }

    #[test]
    fn only_who_was_there_at_the_mark_was_marked() {
        let marked = 100 * TICK_NS;
        let alive = STATUS.replace("100\n", "000\n");
        for (started, status, same) in [
            (50, alive.as_str(), true),
            (99, &alive, true),
            // Within the tick of the mark, or later: somebody else, unless it is being killed.
            (100, &alive, false),
            (100, STATUS, true),
            (101, &alive, false),
        ] {
            let stat = Stat {
                comm: Comm::new(b"hog"),
                start_ns: started * TICK_NS,
            };
            let status = Status::parse(status).unwrap();
            assert_eq!(is_the_marked(&stat, &status, marked), same, "{started}");
        }
    }

    #[test]
    fn a_process_that_is_there_is_read() {
        let own = std::process::id();
        let found = read(own, u64::MAX).unwrap();
        assert_eq!(found.victim.pid, Some(own));
        assert!(found.start_boottime_ns.is_some() && found.cgroup.is_some());
        assert!(read(u32::MAX, u64::MAX).is_none());
    }
}
