//! The functions of a kernel stack, as events carry them.
//!
//! Reads names of functions; emits them in their order, as JSON a list. They are kept in one text, for a
//! trace has many and is copied whole. Refuses nothing; no function has the end of a line in its name.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Functions of a kernel stack, the innermost first.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct CallTrace {
    /// Each with the end of a line behind it.
    lines: String,
}

impl CallTrace {
    /// Adds the function that called the last one.
    pub fn push(&mut self, function: &str) {
        self.lines.push_str(function);
        self.lines.push('\n');
    }

    /// The functions, the innermost first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.lines.split_terminator('\n')
    }
}

impl<'a> FromIterator<&'a str> for CallTrace {
    fn from_iter<I: IntoIterator<Item = &'a str>>(functions: I) -> Self {
        let mut trace = Self::default();
        functions.into_iter().for_each(|name| trace.push(name));
        trace
    }
}

impl fmt::Debug for CallTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for CallTrace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for CallTrace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let functions = Vec::<Cow<'_, str>>::deserialize(deserializer)?;
        Ok(functions.iter().map(AsRef::as_ref).collect())
    }
}

impl JsonSchema for CallTrace {
    fn schema_name() -> Cow<'static, str> {
        "CallTrace".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<String>::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_list_of_names() {
        let json = |names: &[&str]| {
            let trace: CallTrace = names.iter().copied().collect();
            serde_json::to_string(&trace).unwrap()
        };
        assert_eq!(json(&["a", "b.cold"]), r#"["a","b.cold"]"#);
        assert_eq!(json(&[]), "[]");
    }
}
