//! Lines that the kernel printed piecemeal.
//!
//! The kernel builds the summary, the header of 4.10 to 4.20, `Task in …` and `Memory cgroup stats for …`
//! with `pr_cont`. When another CPU prints in between, or the line is longer than a record, the rest
//! follows in fragments; 3.15 to 3.19 always break `Task in …`. Reads messages; emits the text so far
//! with the place of its beginning. Refuses what cannot be a part of that line: where the log does not
//! say who printed it, the form must.

use super::{record::Caller, report::Meta, stats, summary};

/// Longer than any of these lines: two paths of 4096 bytes.
const MAX_TEXT: usize = 10_240;

/// How far a fragment may be from the beginning.
const MAX_DISTANCE: u64 = 64;

/// The same where the log does not mark fragments.
const MAX_DISTANCE_UNMARKED: u64 = 8;

/// The line that may still be continued.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    begun: Option<Meta>,
    text: Vec<u8>,
    /// Whether it could stand as it is.
    whole: bool,
}

impl Joiner {
    /// A message that begins such a line, `whole` or not.
    pub(super) fn begin(&mut self, meta: Meta, message: &[u8], whole: bool) {
        self.begun = Some(meta);
        self.whole = whole;
        self.text.clear();
        self.text.extend_from_slice(message);
    }

    /// Whether there is anything to be continued.
    pub(super) fn is_open(&self) -> bool {
        self.begun.is_some()
    }

    /// The record that began it.
    pub(super) fn begun(&self) -> Option<Meta> {
        self.begun
    }

    /// Whether it is this caller's.
    pub(super) fn is_of(&self, caller: Option<Caller>) -> bool {
        self.begun.is_some_and(|begun| begun.caller == caller)
    }

    /// Adds a message, and returns the text so far and where it began; `None` if it is not a part.
    /// `marked` says that the log calls it a fragment.
    pub(super) fn extend(
        &mut self,
        meta: Meta,
        message: &[u8],
        marked: bool,
    ) -> Option<(Meta, &[u8])> {
        let begun = self.begun?;
        // Every one of its numbers is a piece, and without them it could stand as well.
        let stats = self.text.starts_with(stats::STATS);
        let distance = if marked || stats {
            MAX_DISTANCE
        } else {
            MAX_DISTANCE_UNMARKED
        };
        let is_part = meta.caller == begun.caller
            && meta.seq.saturating_sub(begun.seq) <= distance
            && self.text.len() + message.len() <= MAX_TEXT
            && (marked || stats || !self.whole)
            && (marked && meta.caller.is_some() || continues(&self.text, message, marked));
        is_part.then(|| {
            self.text.extend_from_slice(message);
            (begun, &self.text[..])
        })
    }

    /// Whether the text that there is now could stand as it is.
    pub(super) fn judge(&mut self, whole: bool) {
        self.whole = whole;
    }

    /// Nothing can continue it any more. Returns where it began if it is not whole.
    pub(super) fn end(&mut self) -> Option<Meta> {
        self.begun.take().filter(|_| !self.whole)
    }
}

/// Whether a text can go on like this. A piece ends where a call of `pr_cont` did; some loggers take the
/// space from its beginning.
fn continues(text: &[u8], next: &[u8], marked: bool) -> bool {
    let begins = |ways: &[&[u8]]| ways.iter().any(|way| next.starts_with(way));
    if text.starts_with(summary::PREFIX) {
        // After a cut: `,key=`, a path, or the name of a cpuset, which has no slash.
        let cpuset = text.ends_with(b",cpuset=") && (marked || !next.contains(&b' '));
        cpuset || begins(&[b",", b"/"])
    } else if text.starts_with(b"Task in ") {
        let killed: &[&[u8]] = &[
            b" killed",
            b"killed as a result",
            b" as a result of limit of ",
        ];
        // A path may itself end in these words.
        let before_path = text.ends_with(b" in ") || text.ends_with(b" limit of ");
        begins(killed) || before_path && begins(&[b"/"])
    } else if text.starts_with(stats::STATS) {
        begins(&[b"/", b":", b" for "]) || is_number_of_stats(next)
    } else {
        let list = next.first().is_some_and(u8::is_ascii_digit);
        list && text.ends_with(b"nodemask=") || begins(&[b"(null)", b",", b" order="])
    }
}

/// ` rss:307200KB`
fn is_number_of_stats(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let name = text
        .iter()
        .position(|&b| b == b':')
        .map(|at| text.split_at(at));
    name.is_some_and(|(name, number)| {
        let digits = number[1..].strip_suffix(b"KB");
        name.iter().all(|b| b.is_ascii_lowercase() || *b == b'_')
            && digits.is_some_and(|digits| digits.first().is_some_and(u8::is_ascii_digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line that is joined of these messages, unmarked ones first told by a `?`.
    fn joined(messages: &[&str]) -> String {
        let meta = |seq| Meta {
            seq,
            monotonic_ns: 0,
            caller: None,
        };
        let mut joiner = Joiner::default();
        joiner.begin(meta(0), messages[0].as_bytes(), false);
        let mut seq = 0;
        for message in &messages[1..] {
            seq += 1;
            let (marked, text) = match message.strip_prefix('?') {
                Some(text) => (false, text),
                None => (true, *message),
            };
            joiner.extend(meta(seq), text.as_bytes(), marked);
        }
        String::from_utf8(joiner.text).unwrap()
    }

    #[test]
    fn pieces_of_every_kernel() {
        let cases: &[(&[&str], &str)] = &[
            (
                &["Task in /a", "? killed as a result of limit of /b"],
                "Task in /a killed as a result of limit of /b",
            ),
            (
                &[
                    "Task in ",
                    "/a",
                    "usb 1-1: reset",
                    " killed as a result of limit of ",
                    "/b",
                ],
                "Task in /a killed as a result of limit of /b",
            ),
            (
                &["Task in /a killed", "? as a result of limit of /b"],
                "Task in /a killed as a result of limit of /b",
            ),
            (
                &[
                    "x invoked oom-killer: gfp_mask=0x1(A), nodemask=",
                    "(null)",
                    ",  order=0, oom_score_adj=0",
                ],
                "x invoked oom-killer: gfp_mask=0x1(A), nodemask=(null),  order=0, oom_score_adj=0",
            ),
            (
                &[
                    "x invoked oom-killer: gfp_mask=0x1(A), nodemask=",
                    "?0-1,4",
                    "?,  order=0, oom_score_adj=0",
                ],
                "x invoked oom-killer: gfp_mask=0x1(A), nodemask=0-1,4,  order=0, oom_score_adj=0",
            ),
            (
                &[
                    "Memory cgroup stats for ",
                    "/a",
                    ":",
                    " cache:0KB",
                    " rss:1KB",
                ],
                "Memory cgroup stats for /a: cache:0KB rss:1KB",
            ),
            (
                &["Task in /a", "?usb 1-1: reset", "?memory: usage"],
                "Task in /a",
            ),
        ];
        for (messages, expected) in cases {
            assert_eq!(joined(messages), *expected);
        }
        let far: Vec<&str> = [&["Task in /a"][..], &["?x"; 9], &["? killed"]].concat();
        assert_eq!(joined(&far), "Task in /a");
    }
}
