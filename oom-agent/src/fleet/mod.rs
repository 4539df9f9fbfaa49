//! A fleet as one reads it: the stream of all nodes, in a store of one's own.
//!
//! ```text
//!  stream OOM ────────▶ mirror ─▶ a store ─┬▶ client::File ─▶ fleet events, top, show
//!                         │                └▶ api::Records ─┐
//!                         └▶ watch (live) ─────────────────▶├▶ fleet serve (daemon::fleet)
//!  stream OOM_NODES ──▶ nodes ─────────────────────────────▶┘
//! ```
//! Reads messages in the order of the stream; emits events into a store, once each, in the words of the agent that
//! told them. So all that asks an agent's store asks the fleet's. Refuses nothing in silence: a message that this
//! build does not understand is counted and said.

mod mirror;
mod nodes;

pub use self::{
    mirror::{Counts, From, Heard, Mirror},
    nodes::{Node, Roll, State, nodes},
};
use crate::{nats::LinkError, store::StoreError};

/// Why the fleet cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Servers or files.
    #[error(transparent)]
    Access(#[from] crate::nats::AccessError),
    /// The stream.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The stream has ended, with the connection.
    #[error("the connection to the stream broke")]
    Broken(#[source] Option<async_nats::Error>),
    /// The way from the stream to here lost some of them.
    #[error("messages were lost on their way")]
    Gap,
    /// The stream's end does not come.
    #[error("the stream was not read to its end in time")]
    Late,
    /// More than a command should copy.
    #[error(
        "{messages} messages of the stream would be read, more than {most}: say with --since, --cluster or --node \
         which, or ask `oom-agent fleet serve`"
    )]
    TooMuch {
        /// So many.
        messages: u64,
        /// The most that are.
        most: u64,
    },
    /// What was read cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system refused something.
    #[error("{what}")]
    System {
        /// What was being done.
        what: &'static str,
        /// Why not.
        #[source]
        error: std::io::Error,
    },
}

impl FleetError {
    /// Whether to try again later may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Link(error) => !matches!(error, LinkError::NoStream(_)),
            Self::Broken(_) | Self::Gap | Self::Late => true,
            Self::Store(error) => error.is_passing(),
            Self::Access(_) | Self::TooMuch { .. } | Self::System { .. } => false,
        }
    }
}
