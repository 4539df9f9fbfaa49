//! A place in a stream, as stores keep it between two runs.
//!
//! Reads and emits one line: the stream's name, when it was made (Unix time in nanoseconds), and a number in it.
//! Refuses to take another stream for it: one that was removed and made again has the same name and other numbers.

use std::{fmt, str::FromStr};

use async_nats::jetstream::stream::Info;

/// Up to here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    stream: String,
    created_ns: i128,
    /// Number of a message in the stream.
    pub number: u64,
}

/// What is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a place in a stream")]
pub struct NoPlace;

impl Place {
    /// This number of this stream.
    #[must_use]
    pub fn of(info: &Info, number: u64) -> Self {
        Self {
            stream: info.config.name.clone(),
            created_ns: info.created.unix_timestamp_nanos(),
            number,
        }
    }

    /// Whether it is in this stream: the same one, and it has got so far.
    #[must_use]
    pub fn is_in(&self, info: &Info) -> bool {
        self.is_of(&Self::of(info, info.state.last_sequence))
    }

    fn is_of(&self, last: &Self) -> bool {
        self.stream == last.stream
            && self.created_ns == last.created_ns
            && self.number <= last.number
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.stream, self.created_ns, self.number)
    }
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let mut words = text.split(' ');
        let (Some(stream), Some(created), Some(number), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(NoPlace);
        };
        if stream.is_empty() {
            return Err(NoPlace);
        }
        Ok(Self {
            stream: stream.to_owned(),
            created_ns: created.parse().map_err(|_| NoPlace)?,
            number: number.parse().map_err(|_| NoPlace)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_stream_of_the_same_name_is_another() {
        let place: Place = "OOM 17 5".parse().unwrap();
        assert_eq!(place.to_string(), "OOM 17 5");
        for (last, is_of) in [
            ("OOM 17 5", true),
            ("OOM 17 6", true),
            ("OOM 17 4", false),
            ("OOM 18 6", false),
            ("MOO 17 6", false),
        ] {
            assert_eq!(place.is_of(&last.parse().unwrap()), is_of, "{last}");
        }
        for text in ["", "5", "OOM 17", "OOM 17 -5", "OOM 17 5 5", " 17 5"] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }
}
