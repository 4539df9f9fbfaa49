//! Query strings, strictly: what is not understood is refused by its name, never passed over.
//!
//! Reads the text behind the question mark, which handlers take as a [`Query`]; emits typed parameters. Refuses a
//! name that is not known, one that is given twice, a value that does not fit, and text that is not UTF-8.

use std::collections::BTreeSet;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
};
use form_urlencoded::Serializer;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::Problem;
use crate::{event::Kind, question::Kinds};

/// Parameters in their order, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

/// What is wrong with the request.
pub(super) fn refused(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

/// A number that may be left out: `usual` then, and 1 to `most` in any case.
pub(super) fn within(
    name: &str,
    given: Option<u16>,
    usual: u16,
    most: u16,
) -> Result<u16, Problem> {
    let given = given.unwrap_or(usual);
    if (1..=most).contains(&given) {
        return Ok(given);
    }
    Err(refused(format!("{name}: {given} is not 1 to {most}")))
}

/// The kind that is given, where it can be one at most.
pub(super) fn one_kind(kinds: Option<&Kinds>) -> Result<Option<Kind>, Problem> {
    match kinds.map(|Kinds(kinds)| kinds.as_slice()) {
        None => Ok(None),
        Some([kind]) => Ok(Some(*kind)),
        Some(_) => Err(refused("kind: one of them, or none")),
    }
}

/// The query of a request; a handler that takes it refuses with 400 what cannot be taken apart.
impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(parts.uri.query())
    }
}

impl Query {
    /// Takes the text apart.
    pub(super) fn of(text: Option<&str>) -> Result<Self, Problem> {
        let text = text.unwrap_or_default();
        if percent_decode_str(text).decode_utf8().is_err() {
            return Err(refused("the query is not UTF-8"));
        }
        let pairs: Vec<_> = form_urlencoded::parse(text.as_bytes())
            .into_owned()
            .collect();
        let mut names = BTreeSet::new();
        match pairs.iter().find(|(name, _)| !names.insert(name)) {
            Some((name, _)) => Err(refused(format!("{name} is given twice"))),
            None => Ok(Self(pairs)),
        }
    }

    /// Takes out those with these names.
    pub(super) fn take(&mut self, names: &[&str]) -> Self {
        let is_one = |(name, _): &mut (String, String)| names.contains(&name.as_str());
        Self(self.0.extract_if(.., is_one).collect())
    }

    /// Reads all that there are. `T` must be one with all members optional.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        decode(&self.0).map_err(|error| {
            // Which of them it is, the error does not say.
            let bad = |pair: &&(String, String)| decode::<T>([*pair]).is_err();
            let name = self
                .0
                .iter()
                .find(bad)
                .map_or("the query", |(name, _)| name);
            refused(format!("{name}: {error}"))
        })
    }

    /// Refuses any.
    pub(super) fn none(&self) -> Result<(), Problem> {
        self.0.first().map_or(Ok(()), |(name, _)| {
            Err(refused(format!("{name}: unknown field, there are none")))
        })
    }

    /// Whether it is given.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(of, _)| of == name)
    }
}

fn decode<'a, T: DeserializeOwned>(
    pairs: impl IntoIterator<Item = &'a (String, String)>,
) -> Result<T, serde_urlencoded::de::Error> {
    let text = Serializer::new(String::new()).extend_pairs(pairs).finish();
    serde_urlencoded::from_str(&text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::question::Question;

    #[derive(Debug, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    #[derive(Default)]
    struct Number {
        limit: Option<u16>,
    }

    fn detail(text: &str) -> Option<String> {
        let asked = Query::of(Some(text)).and_then(|query| query.read::<Question>());
        asked.err().map(|problem| problem.detail)
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(detail(""), None);
        assert_eq!(detail("pid=7&since=1h&cgroup=%2Fa%20b&container=a+b"), None);
        for (text, words) in [
            ("pods=x", "pods: unknown field"),
            ("pid=7&pid=7", "pid is given twice"),
            ("comm=a&pid=x", "pid: "),
            ("pid", "pid: "),
            ("since=yesterday", "since: \"yesterday\" is neither"),
            ("kind=oom", "kind: \"oom\" is no kind"),
            ("subtree=yes", "subtree: "),
            ("scope=all", "scope: unknown variant"),
            ("comm=%ff", "not UTF-8"),
        ] {
            let detail = detail(text).unwrap_or_default();
            assert!(detail.contains(words), "{text}: {detail}");
        }
    }

    #[test]
    fn some_may_be_taken_out() {
        let mut query = Query::of(Some("limit=3&pid=7")).unwrap();
        let number: Number = query.take(&["limit"]).read().unwrap();
        let question: Question = query.read().unwrap();
        assert_eq!((number.limit, question.pid), (Some(3), Some(7)));
        assert!(!query.has("limit") && query.has("pid"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let asked = Query::of(Some(&text)).and_then(|query| query.read::<Question>());
            prop_assert!(asked.err().is_none_or(|problem| problem.status == 400));
        }

        #[test]
        fn what_is_asked_is_what_is_read(comm in ".*", pid: Option<u32>) {
            let asked = Question { comm: Some(comm), pid, ..Question::default() };
            let text = serde_urlencoded::to_string(&asked).unwrap();
            prop_assert_eq!(Query::of(Some(&text)).unwrap().read::<Question>().unwrap(), asked);
        }
    }
}
