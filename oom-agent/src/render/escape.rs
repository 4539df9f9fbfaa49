//! Text that somebody else chose, made safe to show on a terminal.
//!
//! Reads names and paths; emits them with every character that moves the cursor, changes colours,
//! turns the direction of writing or cannot be seen written out. Refuses to cut anything. A backslash
//! stays as it is, so that a systemd path can be copied: this is for reading, JSON has the raw text.

use std::{borrow::Cow, fmt::Write as _};

/// Writes out what a terminal would act on or not show: `\x1b`, `\u{202e}`.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        let code = u32::from(c);
        let written = match (is_unsafe(c), c) {
            (false, _) => write!(safe, "{c}"),
            (true, '\n') => write!(safe, "\\n"),
            (true, '\t') => write!(safe, "\\t"),
            (true, _) if code < 0x100 => write!(safe, "\\x{code:02x}"),
            (true, _) => write!(safe, "\\u{{{code:x}}}"),
        };
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    Cow::Owned(safe)
}

/// A name within a sentence: in quotes where it could be taken for a part of that sentence.
pub(crate) fn name(text: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "/_-.:@\\+=~%#".contains(c);
    if !text.is_empty() && text.chars().all(|c| plain(c) && !is_unsafe(c)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(quoted(text))
}

/// A value in quotes.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", escape(&text.replace('"', "\\\"")))
}

/// Controls, bidirectional controls, line separators, and characters without a shape of their own.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_written_out() {
        for (raw, safe) in [
            ("hog", "hog"),
            ("grün", "grün"),
            ("a\x1b[31mb", "a\\x1b[31mb"),
            ("a\nb\tc\rd", "a\\nb\\tc\\x0dd"),
            ("\u{9b}31m", "\\x9b31m"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("system-serial\\x2dgetty", "system-serial\\x2dgetty"),
        ] {
            assert_eq!(escape(raw), safe);
            assert_eq!(escape(&escape(raw)), safe, "escaping twice changes nothing");
        }
    }

    #[test]
    fn a_name_that_reads_like_a_sentence_is_quoted() {
        for (raw, safe) in [
            ("kworker/0:1-events", "kworker/0:1-events"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            (",pid=1,uid=0", "\",pid=1,uid=0\""),
            ("x\" (pid 1)", "\"x\\\" (pid 1)\""),
            ("a\x1bb", "\"a\\x1bb\""),
        ] {
            assert_eq!(name(raw), safe);
        }
    }
}
