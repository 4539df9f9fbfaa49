//! Who asks and watches, from the sockets to the end.
//!
//! Reads what runs; emits the board that tells of it, and the API. Without a socket there is no thread for
//! those who watch, either.

use std::{collections::BTreeMap, io::ErrorKind, thread::JoinHandle, time::Duration};

use super::{Opened, Options, RunError, Sources, system};
use crate::{
    api::{self, Bound, Parts, Server, Shared},
    clock::Now,
    error::chain,
    host::Host,
    hub::Hub,
    metrics::{self, Metrics},
    status::{Board, Facts, Telling},
    watch::Watchers,
};

/// At the end, those who ask and watch may take this long.
pub(super) const DISMISS: Duration = Duration::from_secs(2);

/// Those who watch, before detection starts.
#[derive(Debug)]
pub(super) struct Watching {
    bound: Bound,
    watchers: Watchers,
    metrics: Metrics,
    thread: JoinHandle<()>,
}

/// The API while detection runs.
#[derive(Debug)]
pub(super) struct Serving {
    server: Server,
    thread: JoinHandle<()>,
}

/// Binds what is asked for. Where nobody asked, a socket that cannot be had is no reason not to watch.
pub(super) fn bind(options: &Options) -> Result<Option<Bound>, RunError> {
    match Bound::open(&options.api) {
        Ok(bound) => Ok((!bound.is_empty()).then_some(bound)),
        Err(error) if options.api.required => Err(error.into()),
        Err(error) => {
            tracing::warn!("nobody can ask this agent: {}", chain(&error));
            Ok(None)
        }
    }
}

/// Counts, if somebody may ask or is told.
pub(super) fn count(
    options: &Options,
    is_asked: bool,
    hub: &mut Hub,
) -> Result<Option<Metrics>, RunError> {
    if !is_asked && !options.sinks.tell_metrics() {
        return Ok(None);
    }
    let (metrics, queue) = metrics::start(&options.metrics, options.store.path.as_deref())
        .map_err(system("cannot start a thread"))?;
    hub.add(queue);
    Ok(Some(metrics))
}

impl Watching {
    /// Puts those who watch before the store: what they are told, it will have.
    pub(super) fn start(bound: Bound, metrics: Metrics, hub: &mut Hub) -> Result<Self, RunError> {
        let (watchers, intake, thread) =
            Watchers::start().map_err(system("cannot start a thread"))?;
        hub.add(intake);
        Ok(Self {
            bound,
            watchers,
            metrics,
            thread,
        })
    }

    /// Serves.
    pub(super) fn serve(
        self,
        options: &Options,
        host: Host,
        board: Board,
    ) -> Result<Serving, RunError> {
        let shared = Shared::new(Parts {
            board,
            store: options.store.path.clone(),
            watchers: self.watchers,
            metrics: self.metrics,
            host,
            host_root: options.helpers.host_root.clone(),
        });
        let server = Server::start(self.bound, api::router(shared))
            .map_err(system("cannot start the API's thread"))?;
        Ok(Serving {
            server,
            thread: self.thread,
        })
    }

    /// How many watch, now and later.
    pub(super) fn subscribers(watching: Option<&Self>) -> Telling<u64> {
        let watchers = watching.map(|watching| watching.watchers.clone());
        let count = move || watchers.as_ref().map_or(0, Watchers::subscribers);
        Box::new(move || u64::try_from(count()).unwrap_or(u64::MAX))
    }
}

impl Serving {
    /// Dismisses those who ask and watch. Detection must have ended.
    pub(super) fn stop(self) {
        self.server.stop(DISMISS);
        if self.thread.join().is_err() {
            tracing::error!("the thread of those who watch had panicked");
        }
    }
}

/// What is known from the start, but of what BPF gives and of the helpers.
pub(super) fn facts(options: &Options, host: &Host, opened: &Opened) -> Facts {
    let now = Now::read();
    let mut unwanted: BTreeMap<_, _> = options.helpers.unwanted().into_iter().collect();
    match options.sources {
        Sources::Auto => None,
        Sources::Bpf => unwanted.insert("kmsg", "--source bpf"),
        Sources::Kmsg => unwanted.insert("bpf", "--source kmsg"),
    };
    let chosen = unwanted.iter();
    let chosen = chosen.map(|(name, option)| (*name, format!("not asked for ({option})")));
    let audit = opened.audit.refused.as_ref();
    let refused = [
        ("bpf", opened.bpf.as_ref().err().cloned()),
        ("kmsg", opened.kmsg.as_ref().err().cloned()),
        ("audit", audit.map(ToString::to_string)),
    ];
    let refused = refused
        .into_iter()
        .filter_map(|(name, why)| Some((name, why?)));
    let has_no_counter = audit.is_some_and(|error| error.kind() == ErrorKind::Unsupported);
    Facts {
        node: host.node.clone(),
        boot_id: host.boot_id.clone(),
        started: Some(now.wall(now.monotonic_ns)),
        reasons: refused.chain(chosen).collect(),
        unwanted: unwanted
            .keys()
            .copied()
            .chain(has_no_counter.then_some("audit"))
            .collect(),
        store: (options.store.path.as_ref()).map(|path| path.display().to_string()),
        ..Facts::default()
    }
}
