//! The stream of events into a store.
//!
//! Reads messages in their order, and while none come asks every few seconds whether that is so; emits rows, and with
//! each commit the place in the stream, in the same transaction: what is cut off goes on there, by a consumer of the
//! server that is made anew. An event that is in the stream twice is stored once, by its kind and id. Refuses
//! messages that are no events of this build's kinds: they are counted, and the first of them is said. Refuses
//! the place of another stream, one that was made again as well: that one is read from its beginning.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    Context,
    consumer::{AckPolicy, Consumer, DeliverPolicy, pull},
    stream::{Info, LastRawMessageErrorKind, Stream},
};
use futures_util::StreamExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::FleetError;
use crate::{
    clock::Now,
    event::Event,
    nats::{Place, streams, subjects_of},
    store::{Delivered, Filter, Retention, Store},
};

/// Messages of one commit, at most.
const AT_ONCE: usize = 512;

/// Where the place in the stream is kept.
const PLACE: &str = "stream";

/// While nothing comes, so often is asked whether there is nothing.
const LOOK: Duration = Duration::from_secs(3);

/// The end of the stream is waited for so long behind the last message.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server drops the consumer of a reader that has been gone so long.
const FORGOTTEN: Duration = Duration::from_mins(1);

/// Clocks of nodes and servers differ by no more than this.
const SKEW_NS: i64 = 3_600_000_000_000;

/// From where on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// Behind this place; without one, or if it is not in the stream: all that it has.
    Behind(Option<Place>),
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
    /// So often the stream was another one than before, and was read from its beginning. What the one before had
    /// and was not read is not known.
    pub anew: u64,
}

/// Reads the stream into a store.
pub struct Mirror {
    store: Store,
    only: Option<Filter>,
    subjects: Vec<String>,
    from: From,
    /// The last message that was heard, also if it could not be stored.
    heard: u64,
    /// Up to here, what the stream had dropped is counted.
    missed_to: u64,
    at_most: Option<u64>,
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
            heard: 0,
            missed_to: 0,
            at_most: None,
            retention: None,
            counts: Counts::default(),
        }
    }

    /// Refuses to read more messages than this at once ([`FleetError::TooMuch`]).
    #[must_use]
    pub const fn at_most(mut self, messages: u64) -> Self {
        self.at_most = Some(messages);
        self
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
        let info = stream.cached_info().clone();
        self.meet(&info);
        let mut end = None;
        if to_the_end {
            end = Some(self.end(&stream).await?);
        }
        let consumer = stream.create_consumer(self.config()?).await;
        let consumer = consumer.map_err(broken)?;
        let pending = consumer.cached_info().num_pending;
        if let Some(most) = self.at_most.filter(|most| pending > *most) {
            return Err(FleetError::TooMuch {
                messages: pending,
                most,
            });
        }
        if pending == 0 {
            told(Heard::Stored { left: 0 }, self.counts);
        }
        let (mut delivered, mut late) = (0, Instant::now() + PATIENCE);
        while end.is_none_or(|end| self.heard < end) {
            let before = delivered;
            self.hear(&consumer, &info, &mut delivered, end, told)
                .await?;
            if delivered > before {
                late = Instant::now() + PATIENCE;
                continue;
            }
            let left = self.look(&stream, &consumer, delivered).await?;
            told(Heard::Stored { left }, self.counts);
            if to_the_end {
                // What was the end may have aged out.
                end = Some(self.end(&stream).await?);
                if Instant::now() >= late {
                    return Err(FleetError::Late);
                }
            }
        }
        Ok(())
    }

    /// Hears what comes within a few seconds.
    async fn hear(
        &mut self,
        consumer: &Consumer<pull::Config>,
        info: &Info,
        delivered: &mut u64,
        end: Option<u64>,
        told: &mut impl FnMut(Heard<'_>, Counts),
    ) -> Result<(), FleetError> {
        let asked = consumer.batch().max_messages(AT_ONCE).expires(LOOK);
        let messages = asked.messages().await.map_err(broken)?;
        let mut messages = messages.ready_chunks(AT_ONCE);
        while let Some(chunk) = messages.next().await {
            let mut batch = Vec::new();
            let (mut place, mut left, mut ended) = (0, u64::MAX, Ok(()));
            for message in chunk {
                let message = match message {
                    Ok(message) => message,
                    Err(error) => {
                        ended = Err(broken(error));
                        break;
                    }
                };
                let of = message.info().map_err(broken)?;
                *delivered += 1;
                if of.consumer_sequence != *delivered {
                    ended = Err(FleetError::Gap);
                    break;
                }
                if of.stream_sequence <= self.number() {
                    continue;
                }
                (place, left) = (of.stream_sequence, of.pending);
                let is_new = place > self.heard;
                self.heard = self.heard.max(place);
                self.counts.read += u64::from(is_new);
                if let Some((event, body)) = self.event(&message.payload, is_new) {
                    if is_new {
                        told(Heard::Event(&event), self.counts);
                    }
                    batch.push((event, body));
                }
            }
            if place > 0 {
                self.keep(&batch, Place::of(info, place))?;
                told(Heard::Stored { left }, self.counts);
            }
            ended?;
            if end.is_some_and(|end| self.heard >= end) {
                break;
            }
        }
        Ok(())
    }

    /// Whether silence is what it seems: the connection, the stream and the consumer are there, and nothing was
    /// lost between. Messages that are left.
    async fn look(
        &self,
        stream: &Stream,
        consumer: &Consumer<pull::Config>,
        delivered: u64,
    ) -> Result<u64, FleetError> {
        let now = stream.get_info().await.map_err(broken)?;
        if !Place::of(stream.cached_info(), 0).is_in(&now) {
            return Err(FleetError::Broken(None));
        }
        let of = consumer.get_info().await.map_err(broken)?;
        if of.delivered.consumer_sequence != delivered {
            return Err(FleetError::Gap);
        }
        Ok(of.num_pending)
    }

    /// Number of the last message that is meant, by the stream's leader; 0: there is none.
    async fn end(&self, stream: &Stream) -> Result<u64, FleetError> {
        let any = subjects_of(None, None, &[]);
        let subjects = match &*self.subjects {
            [] => &any,
            _ => &self.subjects,
        };
        let since = self.since().transpose()?;
        let mut end = 0;
        for subject in subjects {
            match stream.get_last_raw_message_by_subject(subject).await {
                Ok(last) if since.is_some_and(|since| last.time < since) => {}
                Ok(last) => end = end.max(last.sequence),
                Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {}
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(end)
    }

    fn config(&self) -> Result<pull::Config, FleetError> {
        let deliver_policy = match self.since().transpose()? {
            Some(start_time) => DeliverPolicy::ByStartTime { start_time },
            None => match self.number() {
                0 => DeliverPolicy::All,
                number => DeliverPolicy::ByStartSequence {
                    start_sequence: number + 1,
                },
            },
        };
        Ok(pull::Config {
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subjects: self.subjects.clone(),
            inactive_threshold: FORGOTTEN,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        })
    }

    /// What is in the store, by its number in the stream.
    fn number(&self) -> u64 {
        match &self.from {
            From::Behind(place) => place.as_ref().map_or(0, |place| place.number),
            From::Since(_) => 0,
        }
    }

    fn since(&self) -> Option<Result<async_nats::datetime::DateTime, FleetError>> {
        let From::Since(time_ns) = self.from else {
            return None;
        };
        let since = async_nats::datetime::from_nanos(time_ns.saturating_sub(SKEW_NS).into());
        Some(since.map_err(broken))
    }

    /// Compares the stream with our place, and tells what it had dropped behind that.
    fn meet(&mut self, info: &Info) {
        let From::Behind(Some(place)) = &self.from else {
            return;
        };
        if !place.is_in(info) {
            tracing::error!(
                "the stream {} is another one than before, and is read from its beginning: whether all of the one \
                 before had been read is not known",
                info.config.name
            );
            self.counts.anew += 1;
            self.from = From::Behind(None);
            (self.heard, self.missed_to) = (0, 0);
            return;
        }
        // Until a message is stored the place stays, and each new connection meets the same gap.
        let known = place.number.max(self.missed_to);
        let missed = (info.state.first_sequence).saturating_sub(known.saturating_add(1));
        if missed > 0 {
            self.missed_to = known + missed;
            self.counts.missed += missed;
            tracing::error!(
                "up to {missed} messages were dropped from the stream before they were read"
            );
        }
    }

    fn event(&mut self, payload: &[u8], is_new: bool) -> Option<(Arc<Event>, Box<str>)> {
        let text = std::str::from_utf8(payload).ok();
        let event = text.and_then(|text| serde_json::from_str::<Event>(text).ok());
        let (Some(text), Some(event)) = (text, event) else {
            self.counts.unreadable += u64::from(is_new);
            if is_new && self.counts.unreadable == 1 {
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

    fn keep(&mut self, told: &[(Arc<Event>, Box<str>)], place: Place) -> Result<(), FleetError> {
        let delivered = Delivered {
            sink: PLACE.into(),
            database: 0,
            through: i64::try_from(place.number).unwrap_or(i64::MAX),
            state: place.to_string(),
            dead: Vec::new(),
        };
        let done = self.store.take(told, delivered, &Now::read())?;
        self.counts.stored += done.events;
        self.counts.doubles += done.duplicates;
        self.from = From::Behind(Some(place));
        if let Some(retention) = &self.retention {
            self.counts.removed += self.store.tidy(retention, &Now::read())?;
        }
        Ok(())
    }
}

fn broken(error: impl Into<async_nats::Error>) -> FleetError {
    FleetError::Broken(Some(error.into()))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A stream made in this second that has these messages.
    fn stream(made: u8, first: u64, last: u64) -> Info {
        serde_json::from_value(json!({
            "config": {
                "name": "OOM", "retention": "limits", "discard": "old", "storage": "file", "max_consumers": -1,
                "max_msgs": -1, "max_bytes": -1, "max_age": 0, "num_replicas": 1,
            },
            "created": format!("2026-11-21T00:00:{made:02}Z"),
            "state": {
                "messages": last + 1 - first, "bytes": 0, "first_seq": first, "first_ts": "2026-11-21T00:00:00Z",
                "last_seq": last, "last_ts": "2026-11-21T00:00:00Z", "consumer_count": 0,
            },
        }))
        .unwrap()
    }

    #[test]
    fn a_gap_is_counted_once_however_often_it_is_met() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("events.db"), "boot", 0).unwrap();
        let place = Place::of(&stream(1, 1, 9), 9);
        let mut mirror = Mirror::new(store, From::Behind(Some(place)), None, Vec::new());
        for (first, last, missed) in [
            (1, 9, 0),
            (10, 20, 0),
            // 10 to 14 are gone, at each new connection.
            (15, 20, 5),
            (15, 20, 5),
            // And three more.
            (18, 20, 8),
            (18, 25, 8),
        ] {
            mirror.meet(&stream(1, first, last));
            assert_eq!(mirror.counts.missed, missed, "{first} to {last}");
        }
        mirror.keep(&[], Place::of(&stream(1, 18, 25), 22)).unwrap();
        for (first, missed) in [(23, 8), (25, 10), (25, 10)] {
            mirror.meet(&stream(1, first, 30));
            assert_eq!(mirror.counts.missed, missed, "{first}");
        }
        // Of another stream nothing is known.
        mirror.meet(&stream(2, 4, 30));
        assert_eq!((mirror.counts.missed, mirror.counts.anew), (10, 1));
        let other = stream(2, 4, 30);
        mirror.keep(&[], Place::of(&other, 5)).unwrap();
        mirror.meet(&stream(2, 9, 30));
        assert_eq!(mirror.counts.missed, 13);
    }
}
