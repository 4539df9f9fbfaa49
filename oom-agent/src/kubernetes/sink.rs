//! The sink: reports, and victims that are stuck, into the book, what is due out of it.
//!
//! Takes batches of [`crate::deliver`]; makes requests, as many as the bucket allows, and stops when the server
//! takes nothing: the next try begins with the others. What it denies alone waits alone.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    Credentials,
    api::{Answer, Api},
    book::{Book, Due, Series, Taken, Then},
    bucket::Bucket,
    post,
};
use crate::{
    deliver::{Batch, Outcome, Sink, Trouble},
    error::chain,
    event::{Event, Kind},
    store::{DeadLetter, Filter},
};

/// For a request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Posts kills, and victims that do not end, as events of Kubernetes. In its units one is a kill of a pod, or of
/// the node, or such a victim.
pub struct Events {
    credentials: Credentials,
    node: String,
    patience: Duration,
    api: Option<Api>,
    book: Book,
    bucket: Bucket,
}

impl Events {
    /// To this API server, for the node of this name.
    #[must_use]
    pub fn new(credentials: Credentials, node: &str) -> Self {
        Self {
            credentials,
            node: node.to_owned(),
            patience: PATIENCE,
            api: None,
            book: Book::default(),
            bucket: Bucket::default(),
        }
    }

    /// Gives the server this long for an answer.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Puts what the events tell into the book, as far as there is room; up to which number that is.
    fn read(&mut self, batch: &Batch<'_>, refused: &mut Vec<DeadLetter>) -> i64 {
        let now = Instant::now();
        for stored in batch.events {
            if self.book.is_full() {
                return stored.seq - 1;
            }
            match serde_json::from_str(&stored.body) {
                Ok(Event::OomInstance(report)) => {
                    let (posts, unfit) = post::of(&report, &self.node);
                    refused.extend(unfit.into_iter().map(|it| of(stored.seq, it.id, it.why)));
                    for post in posts {
                        if let Taken::Refused(why) = self.book.take(post, stored.seq, now) {
                            refused.push(of(stored.seq, stored.id.clone(), why));
                        }
                    }
                }
                Ok(Event::OomStuck(stuck)) => {
                    let post = post::of_stuck(&stuck, &self.node);
                    let taken = post.map(|post| self.book.take(post, stored.seq, now));
                    if let Ok(Taken::Refused(why)) | Err(why) = taken {
                        refused.push(of(stored.seq, stored.id.clone(), why));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    refused.push(of(stored.seq, stored.id.clone(), error.to_string()));
                }
            }
        }
        batch.through
    }

    /// Tells what is due.
    async fn tell(&mut self, at_once: bool, outcome: &mut Outcome) {
        loop {
            let now = Instant::now();
            let at = match self.book.due(now, at_once) {
                Due::Now(at) => at,
                Due::In(wait) => {
                    outcome.again = Some(wait);
                    return;
                }
                Due::Never => return,
            };
            if let Err(wait) = self.bucket.take(now) {
                outcome.again = Some(wait);
                return;
            }
            let answer = match self.api() {
                Ok(api) => api.tell(self.book.series(at)).await,
                Err(trouble) => Answer::Again(trouble),
            };
            let now = Instant::now();
            match answer {
                Answer::Done => outcome.delivered += self.book.told(at, now),
                Answer::There => outcome.delivered += self.book.was_there(at, now),
                Answer::Gone => self.book.was_gone(at),
                Answer::Refused(why) => {
                    let letter = letter(self.book.series(at));
                    let count = self.book.refused(at, &why, now);
                    let letter = DeadLetter {
                        count,
                        why,
                        ..letter
                    };
                    outcome.refused.push(letter);
                }
                Answer::Denied(why) => {
                    let letter = letter(self.book.series(at));
                    outcome.failed += 1;
                    match self.book.denied(at, &why, now) {
                        Then::Again => outcome.denied = Some(why),
                        Then::AgainAlone => {
                            tracing::debug!("kubernetes: {}: {why}; tried again", letter.thing);
                        }
                        Then::Refused(count) => {
                            let letter = DeadLetter {
                                count,
                                why,
                                ..letter
                            };
                            outcome.refused.push(letter);
                        }
                    }
                }
                Answer::Again(trouble) => {
                    self.book.failed(at);
                    outcome.trouble = Some(trouble);
                    return;
                }
            }
        }
    }

    /// Made here, for it belongs to the runtime that it is used in.
    fn api(&mut self) -> Result<Api, Trouble> {
        if let Some(api) = &self.api {
            return Ok(api.clone());
        }
        let api = Api::new(self.credentials.clone(), self.node.clone(), self.patience);
        let api = api.map_err(|error| Trouble {
            why: chain(&error),
            retry_after: None,
        })?;
        Ok(self.api.insert(api).clone())
    }
}

/// What was never tried.
const fn of(seq: i64, thing: String, why: String) -> DeadLetter {
    DeadLetter {
        seq,
        thing,
        count: 1,
        tries: 0,
        why,
    }
}

/// What is told of a series that is given up.
fn letter(of: &Series) -> DeadLetter {
    DeadLetter {
        seq: of.untold_from(),
        thing: of.first.name.clone(),
        count: 0,
        tries: of.tried() + 1,
        why: String::new(),
    }
}

impl Sink for Events {
    fn name(&self) -> &'static str {
        "kubernetes"
    }

    fn filter(&self) -> Filter {
        Filter {
            kinds: vec![Kind::OomInstance, Kind::OomStuck],
            ..Filter::default()
        }
    }

    fn resume(&mut self, state: &str) {
        let book = Book::resume(state, Instant::now());
        self.book = book.unwrap_or_else(|error| {
            tracing::warn!("kubernetes: what was told lately cannot be read: {error}");
            Book::default()
        });
    }

    async fn deliver(&mut self, batch: Batch<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        outcome.read = self.read(&batch, &mut outcome.refused);
        self.tell(batch.last, &mut outcome).await;
        outcome.done = self.book.settle(outcome.read);
        outcome.state = self.book.state().unwrap_or_default();
        outcome
    }
}
