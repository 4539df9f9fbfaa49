//! Which lines are looked at while no report is open.
//!
//! Reads any number of lines at once; finds the next place that has the words of a line that opens a
//! report, stands alone, or begins another boot. One pass with a literal searcher, for this is what
//! nearly all bytes of a log cost. Says too much rather than too little: the parsers judge.

use regex::bytes::Regex;

/// Words that stand in what the kernel prints, none of which any escape of any form touches.
const WORDS: &[&str] = &[
    // Headers, summaries, suppressed reports, the reaper.
    "invoked oom-killer",
    "oom-kill:constraint=",
    "oom_kill_process: ",
    "oom_reaper: ",
    // Kills.
    "Killed process ",
    "Kill process ",
    "memory.oom.group set",
    // Ends without a kill.
    "is already exiting. Skip",
    "no killable processes",
    "panic_on_oom is enabled",
    "deadlocked on memory",
    "OOM request ignored",
    "Manual OOM execution",
    // Parts of a report whose beginning is missing.
    "killed as a result of limit of",
    "Memory limit reached of cgroup ",
    "memory: usage ",
    "total_vm      rss ",
    // Another boot.
    "Linux version ",
    "-- Boot ",
    "-- Reboot --",
];

/// The journal writes a message that is not UTF-8 as an array of bytes, in which no word can be found.
const ARRAYS: &[&str] = &["\"MESSAGE\":[", "\"MESSAGE\" : ["];

/// The searcher.
#[derive(Debug)]
pub(super) struct Candidates(Regex);

impl Candidates {
    /// `json` also finds messages that are arrays of bytes.
    pub(super) fn new(json: bool) -> Self {
        let arrays = if json { ARRAYS } else { &[] };
        let words: Vec<String> = WORDS
            .iter()
            .chain(arrays)
            .map(|w| regex::escape(w))
            .collect();
        #[expect(clippy::expect_used, reason = "literals make a pattern")]
        let pattern = Regex::new(&format!("(?-u){}", words.join("|"))).expect("a valid pattern");
        Self(pattern)
    }

    /// Where the next one stands, and where it ends.
    pub(super) fn find(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        let found = self.0.find_at(text, from)?;
        Some((found.start(), found.end()))
    }

    /// Whether a line has any, but for the words of another boot.
    pub(super) fn looks_like_oom(&self, line: &[u8]) -> bool {
        const BOOTS: [u8; 2] = [b'L', b'-'];
        self.0
            .find_iter(line)
            .any(|found| !found.as_bytes().first().is_some_and(|b| BOOTS.contains(b)))
    }
}
