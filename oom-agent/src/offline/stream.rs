//! One host in one boot: its messages to evidence, its evidence to events.
//!
//! Reads the [`Head`]s of one host and boot in their order; emits events whose times, node and boot are
//! what those lines say, and null where they say nothing. Refuses to go on over a clock that has jumped
//! back: the caller begins anew.

use std::{collections::VecDeque, ops::ControlFlow, sync::Arc};

use super::{
    OddLine, Oddity, Options, Sink, Summary,
    clock::{Clock, Stamps},
    format::{BootId, Head},
};
use crate::{
    clock::Now,
    correlate::{Correlator, Host, Timing},
    event::{Event, OomInstance, OomKill, TimeSource, Timestamp},
    evidence::{Evidence, Feed, KmsgEvidence},
    source::kmsg::{
        messages::{Message, Messages},
        report::Meta,
    },
};

/// Closed kills that are remembered: enough for the repeats of a group, which follow at once.
const MEMORY_KILLS: usize = 1024;

/// Stamps of lines that an open instance may still ask for.
const MAX_STAMPS: usize = 65_536;

/// Whose lines these are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) host: Option<Box<[u8]>>,
    pub(super) boot: Option<BootId>,
}

/// A line of the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbered<'a> {
    /// Of the line, from 1.
    pub(super) line: u64,
    /// The same, but where entries have several lines each, of the entry.
    pub(super) number: u64,
    pub(super) text: &'a [u8],
}

/// The state between lines of one host in one boot.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) key: Key,
    /// The line that came last.
    pub(super) used: u64,
    clock: Clock,
    messages: Messages,
    correlator: Correlator,
    /// Whether ids are made of the numbers of records, as the agent makes them.
    by_record: bool,
    /// Number and line of the last record.
    last_record: Option<(u64, u64)>,
    /// Of lines that instances may be made of, by their number.
    stamps: VecDeque<(u64, Stamps)>,
    /// Number of the last message.
    seq: u64,
    /// The last line with a stamp of the kernel's.
    last_ns: Option<u64>,
    last_text: Vec<u8>,
    doubled: u64,
    evidence: Vec<KmsgEvidence>,
    events: Vec<Event>,
}

impl Stream {
    /// `prefix` makes ids unique where the boot is not known. `first` tells whether the boot can be the
    /// one that the options name.
    pub(super) fn new(key: Key, prefix: &str, first: bool, options: &Options) -> Self {
        let named = options.boot_id.filter(|_| first && key.boot.is_none());
        let node = options.node.clone().or_else(|| {
            let host = key.host.as_ref()?;
            Some(crate::text::printable(host).into_owned())
        });
        let host = Host {
            boot_id: named.or(key.boot).map(|id| id.to_string().into()),
            boot: named.as_ref().map_or(prefix, BootId::digits).into(),
            node: node.map(Arc::from),
            cluster: None,
        };
        let timing = Timing {
            memory_kills: MEMORY_KILLS,
            ..Timing::default()
        };
        let mut stream = Self {
            key,
            used: 0,
            clock: Clock::default(),
            messages: Messages::new(options.page_size, false),
            correlator: Correlator::new(host, timing),
            by_record: named.is_some(),
            last_record: None,
            stamps: VecDeque::new(),
            seq: 0,
            last_ns: None,
            last_text: Vec::new(),
            doubled: 0,
            evidence: Vec::new(),
            events: Vec::new(),
        };
        let up = Evidence::SourceState {
            source: Feed::Kmsg,
            up: true,
        };
        let now = Now::default();
        stream.correlator.observe(up, now, &mut stream.events);
        stream
    }

    /// Sets the clock to a line. False if the line is not on the clock of those before it: another log
    /// begins.
    pub(super) fn advance(&mut self, head: &Head<'_>, line: u64) -> bool {
        let read_before = self.last_record.zip(head.seq);
        let repeated = read_before.is_some_and(|((last, _), seq)| seq <= last);
        !repeated && (head.foreign || self.clock.at(Stamps::of(head), line).is_some())
    }

    /// Whether a report is open, so that every line may be a part of it.
    pub(super) fn is_open(&self) -> bool {
        self.messages.is_open()
    }

    /// Takes the next line; tells whether it said anything about OOM, or `Break` if the sink has had
    /// enough.
    pub(super) fn push(
        &mut self,
        head: &Head<'_>,
        line: Numbered<'_>,
        sink: &mut impl Sink,
    ) -> ControlFlow<(), bool> {
        self.used = line.number;
        let at_ns = self.clock.now_ns();
        if self.is_doubled(head) {
            self.doubled += 1;
            return ControlFlow::Continue(true);
        }
        self.gap(head, line.number);
        self.seq = head.seq.filter(|_| self.by_record).unwrap_or(line.number);
        let meta = Meta {
            seq: self.seq,
            monotonic_ns: at_ns,
            caller: head.caller,
        };
        let message = Message {
            meta,
            by_kernel: !head.foreign,
            level: head.level,
            fragment: head.fragment,
            text: &head.text,
        };
        let told = self.messages.push(message, &mut self.evidence);
        self.settle(Stamps::of(head), at_ns, Some(line), sink)?;
        ControlFlow::Continue(told)
    }

    /// Whether this is the line before once more: two loggers may write to one file. The kernel's stamp has
    /// microseconds, and in one of them it does not print the same again.
    fn is_doubled(&mut self, head: &Head<'_>) -> bool {
        let Some(ns) = head.monotonic_ns else {
            return false;
        };
        if self.last_ns == Some(ns) && self.last_text == *head.text && head.seq.is_none() {
            return true;
        }
        self.last_ns = Some(ns);
        self.last_text.clear();
        self.last_text.extend_from_slice(&head.text);
        false
    }

    /// A line of a record that is no message of its own.
    pub(super) fn pass_over(&mut self) {
        if let Some((_, line)) = &mut self.last_record {
            *line += 1;
        }
    }

    /// Records that are missing between two that were read. Lines that nobody looked at may have been
    /// dictionaries, so this is the least that can be missing.
    fn gap(&mut self, head: &Head<'_>, line: u64) {
        let Some(seq) = head.seq else { return };
        if let Some((last, at)) = self.last_record.replace((seq, line)) {
            let missing = seq.saturating_sub(last).saturating_sub(line - at);
            if missing > 0 {
                self.messages.gap(&mut self.evidence);
                self.evidence.push(KmsgEvidence::Lost { records: missing });
            }
        }
    }

    /// Evidence to events.
    fn settle(
        &mut self,
        stamps: Stamps,
        at_ns: u64,
        line: Option<Numbered<'_>>,
        sink: &mut impl Sink,
    ) -> ControlFlow<()> {
        if self.evidence.is_empty() {
            return ControlFlow::Continue(());
        }
        let now = Now {
            monotonic_ns: at_ns,
            wall_offset_ns: stamps
                .wall
                .map_or(0, |wall| i128::from(wall.unix_ns) - i128::from(at_ns)),
            boot_offset_ns: 0,
        };
        self.correlator.tick(now, &mut self.events);
        let mut evidence = std::mem::take(&mut self.evidence);
        for piece in evidence.drain(..) {
            if let Some(seq) = opens(&piece) {
                self.stamps.push_back((seq, stamps));
                if self.stamps.len() > MAX_STAMPS {
                    self.stamps.pop_front();
                }
            }
            if let (Some(why), Some(line)) = (oddity(&piece), line) {
                sink.odd(self.odd_line(&piece, line, why));
            }
            self.correlator
                .observe(Evidence::Kmsg(piece), now, &mut self.events);
        }
        // Its room is used again.
        self.evidence = evidence;
        self.hand_over(sink)
    }

    /// A line that was printed piecemeal and never ended is known for what it is only later.
    fn odd_line<'a>(&self, piece: &KmsgEvidence, line: Numbered<'a>, why: Oddity) -> OddLine<'a> {
        let earlier =
            matches!(piece, KmsgEvidence::Malformed { seq: Some(seq) } if *seq != self.seq);
        OddLine {
            number: line.line,
            text: if earlier {
                b"(ends a line in pieces that is not whole)"
            } else {
                line.text
            },
            why,
        }
    }

    fn hand_over(&mut self, sink: &mut impl Sink) -> ControlFlow<()> {
        let mut events = std::mem::take(&mut self.events);
        for mut event in events.drain(..) {
            match &mut event {
                Event::OomKill(kill) => self.dress_kill(kill),
                Event::OomInstance(instance) => self.dress(instance),
                // A log tells neither of ends nor of containers: those are watched.
                Event::VictimEnd(_)
                | Event::OomStuck(_)
                | Event::ContainerCreation(_)
                | Event::ContainerDeletion(_) => {}
            }
            sink.event(event)?;
        }
        self.events = events;
        if self.correlator.is_quiet() {
            self.stamps.clear();
        }
        ControlFlow::Continue(())
    }

    /// Nothing follows: closes what is open and adds what was counted.
    pub(super) fn finish(mut self, summary: &mut Summary, sink: &mut impl Sink) -> ControlFlow<()> {
        let abandoned = u64::from(self.messages.is_open());
        let before = self.messages.abandoned_reports();
        self.messages.gap(&mut self.evidence);
        let at_ns = self.clock.now_ns();
        let flow = self.settle(Stamps::default(), at_ns, None, sink);
        let now = Now {
            monotonic_ns: at_ns,
            ..Now::default()
        };
        self.correlator.finish(now, &mut self.events);
        let flow = match flow {
            ControlFlow::Continue(()) => self.hand_over(sink),
            enough @ ControlFlow::Break(()) => enough,
        };
        summary.add(self.correlator.counts(), before + abandoned);
        summary.doubled += self.doubled;
        flow
    }

    fn dress(&self, instance: &mut OomInstance) {
        let stamps = self.stamps_of(&instance.id);
        (instance.time, instance.time_source) = time(stamps);
        instance.monotonic_ns = stamps.monotonic_ns;
        instance.open_for_ns = None;
        for kill in &mut instance.kills {
            self.dress_kill(kill);
        }
    }

    fn dress_kill(&self, kill: &mut OomKill) {
        let stamps = self.stamps_of(&kill.id);
        (kill.time, kill.time_source) = time(stamps);
        kill.monotonic_ns = stamps.monotonic_ns;
        kill.detection_latency_ns = None;
    }

    /// Of the line that an id is made of.
    fn stamps_of(&self, id: &str) -> Stamps {
        let digits = id.rsplit_once("-kmsg").map(|(_, seq)| seq);
        let seq: Option<u64> = digits.and_then(|seq| seq.parse().ok());
        let found = seq.and_then(|seq| self.stamps.iter().rfind(|(known, _)| *known == seq));
        found.map_or_else(Stamps::default, |(_, stamps)| *stamps)
    }
}

fn time(stamps: Stamps) -> (Option<Timestamp>, Option<TimeSource>) {
    let Some(wall) = stamps.wall else {
        return (None, None);
    };
    let source = if wall.assumed {
        TimeSource::Assumed
    } else {
        TimeSource::Logger
    };
    (
        Some(Timestamp::from_unix_ns(wall.unix_ns.into())),
        Some(source),
    )
}

/// The number of a line that a kill or an instance may be named after.
fn opens(piece: &KmsgEvidence) -> Option<u64> {
    match piece {
        KmsgEvidence::Killed(kill) => Some(kill.seq),
        KmsgEvidence::AlreadyExiting { end, .. }
        | KmsgEvidence::NoVictim(end)
        | KmsgEvidence::Panic(end) => Some(end.seq),
        _ => None,
    }
}

fn oddity(piece: &KmsgEvidence) -> Option<Oddity> {
    match piece {
        KmsgEvidence::Malformed { .. } => Some(Oddity::Unparsed),
        KmsgEvidence::Forged { .. } => Some(Oddity::Forged),
        _ => None,
    }
}
