//! The threads that find out what detection must not wait for: whose a cgroup is, and what its memory did.
//!
//! Starts the watch of cgroups and the flight recorder, and leads what the watch sees to both the recorder
//! and the detection threads. Either may fail without costing a kill: then names or histories are
//! missing, and it is said why.

use std::path::PathBuf;

use crate::{
    attribute::Ask,
    confine::Confinement,
    correlate::Wish,
    detect::{Detector, Helper, Helpers},
    error::chain,
    evidence::{Lookup, Names},
    hierarchy::Hierarchy,
    source::{
        bpf::cgroups::{self, CgroupPrograms},
        cgroup::{self, CgroupThread, Lookups, names::Finder},
        memory::{self, MemoryThread, Recorder},
    },
};

/// How cgroups are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum CgroupWatch {
    /// By BPF where that can be had, else by inotify.
    Auto,
    /// By inotify.
    Inotify,
    /// Not at all: owners are told by their paths alone, and no memory is recorded.
    Off,
}

/// What the helpers are to do.
#[derive(Clone, Debug)]
pub struct HelperOptions {
    /// How to watch cgroups.
    pub watch: CgroupWatch,
    /// Whether to record what memory does.
    pub memory: bool,
    /// Where the host's files are.
    pub host_root: PathBuf,
}

/// The running threads.
#[derive(Debug, Default)]
pub(super) struct HelperThreads {
    cgroups: Option<CgroupThread>,
    memory: Option<MemoryThread>,
}

/// What they have counted, for the summary.
#[derive(Clone, Copy, Debug, Default)]
pub struct HelperCounts {
    /// By the watch.
    pub cgroups: cgroup::Counts,
    /// By the recorder.
    pub memory: memory::Counters,
    /// Cgroups are watched.
    pub watching: bool,
}

impl HelperThreads {
    /// Starts what was asked for, and lets detection ask it.
    pub(super) fn start(
        options: &HelperOptions,
        programs: Option<CgroupPrograms>,
        detector: &Detector,
        confinement: &Confinement,
    ) -> Self {
        let mut threads = Self::default();
        // After everything that needs much memory for a moment: what is given back then is not locked.
        let lock_memory = || confinement.lock_memory();
        if options.watch == CgroupWatch::Off {
            lock_memory();
            return threads;
        }
        let hierarchy = match Hierarchy::find() {
            Ok(hierarchy) => hierarchy,
            Err(error) => {
                tracing::warn!("no names and no memory history: {}", chain(&error));
                lock_memory();
                return threads;
            }
        };
        let inbox = detector.inbox();
        let memory = options.memory.then(|| {
            MemoryThread::start(hierarchy.clone(), move |evidence| inbox.submit(evidence))
        });
        let recorder = match memory {
            Some(Ok((thread, recorder))) => {
                threads.memory = Some(thread);
                Some(recorder)
            }
            Some(Err(error)) => {
                tracing::warn!("no memory history: {error}");
                None
            }
            None => None,
        };
        let watch = cgroup::Options {
            hierarchy,
            lookups: Box::new(Finder::new(&options.host_root)),
            ring_bytes: cgroups::RING_BYTES,
        };
        let programs = programs.filter(|_| options.watch == CgroupWatch::Auto);
        let (inbox, news) = (detector.inbox(), recorder.clone());
        let submit = move |evidence: Vec<_>| {
            let told = news.as_ref().map(|_| Recorder::news(&evidence));
            // Alerts wait for it, while the recorder may keep us waiting.
            inbox.submit(evidence);
            if let (Some(recorder), Some(told)) = (&news, told) {
                recorder.follow_news(told);
            }
        };
        let attached = {
            let confinement = confinement.clone();
            move || confinement.lock_memory()
        };
        let names = match CgroupThread::start(watch, programs, attached, submit) {
            Ok((thread, asks)) => {
                threads.cgroups = Some(thread);
                let ask: Helper<Ask> = Box::new(move |it| asks.ask(&it.path, it.id));
                Some(ask)
            }
            Err(error) => {
                tracing::warn!("no names: {error}");
                lock_memory();
                None
            }
        };
        detector.help(Helpers {
            names,
            memory: recorder.map(grant),
        });
        threads
    }

    /// What they have counted, now and later.
    pub(super) fn counting(&self) -> impl Fn() -> HelperCounts + Send + Sync + 'static {
        let cgroups = self.cgroups.as_ref().map(CgroupThread::counts);
        let memory = self.memory.as_ref().map(MemoryThread::counters);
        move || HelperCounts {
            watching: cgroups.is_some(),
            cgroups: cgroups.as_ref().map(|counts| counts()).unwrap_or_default(),
            memory: memory.as_ref().map(|counts| counts()).unwrap_or_default(),
        }
    }

    /// Stops them; what they still know has been handed over then.
    pub(super) fn stop(self) -> HelperCounts {
        HelperCounts {
            watching: false,
            cgroups: self.cgroups.map(CgroupThread::stop).unwrap_or_default(),
            memory: self.memory.map(MemoryThread::stop).unwrap_or_default(),
        }
    }
}

fn grant(recorder: Recorder) -> Helper<Wish> {
    Box::new(move |wish| recorder.ask(wish.clone()))
}

impl Lookups for Finder {
    fn lookup(&mut self, path: &str) -> Lookup {
        Self::lookup(self, path)
    }

    fn exit_code(&mut self, path: &str, names: Option<&Names>) -> Option<i32> {
        Self::exit_code(self, path, names)
    }
}
