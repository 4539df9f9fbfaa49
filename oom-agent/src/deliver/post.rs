//! The common case of a sink: requests that carry some events each, and an answer to each request.
//!
//! Takes a [`Post`], which knows how an event is told and what an answer means; emits a [`Sink`]. What a request
//! is refused for is found by telling its events one by one. An event that the other end does not take, and again
//! does not when it has taken another that came later (the witness), is given up: it holds up nothing. As long as
//! nothing is taken it is the other end's trouble, and everything waits. Refuses to guess which it is, and to look for
//! a witness further than [`AHEAD`] events.

use std::{collections::BTreeMap, mem, time::Duration};

use tokio::time::{Instant, sleep};

use super::{Batch, Outcome, Sink, Trouble};
use crate::store::{DeadLetter, Filter, Stored};

/// Tries before it is looked whether an event alone is not taken.
const TRIES: u32 = 5;

/// Events behind it that are tried then, in each pass others; and events that are given up together.
const PROBES: usize = 15;

/// When one of those was taken, the others are posted again, so often before they are given up: behind one address
/// may be several ends, of which some are well.
const ROUNDS_AT_LEAST: u32 = 5;

/// Tries of an event, with those before, until it is given up.
const TRIES_AT_LEAST: u32 = 10;

/// Rounds in which even what was tried only once comes to that.
const ROUNDS: u32 = TRIES_AT_LEAST - 1;

/// Before the first of these rounds; twice as long before each other, up to that of the fifth.
const PAUSE: Duration = Duration::from_millis(100);

/// An end that took something so lately is set up as it should be: what it refuses, it refuses.
const LATELY: Duration = Duration::from_mins(10);

/// Events that are handed over at once, at least: what an end of the agent amidst them tells twice.
const AT_ONCE: usize = 16;

/// Likewise as long as an event is denied: so far a witness is looked for.
const AHEAD: usize = 256;

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

/// An event that was denied.
struct Suspect<'a, L> {
    sealed: Sealed<'a, L>,
    trouble: Trouble,
}

/// What became of one event.
enum End {
    /// It was taken, or never will be.
    Ended,
    /// It was denied, so often by now.
    Denied(Trouble, u32),
    /// Nothing is taken now.
    Again(Trouble),
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
        mut letters: Vec<Sealed<'_, P::Letter>>,
        outcome: &mut Outcome,
    ) -> Option<(i64, Trouble)> {
        let mut witness: Option<Sealed<'_, P::Letter>> = None;
        // Without a witness there are none.
        let mut suspects = Vec::new();
        let mut alone_through = 0;
        loop {
            if letters.is_empty() || suspects.len() >= PROBES {
                if let (Some(suspect), Some(witness)) = (suspects.first(), &witness) {
                    // What was denied since then may have been denied by an end that is ill now.
                    let answer = self.ask(&[&witness.letter]).await;
                    if let Answer::Denied(trouble) | Answer::Again(trouble) = answer {
                        return Some(oldest(suspect, trouble));
                    }
                }
                let waiting = self.confront(mem::take(&mut suspects), outcome).await;
                if waiting.is_some() || letters.is_empty() {
                    return waiting;
                }
            }
            let count = self.fitting(&letters, alone_through);
            let request = &letters[..count];
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
                    let sealed = letters.remove(0);
                    suspects.push(Suspect { sealed, trouble });
                    if witness.is_some() {
                        continue;
                    }
                    match self.look(&mut letters, tries, outcome).await {
                        Ok(Some(found)) => witness = Some(found),
                        Ok(None) => return suspects.pop().map(Suspect::waits),
                        Err(trouble) => return Some((first.seq, trouble)),
                    }
                    let waiting = self.confront(mem::take(&mut suspects), outcome).await;
                    if waiting.is_some() {
                        return waiting;
                    }
                    continue;
                }
                Answer::Again(trouble) => {
                    return Some(match suspects.first() {
                        Some(suspect) => oldest(suspect, trouble),
                        None => (first.seq, trouble),
                    });
                }
            }
            letters.drain(..count);
            // The other end answers others.
            let waiting = self.confront(mem::take(&mut suspects), outcome).await;
            if waiting.is_some() {
                return waiting;
            }
        }
    }

    /// Looks among these for one that is taken, and takes it out. One before them was denied so often.
    async fn look<'a>(
        &mut self,
        letters: &mut Vec<Sealed<'a, P::Letter>>,
        tries: u32,
        outcome: &mut Outcome,
    ) -> Result<Option<Sealed<'a, P::Letter>>, Trouble> {
        let Some(pass) = tries.checked_sub(TRIES) else {
            return Ok(None);
        };
        for at in probes(letters.len(), pass) {
            match self.tell_one(&letters[at], outcome).await {
                End::Ended => return Ok(Some(letters.remove(at))),
                End::Denied(..) => outcome.failed += 1,
                End::Again(trouble) => return Err(trouble),
            }
        }
        Ok(None)
    }

    /// Posts these again, one by one, several times. What is denied to the last is given up; the first that found
    /// nobody then waits.
    async fn confront(
        &mut self,
        mut suspects: Vec<Suspect<'_, P::Letter>>,
        outcome: &mut Outcome,
    ) -> Option<(i64, Trouble)> {
        for round in 0..ROUNDS {
            if suspects.is_empty() {
                break;
            }
            sleep(self.pause * (1 << round.min(ROUNDS_AT_LEAST - 1))).await;
            for Suspect { sealed, .. } in mem::take(&mut suspects) {
                let trouble = match self.tell_one(&sealed, outcome).await {
                    End::Ended => continue,
                    End::Again(trouble) => trouble,
                    End::Denied(trouble, tries) => {
                        outcome.failed += 1;
                        if round + 1 >= ROUNDS_AT_LEAST && tries >= TRIES_AT_LEAST {
                            let dead = self.dead(sealed.event, 1, trouble.why);
                            outcome.refused.push(dead);
                            continue;
                        }
                        trouble
                    }
                };
                suspects.push(Suspect { sealed, trouble });
            }
        }
        suspects.into_iter().next().map(Suspect::waits)
    }

    /// Posts this alone.
    async fn tell_one(&mut self, it: &Sealed<'_, P::Letter>, outcome: &mut Outcome) -> End {
        match self.ask(&[&it.letter]).await {
            Answer::Taken => outcome.delivered += 1,
            Answer::TakenBut(_, why) | Answer::Refused(why) => {
                outcome.refused.push(self.dead(it.event, 1, why));
            }
            Answer::Denied(trouble) => return End::Denied(trouble, self.deny(it.event.seq)),
            Answer::Again(trouble) => return End::Again(trouble),
        }
        End::Ended
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

impl<L> Suspect<'_, L> {
    /// It is where to go on.
    fn waits(self) -> (i64, Trouble) {
        (self.sealed.event.seq, self.trouble)
    }
}

/// Where to go on, when this is the trouble: with the first that was not taken.
const fn oldest<L>(suspect: &Suspect<'_, L>, trouble: Trouble) -> (i64, Trouble) {
    (suspect.sealed.event.seq, trouble)
}

/// Which of so many events are tried in this pass: the next ones, in each pass others, and the newest.
fn probes(of: usize, pass: u32) -> Vec<usize> {
    let from = usize::try_from(pass).unwrap_or(0) % of.max(1) * (PROBES - 1);
    let next = (0..of.min(PROBES - 1)).map(|it| (from + it) % of);
    let mut probes: Vec<usize> = next.collect();
    if let Some(newest) = of.checked_sub(1).filter(|it| !probes.contains(it)) {
        probes.push(newest);
    }
    probes
}

impl<P: Post> Sink for Posts<P> {
    fn name(&self) -> &'static str {
        self.post.name()
    }

    fn filter(&self) -> Filter {
        self.post.filter()
    }

    fn at_most(&self) -> usize {
        let at_once = if self.denied.is_empty() {
            AT_ONCE
        } else {
            AHEAD
        };
        self.post.most().events.max(at_once)
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
        if let Some((seq, trouble)) = self.tell(letters, &mut outcome).await {
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
