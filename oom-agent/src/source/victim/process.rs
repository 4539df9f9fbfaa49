//! One victim in `/proc`: which process a number stands for, and where its threads are stuck.
//!
//! Reads `stat`, `statm`, `wchan` and `stack` of `/proc/<pid>` and its threads (proc(5)); emits a pidfd, and a
//! [`Look`]. Refuses a process that began after the mark, or at another time than the victim.

use std::{fs, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{
    call_trace::CallTrace,
    clock::{Now, TICK_NS},
    event::StuckThread,
    evidence::Watch,
};

/// Threads that are looked at.
const MAX_THREADS: usize = 4096;

/// Functions of a stack that are kept.
const MAX_FRAMES: usize = 64;

/// The link of `/proc/self/ns/pid` in the first pid namespace (`PROC_PID_INIT_INO`, `include/linux/proc_ns.h`).
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// Whether the numbers that the kernel names are those that we see: in another pid namespace they stand for
/// other processes.
pub(super) fn sees_victims() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == FIRST_NAMESPACE)
}

/// What opening a victim came to.
#[derive(Debug)]
pub(super) enum Opened {
    /// It is there, or a zombie of which nobody has taken note yet.
    There { fd: OwnedFd, pid: u32 },
    /// No such process any more.
    Gone,
    /// The system does not let us.
    Refused(Errno),
}

/// Opens the victim.
pub(super) fn open(watch: &Watch, now: Now) -> Opened {
    let Some((pid, stat)) = leader(watch.pid) else {
        return Opened::Gone;
    };
    let fd = match Pid::from_raw(pid.cast_signed()).map(|pid| pidfd_open(pid, PidfdFlags::empty()))
    {
        Some(Ok(fd)) => fd,
        Some(Err(Errno::SRCH | Errno::INVAL)) | None => return Opened::Gone,
        Some(Err(error)) => return Opened::Refused(error),
    };
    // What has the number now, with the pidfd open, has had it when it was opened.
    let same = Stat::read(&format!("/proc/{pid}/stat")).is_some_and(|again| {
        again.start_ns == stat.start_ns && is_victim(watch, again.start_ns, now)
    });
    if same {
        Opened::There { fd, pid }
    } else {
        Opened::Gone
    }
}

/// When this process was started, `CLOCK_BOOTTIME` in ticks.
#[must_use]
pub fn own_start_ns() -> Option<u64> {
    Stat::read("/proc/self/stat").map(|stat| stat.start_ns)
}

/// The process of a thread, with the leader's `stat`.
fn leader(tid: u32) -> Option<(u32, Stat)> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    let pid = process.trim().parse().ok()?;
    Some((pid, Stat::read(&format!("/proc/{pid}/stat"))?))
}

/// `stat` counts in ticks. A number is given again only after its process is gone, so whoever began before the
/// mark and has it is the victim.
fn is_victim(watch: &Watch, start_ns: u64, now: Now) -> bool {
    match watch.start_boottime_ns {
        Some(start) => start.abs_diff(start_ns) < TICK_NS,
        None => start_ns <= now.boottime_ns(watch.monotonic_ns),
    }
}

/// What a victim looks like that does not end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) thread: Option<StuckThread>,
    pub(super) threads: Option<u32>,
    pub(super) uninterruptible: Option<u32>,
    pub(super) held_bytes: Option<u64>,
}

/// Looks at its threads.
pub(super) fn look(pid: u32) -> Look {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Look::default();
    };
    let tids = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.parse::<u32>().ok()
    });
    let (mut threads, mut uninterruptible) = (0, 0);
    let mut worst: Option<(u32, char)> = None;
    for tid in tids.take(MAX_THREADS) {
        let Some(stat) = Stat::read(&format!("/proc/{pid}/task/{tid}/stat")) else {
            continue;
        };
        threads += 1;
        uninterruptible += u32::from(stat.state == 'D');
        if worst.is_none_or(|(_, state)| rank(stat.state) > rank(state)) {
            worst = Some((tid, stat.state));
        }
    }
    let at =
        |tid: u32, file: &str| fs::read_to_string(format!("/proc/{pid}/task/{tid}/{file}")).ok();
    let held = worst.and_then(|(tid, _)| resident(&at(tid, "statm")?));
    Look {
        thread: worst.map(|(tid, state)| StuckThread {
            tid,
            state: state.to_string(),
            wchan: at(tid, "wchan").and_then(|text| function(&text)),
            kernel_stack: at(tid, "stack").map_or_else(CallTrace::default, |text| stack(&text)),
        }),
        threads: Some(threads),
        uninterruptible: Some(uninterruptible),
        held_bytes: held,
    }
}

/// How likely a thread in this state is what the others wait for.
const fn rank(state: char) -> u8 {
    match state {
        'D' => 4,
        'T' | 't' => 3,
        'Z' | 'X' => 0,
        'R' => 1,
        _ => 2,
    }
}

/// `statm`: all, resident …, in pages; zeros where there is no memory any more.
fn resident(statm: &str) -> Option<u64> {
    let mut fields = statm.split_ascii_whitespace();
    let all: u64 = fields.next()?.parse().ok()?;
    let resident: u64 = fields.next()?.parse().ok()?;
    let page = rustix::param::page_size() as u64;
    (all > 0).then(|| resident.saturating_mul(page))
}

/// `wchan` is 0 for a thread that runs, and for one that we may not look into.
fn function(wchan: &str) -> Option<String> {
    let name = wchan.trim();
    (!name.is_empty() && name != "0").then(|| name.to_owned())
}

/// `[<0>] function+0x12/0x34` a line.
fn stack(text: &str) -> CallTrace {
    let frames = text.lines().filter_map(|line| {
        let (_, function) = line.split_once("] ")?;
        function.split(['+', ' ']).next()
    });
    frames.take(MAX_FRAMES).collect()
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    start_ns: u64,
}

impl Stat {
    fn read(path: &str) -> Option<Self> {
        Self::parse(&fs::read(path).ok()?)
    }

    /// `tid (comm) state ppid …`: comm may hold anything, so fields are counted from the last parenthesis.
    fn parse(stat: &[u8]) -> Option<Self> {
        let close = stat.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let ticks: u64 = fields.nth(18)?.parse().ok()?;
        Some(Self {
            state,
            start_ns: ticks.checked_mul(TICK_NS)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(pid: u32, start_boottime_ns: Option<u64>) -> Watch {
        Watch {
            kill: "kill".into(),
            pid,
            start_boottime_ns,
            monotonic_ns: Now::read().monotonic_ns,
        }
    }

    #[test]
    fn a_name_cannot_shift_the_fields_of_stat() {
        let stat = b"41 (x) Z 0 (y) D 12 41 41 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4000 0 0";
        let (state, start_ns) = ('D', 4000 * TICK_NS);
        assert_eq!(Stat::parse(stat), Some(Stat { state, start_ns }));
        assert_eq!(Stat::parse(b"41 (x) D 12"), None);
    }

    #[test]
    fn the_victim_is_opened_and_nobody_else() {
        let own = std::process::id();
        let start = Stat::read("/proc/self/stat").unwrap().start_ns;
        let now = Now::read();
        let opened =
            |watch: &Watch| matches!(open(watch, now), Opened::There { pid, .. } if pid == own);
        assert!(opened(&watch(own, Some(start))));
        assert!(opened(&watch(own, None)));
        assert!(!opened(&watch(own, Some(start + 2 * TICK_NS))));
        let before = Watch {
            monotonic_ns: 1,
            ..watch(own, None)
        };
        assert!(!opened(&before), "it began after that");
        // A thread stands for its process.
        let tid = rustix::thread::gettid()
            .as_raw_nonzero()
            .get()
            .cast_unsigned();
        assert!(opened(&watch(tid, Some(start))));
    }

    #[test]
    fn where_it_is_stuck() {
        let look = look(std::process::id());
        assert!(look.threads.is_some_and(|threads| threads >= 1));
        assert!(look.held_bytes.is_some_and(|held| held > 0));
        assert_eq!(resident("0 0 0 0 0 0 0\n"), None);
        assert_eq!(function("0"), None);
        assert_eq!(function("do_exit"), Some("do_exit".to_owned()));
        let trace = stack("[<0>] ptrace_stop+0x1/0x2\n[<0>] do_exit+0x3/0x4 [mod]\n");
        assert_eq!(trace.iter().collect::<Vec<_>>(), ["ptrace_stop", "do_exit"]);
    }
}
