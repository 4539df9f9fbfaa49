//! Kills as events of Kubernetes: on the pod that a process died in, and on the node that ran out of memory.
//!
//! ```text
//!  deliver ─ reports ─▶ post (what to tell) ─▶ book (series, what is due) ─▶ api (requests) ─▶ API server
//! ```
//! Reads reports (`OomInstance`: they alone tell scope and limit) from the store, by [`crate::deliver`]; emits
//! events of `events.k8s.io/v1`. The first kill is told at once, more kills of the same container within ten
//! minutes as a series of that event: a thousand of them are a few requests. Names of events are made of the
//! ids of kills, so that nothing is there twice, whatever is cut off. Refuses pods of which only the uid is
//! known, and names that Kubernetes would not take: a container's files are not to choose paths in requests.

mod api;
mod book;
mod bucket;
mod credentials;
mod name;
mod note;
mod post;
mod sink;

use std::path::PathBuf;

pub use self::{
    credentials::{Credentials, CredentialsError},
    sink::Events,
};

/// Where the API server is found.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// A kubeconfig; `None`: that of the pod that the agent runs in.
    pub kubeconfig: Option<PathBuf>,
}
