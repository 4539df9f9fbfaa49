//! One connection, and what has arrived over earlier ones.
//!
//! Reads the stream's answers; emits messages, and the ids of those that are there. Refuses a stream that is not
//! there: it is made by `oom-agent fleet init`, not by each of a thousand agents.

use std::{collections::HashSet, time::Duration};

use async_nats::{
    ConnectError,
    connection::State,
    header::HeaderName,
    jetstream::{
        Context, ErrorCode,
        consumer::{AckPolicy, DeliverPolicy, pull},
        context::{GetStreamErrorKind, PublishAckFuture, PublishError},
        message::PublishMessage,
        stream::{Info, LastRawMessageErrorKind, Stream},
    },
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout_at};

use super::access::{Access, PATIENCE};
use crate::event::SCHEMA;

/// In each message: the version of the event's form.
const SCHEMA_HEADER: &str = "Oom-Schema";

/// The server's header for ids: it takes no second message of the same id within the stream's window
/// (<https://docs.nats.io/nats-concepts/jetstream/headers>).
const ID_HEADER: &str = "Nats-Msg-Id";

/// Messages that are asked for at once; only their headers come.
const LOOKED_AT: usize = 1000;

/// How long all of them may take.
const LOOK_AT_MOST: Duration = Duration::from_secs(30);

/// A connection, and the stream of events.
#[derive(Debug)]
pub struct Link {
    context: Context,
    stream: Stream,
}

/// From where on one looks for what has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// Behind this number of the stream.
    Behind(u64),
    /// From this time on, by the server's clock: Unix time in nanoseconds.
    Since(i64),
}

/// A message.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Where.
    pub subject: String,
    /// What makes it the same message as another.
    pub id: String,
    /// The event.
    pub body: String,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No server.
    #[error("cannot connect")]
    Connect(#[from] ConnectError),
    /// No stream.
    #[error("there is no stream {0:?} on these servers: `oom-agent fleet init` makes it")]
    NoStream(String),
    /// The server has no answer, or another one than was expected.
    #[error("{what}")]
    Asked {
        /// What was being done.
        what: &'static str,
        /// Why not.
        #[source]
        why: async_nats::Error,
    },
    /// It takes too long.
    #[error("what has arrived before cannot be read in time")]
    Late,
}

/// Makes an error of this being done.
pub(super) fn asked<E: Into<async_nats::Error>>(what: &'static str) -> impl FnOnce(E) -> LinkError {
    move |why| LinkError::Asked {
        what,
        why: why.into(),
    }
}

impl Link {
    /// Connects, and looks whether the stream is there.
    pub async fn open(access: &Access, name: &str) -> Result<Self, LinkError> {
        let context = access.connect(name).await?;
        let stream = stream(&context, access.stream()).await?;
        Ok(Self { context, stream })
    }

    /// The connection.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Whether it still stands.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.context.client().connection_state() == State::Connected
    }

    /// The stream, as it was when this was opened.
    #[must_use]
    pub fn info(&self) -> &Info {
        self.stream.cached_info()
    }

    /// Ids of messages of this subject that the stream has from there on. The last of them is asked of the
    /// stream's leader, who knows all that was acknowledged; the others come from wherever they come soonest.
    pub async fn placed(&self, subject: &str, from: Placed) -> Result<HashSet<String>, LinkError> {
        let last = self.stream.get_last_raw_message_by_subject(subject).await;
        let last = match last {
            Ok(last) => last.sequence,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                return Ok(HashSet::new());
            }
            Err(error) => return Err(asked("cannot read the last message of this node")(error)),
        };
        let deliver_policy = match from {
            Placed::Behind(number) if last <= number => return Ok(HashSet::new()),
            Placed::Behind(number) => DeliverPolicy::ByStartSequence {
                start_sequence: number + 1,
            },
            Placed::Since(time_ns) => DeliverPolicy::ByStartTime {
                start_time: async_nats::datetime::from_nanos(time_ns.into())
                    .map_err(asked("cannot tell a time"))?,
            },
        };
        self.ids(subject, deliver_policy, last).await
    }

    async fn ids(
        &self,
        subject: &str,
        deliver_policy: DeliverPolicy,
        last: u64,
    ) -> Result<HashSet<String>, LinkError> {
        let what = "cannot read what has arrived before";
        let end = Instant::now() + LOOK_AT_MOST;
        let config = pull::Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subject: subject.to_owned(),
            headers_only: true,
            inactive_threshold: LOOK_AT_MOST,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let consumer = self.stream.create_consumer(config).await;
        let consumer = consumer.map_err(asked(what))?;
        let mut ids = HashSet::new();
        loop {
            let batch = consumer.batch().max_messages(LOOKED_AT);
            let batch = batch.expires(PATIENCE / 5).messages().await;
            let mut batch = batch.map_err(asked(what))?;
            loop {
                let message = timeout_at(end, batch.next()).await;
                let Some(message) = message.map_err(|_| LinkError::Late)? else {
                    break;
                };
                let message = message.map_err(asked(what))?;
                let id = message.headers.as_ref().and_then(|it| it.get(ID_HEADER));
                ids.extend(id.map(|id| id.as_str().to_owned()));
                let at = message.info().map_err(asked(what))?.stream_sequence;
                if at >= last {
                    return Ok(ids);
                }
            }
            // Whoever answers is behind the leader, or what there was has aged out meanwhile.
            if Instant::now() >= end {
                return Err(LinkError::Late);
            }
        }
    }

    /// Sends a message; what comes of it is told by the future.
    pub async fn publish(
        &self,
        publication: Publication,
    ) -> Result<PublishAckFuture, PublishError> {
        let Publication { subject, id, body } = publication;
        let message = PublishMessage::build()
            .payload(Bytes::from(body))
            .message_id(id)
            .expected_stream(&self.stream.cached_info().config.name)
            .header(HeaderName::from_static("Content-Type"), "application/json")
            .header(
                HeaderName::from_static(SCHEMA_HEADER),
                SCHEMA.to_string().as_str(),
            );
        self.context.send_publish(subject, message).await
    }
}

/// The stream of this name.
pub(super) async fn stream(context: &Context, name: &str) -> Result<Stream, LinkError> {
    let found = context.get_stream(name).await;
    found.map_err(|error| match error.kind() {
        GetStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            LinkError::NoStream(name.to_owned())
        }
        _ => asked("cannot ask for the stream")(error),
    })
}

/// Whether this message, and no other, is at fault: it is too large.
pub(super) fn is_too_large(error: &PublishError) -> bool {
    use async_nats::jetstream::context::PublishErrorKind::{MaxPayloadExceeded, Other};
    match error.kind() {
        MaxPayloadExceeded => true,
        Other => {
            let source = std::error::Error::source(error);
            let refused = source.and_then(|it| it.downcast_ref::<async_nats::jetstream::Error>());
            let code = refused.map(async_nats::jetstream::Error::error_code);
            code == Some(ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)
        }
        _ => false,
    }
}
