//! A place between two events in the order of their times.
//!
//! Reads and emits its text, which clients keep: a version, the time and the number of the event before
//! it, with dots between. Refuses any other text.

use std::{fmt, str::FromStr};

/// The version of the text.
const VERSION: &str = "1";

/// A place right at an event. It stays valid while events are stored and removed around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Time of the event: Unix time in nanoseconds.
    pub(super) time_ns: i64,
    /// Its number in the order of storing.
    pub(super) seq: i64,
}

/// A text that is no cursor of this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: {0:?}")]
pub struct NoCursor(String);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}.{}.{}", self.time_ns, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let parts = || {
            let (time, seq) = text
                .strip_prefix(VERSION)?
                .strip_prefix('.')?
                .split_once('.')?;
            Some(Self {
                time_ns: time.parse().ok()?,
                seq: seq.parse().ok()?,
            })
        };
        parts()
            // One text for each place: no other sign, no zero before.
            .filter(|cursor| cursor.to_string() == text)
            .ok_or_else(|| NoCursor(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_is_read_as_it_was_written(time_ns: i64, seq: i64) {
            let cursor = Cursor { time_ns, seq };
            prop_assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }

        #[test]
        fn any_other_text_is_refused(text in "[01.+ -]{0,8}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    #[test]
    fn what_is_malformed_is_named() {
        for text in [
            "",
            "1",
            "1.2",
            "2.1.1",
            "1.1.1.1",
            "1.+1.1",
            "1.01.1",
            "1.1.-0",
            "1.1.9223372036854775808",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(NoCursor(text.into())));
        }
    }
}
