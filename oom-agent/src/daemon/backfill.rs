//! Kills of before the agent first watched this boot, read back from the kernel's log: history.
//!
//! Reads `/dev/kmsg` from its oldest record to where the live reader began, on a thread of its own that
//! then ends; hands events to whoever keeps them, marked as backfill, and never as alerts. What the log
//! does not hold any more nobody can tell: the kernel's counter says how much that is.

use std::{io, ops::ControlFlow, path::Path, thread};

use crate::{
    clock::Now,
    correlate::{Correlator, Host, Timing, log_record},
    event::Event,
    evidence::{Evidence, Feed, KmsgEvidence},
    source::kmsg::{Batch, KMSG, KmsgReader, Options, Position},
};

/// What to read back.
#[derive(Debug)]
pub(super) struct Backfill {
    pub(super) host: Host,
    pub(super) timing: Timing,
    pub(super) kmsg: Options,
    /// The last record of before the live reader.
    pub(super) through: u64,
    /// Kills that the kernel had counted when the agent started.
    pub(super) counted: Option<u64>,
}

impl Backfill {
    /// Starts reading. `deliver` gets each event and, behind the last one, `None`.
    pub(super) fn start(
        self,
        deliver: impl FnMut(Option<Event>) + Send + 'static,
    ) -> io::Result<()> {
        let read = move || self.run(deliver);
        thread::Builder::new().name("backfill".into()).spawn(read)?;
        Ok(())
    }

    fn run(self, mut deliver: impl FnMut(Option<Event>)) {
        let mut reader = match KmsgReader::open(Path::new(KMSG), Position::Start, self.kmsg) {
            Ok(reader) => reader,
            Err(error) => {
                tracing::warn!("no history from the log: {}", crate::error::chain(&error));
                return;
            }
        };
        let mut past = Past::new(self.host, self.timing);
        let mut batch = Batch::default();
        loop {
            let failed = reader.drain(&mut batch).err();
            let read_through = batch.read_through;
            for evidence in batch.evidence.drain(..) {
                if past.take(evidence, self.through).is_break() {
                    break;
                }
            }
            past.deliver(&mut deliver);
            if let Some(error) = failed {
                // Not noted down as complete: the next start reads it once more, and stores nothing twice.
                tracing::warn!("history is incomplete: {}", crate::error::chain(&error));
                return;
            }
            let done = read_through.is_none_or(|seq| seq >= self.through) || batch.is_at_the_end;
            if done {
                break;
            }
        }
        past.finish();
        past.deliver(&mut deliver);
        deliver(None);
        say(past.kills, past.lost, self.counted);
    }
}

fn say(kills: u64, lost: u64, counted: Option<u64>) {
    let counted = counted.map_or_else(
        || "the kernel keeps no count".to_owned(),
        |counted| format!("the kernel counts {counted}"),
    );
    if lost > 0 {
        tracing::info!("history: {lost} records of the log have been overwritten since boot");
    }
    tracing::info!("history: {kills} kills of before this start are in the log; {counted}");
}

/// A correlator for what is over.
struct Past {
    correlator: Correlator,
    now: Now,
    events: Vec<Event>,
    kills: u64,
    lost: u64,
}

impl Past {
    fn new(host: Host, timing: Timing) -> Self {
        let mut past = Self {
            correlator: Correlator::new(host, timing),
            now: Now {
                monotonic_ns: 0,
                ..Now::read()
            },
            events: Vec::new(),
            kills: 0,
            lost: 0,
        };
        past.observe(Evidence::SourceState {
            source: Feed::Kmsg,
            up: true,
        });
        past
    }

    fn observe(&mut self, evidence: Evidence) {
        self.correlator.tick(self.now, &mut self.events);
        self.correlator
            .observe(evidence, self.now, &mut self.events);
    }

    /// Takes one piece; breaks at what the live reader reads itself.
    fn take(&mut self, evidence: KmsgEvidence, through: u64) -> ControlFlow<()> {
        self.now.monotonic_ns = time_of(&evidence).unwrap_or(self.now.monotonic_ns);
        let evidence = Evidence::Kmsg(evidence);
        if log_record(&evidence).is_some_and(|seq| seq > through) {
            return ControlFlow::Break(());
        }
        if let Evidence::Kmsg(KmsgEvidence::Lost { records }) = evidence {
            self.lost += records;
        }
        self.observe(evidence);
        ControlFlow::Continue(())
    }

    fn finish(&mut self) {
        self.correlator.finish(self.now, &mut self.events);
    }

    fn deliver(&mut self, deliver: &mut impl FnMut(Option<Event>)) {
        for mut event in self.events.drain(..) {
            self.kills += u64::from(matches!(event, Event::OomKill(_)));
            event.mark_backfill();
            deliver(Some(event));
        }
    }
}

fn time_of(evidence: &KmsgEvidence) -> Option<u64> {
    match evidence {
        KmsgEvidence::Killed(kill) => Some(kill.monotonic_ns),
        KmsgEvidence::GroupKill { monotonic_ns, .. }
        | KmsgEvidence::Reaped { monotonic_ns, .. } => Some(*monotonic_ns),
        KmsgEvidence::AlreadyExiting { end, .. }
        | KmsgEvidence::NoVictim(end)
        | KmsgEvidence::Panic(end) => Some(end.monotonic_ns),
        _ => None,
    }
}
