//! The sink: batches into the stream, in their order, and signs of life beside them.
//!
//! Takes batches of [`crate::deliver`]; emits messages, and waits for the acknowledgement of each. The cursor never
//! passes what is not acknowledged. A sign of life that is not taken is told by the next one, and delays no event.
//! Refuses an event that is larger than the server takes.
//!
//! What a cut connection or a crash leaves open is looked up: behind the last message that is known to have
//! arrived with all before it (`sure`, kept with the cursor), the stream is asked what it has of this node. A batch
//! is sent only when all of the one before has arrived, so what is there with holes in it is within one batch.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::Instant};

use super::{
    access::{Access, IN_FLIGHT},
    heartbeat::Heartbeat,
    link::{Link, LinkError, Placed, Publication, is_too_large},
    place::Place,
    subject::{of_event, of_heartbeat, of_node},
};
use crate::{
    deliver::{Batch, Outcome, Sink, Trouble},
    error::chain,
    store::{DeadLetter, Filter, Stored},
};

/// Clocks of nodes and servers differ by no more than this.
const SKEW_NS: i64 = 3_600_000_000_000;

/// Until the agent has something to tell of itself.
const SOON: Duration = Duration::from_secs(1);

/// Tells how the agent is; true: it is about to end. `None`: not yet.
pub type How = Arc<dyn Fn(bool) -> Option<Heartbeat> + Send + Sync>;

/// Publishes events. In its units one is an event.
pub struct Events {
    access: Access,
    cluster: String,
    node: String,
    how: How,
    period: Duration,
    /// The next heartbeat.
    due: Instant,
    /// The last one, until it is known what came of it: no event waits for that.
    beat: Option<JoinHandle<Result<(), String>>>,
    /// Why the last one of which that is known was not taken.
    silent: Option<String>,
    link: Option<Link>,
    /// Up to this number of the stream, all that was published is known to be in it.
    sure: Option<Place>,
    /// Ids of what is there behind that. `None`: not looked yet, over this connection.
    placed: Option<HashSet<String>>,
    /// Events in a row that were not among them.
    misses: usize,
}

impl Events {
    /// For this node of this cluster.
    #[must_use]
    pub fn new(access: Access, cluster: &str, node: &str, period: Duration, how: How) -> Self {
        Self {
            access,
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            how,
            period,
            due: Instant::now(),
            beat: None,
            silent: None,
            link: None,
            sure: None,
            placed: None,
            misses: 0,
        }
    }

    async fn tell(&mut self, batch: &Batch<'_>, outcome: &mut Outcome) -> Result<(), Trouble> {
        let link = match self.link.take() {
            Some(link) => link,
            None => self.connect().await?,
        };
        if !batch.events.is_empty() {
            self.publish(&link, batch, outcome).await?;
        }
        (outcome.read, outcome.done) = (batch.through, batch.through);
        if batch.last || self.due <= Instant::now() {
            self.live(&link, batch.last);
        }
        if batch.last {
            self.hear(outcome).await;
        }
        // What is cut off, or fails, takes the connection with it; but not a sign of life that is not taken.
        self.link = Some(link);
        Ok(())
    }

    async fn connect(&mut self) -> Result<Link, Trouble> {
        self.placed = None;
        let name = format!("oom-agent {}", self.node);
        Link::open(&self.access, &name).await.map_err(trouble)
    }

    /// What the stream has of it already.
    async fn look(&mut self, link: &Link, first: &Stored) -> Result<HashSet<String>, Trouble> {
        if let Some(placed) = self.placed.take() {
            return Ok(placed);
        }
        if let Some(sure) = &self.sure
            && !sure.is_in(link.info())
        {
            tracing::warn!(
                "the stream is another one than before: what it has of this node is looked up"
            );
            self.sure = None;
        }
        let from = match &self.sure {
            Some(sure) => Placed::Behind(sure.number),
            None => Placed::Since(first.time_ns.saturating_sub(SKEW_NS)),
        };
        let subject = of_node(&self.cluster, &self.node);
        self.misses = 0;
        link.placed(&subject, from).await.map_err(trouble)
    }

    async fn publish(
        &mut self,
        link: &Link,
        batch: &Batch<'_>,
        outcome: &mut Outcome,
    ) -> Result<(), Trouble> {
        let mut placed = self.look(link, &batch.events[0]).await?;
        let mut sent = Vec::with_capacity(batch.events.len());
        for stored in batch.events {
            let id = stored.uid();
            if placed.contains(&id) {
                self.misses = 0;
                sent.push((stored, None));
                continue;
            }
            self.misses += 1;
            let publication = Publication {
                subject: of_event(&self.cluster, &self.node, stored.kind),
                id,
                body: stored.body.clone(),
            };
            match link.publish(publication).await {
                Ok(ack) => sent.push((stored, Some(ack))),
                Err(error) if is_too_large(&error) => outcome.refused.push(refusal(stored, &error)),
                Err(error) => return Err(failed(&error)),
            }
        }
        let sure = self.sure.as_ref().map_or(0, |sure| sure.number);
        let mut last = sure;
        for (stored, ack) in sent {
            if let Some(ack) = ack {
                match ack.await {
                    // Removed and made again over this connection; the next one looks anew.
                    Ok(ack) if ack.sequence <= sure && !ack.duplicate => {
                        return Err(Trouble {
                            why: "the stream has been begun anew".to_owned(),
                            retry_after: None,
                        });
                    }
                    Ok(ack) => last = last.max(ack.sequence),
                    Err(error) if is_too_large(&error) => {
                        outcome.refused.push(refusal(stored, &error));
                        continue;
                    }
                    Err(error) => return Err(failed(&error)),
                }
            }
            outcome.delivered += 1;
            (outcome.read, outcome.done) = (stored.seq, stored.seq);
        }
        if self.misses >= IN_FLIGHT {
            placed.clear();
        }
        if placed.is_empty() {
            self.sure = (last > 0).then(|| Place::of(link.info(), last));
        }
        self.placed = Some(placed);
        Ok(())
    }

    /// Says that the node lives, and how.
    fn live(&mut self, link: &Link, last: bool) {
        let now = Instant::now();
        self.due = now + self.period;
        if self.beat.is_some() && !last {
            return;
        }
        let Some(heartbeat) = (self.how)(last) else {
            self.due = now + SOON;
            return;
        };
        let context = link.context().clone();
        let subject = of_heartbeat(&self.cluster, &self.node);
        self.beat = Some(tokio::spawn(async move {
            let text = serde_json::to_string(&heartbeat).map_err(|error| chain(&error))?;
            let sent = context.publish(subject, text.into()).await;
            let sent = sent.map_err(|error| chain(&error))?;
            sent.await.map(drop).map_err(|error| chain(&error))
        }));
    }

    /// Waits for what came of it, and says so when that is another thing than before.
    async fn hear(&mut self, outcome: &mut Outcome) {
        let Some(beat) = self.beat.take() else {
            return;
        };
        let heard = beat.await.unwrap_or_else(|error| Err(chain(&error)));
        let silent = heard.err();
        match &silent {
            Some(why) if self.silent != silent => {
                tracing::warn!("nats: heartbeat: {why}; told again in {:?}", self.period);
            }
            None if self.silent.is_some() => tracing::info!("nats: heartbeats go on"),
            _ => {}
        }
        outcome.failed += u64::from(silent.is_some());
        if silent.is_some() && self.link.as_ref().is_some_and(|it| !it.is_connected()) {
            self.link = None;
            self.due = Instant::now();
        }
        self.silent = silent;
    }
}

fn refusal(stored: &Stored, error: &async_nats::jetstream::context::PublishError) -> DeadLetter {
    DeadLetter {
        seq: stored.seq,
        thing: stored.uid(),
        count: 1,
        tries: 1,
        why: chain(error),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn trouble(error: LinkError) -> Trouble {
    Trouble {
        why: chain(&error),
        retry_after: None,
    }
}

fn failed(error: &async_nats::jetstream::context::PublishError) -> Trouble {
    Trouble {
        why: chain(error),
        retry_after: None,
    }
}

impl Sink for Events {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn filter(&self) -> Filter {
        Filter::default()
    }

    fn at_most(&self) -> usize {
        IN_FLIGHT
    }

    fn resume(&mut self, state: &str) {
        self.sure = state.parse().ok();
        self.placed = None;
    }

    async fn deliver(&mut self, batch: Batch<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        if self.beat.as_ref().is_some_and(JoinHandle::is_finished) {
            self.hear(&mut outcome).await;
        }
        let is_due = batch.last || self.due <= Instant::now();
        if batch.events.is_empty() && !is_due {
            (outcome.read, outcome.done) = (batch.through, batch.through);
        } else {
            outcome.trouble = self.tell(&batch, &mut outcome).await.err();
            if outcome.trouble.is_some() {
                // What is told again is refused again.
                let done = outcome.done;
                outcome.refused.retain(|it| it.seq <= done);
            }
        }
        outcome.again = Some(self.due.saturating_duration_since(Instant::now()));
        outcome.state = (self.sure.as_ref()).map_or_else(String::new, Place::to_string);
        outcome
    }
}
