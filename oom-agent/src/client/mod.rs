//! Asks what an agent knows: over its API, or straight from the file of its store.
//!
//! Reads answers; emits events as the text that they were stored as, so that what a newer agent added is
//! passed on. Refuses to guess: whoever cannot be asked is named, with what to do about it. Blocks; the
//! runtime is made with the first connection and lives on the caller's thread.

mod api;
mod connect;
mod error;
mod file;
mod follow;
mod sse;

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::value::RawValue;

use self::{api::Api, file::File};
pub use self::{
    connect::{NoUrl, Server, Tcp, Url},
    error::ClientError,
    follow::{Follow, News},
};
pub use crate::api::SOCKET;
use crate::{
    event::Kind,
    question::Question,
    store::{DeadLetters, Order},
};

/// Where its store is.
pub const STORE: &str = "/var/lib/oom-agent/events.db";

/// Whom to ask.
#[derive(Clone, Debug)]
pub enum Whom {
    /// An agent.
    Server(Server),
    /// The file of a store, of an agent that runs or of one that has gone.
    Store(PathBuf),
}

/// Somebody who answers.
#[derive(Debug)]
pub enum Client {
    /// An agent.
    Api(Box<Api>),
    /// The file of a store.
    File(File),
}

/// Events in the order of time.
#[derive(Debug, Deserialize)]
pub struct Page {
    /// Each as JSON.
    pub events: Vec<Box<RawValue>>,
    /// Where the next page goes on; none if there is nothing more.
    pub next: Option<String>,
}

impl Client {
    /// Opens the store, or connects to the agent.
    pub fn open(whom: Whom) -> Result<Self, ClientError> {
        match whom {
            Whom::Server(server) => Ok(Self::Api(Box::new(Api::connect(server)?))),
            Whom::Store(path) => Ok(Self::File(File::open(path)?)),
        }
    }

    /// Events in the order of time, at most so many (1 to 1,000), behind a place.
    pub fn page(
        &mut self,
        question: &Question,
        order: Order,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, ClientError> {
        match self {
            Self::Api(api) => api.page(question, order, after, limit),
            Self::File(file) => file.page(question, order, after, limit),
        }
    }

    /// An event by its id; without a kind the first of [`Kind::ALL`] that has it.
    pub fn event(
        &mut self,
        kind: Option<Kind>,
        id: &str,
    ) -> Result<Option<Box<RawValue>>, ClientError> {
        match self {
            Self::Api(api) => api.event(kind, id),
            Self::File(file) => file.event(kind, id),
        }
    }

    /// What sinks will never deliver, the newest first, so many at most (1 to 1,000): of this sink, or of all.
    pub fn dead_letters(
        &mut self,
        sink: Option<&str>,
        limit: u16,
    ) -> Result<DeadLetters, ClientError> {
        match self {
            Self::Api(api) => api.dead_letters(sink, limit),
            Self::File(file) => file.dead_letters(sink, limit),
        }
    }

    /// What an agent says of itself.
    pub fn status(&mut self) -> Result<Box<RawValue>, ClientError> {
        match self {
            Self::Api(api) => api.status(),
            Self::File(_) => Err(ClientError::NoAgent),
        }
    }

    /// Everything that comes from now on.
    pub fn follow(self, question: Question) -> Result<Follow, ClientError> {
        match self {
            Self::Api(api) => Follow::api(*api, question),
            Self::File(file) => Follow::file(file, question),
        }
    }
}
