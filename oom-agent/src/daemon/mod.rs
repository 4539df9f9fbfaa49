//! `oom-agent run`: sources up, events out, until a signal; then a drain and one line of summary.
//!
//! And `oom-agent fleet serve` (`fleet`), which runs by the same service manager and has no sources.

mod backfill;
mod delivering;
mod durable;
#[cfg(feature = "nats")]
pub mod fleet;
mod helpers;
mod needs;
mod opened;
mod own_death;
mod resume;
mod running;
mod service;
mod serving;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;
use tokio::sync::Notify;

pub use self::{
    delivering::SinkOptions,
    durable::StoreOptions,
    helpers::{CgroupWatch, HelperOptions},
};
use self::{
    delivering::Sinks,
    durable::Keeping,
    helpers::{HelperThreads, Programs},
    opened::{Bpf, KMSG_TIER, Opened},
    running::Running,
    service::Service,
    serving::{Serving, Watching},
};

use crate::{
    api::{self, ApiError},
    attribute::{ContainerEvents, Desk},
    bpf::{decision::WantedHook, holder::HeldError, load},
    confine::{self, Confinement},
    correlate::{Correlator, Timing},
    detect::{Core, Detector, journal::Journal},
    event::Event,
    evidence::{Evidence, Feed},
    host,
    hub::{Hub, Output},
    metrics,
    source::{
        bpf::ring::BpfSource,
        kmsg::{KmsgReader, KmsgThread},
    },
    status::{Board, Summary},
    stdout::{self, Format, Writer},
    store::StoreError,
};

/// Which sources to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sources {
    /// BPF and the kernel log, each as far as it can be had.
    Auto,
    /// BPF alone.
    Bpf,
    /// The kernel log alone.
    Kmsg,
}

/// What the daemon is asked to do.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Options {
    /// Sources to use.
    pub sources: Sources,
    /// Fail if BPF cannot be had.
    pub require_bpf: bool,
    /// How events are written.
    pub output: Format,
    /// Stop after the first report.
    pub once: bool,
    /// Size of the ring.
    pub ring_bytes: u32,
    /// Let the kernel side log.
    pub debug_bpf: bool,
    /// Use the classic tracepoint whatever else there is (tests).
    pub bpf_by_format: bool,
    /// How to hook the decision (tests).
    pub bpf_hook: WantedHook,
    /// Where programs and rings outlive this process; `None`: they do not.
    pub pin_path: Option<PathBuf>,
    /// End another agent that reads the pins, and go on in its place.
    pub take_over: bool,
    /// What records carry as their version (tests).
    pub wire_version: u16,
    /// Take user space's log records for the kernel's (tests).
    pub accept_forged: bool,
    /// Who finds out whose a cgroup is and what its memory does, and how.
    pub helpers: HelperOptions,
    /// Of which cgroups to tell that they came and went.
    pub container_events: ContainerEvents,
    /// Node name instead of the host's.
    pub node: Option<String>,
    /// Name of its cluster.
    pub cluster: Option<String>,
    /// How long to wait for what.
    pub timing: Timing,
    /// What the agent gives up, and what it does not.
    pub confine: confine::Options,
    /// What is kept.
    pub store: StoreOptions,
    /// Where others may ask.
    pub api: api::Options,
    /// What is kept for Prometheus.
    pub metrics: metrics::Options,
    /// To whom events are delivered.
    pub sinks: SinkOptions,
}

/// Why the daemon could not run.
#[derive(Debug, Error)]
pub enum RunError {
    /// BPF was required.
    #[error("BPF is required but cannot be used: {0}")]
    BpfRequired(String),
    /// Neither source can be had.
    #[error(
        "no source can be used.\n  bpf:  {bpf}\n  kmsg: {kmsg}\nRun as root, or grant CAP_BPF + CAP_PERFMON (bpf) or CAP_SYSLOG (kmsg); `oom-agent doctor` says more."
    )]
    NoSource {
        /// Why not BPF.
        bpf: String,
        /// Why not the log.
        kmsg: String,
    },
    /// Another agent reads the pins.
    #[error(transparent)]
    Held(#[from] HeldError),
    /// The API cannot be served where it was asked for.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Nobody can be told there.
    #[error("{sink}: nothing can be delivered")]
    Sink {
        /// Name of the sink.
        sink: &'static str,
        /// Why.
        #[source]
        why: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is to be delivered is kept nowhere.
    #[error("what is delivered is read from the store: it takes --store")]
    NoQueue,
    /// The store is another's.
    #[error(transparent)]
    Store(StoreError),
    /// The system refused something basic.
    #[error("{what}")]
    System {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
    move |error| RunError::System { what, error }
}

/// Runs until SIGINT, SIGTERM or, with `once`, the first report.
pub fn run(options: &Options) -> Result<Summary, RunError> {
    // First of all: whoever is asked to end while it starts ends as it should.
    let mut service = Service::new().map_err(system("cannot catch signals"))?;
    let confinement = Confinement::begin(&options.confine);
    let host = host::read(options.node.as_deref(), options.cluster.as_deref())
        .map_err(system("cannot tell which boot this is"))?;
    let mut correlator = Correlator::new(host.clone(), options.timing);
    let opened = opened::open(options, &host, &mut correlator)?;
    let mut facts = serving::facts(options, &host, &opened);
    let Opened {
        durable,
        kmsg,
        audit,
        bpf,
    } = opened;

    let bound = serving::bind(options)?;
    let sinks = Sinks::read(options, &host)?;

    // Before any thread that stays is started: they inherit it.
    let features = needs::features(options, bpf.is_ok(), kmsg.is_ok());
    confinement.threads(&features, &needs::writable(options));

    let once = Arc::new(Notify::new());
    let (mut hub, writer) = outputs(options, &once)?;
    let metrics = serving::count(options, bound.is_some(), &mut hub)?;
    let watching = bound
        .zip(metrics.clone())
        .map(|(bound, metrics)| Watching::start(bound, metrics, &mut hub))
        .transpose()?;
    let desk = Desk::new(host.clone(), options.container_events);
    let states = states(bpf.is_ok(), kmsg.is_ok());
    let Bpf {
        source,
        tier,
        programs,
        ends,
        not_better,
    } = bpf.unwrap_or_default();
    let tier = tier.map_or(KMSG_TIER, load::Tier::describe);
    (facts.tier, facts.not_better) = (tier.to_owned(), not_better);
    let pinned = source.as_ref().and_then(BpfSource::pinned);
    let pinned = pinned.map(Path::to_owned);
    let mut core = Core::new(correlator, source, audit.counter, desk, hub);
    prepare(&mut core, options, durable.is_some());
    let keeping = durable
        .map(|durable| durable.start(&mut core))
        .transpose()?;
    let through = kmsg.as_ref().ok().and_then(KmsgReader::read_through);
    let log = through.map(|through| Evidence::LogRead { through });
    core.begin(states.into_iter().chain(audit.base).chain(log));
    if let Some(keeping) = &keeping {
        keeping.backfill(&host, options, audit.before)?;
    }
    let delivering = sinks.start(options, keeping.as_ref())?;
    let (detector, notes) = Detector::start(core).map_err(system("cannot start detection"))?;
    for note in notes {
        tracing::info!("slower than it could be: {note}");
    }
    let helpers = HelperThreads::start(
        &options.helpers,
        Programs {
            cgroups: programs,
            ends,
        },
        &detector,
        &confinement,
    );
    helpers.explain(&mut facts.reasons);
    let inbox = detector.inbox();
    let kmsg = kmsg
        .ok()
        .map(|reader| KmsgThread::start(reader, move |evidence| inbox.submit(evidence)))
        .transpose()
        .map_err(system("cannot start a thread"))?;

    let running = Running {
        detector,
        helpers,
        kmsg,
        keeping,
        delivering,
        writer,
    };
    let board = Board::new(
        facts,
        running.counting(),
        Watching::subscribers(watching.as_ref()),
        Box::new(confinement.telling()),
    );
    running.delivering.show(&board, metrics.as_ref());
    let serving = watching.map(|watching| watching.serve(options, host, board.clone()));
    let serving = serving.transpose()?;
    confinement.system_calls(&features);
    for line in confinement.told() {
        tracing::info!("{line}");
    }
    board.set_ready(true);
    service.wait(&once, &running.detector.turns(), tier);
    board.set_ready(false);
    tracing::debug!("draining");
    if let Some(dir) = pinned {
        say_left(&dir);
    }
    Ok(running.stop(serving))
}

/// What `core` must know before it is told anything.
fn prepare(core: &mut Core, options: &Options, keeps: bool) {
    core.await_help(options.helpers.watch != CgroupWatch::Off);
    if !keeps && core.ring().is_some_and(BpfSource::overlap) {
        core.keep(
            Journal::without_store(options.timing.memory_ns),
            Vec::new(),
            &[],
        );
    }
}

/// What goes on in the kernel.
fn say_left(dir: &Path) {
    tracing::info!(
        "the kernel goes on recording kills for the next agent; `oom-agent cleanup --pin-path {}` ends that",
        dir.display()
    );
}

/// What is told at once, and the thread that writes what could not be.
fn outputs(options: &Options, once: &Arc<Notify>) -> Result<(Hub, Writer), RunError> {
    let mut hub = Hub::default();
    let (output, writer) =
        stdout::spawn(options.output).map_err(system("cannot start a thread"))?;
    hub.add(output);
    if options.once {
        hub.add(FirstReport(once.clone()));
    }
    Ok((hub, writer))
}

/// Which sources are up from the start.
fn states(bpf: bool, kmsg: bool) -> [Evidence; 3] {
    [
        (Feed::Bpf, bpf),
        (Feed::Kmsg, kmsg),
        // Of kills that are told before there is somebody who waits: they are asked for then.
        (Feed::Victims, true),
    ]
    .map(|(source, up)| Evidence::SourceState { source, up })
}

/// Ends the run with the first report, written or not.
struct FirstReport(Arc<Notify>);

impl Output for FirstReport {
    fn offer(&mut self, event: &Arc<Event>) -> bool {
        let first = matches!(**event, Event::OomInstance(_));
        if first {
            self.0.notify_one();
        }
        !first
    }
}
