//! The common case of a sink: requests that carry some events each, and an answer to each request.
//!
//! Takes a [`Post`], which knows how an event is told and what an answer means; emits a [`Sink`]. What a request
//! is refused for is found by telling its events one by one. An event that the other end does not take, and again
//! does not when it has taken another that came later, is given up: it holds up nothing. As long as nothing is taken
//! it is the other end's trouble, and everything waits. Refuses to guess which it is.

use std::{collections::BTreeMap, mem, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Batch, Outcome, Sink, Trouble};
use crate::store::{DeadLetter, Filter, Stored};

/// Tries before it is looked whether an event alone is not taken.
const TRIES: u32 = 5;

/// Events behind it that are tried then.
const PROBES: usize = 15;

/// When one of those was taken, the others are posted again, so often before they are given up: behind one address
/// may be several ends, of which some are well.
const ROUNDS: u32 = 5;

/// Before the first of these rounds; twice as long before each other.
const PAUSE: Duration = Duration::from_millis(100);

/// An end that took something so lately is set up as it should be: what it refuses, it refuses.
const LATELY: Duration = Duration::from_mins(10);

/// Events that are handed over at once, at least: what an end of the agent amidst them tells twice.
const AT_ONCE: usize = 16;

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
    /// It never will be; if nothing was taken lately, as [`Answer::Denied`].
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
    /// When something was taken.
    taken: Option<Instant>,
    /// [`PAUSE`].
    pause: Duration,
}

/// A letter with what it is of.
struct Sealed<'a, L> {
    event: &'a Stored,
    letter: L,
    bytes: usize,
}

/// An event that was denied often enough, as nothing behind it was taken yet.
struct Suspect<'a, L> {
    sealed: &'a Sealed<'a, L>,
    trouble: Trouble,
}

impl<P: Post> Posts<P> {
    /// Delivers by it.
    #[must_use]
    pub const fn new(post: P) -> Self {
        Self {
            post,
            denied: BTreeMap::new(),
            taken: None,
            pause: PAUSE,
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
        let mut suspects = Vec::new();
        let mut at = 0;
        let mut alone_through = 0;
        while at < letters.len() {
            let count = self.fitting(&letters[at..], alone_through);
            let request = &letters[at..at + count];
            let (first, last) = (request[0].event, request[count - 1].event);
            let contents: Vec<_> = request.iter().map(|it| &it.letter).collect();
            let number = u64::try_from(count).unwrap_or(u64::MAX);
            match self.ask(&contents).await {
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
                    let tries = self.deny(first.seq);
                    if tries >= TRIES && suspects.len() < PROBES {
                        suspects.push(Suspect {
                            sealed: &request[0],
                            trouble,
                        });
                        at += 1;
                        continue;
                    }
                    return Some(oldest(&suspects, first.seq, trouble));
                }
                Answer::Again(trouble) => return Some(oldest(&suspects, first.seq, trouble)),
            }
            // The other end answers others.
            let waiting = self.confront(mem::take(&mut suspects), outcome).await;
            if waiting.is_some() {
                return waiting;
            }
            at += count;
        }
        let first = suspects.into_iter().next()?;
        Some((first.sealed.event.seq, first.trouble))
    }

    /// Posts these again, one by one, several times. What is denied to the last is given up; the first that found
    /// nobody then waits.
    async fn confront(
        &mut self,
        mut suspects: Vec<Suspect<'_, P::Letter>>,
        outcome: &mut Outcome,
    ) -> Option<(i64, Trouble)> {
        let mut away = BTreeMap::new();
        for round in 0..ROUNDS {
            if suspects.is_empty() {
                break;
            }
            sleep(self.pause * (1 << round)).await;
            away.clear();
            for suspect in mem::take(&mut suspects) {
                let event = suspect.sealed.event;
                let why = match self.ask(&[&suspect.sealed.letter]).await {
                    Answer::Taken => {
                        outcome.delivered += 1;
                        continue;
                    }
                    Answer::TakenBut(_, why) | Answer::Refused(why) => {
                        outcome.refused.push(self.dead(event, 1, why));
                        continue;
                    }
                    Answer::Again(trouble) => {
                        away.insert(event.seq, trouble);
                        suspects.push(suspect);
                        continue;
                    }
                    Answer::Denied(trouble) => trouble,
                };
                self.deny(event.seq);
                outcome.failed += 1;
                suspects.push(Suspect {
                    trouble: why,
                    ..suspect
                });
            }
        }
        for Suspect { sealed, trouble } in suspects {
            if !away.contains_key(&sealed.event.seq) {
                let dead = self.dead(sealed.event, 1, trouble.why);
                outcome.refused.push(dead);
            }
        }
        away.into_iter().next()
    }

    /// Posts this. Who has taken nothing lately may refuse all, for a reason that is no event's.
    async fn ask(&mut self, letters: &[&P::Letter]) -> Answer {
        let answer = self.post.post(letters).await;
        match answer {
            Answer::Taken | Answer::TakenBut(..) => self.taken = Some(Instant::now()),
            Answer::Refused(why) if self.taken.is_none_or(|at| at.elapsed() > LATELY) => {
                return Answer::Denied(Trouble {
                    why,
                    retry_after: None,
                });
            }
            _ => {}
        }
        answer
    }

    /// Counts a try; how many there were.
    fn deny(&mut self, seq: i64) -> u32 {
        let tries = self.denied.entry(seq).or_default();
        *tries = tries.saturating_add(1);
        *tries
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
fn oldest<L>(suspects: &[Suspect<'_, L>], seq: i64, trouble: Trouble) -> (i64, Trouble) {
    let first = suspects.first().map_or(seq, |it| it.sealed.event.seq);
    (first, trouble)
}

impl<P: Post> Sink for Posts<P> {
    fn name(&self) -> &'static str {
        self.post.name()
    }

    fn filter(&self) -> Filter {
        self.post.filter()
    }

    fn at_most(&self) -> usize {
        self.post.most().events.max(AT_ONCE)
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
