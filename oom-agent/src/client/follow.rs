//! What comes from now on, from an agent or a store.
//!
//! Reads the API's stream, or the tail of a store; emits each event once. When the agent goes away it is
//! waited for, and the stream goes on from the last place that it told: what came twice is left out by kind
//! and id. Refuses to give up on what passes, and to hide what it missed.

use std::{
    collections::{HashSet, VecDeque},
    thread,
    time::{Duration, Instant},
};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{runtime::Runtime, time::timeout};

use super::{
    ClientError,
    api::{Api, Line},
    file::File,
    sse::{Message, Parser},
};
use crate::{
    question::{Question, When},
    store::{Filter, Tail},
};

/// The stream says something every 15 s, were it only that there is nothing.
const SILENCE: Duration = Duration::from_secs(50);

/// Between two tries to reach the agent again, at first and at most.
const SOON: Duration = Duration::from_millis(200);
const RARELY: Duration = Duration::from_secs(5);

/// Between two looks at a store.
const LOOK: Duration = Duration::from_millis(250);

/// Events of one look.
const AT_A_TIME: usize = 256;

/// Events that are remembered, to leave out what comes twice: twice as many as an agent tells before they
/// are stored.
const REMEMBERED: usize = 8192;

/// What comes.
#[derive(Debug)]
pub enum News {
    /// An event, as JSON.
    Event(Box<RawValue>),
    /// Events are missing that had been removed before they could be told: no more than so many, or as many as
    /// nobody knows.
    Gap(Option<i64>),
    /// The agent has gone. It is waited for.
    Gone(ClientError),
    /// It is back.
    Back,
}

/// Follows.
#[derive(Debug)]
pub struct Follow {
    from: Source,
    told: Told,
    ready: VecDeque<News>,
}

#[derive(Debug)]
enum Source {
    Api(Box<Stream>),
    File(Box<Tailing>),
}

impl Follow {
    pub(super) fn api(api: Api, question: Question) -> Result<Self, ClientError> {
        let since = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        let (runtime, line) = api.into_parts();
        let mut stream = Stream {
            runtime,
            line,
            question,
            since,
            parser: Parser::default(),
            last_id: None,
            open: None,
            delay: SOON,
        };
        stream.connect()?;
        Ok(Self::new(Source::Api(Box::new(stream))))
    }

    pub(super) fn file(file: File, question: Question) -> Result<Self, ClientError> {
        let place = file.last_seq()?;
        Ok(Self::new(Source::File(Box::new(Tailing {
            file,
            filter: question.filter(),
            place,
            gap: 0,
        }))))
    }

    fn new(from: Source) -> Self {
        Self {
            from,
            told: Told::default(),
            ready: VecDeque::new(),
        }
    }

    /// Leaves this event out if it comes.
    pub fn is_known(&mut self, event: &RawValue) {
        self.told.is_new(event);
    }

    /// Waits for what comes next. `None` at the deadline.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<Option<News>, ClientError> {
        loop {
            match self.ready.pop_front() {
                Some(News::Event(event)) if !self.told.is_new(&event) => continue,
                Some(news) => return Ok(Some(news)),
                None => {}
            }
            let more = match &mut self.from {
                Source::Api(stream) => stream.more(deadline)?,
                Source::File(tailing) => tailing.more()?,
            };
            self.ready.extend(more);
            if self.ready.is_empty() {
                let now = Instant::now();
                if deadline.is_some_and(|deadline| deadline <= now) {
                    return Ok(None);
                }
                if matches!(self.from, Source::File(_)) {
                    let left = deadline.map_or(LOOK, |deadline| deadline - now);
                    thread::sleep(LOOK.min(left));
                }
            }
        }
    }
}

/// The events that have been told lately.
#[derive(Debug, Default)]
struct Told {
    known: HashSet<(String, String)>,
    order: VecDeque<(String, String)>,
}

#[derive(Deserialize)]
struct Named {
    kind: String,
    id: String,
}

impl Told {
    /// Remembers it. One without a name is always new.
    fn is_new(&mut self, event: &RawValue) -> bool {
        let Ok(Named { kind, id }) = serde_json::from_str(event.get()) else {
            return true;
        };
        let name = (kind, id);
        if !self.known.insert(name.clone()) {
            return false;
        }
        self.order.push_back(name);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

/// The stream of an agent.
#[derive(Debug)]
struct Stream {
    runtime: Runtime,
    line: Line,
    question: Question,
    /// When it began: Unix time in nanoseconds.
    since: i64,
    parser: Parser,
    last_id: Option<String>,
    open: Option<Incoming>,
    delay: Duration,
}

impl Stream {
    fn connect(&mut self) -> Result<(), ClientError> {
        self.ask(&self.question.clone(), "")
    }

    /// Goes on from the last place. One that went before it had told a place is asked for what it has stored since
    /// this began; without a store it cannot tell, and what is missing is not known.
    fn connect_again(&mut self) -> Result<Vec<News>, ClientError> {
        if self.last_id.is_some() {
            self.connect()?;
            return Ok(vec![News::Back]);
        }
        let mut question = self.question.clone();
        question.since = question.since.or(Some(When(self.since)));
        match self.ask(&question, "&after_seq=0") {
            Ok(()) => Ok(vec![News::Back]),
            Err(ClientError::Refused { .. }) => {
                self.connect()?;
                Ok(vec![News::Back, News::Gap(None)])
            }
            Err(error) => Err(error),
        }
    }

    fn ask(&mut self, question: &Question, from: &str) -> Result<(), ClientError> {
        let question = serde_urlencoded::to_string(question)?;
        let path = format!("/v1/events/stream?{question}{from}");
        let asked = self.line.stream(&path, self.last_id.as_deref());
        self.open = Some(self.runtime.block_on(asked)?);
        self.parser = Parser::default();
        Ok(())
    }

    /// What comes next; nothing at the deadline.
    fn more(&mut self, deadline: Option<Instant>) -> Result<Vec<News>, ClientError> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let Some(open) = &mut self.open else {
            return self.again(left);
        };
        let patience = left.unwrap_or(SILENCE).min(SILENCE);
        // Made within the runtime, whose clock it is by.
        let frame = async { timeout(patience, open.frame()).await };
        let frame = match self.runtime.block_on(frame) {
            Ok(frame) => frame,
            Err(_) if left.is_some_and(|left| left < SILENCE) => return Ok(Vec::new()),
            Err(_) => return Ok(self.lose(ClientError::Silent(self.line.name()))),
        };
        let piece = match frame {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => return Ok(self.lose(self.line.broken(error))),
            None => {
                let end = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Ok(self.lose(self.line.broken(end)));
            }
        };
        let messages = self.parser.take(&piece);
        let messages = messages.map_err(|error| self.line.broken(error))?;
        if let Some(id) = self.parser.last_id() {
            self.last_id = Some(id.to_owned());
        }
        let news = messages.into_iter().map(|message| self.news(message));
        news.collect()
    }

    fn lose(&mut self, error: ClientError) -> Vec<News> {
        self.open = None;
        self.line.hang_up();
        vec![News::Gone(error)]
    }

    /// Tries to reach it again.
    fn again(&mut self, left: Option<Duration>) -> Result<Vec<News>, ClientError> {
        thread::sleep(self.delay.min(left.unwrap_or(self.delay)));
        self.delay = (2 * self.delay).min(RARELY);
        match self.connect_again() {
            Ok(news) => {
                self.delay = SOON;
                Ok(news)
            }
            Err(error) if error.is_passing() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn news(&self, message: Message) -> Result<News, ClientError> {
        #[derive(Deserialize)]
        struct Gap {
            at_most: Option<i64>,
        }
        let malformed = |error| self.line.malformed(error);
        if message.event == "gap" {
            let gap: Gap = serde_json::from_str(&message.data).map_err(malformed)?;
            return Ok(News::Gap(gap.at_most));
        }
        let event = RawValue::from_string(message.data).map_err(malformed)?;
        Ok(News::Event(event))
    }
}

/// The tail of a store.
#[derive(Debug)]
struct Tailing {
    file: File,
    filter: Filter,
    place: i64,
    /// Gaps up to this have been told.
    gap: i64,
}

impl Tailing {
    fn more(&mut self) -> Result<Vec<News>, ClientError> {
        let tail = self.file.after_seq(self.place, &self.filter, AT_A_TIME)?;
        let Tail {
            events,
            through,
            gap,
            ..
        } = tail;
        self.place = through;
        let mut news = Vec::new();
        if let Some(gap) = gap.filter(|gap| gap.through > self.gap) {
            self.gap = gap.through;
            news.push(News::Gap(Some(gap.at_most)));
        }
        for stored in events {
            news.push(News::Event(self.file.json(stored)?));
        }
        Ok(news)
    }
}
