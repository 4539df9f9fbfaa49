//! A place in a stream: the `id` of its messages.
//!
//! Reads `GENERATION.NUMBER`, or the number alone, which is of whatever store there is; emits the former. Refuses all
//! else.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::store::Generation;

/// Everything up to this has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Of which store; `None`: of the one that there is.
    pub(super) generation: Option<Generation>,
    /// The number in it.
    pub(super) seq: i64,
}

/// It is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this stream")]
pub(super) struct NoPlace;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(generation) = self.generation {
            write!(f, "{generation}.")?;
        }
        write!(f, "{}", self.seq)
    }
}

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (generation, seq) = match text.split_once('.') {
            Some((generation, seq)) => (Some(generation.parse().map_err(|_| NoPlace)?), seq),
            None => (None, text),
        };
        if !seq.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NoPlace);
        }
        let seq = seq.parse().map_err(|_| NoPlace)?;
        Ok(Self { generation, seq })
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|error| D::Error::custom(format!("{text:?} is {error}")))
    }
}

impl JsonSchema for Place {
    fn schema_name() -> Cow<'static, str> {
        "Place".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^([0-9a-f]{8}\\.)?[0-9]{1,18}$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_of_a_store_or_of_the_one_that_there_is() {
        for text in ["0", "7", "00c0ffee.0", "ffffffff.9223372036854775807"] {
            let place: Place = text.parse().unwrap();
            assert_eq!(place.to_string(), text);
        }
        for text in [
            "",
            ".",
            "-1",
            "+1",
            "7.",
            ".7",
            "c0ffee.7",
            "00C0FFEE.7",
            "00c0ffee.-1",
            "00c0ffee.7.1",
            "00c0ffee",
            "9223372036854775808",
            "é0c0ffe.1",
        ] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }
}
