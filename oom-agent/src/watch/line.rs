//! An event on its way to many: what each of them needs is made once, by the first who needs it.
//!
//! Reads an event, or one as it is stored; emits its JSON, the form that listeners write, and whether a
//! filter means it. Refuses nothing: a stored event that this agent cannot read is meant by every filter.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use crate::{
    event::{Event, Kind},
    store::{Filter, Stored, terms::Terms},
};

/// An event, live or stored.
#[derive(Debug)]
pub struct Line {
    kind: Kind,
    id: Arc<str>,
    /// Its JSON, if it is from the store.
    body: Option<String>,
    event: OnceLock<Option<Arc<Event>>>,
    terms: OnceLock<Terms<'static>>,
    rendered: OnceLock<Bytes>,
}

impl From<Arc<Event>> for Line {
    fn from(event: Arc<Event>) -> Self {
        Self {
            kind: event.kind(),
            id: event.id().clone(),
            body: None,
            event: Some(event).into(),
            terms: OnceLock::new(),
            rendered: OnceLock::new(),
        }
    }
}

impl From<Stored> for Line {
    fn from(stored: Stored) -> Self {
        Self {
            kind: stored.kind,
            id: stored.id.into(),
            body: Some(stored.body),
            event: OnceLock::new(),
            terms: OnceLock::new(),
            rendered: OnceLock::new(),
        }
    }
}

impl Line {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The event; `None` if it is stored in a form that this agent does not know.
    #[must_use]
    pub fn event(&self) -> Option<&Event> {
        let parse = || {
            self.body
                .as_deref()
                .and_then(|body| serde_json::from_str(body).ok())
        };
        self.event.get_or_init(parse).as_deref()
    }

    /// Its JSON.
    pub fn json(&self) -> Result<Cow<'_, str>, serde_json::Error> {
        match &self.body {
            Some(body) => Ok(Cow::Borrowed(body)),
            None => serde_json::to_string(&self.event()).map(Cow::Owned),
        }
    }

    /// What `render` makes of it the first time; all who ask must render alike.
    pub fn rendered(&self, render: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.rendered.get_or_init(|| render(self)).clone()
    }

    /// Whether the filter means it.
    #[must_use]
    pub fn is_meant(&self, filter: &Filter) -> bool {
        if !filter.kinds.is_empty() && !filter.kinds.contains(&self.kind) {
            return false;
        }
        self.event().is_none_or(|event| {
            let terms = self.terms.get_or_init(|| Terms::of(event).into_owned());
            filter.matches_terms(event, terms)
        })
    }

    /// Whether both are one event.
    #[must_use]
    pub fn is_same(&self, stored: &Stored) -> bool {
        self.kind == stored.kind && *self.id == *stored.id
    }
}
