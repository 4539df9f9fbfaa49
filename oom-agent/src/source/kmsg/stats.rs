//! What a report says of the memory of the cgroup whose limit was hit (`mm/memcontrol.c`).
//!
//! ```text
//! memory: usage 8192kB, limit 8192kB, failcnt 19
//! swap: usage …                                      v2, 5.3+; v1: `memory+swap:` and `kmem:`
//! Memory cgroup stats for /a/b: cache:0KB rss:…KB …  before 5.3, one line a cgroup of the subtree
//! Memory cgroup stats for /a:                        5.3+, then `memory.stat`: one record with
//! anon 4096                                          newlines in it, since 6.4 a record a line
//! ```
//!
//! Emits a [`CgroupMemory`]. The lines before 5.3 tell of each cgroup without those below it: they are
//! added up. Refuses numbers that do not fit, and statistics whose counters were not seen, for part of
//! them may be missing too.

use super::scan::{leading_kilobytes, leading_number, number, pair, words};
use crate::{
    event::{CgroupMemory, Counter, MemoryStat},
    source::memcg::{field, is_limit, list},
};

/// A line of the log holds less (`LOG_LINE_MAX`, 992 bytes and fewer in later kernels): of a longer
/// text the end is cut off, perhaps within a number.
const MAX_UNCUT: usize = 900;

/// How `Memory cgroup stats for /x:` begins; 3.10 may leave out `for /x`.
pub const STATS: &[u8] = b"Memory cgroup stats";

/// Which counter a line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// `memory:`
    Memory,
    /// `swap:` (v2)
    Swap,
    /// `memory+swap:` (v1)
    Memsw,
    /// `kmem:` (v1)
    Kmem,
}

/// Parses `memory: usage 1kB, limit 2kB, failcnt 3` and the like.
#[must_use]
pub fn counter(message: &[u8]) -> Option<(Counted, Counter)> {
    let (name, rest) = pair(message)?;
    let of = match name {
        b"memory" => Counted::Memory,
        b"swap" => Counted::Swap,
        b"memory+swap" => Counted::Memsw,
        b"kmem" => Counted::Kmem,
        _ => return None,
    };
    let (usage, rest) = leading_number(rest.strip_prefix(b" usage ")?)?;
    let (limit, rest) = leading_number(rest.strip_prefix(b"kB, limit ")?)?;
    let failcnt = number(rest.strip_prefix(b"kB, failcnt ")?)?;
    let counter = Counter {
        usage_bytes: usage.saturating_mul(1024),
        limit_bytes: is_limit(limit).then(|| limit.saturating_mul(1024)),
        failcnt: Some(failcnt),
    };
    Some((of, counter))
}

/// Whether a message begins as [`counter`] reads it.
#[must_use]
pub fn is_counter(message: &[u8]) -> bool {
    let rest = message
        .strip_prefix(b"memory")
        .map(|rest| rest.strip_prefix(b"+swap").unwrap_or(rest))
        .or(message.strip_prefix(b"swap"))
        .or(message.strip_prefix(b"kmem"));
    rest.is_some_and(|rest| rest.starts_with(b": usage "))
}

/// Parses `Memory cgroup stats for /x:`: the path, and what follows it. `None` if the line is not whole.
///
/// The path may hold anything, so it is what the statistics leave over: words `name:17KB`, from the
/// right. The path's last word ends in a colon and so is none of them.
#[must_use]
pub fn stats_for(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = message.strip_prefix(STATS)?;
    let mut start = rest.len();
    for word in rest.rsplit(|&b| b == b' ') {
        if !word.is_empty() && kilobyte_pair(word).is_none() {
            break;
        }
        start = start.saturating_sub(word.len() + 1);
    }
    let path = rest[..start].strip_suffix(b":")?;
    let path = path.strip_prefix(b" for ").unwrap_or(path);
    Some((path, &rest[start..]))
}

/// `cache:17KB`. A counter that is momentarily negative has no value.
fn kilobyte_pair(word: &[u8]) -> Option<(&[u8], Option<u64>)> {
    let (name, value) = pair(word)?;
    let digits = value.strip_suffix(b"KB")?;
    let unsigned = digits.strip_prefix(b"-").unwrap_or(digits);
    let is_number = !unsigned.is_empty() && unsigned.iter().all(u8::is_ascii_digit);
    let bytes = leading_kilobytes(value).map(|(bytes, _)| bytes);
    (is_number && !name.is_empty()).then_some((name, bytes))
}

/// The statistics of one report.
#[derive(Debug, Default)]
pub(super) struct Stats {
    memory: CgroupMemory,
    /// Whether lines of `memory.stat` are expected.
    listing: bool,
    /// Number of the last line that told of one cgroup of the subtree, and what it told.
    last: Option<(u64, MemoryStat)>,
    /// The cgroups before it, added up.
    before: Option<MemoryStat>,
}

impl Stats {
    /// Takes a counter; false if there was one already, which means another report.
    pub(super) fn counter(&mut self, of: Counted, counter: Counter) -> bool {
        let known = match of {
            Counted::Memory => &mut self.memory.memory,
            Counted::Swap => &mut self.memory.swap,
            Counted::Memsw => &mut self.memory.memsw,
            Counted::Kmem => &mut self.memory.kmem,
        };
        known.replace(counter).is_none()
    }

    pub(super) fn limit(&self) -> Option<Counter> {
        self.memory.memory
    }

    /// `Memory cgroup stats for …:` and the words behind it. The same number again is the same line,
    /// longer (see `join`).
    pub(super) fn stats_for(&mut self, seq: u64, inline: &[u8]) {
        let mut stat = MemoryStat::default();
        let mut any = false;
        for (name, bytes) in words(inline).filter_map(kilobyte_pair) {
            any = true;
            if let Some(field) = field(&mut stat, name) {
                *field = bytes;
            }
        }
        self.listing = !any;
        if !any {
            return;
        }
        if let Some((last, earlier)) = self.last.take()
            && last != seq
        {
            match &mut self.before {
                Some(before) => add(before, &earlier),
                None => self.before = Some(earlier),
            }
        }
        self.last = Some((seq, stat));
    }

    /// One line of `memory.stat`, or several in one record.
    pub(super) fn listed(&mut self, text: &[u8]) {
        if !self.listing {
            return;
        }
        let cut = text.len() > MAX_UNCUT;
        let whole = match text.iter().rposition(|&b| b == b'\n') {
            Some(end) if cut => &text[..end],
            _ => text,
        };
        for line in whole.split(|&b| b == b'\n') {
            list(&mut self.memory.stat, line);
        }
    }

    /// Something else follows.
    pub(super) fn end(&mut self) {
        self.listing = false;
    }

    pub(super) fn take(&mut self) -> Option<CgroupMemory> {
        let mut memory = std::mem::take(&mut self.memory);
        memory.memory?;
        if let Some((_, last)) = self.last.take() {
            memory.stat = last;
            if let Some(before) = &self.before {
                add(&mut memory.stat, before);
            }
        }
        Some(memory)
    }
}

/// Adds what another cgroup held; what one of them does not tell has no sum.
fn add(sum: &mut MemoryStat, more: &MemoryStat) {
    /// What the lines before 5.3 tell.
    const NAMES: &[&[u8]] = &[
        b"cache",
        b"rss",
        b"rss_huge",
        b"shmem",
        b"mapped_file",
        b"dirty",
        b"writeback",
        b"swap",
        b"inactive_anon",
        b"active_anon",
        b"inactive_file",
        b"active_file",
        b"unevictable",
    ];
    let mut more = *more;
    for name in NAMES {
        let more = field(&mut more, name).and_then(|value| *value);
        if let Some(sum) = field(sum, name) {
            *sum = sum.zip(more).and_then(|(a, b)| a.checked_add(b));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_both_versions() {
        let read = |message: &str| {
            assert!(is_counter(message.as_bytes()), "{message}");
            counter(message.as_bytes()).map(|(of, counter)| {
                (
                    of,
                    counter.usage_bytes,
                    counter.limit_bytes,
                    counter.failcnt,
                )
            })
        };
        let cases: &[(&str, Counted, Option<u64>)] = &[
            (
                "memory: usage 1kB, limit 2kB, failcnt 7",
                Counted::Memory,
                Some(2048),
            ),
            (
                "swap: usage 1kB, limit 0kB, failcnt 7",
                Counted::Swap,
                Some(0),
            ),
            (
                "memory+swap: usage 1kB, limit 9007199254740988kB, failcnt 7",
                Counted::Memsw,
                None,
            ),
            (
                "kmem: usage 1kB, limit 9007199254740928kB, failcnt 7",
                Counted::Kmem,
                None,
            ),
            (
                "kmem: usage 1kB, limit 18014398509481983kB, failcnt 7",
                Counted::Kmem,
                None,
            ),
            (
                "memory: usage 1kB, limit 8589934588kB, failcnt 7",
                Counted::Memory,
                None,
            ),
        ];
        for (message, counted, limit) in cases {
            assert_eq!(
                read(message),
                Some((*counted, 1024, *limit, Some(7))),
                "{message}"
            );
        }
        assert_eq!(read("memory: usage many"), None);
        assert_eq!(read("memory: usage 1kB, limit 2kB, failcnt 7, and"), None);
        assert!(!is_counter(b"memory: usages"));
    }

    #[test]
    fn a_path_is_what_the_statistics_leave_over() {
        let cases: &[(&str, Option<(&str, &str)>)] = &[
            ("Memory cgroup stats for /a:", Some(("/a", ""))),
            (
                "Memory cgroup stats for /a: cache:0KB rss:-4KB",
                Some(("/a", " cache:0KB rss:-4KB")),
            ),
            (
                "Memory cgroup stats for /a cache:7KB: cache:0KB",
                Some(("/a cache:7KB", " cache:0KB")),
            ),
            (
                "Memory cgroup stats for /a: cache:7KB:",
                Some(("/a: cache:7KB", "")),
            ),
            ("Memory cgroup stats: cache:0KB ", Some(("", " cache:0KB "))),
            ("Memory cgroup stats for /a", None),
            ("Memory cgroup stats for ", None),
            ("Memory cgroup stats", None),
        ];
        for (message, expected) in cases {
            assert_eq!(
                stats_for(message.as_bytes()),
                expected.map(|(path, rest)| (path.as_bytes(), rest.as_bytes())),
                "{message}"
            );
        }
    }

    fn stats(feed: impl FnOnce(&mut Stats)) -> Option<MemoryStat> {
        let mut stats = Stats::default();
        let (of, counter) = counter(b"memory: usage 1kB, limit 2kB, failcnt 7").unwrap();
        assert!(stats.counter(of, counter));
        feed(&mut stats);
        Some(stats.take()?.stat)
    }

    #[test]
    fn the_cgroups_of_a_subtree_are_added_up() {
        let told = stats(|stats| {
            stats.stats_for(1, b" cache:1KB rss:2KB rss_huge:0KB");
            stats.stats_for(2, b" cache:4KB rss:8KB");
            stats.stats_for(2, b" cache:4KB rss:8KB rss_huge:16KB swap:1KB");
        });
        let expected = MemoryStat {
            file_bytes: Some(5 * 1024),
            anon_bytes: Some(10 * 1024),
            anon_thp_bytes: Some(16 * 1024),
            ..MemoryStat::default()
        };
        assert_eq!(told, Some(expected));
    }

    #[test]
    fn a_listing_tells_of_the_subtree() {
        let told = stats(|stats| {
            stats.listed(b"anon 1");
            stats.stats_for(1, b"");
            stats.listed(b"cache 1\nrss 2\nrss_huge many\nanother 9");
            stats.listed(b"total_rss 8");
            stats.end();
            stats.listed(b"total_cache 9");
        });
        let expected = MemoryStat {
            file_bytes: Some(1),
            anon_bytes: Some(8),
            ..MemoryStat::default()
        };
        assert_eq!(told, Some(expected));
    }

    #[test]
    fn what_may_have_been_cut_off_is_left_out() {
        let text = format!("anon 1\n{}\nunevictable 123", "x 1\n".repeat(300));
        let told = stats(|stats| {
            stats.stats_for(1, b"");
            stats.listed(text.as_bytes());
        });
        let told = told.unwrap();
        assert_eq!((told.anon_bytes, told.unevictable_bytes), (Some(1), None));
    }

    #[test]
    fn nothing_is_told_without_the_counter() {
        let mut stats = Stats::default();
        stats.stats_for(1, b" cache:1KB");
        assert_eq!(stats.take(), None);
    }
}
