//! The thread over a directory: before the watch is there, and when something does not answer.

use std::{
    fs,
    path::Path,
    sync::mpsc::{Sender, channel},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::*;
use crate::{
    evidence::{CgroupEvidence, Lookup, Names},
    hierarchy::CgroupVersion,
    source::cgroup::Ended,
};

const SOON: Duration = Duration::from_secs(20);

/// Finds nothing; waits for ever over what is called `stuck`, until the other end is dropped.
struct Disk(Receiver<()>);

impl Lookups for Disk {
    fn lookup(&mut self, path: &str) -> Lookup {
        if path.ends_with("stuck") {
            let _ = self.0.recv();
        }
        Lookup::NotNeeded
    }

    fn ended(&mut self, _: &str, _: Option<&Names>) -> Ended {
        Ended::Untold
    }
}

/// A thread whose watch comes when it is told to.
struct Bench {
    dir: TempDir,
    /// To be dropped: the disk answers.
    disk: Option<Sender<()>>,
    /// To be sent: the watch is attached. To be dropped: attaching panics.
    attach: Option<Sender<()>>,
    attached: Receiver<()>,
    said: Receiver<Evidence>,
    thread: CgroupThread,
    asks: Asks,
}

impl Bench {
    fn start() -> Self {
        Self::watched_by(Watch::by_inotify)
    }

    fn watched_by(watch: fn() -> Watch) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("old")).unwrap();
        let (disk, answers) = channel();
        let (attach, go) = channel::<()>();
        let (tell, attached) = channel();
        let (say, said) = channel();
        let options = Options {
            hierarchy: hierarchy(dir.path()),
            lookups: Box::new(Disk(answers)),
            ring_bytes: 4096,
        };
        let (thread, asks) = CgroupThread::start_by(
            options,
            move || {
                go.recv().unwrap();
                watch()
            },
            move || tell.send(()).unwrap(),
            move |batch| batch.into_iter().for_each(|it| say.send(it).unwrap()),
        )
        .unwrap();
        Self {
            dir,
            disk: Some(disk),
            attach: Some(attach),
            attached,
            said,
            thread,
            asks,
        }
    }

    /// Waits until it says that it watches so.
    fn until_watched(&self, wanted: Watched) {
        let (counts, deadline) = (self.thread.counts(), Instant::now() + SOON);
        while counts().watched != wanted {
            assert!(Instant::now() < deadline, "{:?}", counts());
            thread::yield_now();
        }
    }

    fn ask(&self, path: &str) {
        assert!(self.asks.ask(&path.into(), None));
    }

    /// Waits until a cgroup is told of, in this way.
    fn until_known(&self, wanted: &str, how: Found) {
        self.until(|evidence| {
            matches!(evidence, CgroupEvidence::Known(known)
                if &*known.path == wanted && known.found == how)
        });
    }

    fn until(&self, wanted: impl Fn(&CgroupEvidence) -> bool) {
        let is_it = |evidence: &Evidence| matches!(evidence, Evidence::Cgroup(it) if wanted(it));
        let deadline = Instant::now() + SOON;
        while !is_it(&self.said.recv_timeout(SOON).unwrap()) {
            assert!(Instant::now() < deadline);
        }
    }
}

fn hierarchy(mount: &Path) -> Hierarchy {
    Hierarchy {
        version: CgroupVersion::V2,
        mount: mount.to_owned(),
        root: "/".into(),
        initial_namespace: true,
    }
}

fn is_scan(evidence: &CgroupEvidence) -> bool {
    matches!(evidence, CgroupEvidence::Scanned { .. })
}

#[test]
fn questions_are_answered_before_the_watch_is_there() {
    let bench = Bench::start();
    bench.ask("/gone");
    bench.until_known("/gone", Found::LookedUp);
    assert!(bench.attached.try_recv().is_err());
    bench.attach.as_ref().unwrap().send(()).unwrap();
    bench.attached.recv_timeout(SOON).unwrap();
    bench.until_known("/old", Found::AtStart);
    bench.until(is_scan);
    // What was asked for meanwhile was not watched.
    bench.until(is_scan);
    fs::create_dir(bench.dir.path().join("new")).unwrap();
    bench.until_known("/new", Found::Created);
    let counts = bench.thread.stop();
    assert_eq!((counts.asked, counts.scans), (1, 2));
    assert!(bench.attached.recv_timeout(SOON).is_err(), "called once");
}

#[test]
fn if_attaching_panics_inotify_is_left() {
    let mut bench = Bench::start();
    bench.attach = None;
    bench.attached.recv_timeout(SOON).unwrap();
    bench.until_known("/old", Found::AtStart);
    bench.until(is_scan);
    fs::create_dir(bench.dir.path().join("new")).unwrap();
    bench.until_known("/new", Found::Created);
    assert_eq!(bench.thread.stop().scans, 1);
}

#[test]
fn it_stops_while_the_watch_is_being_attached() {
    let bench = Bench::start();
    let began = Instant::now();
    bench.ask("/a");
    assert_eq!(bench.thread.stop().asked, 1);
    assert!(began.elapsed() < Duration::from_secs(2));
    bench.attach.unwrap().send(()).unwrap();
    bench.attached.recv_timeout(SOON).unwrap();
}

#[test]
fn a_disk_that_does_not_answer_does_not_hold_up_the_end() {
    let mut bench = Bench::start();
    bench.ask("/a");
    bench.until_known("/a", Found::LookedUp);
    bench.ask("/stuck");
    let counts = bench.thread.stop();
    assert!(counts.asked <= 1, "{counts:?}");
    bench.disk = None;
    let mut said = bench.said.iter();
    assert!(said.any(|evidence| matches!(evidence, Evidence::Cgroup(it)
        if matches!(&*it, CgroupEvidence::Known(known) if &*known.path == "/stuck"))));
}

#[test]
fn it_says_how_it_watches() {
    for (watch, expected) in [
        (Watch::by_inotify as fn() -> Watch, Watched::ByInotify),
        (|| Watch::None, Watched::ByScans),
    ] {
        let bench = Bench::watched_by(watch);
        assert_eq!(bench.thread.counts()().watched, Watched::Soon);
        bench.ask("/a");
        bench.until_known("/a", Found::LookedUp);
        assert_eq!(bench.thread.counts()().watched, Watched::Soon);
        bench.attach.as_ref().unwrap().send(()).unwrap();
        bench.until_watched(expected);
        assert_eq!(bench.thread.stop().watched, Watched::Ended);
    }
    let up = [Watched::ByBpf, Watched::ByInotify];
    let down = [
        Watched::Off,
        Watched::Soon,
        Watched::ByScans,
        Watched::Unread,
        Watched::Ended,
    ];
    assert!(up.into_iter().all(Watched::is_up) && !down.into_iter().any(Watched::is_up));
}

#[test]
fn a_thread_that_panics_watches_no_longer() {
    let bench = Bench::start();
    bench.attach.as_ref().unwrap().send(()).unwrap();
    bench.until_watched(Watched::ByInotify);
    // Whom it tells has gone: so it panics here.
    let counts = bench.thread.counts();
    drop(bench.said);
    let deadline = Instant::now() + SOON;
    while counts().watched != Watched::Ended {
        fs::create_dir(bench.dir.path().join(format!("{:?}", Instant::now()))).unwrap();
        assert!(Instant::now() < deadline);
        thread::yield_now();
    }
}

#[test]
fn where_nothing_can_be_read_nothing_is_watched() {
    let dir = tempfile::tempdir().unwrap();
    let (_disk, answers) = channel();
    let options = Options {
        hierarchy: hierarchy(&dir.path().join("none")),
        lookups: Box::new(Disk(answers)),
        ring_bytes: 4096,
    };
    let (thread, _asks) =
        CgroupThread::start_by(options, Watch::by_inotify, || (), |_| ()).unwrap();
    let (counts, deadline) = (thread.counts(), Instant::now() + SOON);
    while counts().watched != Watched::Unread {
        assert!(Instant::now() < deadline, "{:?}", counts());
        thread::yield_now();
    }
    let _ = thread.stop();
}
