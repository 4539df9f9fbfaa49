//! The common case of a sink: requests that carry some events each, and an answer to each request.
//!
//! Takes a [`Post`], which knows how an event is told and what an answer means; emits a [`Sink`]. What a request
//! is refused for is found by telling its events one by one. An event that the other end does not take, while it
//! takes another that came later, is given up: it holds up nothing. As long as nothing is taken it is the other end's
//! trouble, and everything waits. Refuses to guess which it is.

use std::{collections::BTreeMap, time::Duration};

use super::{Batch, Outcome, Sink, Trouble};
use crate::store::{DeadLetter, Filter, Stored};

/// Tries before it is looked whether an event alone is not taken.
const TRIES: u32 = 5;

/// Events behind it that are tried then.
const PROBES: usize = 8;

/// Somebody to whom events are posted.
pub trait Post: Send + 'static {
    /// How an event is told.
    type Letter: Send + Sync;

    /// As [`Sink::name`].
    fn name(&self) -> &'static str;

    /// As [`Sink::filter`].
    fn filter(&self) -> Filter;

    /// What goes into one request.
    fn most(&self) -> Most;

    /// How this event is told, and how many bytes that takes; or why it cannot be.
    fn write(&self, event: &Stored) -> Result<(Self::Letter, usize), String>;

    /// Makes a request; never an empty one. May be cut off at any `await`.
    fn post(&mut self, letters: &[&Self::Letter]) -> impl Future<Output = Answer> + Send;

    /// Does what is to be done beside the events, after each pass; says when there is more of it.
    fn beside(&mut self) -> impl Future<Output = Beside> + Send {
        async { Beside::default() }
    }
}

/// Bounds of one request. One event is always sent, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Most {
    /// So many events.
    pub events: usize,
    /// So many bytes of them.
    pub bytes: usize,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// All of it was taken.
    Taken,
    /// All but so many events, for ever. Which they are nobody knows.
    TakenBut(u64, String),
    /// It never will be.
    Refused(String),
    /// It was not taken, for a reason that others may not have.
    Denied(Trouble),
    /// Nothing is taken now.
    Again(Trouble),
}

/// What came of what is done beside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Tries that failed.
    pub failed: u64,
    /// To be called again after this.
    pub again: Option<Duration>,
}

/// The sink.
#[derive(Debug)]
pub struct Posts<P> {
    post: P,
    /// How often events were denied, by their numbers.
    denied: BTreeMap<i64, u32>,
}

/// A letter with what it is of.
struct Sealed<'a, L> {
    event: &'a Stored,
    letter: L,
    bytes: usize,
}

impl<P: Post> Posts<P> {
    /// Delivers by it.
    #[must_use]
    pub const fn new(post: P) -> Self {
        Self {
            post,
            denied: BTreeMap::new(),
        }
    }

    /// How many of these go into the next request.
    fn fitting(&self, letters: &[Sealed<'_, P::Letter>], alone_through: i64) -> usize {
        let most = self.post.most();
        let is_alone = |it: &Sealed<'_, P::Letter>| {
            it.event.seq <= alone_through || self.denied.contains_key(&it.event.seq)
        };
        let mut bytes = 0;
        let fit = letters.iter().take(most.events).take_while(|it| {
            bytes += it.bytes;
            bytes <= most.bytes && !is_alone(it)
        });
        fit.count().max(1)
    }

    /// Posts what there is; the trouble that ended it.
    async fn tell(
        &mut self,
        letters: &[Sealed<'_, P::Letter>],
        outcome: &mut Outcome,
    ) -> Option<(i64, Trouble)> {
        // Denied often enough, and nothing was taken behind them yet.
        let mut suspects: Vec<(DeadLetter, Trouble)> = Vec::new();
        let mut at = 0;
        let mut alone_through = 0;
        while at < letters.len() {
            let count = self.fitting(&letters[at..], alone_through);
            let request = &letters[at..at + count];
            let (first, last) = (request[0].event, request[count - 1].event);
            let contents: Vec<_> = request.iter().map(|it| &it.letter).collect();
            let number = u64::try_from(count).unwrap_or(u64::MAX);
            match self.post.post(&contents).await {
                Answer::Taken => outcome.delivered += number,
                Answer::TakenBut(refused, why) => {
                    outcome.delivered += number.saturating_sub(refused);
                    outcome
                        .refused
                        .push(self.dead(first, refused.min(number), why));
                }
                Answer::Refused(_) | Answer::Denied(_) if count > 1 => {
                    outcome.failed += 1;
                    alone_through = last.seq;
                    continue;
                }
                Answer::Refused(why) => outcome.refused.push(self.dead(first, 1, why)),
                Answer::Denied(trouble) => {
                    let tries = self.denied.entry(first.seq).or_default();
                    *tries = tries.saturating_add(1);
                    if *tries >= TRIES && suspects.len() < PROBES {
                        let dead = self.dead(first, 1, trouble.why.clone());
                        suspects.push((dead, trouble));
                        at += 1;
                        continue;
                    }
                    return Some(oldest(&suspects, first.seq, trouble));
                }
                Answer::Again(trouble) => return Some(oldest(&suspects, first.seq, trouble)),
            }
            // The other end answers others: it was those.
            outcome
                .refused
                .extend(suspects.drain(..).map(|(dead, _)| dead));
            at += count;
        }
        let first = suspects.into_iter().next()?;
        Some((first.0.seq, first.1))
    }

    fn dead(&self, event: &Stored, count: u64, why: String) -> DeadLetter {
        let denied = self.denied.get(&event.seq).copied().unwrap_or_default();
        DeadLetter {
            seq: event.seq,
            thing: event.id.clone(),
            count,
            tries: denied.max(1),
            why,
        }
    }
}

/// Where to go on: with the first that was not taken.
fn oldest(suspects: &[(DeadLetter, Trouble)], seq: i64, trouble: Trouble) -> (i64, Trouble) {
    let first = suspects.first().map_or(seq, |(dead, _)| dead.seq);
    (first, trouble)
}

impl<P: Post> Sink for Posts<P> {
    fn name(&self) -> &'static str {
        self.post.name()
    }

    fn filter(&self) -> Filter {
        self.post.filter()
    }

    fn resume(&mut self, _: &str) {
        self.denied.clear();
    }

    async fn deliver(&mut self, batch: Batch<'_>) -> Outcome {
        let mut outcome = Outcome::all(&batch, 0);
        let mut letters = Vec::with_capacity(batch.events.len());
        for event in batch.events {
            match self.post.write(event) {
                Ok((letter, bytes)) => letters.push(Sealed {
                    event,
                    letter,
                    bytes,
                }),
                Err(why) => outcome.refused.push(DeadLetter {
                    tries: 0,
                    ..self.dead(event, 1, why)
                }),
            }
        }
        if let Some((seq, trouble)) = self.tell(&letters, &mut outcome).await {
            outcome.read = seq - 1;
            outcome.done = seq - 1;
            outcome.trouble = Some(trouble);
            // What is behind it is handed over again, and told then.
            outcome.refused.retain(|it| it.seq < seq);
        }
        self.denied = self.denied.split_off(&(outcome.done + 1));
        let beside = self.post.beside().await;
        outcome.failed += beside.failed;
        outcome.again = beside.again;
        outcome
    }
}

#[cfg(test)]
#[path = "post_tests.rs"]
mod tests;
