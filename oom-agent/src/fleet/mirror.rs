//! The stream of events into a store.
//!
//! Reads messages through an ordered consumer, which notices what is missing and asks again; emits rows, and with
//! each commit the place in the stream, in the same transaction: what is cut off goes on there. An event that is in
//! the stream twice is stored once, by its kind and id. Refuses messages that are no events of this build's kinds:
//! they are counted, and the first of them is said.

use std::sync::Arc;

use async_nats::jetstream::{
    Context,
    consumer::{DeliverPolicy, pull::OrderedConfig},
};
use futures_util::StreamExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FleetError;
use crate::{
    clock::Now,
    event::Event,
    nats::streams,
    store::{Delivered, Filter, Retention, Store},
};

/// Messages of one commit, at most.
const AT_ONCE: usize = 512;

/// Where the place in the stream is kept.
const PLACE: &str = "stream";

/// Clocks of nodes and servers differ by no more than this.
const SKEW_NS: i64 = 3_600_000_000_000;

/// From where on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Behind this number of the stream; 0: all that it has.
    Behind(u64),
    /// What happened since this time: Unix time in nanoseconds. Read from an hour before, for clocks differ.
    Since(i64),
}

/// What has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Messages.
    pub read: u64,
    /// Events that are stored now.
    pub stored: u64,
    /// Events that were stored already.
    pub doubles: u64,
    /// Messages that this build does not understand.
    pub unreadable: u64,
    /// Messages that the stream had dropped before they were read, at the most.
    pub missed: u64,
    /// Events that retention has removed.
    pub removed: u64,
}

/// Reads the stream into a store.
pub struct Mirror {
    store: Store,
    only: Option<Filter>,
    subjects: Vec<String>,
    from: From,
    retention: Option<Retention>,
    counts: Counts,
}

impl Mirror {
    /// Into this store. Only what the filter means, if there is one; of these subjects, all if there are none.
    #[must_use]
    pub fn new(store: Store, from: From, only: Option<Filter>, subjects: Vec<String>) -> Self {
        Self {
            store,
            only,
            subjects,
            from,
            retention: None,
            counts: Counts::default(),
        }
    }

    /// Keeps no more than this.
    #[must_use]
    pub const fn retaining(mut self, retention: Retention) -> Self {
        self.retention = Some(retention);
        self
    }

    /// What has been read so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The store.
    pub const fn store(&mut self) -> &mut Store {
        &mut self.store
    }

    /// Name under which the place in the stream is kept in the store ([`crate::store::Reader::delivered`]).
    #[must_use]
    pub const fn place() -> &'static str {
        PLACE
    }

    /// Reads up to what is the end of the stream now.
    pub async fn catch_up(&mut self, context: &Context, stream: &str) -> Result<(), FleetError> {
        self.read(context, stream, true, &mut |_, _| {}).await
    }

    /// Reads on until the connection breaks. `told` has each event before it is stored, and once more the counts
    /// when it is.
    pub async fn follow(
        &mut self,
        context: &Context,
        stream: &str,
        told: &mut impl FnMut(Heard<'_>, Counts),
    ) -> Result<(), FleetError> {
        self.read(context, stream, false, told).await
    }

    async fn read(
        &mut self,
        context: &Context,
        name: &str,
        to_the_end: bool,
        told: &mut impl FnMut(Heard<'_>, Counts),
    ) -> Result<(), FleetError> {
        let stream = streams::open(context, name).await?;
        let state = &stream.cached_info().state;
        let last = state.last_sequence;
        self.miss(state.first_sequence, last);
        let config = OrderedConfig {
            deliver_policy: self.policy()?,
            filter_subjects: self.subjects.clone(),
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(|error| FleetError::Broken(Some(error.into())))?;
        if consumer.cached_info().num_pending == 0 {
            told(Heard::Stored { left: 0 }, self.counts);
            if to_the_end {
                return Ok(());
            }
        }
        let messages = consumer.messages().await;
        let messages = messages.map_err(|error| FleetError::Broken(Some(error.into())))?;
        let mut messages = messages.ready_chunks(AT_ONCE);
        while let Some(chunk) = messages.next().await {
            let mut batch = Vec::new();
            let (mut place, mut pending, mut broken) = (0, u64::MAX, None);
            for message in chunk {
                let message = match message {
                    Ok(message) => message,
                    Err(error) => {
                        broken = Some(FleetError::Broken(Some(error.into())));
                        break;
                    }
                };
                let info = message.info();
                let info = info.map_err(|error| FleetError::Broken(Some(error)))?;
                (place, pending) = (info.stream_sequence, info.pending);
                self.counts.read += 1;
                if let Some((event, body)) = self.event(&message.payload) {
                    told(Heard::Event(&event), self.counts);
                    batch.push((event, body));
                }
            }
            self.keep(&batch, place, name)?;
            told(Heard::Stored { left: pending }, self.counts);
            if let Some(broken) = broken {
                return Err(broken);
            }
            if to_the_end && (pending == 0 || place >= last) {
                return Ok(());
            }
        }
        Err(FleetError::Broken(None))
    }

    fn policy(&self) -> Result<DeliverPolicy, FleetError> {
        Ok(match self.from {
            From::Behind(0) => DeliverPolicy::All,
            From::Behind(place) => DeliverPolicy::ByStartSequence {
                start_sequence: place + 1,
            },
            From::Since(time_ns) => DeliverPolicy::ByStartTime {
                start_time: async_nats::datetime::from_nanos(
                    time_ns.saturating_sub(SKEW_NS).into(),
                )
                .map_err(|error| FleetError::Broken(Some(error)))?,
            },
        })
    }

    /// What the stream had dropped behind our place.
    fn miss(&mut self, first: u64, last: u64) {
        let From::Behind(place) = self.from else {
            return;
        };
        if place > last {
            tracing::warn!(
                "the stream has been begun anew: its last message is {last}, and {place} had been read"
            );
            self.from = From::Behind(0);
            return;
        }
        let missed = first.saturating_sub(place + 1);
        if place > 0 && missed > 0 {
            self.counts.missed += missed;
            tracing::error!(
                "up to {missed} messages were dropped from the stream before they were read"
            );
        }
    }

    fn event(&mut self, payload: &[u8]) -> Option<(Arc<Event>, Box<str>)> {
        let text = std::str::from_utf8(payload).ok();
        let event = text.and_then(|text| serde_json::from_str::<Event>(text).ok());
        let (Some(text), Some(event)) = (text, event) else {
            self.counts.unreadable += 1;
            if self.counts.unreadable == 1 {
                tracing::warn!(
                    "there are messages that this version does not understand, such as one of {} bytes; they are \
                     counted, and left out",
                    payload.len()
                );
            }
            return None;
        };
        let is_meant = self.only.as_ref().is_none_or(|only| only.matches(&event));
        is_meant.then(|| (Arc::new(event), text.into()))
    }

    fn keep(
        &mut self,
        told: &[(Arc<Event>, Box<str>)],
        place: u64,
        stream: &str,
    ) -> Result<(), FleetError> {
        if place == 0 {
            return Ok(());
        }
        let delivered = Delivered {
            sink: PLACE.into(),
            database: 0,
            through: i64::try_from(place).unwrap_or(i64::MAX),
            state: stream.to_owned(),
            dead: Vec::new(),
        };
        let done = self.store.take(told, delivered, &Now::read())?;
        self.counts.stored += done.events;
        self.counts.doubles += done.duplicates;
        self.from = From::Behind(place);
        if let Some(retention) = &self.retention {
            self.counts.removed += self.store.tidy(retention, &Now::read())?;
        }
        Ok(())
    }
}

/// What is heard of the stream.
#[derive(Clone, Copy, Debug)]
pub enum Heard<'a> {
    /// An event, which will be stored next.
    Event(&'a Arc<Event>),
    /// All that was heard is stored; the stream has so many more messages.
    Stored {
        /// How many.
        left: u64,
    },
}
