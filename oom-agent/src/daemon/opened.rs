//! Everything that is opened before anything runs, in the order in which nothing gets lost.
//!
//! Reads the options; emits what detection is made of, and says which tier that is. Refuses to start where
//! nothing can be seen, or less than was demanded.

use std::{io, path::Path};

use super::{Options, RunError, Sources, durable::Durable};
use crate::{
    bpf::{
        cgroups::CgroupPrograms,
        debug,
        ends::EndPrograms,
        holder::HeldError,
        load,
        open::{claim, open as open_programs},
        pins::{Pins, PinsError},
    },
    correlate::{Correlator, Host},
    error::chain,
    evidence::Evidence,
    source::{
        audit::{OomKillCounter, VMSTAT},
        bpf::{ring::BpfSource, stack::Symbols},
        kmsg::{self, KMSG, KmsgReader, Position},
    },
};

/// The tier without BPF, in a few words.
pub(super) const KMSG_TIER: &str = "kmsg (the kernel log alone)";

/// How often log and counter are read until they agree: in the worst of storms there is a kill each millisecond.
const AGREE: usize = 16;

/// What is opened.
pub(super) struct Opened {
    pub(super) durable: Option<Durable>,
    pub(super) kmsg: Result<KmsgReader, String>,
    pub(super) audit: Audit,
    pub(super) bpf: Result<Bpf, String>,
}

/// The kernel's counter.
pub(super) struct Audit {
    pub(super) counter: Option<OomKillCounter>,
    /// Its first reading.
    pub(super) base: Option<Evidence>,
    /// The number in it.
    pub(super) before: Option<u64>,
    /// Why there is none.
    pub(super) refused: Option<io::Error>,
}

/// What BPF gives; nothing where it cannot be had.
#[derive(Default)]
pub(super) struct Bpf {
    pub(super) source: Option<BpfSource>,
    pub(super) tier: Option<load::Tier>,
    /// Why that is not a better one.
    pub(super) not_better: Vec<String>,
    /// To watch cgroups with.
    pub(super) programs: Option<CgroupPrograms>,
    /// To see victims end with.
    pub(super) ends: Option<EndPrograms>,
}

/// Opens all that is wanted.
pub(super) fn open(
    options: &Options,
    host: &Host,
    correlator: &mut Correlator,
) -> Result<Opened, RunError> {
    let mut wanted = programs_wanted(options);
    // First of all: another agent that is to end has the store, too.
    let pins = claim_pins(options, &wanted)?;
    let mut durable = Durable::open(&options.store, host, options.timing, correlator)?;
    // Before the programs are attached: a kill in between is in the log and in the count.
    let position = durable
        .as_ref()
        .map_or(Position::End, Durable::log_position);
    let (kmsg, audit) = open_log_and_counter(options, position);
    if let Some(durable) = &mut durable {
        let log = kmsg.as_ref().ok().and_then(KmsgReader::read_through);
        durable.first(correlator, audit.base.clone(), log);
    }
    wanted.resume = durable.as_ref().and_then(Durable::ring_read);
    let bpf = open_bpf(options, &wanted, pins);
    if options.require_bpf
        && let Err(error) = &bpf
    {
        return Err(RunError::BpfRequired(error.clone()));
    }
    if let (Err(bpf), Err(kmsg)) = (&bpf, &kmsg) {
        return Err(RunError::NoSource {
            bpf: bpf.clone(),
            kmsg: kmsg.clone(),
        });
    }
    say_tier(&bpf, &kmsg);
    Ok(Opened {
        durable,
        kmsg,
        audit,
        bpf,
    })
}

/// The log, and what the counter said at the same moment: of a kill between the two the log would tell, while the
/// counter has it already.
fn open_log_and_counter(
    options: &Options,
    position: Position,
) -> (Result<KmsgReader, String>, Audit) {
    let mut audit = Audit::open();
    let mut tries = 0;
    loop {
        let kmsg = open_kmsg(options, position);
        let before = audit.before;
        // Behind the opening, whatever happens: what is in neither would be missed.
        audit.read();
        tries += 1;
        if audit.before == before || tries == AGREE {
            return (kmsg, audit);
        }
    }
}

impl Audit {
    fn open() -> Self {
        let counter = OomKillCounter::open(Path::new(VMSTAT));
        if let Err(error) = &counter {
            tracing::warn!("no audit: {error}");
        }
        let (counter, refused) = match counter {
            Ok(counter) => (Some(counter), None),
            Err(error) => (None, Some(error)),
        };
        let mut audit = Self {
            counter,
            base: None,
            before: None,
            refused,
        };
        audit.read();
        audit
    }

    /// Takes the counter's reading of now for the first.
    fn read(&mut self) {
        let counter = self.counter.as_mut();
        self.base = counter.and_then(|counter| counter.evidence().ok());
        self.before = match self.base {
            Some(Evidence::Counter { oom_kill, .. }) => Some(oom_kill),
            _ => None,
        };
    }
}

fn open_kmsg(options: &Options, position: Position) -> Result<KmsgReader, String> {
    if options.sources == Sources::Bpf {
        return Err("not asked for (--source bpf)".to_owned());
    }
    let kmsg = kmsg::Options {
        accept_forged: options.accept_forged,
    };
    KmsgReader::open(Path::new(KMSG), position, kmsg).map_err(|error| chain(&error))
}

fn programs_wanted(options: &Options) -> load::Options {
    load::Options {
        ring_bytes: options.ring_bytes,
        debug_log: options.debug_bpf,
        by_format: options.bpf_by_format,
        hook: options.bpf_hook,
        wire_version: options.wire_version,
        resume: None,
    }
}

fn open_bpf(options: &Options, wanted: &load::Options, pins: Option<Pins>) -> Result<Bpf, String> {
    if options.sources == Sources::Kmsg {
        return Err("not asked for (--source kmsg)".to_owned());
    }
    let symbols = Symbols::spawn().map_err(|error| format!("cannot start a thread: {error}"))?;
    let loaded = open_programs(wanted, pins).map_err(|error| chain(&error));
    // Before anything else settles in it, and before memory is locked.
    load::release_memory();
    let mut loaded = loaded?;
    if options.debug_bpf
        && let Some(ebpf) = &mut loaded.ebpf
        && let Err(error) = debug::spawn(ebpf, &options.confine.without)
    {
        tracing::warn!("no debug lines from the kernel side: {error}");
    }
    tracing::info!("tier: {}", loaded.tier.describe());
    for note in &loaded.notes {
        tracing::info!("  not better because: {note}");
    }
    if loaded.taken_over {
        tracing::info!("  taken over: these programs went on recording while no agent ran");
    }
    Ok(Bpf {
        tier: Some(loaded.tier),
        not_better: std::mem::take(&mut loaded.notes),
        programs: loaded.cgroups.take(),
        ends: loaded.ends.take(),
        source: Some(BpfSource::new(loaded, symbols)),
    })
}

/// The directory that lets programs outlive this process. Where it cannot be had kills are only seen while
/// an agent runs.
fn claim_pins(options: &Options, programs: &load::Options) -> Result<Option<Pins>, HeldError> {
    let wanted = !options.once && !options.debug_bpf && options.sources != Sources::Kmsg;
    let Some(dir) = options.pin_path.as_deref().filter(|_| wanted) else {
        return Ok(None);
    };
    match claim(dir, programs, options.take_over) {
        Ok(pins) => Ok(Some(pins)),
        Err(PinsError::Held(error)) => Err(error),
        Err(error) => {
            tracing::info!("nothing is recorded while no agent runs: {}", chain(&error));
            Ok(None)
        }
    }
}

fn say_tier(bpf: &Result<Bpf, String>, kmsg: &Result<KmsgReader, String>) {
    match (bpf, kmsg) {
        (Err(reason), _) => {
            tracing::info!("tier: {KMSG_TIER}; not bpf because: {reason}");
        }
        (Ok(_), Err(reason)) => tracing::info!("no cross-check with the kernel log: {reason}"),
        (Ok(_), Ok(_)) => tracing::info!("cross-checked with {KMSG} and {VMSTAT}"),
    }
}
