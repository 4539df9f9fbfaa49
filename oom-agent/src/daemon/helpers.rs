//! The threads that find out what detection must not wait for: whose a cgroup is, what its memory did, and how
//! victims end.
//!
//! Starts the watch of cgroups, the flight recorder and the watch of victims, and leads what the first sees to
//! both the recorder and the detection threads. Each may fail without costing a kill: then names, histories or
//! ends are missing, and it is said why.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use crate::{
    attribute::Ask,
    bpf::{
        cgroups::{self, CgroupPrograms},
        ends::EndPrograms,
    },
    confine::Confinement,
    detect::{Detector, Helper, Helpers},
    error::chain,
    evidence::{Evidence, Feed, Lookup, Names, Watch, Wish},
    hierarchy::Hierarchy,
    source::{
        cgroup::{self, CgroupThread, Ended, Lookups, Misses, names::Finder},
        memory::{MemoryThread, Recorder},
        victim::{VictimThread, Watcher},
    },
    status::HelperCounts,
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
    /// A victim that has not ended so long after its mark is stuck; `None`: none is.
    pub stuck_after: Option<Duration>,
}

impl HelperOptions {
    /// What was not asked for, by its source, and by which option.
    pub(super) fn unwanted(&self) -> Vec<(&'static str, &'static str)> {
        let mut unwanted = Vec::new();
        if self.watch == CgroupWatch::Off {
            let both = ["cgroups", "memory"].map(|source| (source, "--cgroup-watch off"));
            unwanted.extend(both);
        } else if !self.memory {
            unwanted.push(("memory", "--no-memory-history"));
        }
        unwanted
    }
}

/// What these threads bring into the kernel.
#[derive(Default)]
pub(super) struct Programs {
    pub(super) cgroups: Option<CgroupPrograms>,
    pub(super) ends: Option<EndPrograms>,
}

/// Memory is locked after everything that needs much of it for a moment: what is given back then is not.
struct Loading {
    confinement: Confinement,
    left: AtomicUsize,
}

impl Loading {
    fn done(&self) {
        if self.left.fetch_sub(1, Relaxed) == 1 {
            self.confinement.lock_memory();
        }
    }
}

/// The running threads.
#[derive(Debug, Default)]
pub(super) struct HelperThreads {
    cgroups: Option<CgroupThread>,
    memory: Option<MemoryThread>,
    victims: Option<VictimThread>,
    /// Why one does not run, by its source.
    refused: Vec<(&'static str, String)>,
}

impl HelperThreads {
    /// Starts what was asked for, and lets detection ask it.
    pub(super) fn start(
        options: &HelperOptions,
        programs: Programs,
        detector: &Detector,
        confinement: &Confinement,
    ) -> Self {
        let mut threads = Self::default();
        let loading = Arc::new(Loading {
            confinement: confinement.clone(),
            left: AtomicUsize::new(2),
        });
        let mut helpers = Helpers {
            victims: threads.watch_victims(options, programs.ends, detector, &loading),
            ..Helpers::default()
        };
        let up = helpers.victims.is_some();
        threads.watch_cgroups(options, programs.cgroups, detector, &loading, &mut helpers);
        detector.help(helpers);
        if !up {
            let source = Feed::Victims;
            detector
                .inbox()
                .submit([Evidence::SourceState { source, up }]);
        }
        threads
    }

    fn watch_victims(
        &mut self,
        options: &HelperOptions,
        programs: Option<EndPrograms>,
        detector: &Detector,
        loading: &Arc<Loading>,
    ) -> Option<Helper<Watch>> {
        let (inbox, attached) = (detector.inbox(), loading.clone());
        let started = VictimThread::start(
            programs,
            options.stuck_after,
            move || attached.done(),
            move |evidence| inbox.submit(evidence),
        );
        match started {
            Ok((thread, watcher)) => {
                self.victims = Some(thread);
                Some(wait(watcher))
            }
            Err(error) => {
                tracing::warn!("how victims end is not told: {error}");
                self.refused.push(("victims", error.to_string()));
                loading.done();
                None
            }
        }
    }

    fn watch_cgroups(
        &mut self,
        options: &HelperOptions,
        programs: Option<CgroupPrograms>,
        detector: &Detector,
        loading: &Arc<Loading>,
        helpers: &mut Helpers,
    ) {
        if options.watch == CgroupWatch::Off {
            return loading.done();
        }
        let hierarchy = match Hierarchy::find() {
            Ok(hierarchy) => hierarchy,
            Err(error) => {
                let why = chain(&error);
                tracing::warn!("no names and no memory history: {why}");
                let both = ["cgroups", "memory"].map(|source| (source, why.clone()));
                self.refused.extend(both);
                return loading.done();
            }
        };
        let inbox = detector.inbox();
        let memory = options.memory.then(|| {
            MemoryThread::start(hierarchy.clone(), move |evidence| inbox.submit(evidence))
        });
        let recorder = match memory {
            Some(Ok((thread, recorder))) => {
                self.memory = Some(thread);
                Some(recorder)
            }
            Some(Err(error)) => {
                tracing::warn!("no memory history: {error}");
                self.refused.push(("memory", error.to_string()));
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
            let loading = loading.clone();
            move || loading.done()
        };
        helpers.memory = recorder.map(grant);
        helpers.names = match CgroupThread::start(watch, programs, attached, submit) {
            Ok((thread, asks)) => {
                self.cgroups = Some(thread);
                let ask: Helper<Ask> = Box::new(move |it| asks.ask(&it.path, it.id));
                Some(ask)
            }
            Err(error) => {
                tracing::warn!("no names: {error}");
                self.refused.push(("cgroups", error.to_string()));
                loading.done();
                None
            }
        };
    }

    /// Adds why those that were asked for do not run, by their sources.
    pub(super) fn explain(&self, reasons: &mut BTreeMap<&'static str, String>) {
        for (source, why) in &self.refused {
            reasons.entry(source).or_insert_with(|| why.clone());
        }
    }

    /// What they have counted, now and later.
    pub(super) fn counting(&self) -> impl Fn() -> HelperCounts + Send + Sync + 'static {
        let cgroups = self.cgroups.as_ref().map(CgroupThread::counts);
        let memory = self.memory.as_ref().map(MemoryThread::counters);
        let victims = self.victims.as_ref().map(VictimThread::counters);
        move || HelperCounts {
            cgroups: cgroups.as_ref().map(|counts| counts()).unwrap_or_default(),
            memory: memory.as_ref().map(|counts| counts()).unwrap_or_default(),
            victims: victims.as_ref().map(|counts| counts()).unwrap_or_default(),
        }
    }

    /// Stops them; what they still know has been handed over then.
    pub(super) fn stop(self) -> HelperCounts {
        HelperCounts {
            cgroups: self.cgroups.map(CgroupThread::stop).unwrap_or_default(),
            memory: self.memory.map(MemoryThread::stop).unwrap_or_default(),
            victims: self.victims.map(VictimThread::stop).unwrap_or_default(),
        }
    }
}

fn wait(watcher: Watcher) -> Helper<Watch> {
    Box::new(move |watch| watcher.ask(watch.clone()))
}

fn grant(recorder: Recorder) -> Helper<Wish> {
    Box::new(move |wish| recorder.ask(wish.clone()))
}

impl Lookups for Finder {
    fn lookup(&mut self, path: &str) -> Lookup {
        Self::lookup(self, path)
    }

    fn ended(&mut self, path: &str, names: Option<&Names>) -> Ended {
        Self::ended(self, path, names)
    }

    fn misses(&self) -> Misses {
        let counters = self.counters();
        Misses {
            absent: counters.absent,
            cut_listings: counters.cut_listings,
            settings: counters.settings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_asked_for_is_named_by_its_option() {
        let both = vec![
            ("cgroups", "--cgroup-watch off"),
            ("memory", "--cgroup-watch off"),
        ];
        for (watch, memory, unwanted) in [
            (CgroupWatch::Auto, true, vec![]),
            (
                CgroupWatch::Inotify,
                false,
                vec![("memory", "--no-memory-history")],
            ),
            (CgroupWatch::Off, true, both.clone()),
            (CgroupWatch::Off, false, both),
        ] {
            let options = HelperOptions {
                watch,
                memory,
                host_root: "/".into(),
                stuck_after: None,
            };
            assert_eq!(options.unwanted(), unwanted, "{options:?}");
        }
    }
}
