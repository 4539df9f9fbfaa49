//! The summary line of a report (`dump_oom_summary`, `mm/oom_kill.c`, 5.0+).
//!
//! Reads `oom-kill:constraint=…,nodemask=…,cpuset=…,mems_allowed=…,{oom_memcg=<path>|global_oom},
//! task_memcg=<path>,task=<comm>,pid=N,uid=N`. Cgroup names and the comm are chosen by others and may
//! contain every one of these markers, so nothing is found by searching from the left: numbers are
//! anchored at the end, and a split between the names is taken only if it is the only possible one.
//! Refuses to guess: what stays ambiguous is `None`.

use std::sync::LazyLock;

use regex::bytes::Regex;

use super::{
    line::{pattern, signed_uid},
    scan::number,
};
use crate::{
    event::Constraint,
    text::{COMM_LEN, Comm},
};

/// How a summary begins.
pub const PREFIX: &[u8] = b"oom-kill:constraint=";

const TASK_MEMCG: &[u8] = b",task_memcg=/";
const TASK: &[u8] = b",task=";

/// Where the names begin. The cpuset before them is printed as its last component, which has no `/`:
/// it cannot imitate either marker, and nothing else comes before them.
static NAMES: LazyLock<Regex> =
    LazyLock::new(|| pattern("(?-u),(?:oom_memcg=/|global_oom,task_memcg=/)"));

/// A summary whose numbers are certain; [`Summary::names`] tells the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary<'a> {
    /// `constraint=`; `None` if it is not one that we know.
    pub constraint: Option<Constraint>,
    /// Thread of the chosen task.
    pub tid: u32,
    /// Its user.
    pub uid: u32,
    /// Whether the whole machine ran out.
    pub global: bool,
    text: &'a [u8],
    /// From `,oom_memcg=` or `,global_oom` up to `,pid=`; empty if there is neither.
    raw_names: &'a [u8],
}

/// The names in a summary; `None` where absent or ambiguous.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Names<'a> {
    /// Whose limit was hit.
    pub oom_memcg: Option<&'a [u8]>,
    /// The victim's cgroup.
    pub task_memcg: Option<&'a [u8]>,
    /// The victim's name.
    pub comm: Option<Comm>,
}

impl<'a> Summary<'a> {
    /// Parses a whole line; `None` also for the first fragment of a line that was split.
    #[must_use]
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let text = message.strip_prefix(PREFIX)?;
        let comma = memchr::memchr(b',', text)?;
        let (constraint, rest) = (&text[..comma], text[comma..].strip_prefix(b",nodemask=")?);
        // A name may imitate numbers, but nothing follows the last ones.
        let (rest, uid) = split_last(rest, b",uid=")?;
        let (rest, tid) = split_last(rest, b",pid=")?;
        let is_number = |text: &[u8]| text.first().is_some_and(u8::is_ascii_digit);
        if !is_number(tid) || !is_number(uid.strip_prefix(b"-").unwrap_or(uid)) {
            return None;
        }
        // Kernels without memory cgroups print no names but the task's.
        let raw_names = NAMES
            .find(rest)
            .map_or(&[][..], |found| &rest[found.start()..]);
        Some(Self {
            constraint: match constraint {
                b"CONSTRAINT_NONE" => Some(Constraint::None),
                b"CONSTRAINT_CPUSET" => Some(Constraint::Cpuset),
                b"CONSTRAINT_MEMORY_POLICY" => Some(Constraint::MemoryPolicy),
                b"CONSTRAINT_MEMCG" => Some(Constraint::Memcg),
                _ => None,
            },
            tid: number(tid)?,
            uid: signed_uid(uid)?,
            global: raw_names.starts_with(b",global_oom"),
            text: message,
            raw_names,
        })
    }

    /// The whole line.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Takes the names apart. `comm` is the victim's name where another line told it.
    #[must_use]
    pub fn names(&self, comm: Option<Comm>) -> Names<'a> {
        let mut splits = find_all(self.raw_names, TASK)
            .filter_map(|at| self.split(at))
            .filter(|split| comm.is_none() || split.comm == comm);
        let Some(mut names) = splits.next() else {
            return Names {
                comm,
                ..Names::default()
            };
        };
        for other in splits {
            keep_equal(&mut names.oom_memcg, other.oom_memcg);
            keep_equal(&mut names.task_memcg, other.task_memcg);
            keep_equal(&mut names.comm, other.comm);
        }
        names
    }

    /// The names if `,task=` stands at `at`; `None` if they cannot be what the kernel printed.
    fn split(&self, at: usize) -> Option<Names<'a>> {
        let (paths, comm) = self.raw_names.split_at(at);
        let comm = &comm[TASK.len()..];
        if comm.len() >= COMM_LEN {
            return None;
        }
        let comm = Some(Comm::new(comm));
        let Some(paths) = paths.strip_prefix(b",oom_memcg=") else {
            let task_memcg = Some(paths.strip_prefix(b",global_oom,task_memcg=")?);
            return Some(Names {
                oom_memcg: None,
                task_memcg,
                comm,
            });
        };
        // The victim is at or below the cgroup whose limit was hit.
        let mut pairs = find_all(paths, TASK_MEMCG)
            .map(|at| (&paths[..at], &paths[at + TASK_MEMCG.len() - 1..]))
            .filter(|(limit, task)| is_within(task, limit));
        let (limit, task) = pairs.next()?;
        let unique = pairs.next().is_none();
        Some(Names {
            oom_memcg: unique.then_some(limit),
            task_memcg: unique.then_some(task),
            comm,
        })
    }
}

/// Whether `path` is `ancestor` or below it.
#[must_use]
pub fn is_within(path: &[u8], ancestor: &[u8]) -> bool {
    path.strip_prefix(ancestor)
        .is_some_and(|rest| rest.is_empty() || rest[0] == b'/' || ancestor == b"/")
}

/// What stands before and behind the last `marker`.
fn split_last<'a>(text: &'a [u8], marker: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memchr::memmem::rfind(text, marker)?;
    Some((&text[..at], &text[at + marker.len()..]))
}

fn keep_equal<T: Copy + PartialEq>(value: &mut Option<T>, other: Option<T>) {
    if *value != other {
        *value = None;
    }
}

fn find_all<'a>(haystack: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    haystack
        .windows(needle.len())
        .enumerate()
        .filter_map(move |(at, window)| (window == needle).then_some(at))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn render(limit: Option<&[u8]>, task: &[u8], comm: &[u8]) -> Vec<u8> {
        let mut line =
            b"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=0-1,4,cpuset=/,mems_allowed=0,2-3"
                .to_vec();
        match limit {
            Some(limit) => line.extend([b",oom_memcg=", limit].concat()),
            None => line.extend(b",global_oom"),
        }
        line.extend([b",task_memcg=", task, b",task=", comm, b",pid=4242,uid=-2"].concat());
        line
    }

    #[test]
    fn hostile_names_are_told_apart() {
        type Case = (Option<&'static [u8]>, &'static [u8], &'static [u8]);
        let cases: &[Case] = &[
            (Some(b"/a"), b"/a/b", b"hog"),
            (None, b"/a/b", b"hog"),
            (None, b"/", b""),
            (Some(b"/a"), b"/a", b",pid=1,uid=0"),
            (
                Some(b"/a,task_memcg=x y\\z"),
                b"/a,task_memcg=x y\\z",
                b"a),pid=1,uid=0",
            ),
            (
                Some(b"/a,task_memcg="),
                b"/a,task_memcg=/b",
                b"x\n\"\\\xff)",
            ),
            (
                Some(b"/a,task=aaaaaaaaaaaaaaaa"),
                b"/a,task=aaaaaaaaaaaaaaaa/c",
                b"hog",
            ),
            (
                Some(b"/a,global_oom,task_memcg="),
                b"/a,global_oom,task_memcg=/x",
                b"hog",
            ),
        ];
        for (limit, task, comm) in cases {
            let line = render(*limit, task, comm);
            let summary = Summary::parse(&line).unwrap();
            assert_eq!((summary.tid, summary.uid), (4242, u32::MAX - 1));
            assert_eq!(summary.constraint, Some(Constraint::Memcg));
            assert_eq!(summary.global, limit.is_none());
            assert_eq!(
                summary.names(None),
                Names {
                    oom_memcg: *limit,
                    task_memcg: Some(task),
                    comm: Some(Comm::new(comm))
                },
                "{}",
                line.escape_ascii()
            );
        }
    }

    #[test]
    fn what_stays_ambiguous_is_unknown_until_the_comm_is_known() {
        let line = render(Some(b"/a"), b"/a/b", b"x,task=y");
        let summary = Summary::parse(&line).unwrap();
        let unknown = Names {
            oom_memcg: Some(b"/a"),
            task_memcg: None,
            comm: None,
        };
        assert_eq!(summary.names(None), unknown);
        let known = Names {
            task_memcg: Some(b"/a/b"),
            comm: Some(Comm::new(b"x,task=y")),
            ..unknown
        };
        assert_eq!(summary.names(known.comm), known);
        let other = Some(Comm::new(b"other"));
        assert_eq!(
            summary.names(other),
            Names {
                comm: other,
                ..Names::default()
            }
        );

        // Two pairs of real-looking paths: neither is taken.
        let both = b"/x/y,task_memcg=/x,task_memcg=/x/y";
        let line = render(Some(b"/x"), both, b"hog");
        let names = Summary::parse(&line).unwrap().names(None);
        assert_eq!((names.oom_memcg, names.task_memcg), (None, None));
    }

    #[test]
    fn a_cpuset_cannot_imitate_the_limit() {
        let line = b"oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=x,task=y,mems_allowed=0,oom_memcg=,mems_allowed=0,global_oom,task_memcg=/a,task=hog,pid=7,uid=0";
        let summary = Summary::parse(line).unwrap();
        assert!(summary.global);
        assert_eq!(summary.names(None).task_memcg, Some(&b"/a"[..]));
    }

    #[test]
    fn kernels_without_memory_cgroups_name_none() {
        let line = b"oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),task=hog,pid=7,uid=0";
        let summary = Summary::parse(line).unwrap();
        assert!(!summary.global);
        assert_eq!(summary.tid, 7);
        assert_eq!(summary.names(None), Names::default());
    }

    #[test]
    fn refuses_fragments() {
        for line in [
            "",
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)",
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task=a,pid=99999999999,uid=0",
        ] {
            assert_eq!(Summary::parse(line.as_bytes()), None);
        }
    }

    proptest! {
        /// Given the comm, every name that is told is the one that was printed.
        #[test]
        fn names_are_right_or_unknown(
            limit in "/[a-z,=_/ ]{1,12}(,task_memcg=|,task=|,pid=1)?[a-z]{0,3}",
            below in "(/[a-z,=]{1,8}(,task_memcg=/|,task=)?[a-z]{0,3})?",
            comm in proptest::collection::vec(1u8..=255, 1..=15),
            global: bool,
        ) {
            let task = format!("{limit}{below}");
            let line = render((!global).then_some(limit.as_bytes()), task.as_bytes(), &comm);
            let summary = Summary::parse(&line).unwrap();
            let comm = Comm::new(&comm);
            for known in [None, Some(comm)] {
                let names = summary.names(known);
                prop_assert!(names.comm.is_none_or(|c| c == comm));
                prop_assert!(names.task_memcg.is_none_or(|t| t == task.as_bytes()));
                prop_assert!(names.oom_memcg.is_none_or(|l| !global && l == limit.as_bytes()));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(tail: Vec<u8>) {
            let line = [PREFIX, &tail].concat();
            if let Some(summary) = Summary::parse(&line) {
                let _ = summary.names(None);
            }
        }
    }
}
