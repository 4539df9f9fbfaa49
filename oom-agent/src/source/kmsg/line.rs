//! One message of the kernel log: what it says about OOM.
//!
//! Reads an unescaped message; emits a [`Line`]. Every process name in a message was chosen by that
//! process and may hold any byte but NUL, so patterns are anchored at numbers around the name and
//! bound it to 15 bytes; nothing may follow what the kernel prints last. Refuses text that has the
//! words of an OOM line but not its form ([`Line::Malformed`]).
//!
//! Formats of 3.10 to 7.x: `mm/oom_kill.c`, `mm/memcontrol.c`, `drivers/tty/sysrq.c`.

use std::sync::LazyLock;

use regex::bytes::Regex;

use super::{
    cpu::Cpu,
    kill::{self, Killed},
    mem_info,
    scan::{number, separator, signed},
    stats::{self, Counted},
    summary::{self, Summary},
    table::{self, Columns},
    trace,
};
use crate::{
    event::{Counter, Scope},
    text::{COMM_LEN, Comm},
};

/// What one message says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Line<'a> {
    /// Nothing about OOM.
    Other,
    /// The words of an OOM line, but not its form.
    Malformed,
    /// `… invoked oom-killer: …`: opens a report.
    Header(Header<'a>),
    /// `CPU: … PID: … Comm: …`, printed with any stack.
    Cpu(Cpu<'a>),
    /// `Call Trace:`, with any stack.
    TraceBegin,
    /// A function of it that the kernel is sure of.
    Frame(&'a [u8]),
    /// What follows the last of them.
    TraceEnd,
    /// `memory: usage …kB, limit …kB, failcnt …` of the cgroup whose limit was hit, and the like.
    Counter(Counted, Counter),
    /// `Memory cgroup stats for …:`.
    StatsFor {
        /// Whose.
        path: &'a [u8],
        /// What follows in the same line (before 5.3).
        inline: &'a [u8],
    },
    /// `anon 4096`: a line of `memory.stat`, or several; told by what came before it.
    Listed(&'a [u8]),
    /// A part of `Mem-Info`, told by what came before it.
    MemInfo(&'a [u8]),
    /// Header of the process table.
    TableHeader(Columns),
    /// A row of it, to be read with its header.
    TableRow(&'a [u8]),
    /// `Task in X killed as a result of limit of Y`, or `Memory limit reached of cgroup Y` (before 5.0).
    LegacyMemcg {
        /// The victim's cgroup.
        task_memcg: Option<&'a [u8]>,
        /// Whose limit was hit; some vendors' kernels say `host` for the machine.
        oom_memcg: Option<&'a [u8]>,
    },
    /// `oom-kill:constraint=…` (5.0+).
    Summary(Summary<'a>),
    /// The beginning of a line that is printed piecemeal: the rest follows in further records.
    Fragment,
    /// `Kill process N (comm) score S or sacrifice child` (before 5.1).
    Choice {
        /// The chosen thread; a child of it may be killed instead.
        tid: u32,
        /// Its name.
        comm: Comm,
        /// What ran out.
        scope: Option<Scope>,
    },
    /// `Killed process …`.
    Killed(Killed<'a>),
    /// `Tasks in X are going to be killed due to memory.oom.group set` (4.19+).
    GroupKill {
        /// The cgroup.
        cgroup: &'a [u8],
    },
    /// `OOM victim N (comm) is already exiting. Skip killing the task`.
    AlreadyExiting {
        /// Thread.
        tid: u32,
        /// Its name.
        comm: Comm,
    },
    /// `oom_reaper: …` (4.6+).
    Reaped {
        /// Thread.
        tid: u32,
        /// Whether its memory was taken back.
        reaped: bool,
        /// What was left, in bytes.
        left_bytes: Option<u64>,
    },
    /// `Out of memory and no killable processes...`.
    NoVictim,
    /// `Kernel panic - not syncing: Out of memory: … panic_on_oom is enabled`, or no victim and so a
    /// deadlock.
    Panic,
    /// `sysrq: Manual OOM execution`; the report that follows has `order=-1`.
    SysrqRequested,
    /// `sysrq: OOM request ignored…`.
    SysrqIgnored,
    /// `oom_kill_process: N callbacks suppressed`: so many reports were not printed.
    Suppressed {
        /// How many.
        reports: u64,
    },
}

/// The line that opens a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The task that asked for memory.
    pub comm: Comm,
    /// `gfp_mask`.
    pub gfp_mask: u32,
    /// In the kernel's words (4.6+).
    pub gfp_flags: Option<&'a [u8]>,
    /// -1 is sysrq.
    pub order: i32,
    /// Of the task that asked.
    pub oom_score_adj: i16,
}

/// The words of OOM lines that do not begin with something fixed. One pass with a literal searcher:
/// all that an ordinary line of the log costs.
static WORDS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        "(?-u)invoked oom-killer|Kill(?:ed)? process |is already exiting\\. Skip killing|no killable processes|panic_on_oom is|deadlocked on memory|memory\\.oom\\.group set",
    )
});

/// 4.10 to 4.20 print the nodes and what follows them piecemeal.
static HEADER_FRAGMENT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?s-u)^.{0,15} invoked oom-killer: gfp_mask=0x[0-9a-f]+(?:\([^)]*\))?, nodemask=(?:(?:\(null\)|[0-9,-]*),? *)?$",
    )
});

static EXITING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?s-u)^.*?OOM victim ([0-9]+) \((.{0,15})\) is already exiting\. Skip killing the task$",
    )
});

static REAPER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?s-u)^oom_reaper: (?:reaped process ([0-9]+) \(.{0,15}\), now anon-rss:([0-9]+)kB, file-rss:([0-9]+)kB, shmem-rss:([0-9]+)l?kB|unable to reap pid:([0-9]+) \(.{0,15}\))$",
    )
});

impl<'a> Line<'a> {
    /// Parses a message. `page_size` is the kernel's, in bytes.
    #[must_use]
    pub fn parse(message: &'a [u8], page_size: u64) -> Self {
        // A header begins with a name, and a name may look like the beginning of any other line: so
        // the lines that are told by their words come first.
        let has_words = has_inner_space(message) && WORDS.is_match(message);
        let worded = if has_words {
            worded(message, page_size)
        } else {
            None
        };
        worded
            .or_else(|| anchored(message))
            .unwrap_or(if has_words {
                Self::Malformed
            } else {
                Self::Other
            })
    }

    /// Whether only the OOM killer prints this. A stack or a table row is printed by others too.
    #[must_use]
    pub fn is_about_oom(&self) -> bool {
        !matches!(
            self,
            Self::Other
                | Self::Cpu(_)
                | Self::TraceBegin
                | Self::Frame(_)
                | Self::TraceEnd
                | Self::Listed(_)
                | Self::MemInfo(_)
                | Self::TableRow(_)
        )
    }
}

/// Whether there is a space behind the first byte. All [`WORDS`] have one; the frames of a stack, which
/// are most lines of a report, only begin with one.
fn has_inner_space(message: &[u8]) -> bool {
    let behind = message.get(1..).unwrap_or_default();
    memchr::memchr(b' ', behind).is_some()
}

/// Lines that are known by words in them. The words may also stand in a name, so they do not tell
/// which line it is: the form does.
fn worded(message: &[u8], page_size: u64) -> Option<Line<'_>> {
    kill::killed(message, page_size)
        .or_else(|| header(message))
        .or_else(|| already_exiting(message))
        .or_else(|| group_kill(message))
        .or_else(|| kill::choice(message))
        .or_else(|| ending(message))
        .or_else(|| HEADER_FRAGMENT.is_match(message).then_some(Line::Fragment))
}

/// Lines that are known by how they begin.
fn anchored(message: &[u8]) -> Option<Line<'_>> {
    let line = match message.first()? {
        b'[' if table::looks_like_row(message) => return Some(Line::TableRow(message)),
        b'[' => {
            let table = Columns::parse(message).map(Line::TableHeader);
            return table.or_else(|| trace::function(message).map(Line::Frame));
        }
        b' ' => return indented(message),
        b'C' | b'P' | b'B' | b'R' => return stack(message),
        b'm' | b's' | b'k' if stats::is_counter(message) => {
            stats::counter(message).map(|(of, counter)| Line::Counter(of, counter))
        }
        b's' | b'S' | b'O' if let Some(line) = sysrq(message) => Some(line),
        b'M' if message.starts_with(stats::STATS) => {
            let whole = stats::stats_for(message);
            Some(
                whole.map_or(Line::Fragment, |(path, inline)| Line::StatsFor {
                    path,
                    inline,
                }),
            )
        }
        b'M' if let Some(limit) = message.strip_prefix(b"Memory limit reached of cgroup ") => {
            Some(Line::LegacyMemcg {
                task_memcg: None,
                oom_memcg: Some(limit),
            })
        }
        b'T' if message.starts_with(b"Task in ") => legacy_memcg(message),
        b'o' if message.starts_with(summary::PREFIX) => {
            return Some(Summary::parse(message).map_or(Line::Fragment, Line::Summary));
        }
        b'o' if message.starts_with(b"oom_reaper: ") => reaper(message),
        b'o' if message.starts_with(b"oom_kill_process: ") => suppressed(message),
        b'a'..=b'z' => return named(message),
        _ => return mem_info::looks_like_part(message).then_some(Line::MemInfo(message)),
    };
    Some(line.unwrap_or(Line::Malformed))
}

/// Lines that begin with a name and a number.
fn named(message: &[u8]) -> Option<Line<'_>> {
    match separator(message)? {
        b' ' => Some(Line::Listed(message)),
        b':' => Some(Line::MemInfo(message)),
        _ => None,
    }
}

/// Lines that begin with a space: frames, and what is indented within `Mem-Info`.
fn indented(message: &[u8]) -> Option<Line<'_>> {
    if let Some(function) = trace::function(message) {
        return Some(Line::Frame(function));
    }
    if trace::is_end(message) {
        return Some(Line::TraceEnd);
    }
    let inner = message.trim_ascii_start();
    (separator(inner) == Some(b':')).then_some(Line::MemInfo(message))
}

/// What is printed around the frames of a stack.
fn stack(message: &[u8]) -> Option<Line<'_>> {
    if trace::is_begin(message) {
        return Some(Line::TraceBegin);
    }
    if trace::is_end(message) {
        return Some(Line::TraceEnd);
    }
    Cpu::parse(message).map(Line::Cpu)
}

fn reaper(message: &[u8]) -> Option<Line<'_>> {
    let found = REAPER.captures(message)?;
    let reaped = found.get(1);
    let tid = reaped.or(found.get(5))?;
    let left_kb = |index| number::<u64>(found.get(index)?.as_bytes());
    let left_kb = left_kb(2)
        .zip(left_kb(3))
        .zip(left_kb(4))
        .and_then(|((anon, file), shmem)| anon.checked_add(file)?.checked_add(shmem));
    Some(Line::Reaped {
        tid: number(tid.as_bytes())?,
        reaped: reaped.is_some(),
        left_bytes: left_kb.and_then(|kb| kb.checked_mul(1024)),
    })
}

/// The kernel counts them in an `int`.
fn suppressed(message: &[u8]) -> Option<Line<'_>> {
    let count = message
        .strip_prefix(b"oom_kill_process: ")?
        .strip_suffix(b" callbacks suppressed")?;
    Some(Line::Suppressed {
        reports: number::<u32>(count)?.into(),
    })
}

/// Both paths may hold the words between them: the split must be the only one where the victim is at or
/// below the cgroup whose limit was hit.
fn legacy_memcg(message: &[u8]) -> Option<Line<'_>> {
    const BETWEEN: &[u8] = b" killed as a result of limit of ";
    let paths = message.strip_prefix(b"Task in ")?;
    if let Some(task_memcg) = paths.strip_suffix(b" killed as a result of limit of host") {
        return Some(Line::LegacyMemcg {
            task_memcg: Some(task_memcg),
            oom_memcg: None,
        });
    }
    let mut all = paths
        .windows(BETWEEN.len())
        .enumerate()
        .filter_map(|(at, window)| (window == BETWEEN).then_some(at))
        .map(|at| (&paths[..at], &paths[at + BETWEEN.len()..]))
        .filter(|(_, limit)| limit.starts_with(b"/"))
        .peekable();
    if all.peek().is_none() {
        return Some(Line::Fragment);
    }
    let mut splits = all.filter(|(task, limit)| summary::is_within(task, limit));
    let (task_memcg, oom_memcg) = splits.next()?;
    splits.next().is_none().then_some(Line::LegacyMemcg {
        task_memcg: Some(task_memcg),
        oom_memcg: Some(oom_memcg),
    })
}

/// `SysRq : ` before 4.11, `sysrq: SysRq : ` before 4.20; older kernels put nothing before the refusal.
fn sysrq(message: &[u8]) -> Option<Line<'static>> {
    let rest = message.strip_prefix(b"sysrq: ").unwrap_or(message);
    let rest = rest.strip_prefix(b"SysRq : ").unwrap_or(rest);
    if rest.starts_with(b"OOM request ignored") {
        return Some(Line::SysrqIgnored);
    }
    let said = rest.len() < message.len();
    (said && rest == b"Manual OOM execution").then_some(Line::SysrqRequested)
}

/// `<comm> invoked oom-killer: gfp_mask=0x…(…), nodemask=…, order=…, oom_adj=…, oom_score_adj=…`
fn header(message: &[u8]) -> Option<Line<'_>> {
    const INVOKED: &[u8] = b" invoked oom-killer: gfp_mask=0x";
    let head = &message[..message.len().min(COMM_LEN - 1 + INVOKED.len())];
    let at = memchr::memmem::find(head, INVOKED)?;
    let (comm, mut rest) = (&message[..at], &message[at + INVOKED.len()..]);
    let mask = take(&mut rest, b"", u8::is_ascii_hexdigit, b"")?;
    let mut gfp_flags = None;
    if let Some(flags) = rest.strip_prefix(b"(") {
        let end = memchr::memchr(b')', flags)?;
        gfp_flags = Some(&flags[..end]);
        rest = &flags[end + 1..];
    }
    rest = rest.strip_prefix(b", ")?;
    if let Some(nodes) = rest.strip_prefix(b"nodemask=") {
        let comma = memchr::memmem::find(nodes, b", ")?;
        let list = |b: &u8| b.is_ascii_digit() || matches!(b, b',' | b'-');
        let known = &nodes[..comma] == b"(null)" || nodes[..comma].iter().all(list);
        rest = known.then(|| nodes[comma + 2..].trim_ascii_start())?;
    }
    let order = take(&mut rest, b"order=", SIGNED, b", ")?;
    take(&mut rest, b"oom_adj=", SIGNED, b", ");
    let oom_score_adj = take(&mut rest, b"oom_score_adj=", SIGNED, b"")?;
    let mask = std::str::from_utf8(mask).ok()?;
    let header = Header {
        comm: Comm::new(comm),
        gfp_mask: u32::from_str_radix(mask, 16).ok()?,
        gfp_flags,
        order: signed(order)?,
        oom_score_adj: signed(oom_score_adj)?,
    };
    rest.is_empty().then_some(Line::Header(header))
}

/// The bytes of a number that may be negative.
const SIGNED: fn(&u8) -> bool = |byte| byte.is_ascii_digit() || *byte == b'-';

/// Takes `name`, at least one byte that belongs, and `unit`; all of it or nothing.
fn take<'a>(
    rest: &mut &'a [u8],
    name: &[u8],
    belongs: impl Fn(&u8) -> bool,
    unit: &[u8],
) -> Option<&'a [u8]> {
    let named = rest.strip_prefix(name)?;
    let end = named.iter().position(|b| !belongs(b));
    let (value, behind) = named.split_at(end.unwrap_or(named.len()));
    let behind = behind.strip_prefix(unit)?;
    (!value.is_empty()).then(|| {
        *rest = behind;
        value
    })
}

fn group_kill(message: &[u8]) -> Option<Line<'_>> {
    let cgroup = message
        .strip_prefix(b"Tasks in ")?
        .strip_suffix(b" are going to be killed due to memory.oom.group set")?;
    Some(Line::GroupKill { cgroup })
}

fn already_exiting(message: &[u8]) -> Option<Line<'_>> {
    let [tid, comm] = EXITING.captures(message)?.extract().1;
    Some(Line::AlreadyExiting {
        tid: number(tid)?,
        comm: Comm::new(comm),
    })
}

/// The lines that end a report without a kill. Where there is no victim, older kernels panic with the
/// same words that newer ones only warn with.
fn ending(message: &[u8]) -> Option<Line<'_>> {
    let panic = message.strip_prefix(b"Kernel panic - not syncing: ");
    match panic.unwrap_or(message) {
        b"Out of memory and no killable processes..." if panic.is_none() => Some(Line::NoVictim),
        b"Out of memory and no killable processes..."
        | b"Out of memory: compulsory panic_on_oom is enabled"
        | b"Out of memory: system-wide panic_on_oom is enabled"
        | b"System is deadlocked on memory" => Some(Line::Panic),
        _ => None,
    }
}

/// A uid that the kernel prints with `%d`: past 2^31 it comes out negative.
pub(super) fn signed_uid(digits: &[u8]) -> Option<u32> {
    let uid: i64 = signed(digits)?;
    u32::try_from(uid)
        .ok()
        .or_else(|| Some(i32::try_from(uid).ok()?.cast_unsigned()))
}

/// Compiles every pattern and lets it find its memory, so that the first kill does not wait for that.
pub fn warm_up() {
    for specimen in [
        "Killed process 1 (x) total-vm:1kB, anon-rss:1kB, file-rss:1kB",
        "x invoked oom-killer: gfp_mask=0x1, order=0, oom_score_adj=0",
        "OOM victim 1 (x) is already exiting. Skip killing the task",
        "Kill process 1 (x) score 1 or sacrifice child",
        "oom-kill:constraint=X,nodemask=,global_oom,task_memcg=/,task=x,pid=1,uid=0",
        "x invoked oom-killer: gfp_mask=0x1, nodemask=",
        "oom_reaper: unable to reap pid:1 (x)",
    ] {
        let line = Line::parse(specimen.as_bytes(), 4096);
        debug_assert!(!matches!(line, Line::Other | Line::Malformed), "{specimen}");
    }
}

/// Compiles a constant pattern.
#[expect(
    clippy::expect_used,
    reason = "constant patterns: every one is run by the tests"
)]
pub(super) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a valid pattern")
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
