//! A summary that the kernel printed piecemeal.
//!
//! The kernel builds the summary with `pr_cont`. When another CPU prints in between, or the line is
//! longer than a record, the rest follows in fragments. Reads messages; emits the text so far with
//! the place of its beginning. Refuses fragments that cannot be part of a summary.

use super::report::Meta;

/// Longer than any summary: two paths of 4096 bytes.
const MAX_TEXT: usize = 10_240;

/// How far a fragment may be from the beginning.
const MAX_DISTANCE: u64 = 64;

/// The summary that may still be continued.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    begun: Option<Meta>,
    text: Vec<u8>,
}

impl Joiner {
    /// A message that begins a summary, whole or not.
    pub(super) fn begin(&mut self, meta: Meta, message: &[u8]) {
        self.begun = Some(meta);
        self.text.clear();
        self.text.extend_from_slice(message);
    }

    /// Adds a fragment, and returns the text so far and where it began; `None` if it is not a part.
    pub(super) fn extend(&mut self, meta: Meta, fragment: &[u8]) -> Option<(Meta, &[u8])> {
        let begun = self.begun?;
        // Where the log does not say who printed it, the form must: after a cut, the kernel goes on
        // with `,key=`, with a path, or with the name of a cpuset.
        let is_part = meta.caller == begun.caller
            && meta.seq.saturating_sub(begun.seq) <= MAX_DISTANCE
            && self.text.len() + fragment.len() <= MAX_TEXT
            && (meta.caller.is_some()
                || matches!(fragment.first(), Some(b',' | b'/'))
                || self.text.ends_with(b",cpuset="));
        is_part.then(|| {
            self.text.extend_from_slice(fragment);
            (begun, &self.text[..])
        })
    }

    /// Nothing can continue it any more. Returns where it began and what there was of it.
    pub(super) fn end(&mut self) -> Option<(Meta, &[u8])> {
        Some((self.begun.take()?, &self.text))
    }
}
