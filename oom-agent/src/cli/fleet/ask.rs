//! The part of the stream that a question is about, in a store of one's own.
//!
//! Reads the stream; emits the file of a store in a directory that goes when the command ends, by a signal as well.
//! Who follows has a thread that reads on, also over a broken connection. Refuses to copy more than a machine
//! should: without a time only the last days are read, where that makes sense, and never more than a million
//! messages at once.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    cli::{nats::ServersArgs, output::Failure},
    client::{Client, Whom},
    error::chain,
    fleet::{FleetError, From, Mirror},
    nats::{Access, subjects_of},
    question::{Question, When},
    store::Store,
};

/// The store of a command has no boot of its own.
const BOOT: &str = "fleet";

/// Between two tries to reach the servers again.
const AGAIN: Duration = Duration::from_secs(1);

/// Messages that are copied at once, some 2 KiB each. What that means for a fleet is in `docs/fleet.md`.
const AT_MOST: u64 = 1_000_000;

/// A directory into which somebody is just writing is removed again, so often, after this pause.
const REMOVE: (u32, Duration) = (100, Duration::from_millis(10));

/// What is read if no time is said, in days.
const DAYS: u8 = 7;

const DAY_NS: i64 = 24 * 3_600 * 1_000_000_000;

/// A copy. Its file goes with it.
pub(super) struct Copy {
    path: PathBuf,
    access: Access,
    ending: Ending,
    _dir: TempDir,
}

/// A signal ends the process: the directory is going, and what fails now fails by that.
#[derive(Clone, Debug, Default)]
struct Ending(Arc<AtomicBool>);

impl Ending {
    /// The result, unless the process ends: then nothing more is to be said.
    fn or<T>(&self, result: Result<T, FleetError>) -> Result<T, FleetError> {
        while result.is_err() && self.0.load(Ordering::Acquire) {
            thread::park();
        }
        result
    }
}

impl Copy {
    /// Reads what the question may mean, up to now; to follow, a thread reads on.
    pub(super) fn read(
        servers: ServersArgs,
        question: &Question,
        follow: bool,
    ) -> Result<Self, Failure> {
        let access = Access::read(&servers.options()).map_err(FleetError::from)?;
        let caught = Signals::catch()?;
        let dir = tempfile::Builder::new().prefix("oom-agent-fleet").tempdir();
        let dir = dir.map_err(system("cannot make a directory"))?;
        let ending = Ending::default();
        caught.remove(dir.path(), ending.clone())?;
        let path = dir.path().join("events.db");
        let runtime = runtime()?;
        let mut mirror = ending.or(read(&runtime, &access, &path, question))?;
        if follow {
            let access = access.clone();
            let read_on = move || read_on(&runtime, &access, &mut mirror);
            let thread = thread::Builder::new().name("fleet".into()).spawn(read_on);
            // It ends with the process.
            drop(thread.map_err(system("cannot start a thread"))?);
        }
        Ok(Self {
            path,
            access,
            ending,
            _dir: dir,
        })
    }

    /// Reads what this question may mean into it, too. It must not be followed.
    pub(super) fn add(&self, question: &Question) -> Result<(), FleetError> {
        let read = read(&runtime()?, &self.access, &self.path, question);
        self.ending.or(read).map(drop)
    }

    /// The store, as it is asked.
    pub(super) fn open(&self) -> Result<(Client, Whom), Failure> {
        let whom = Whom::Store(self.path.clone());
        Ok((Client::open(whom.clone())?, whom))
    }
}

/// Reads what the question may mean, up to now, into the store at this path.
fn read(
    runtime: &Runtime,
    access: &Access,
    path: &Path,
    question: &Question,
) -> Result<Mirror, FleetError> {
    let filter = question.clone().filter();
    let from = filter.since.map_or(From::Behind(None), From::Since);
    let subjects = subjects_of(
        filter.cluster.as_deref(),
        filter.node.as_deref(),
        &filter.kinds,
    );
    let store = Store::open(path, BOOT, 0)?;
    let mut mirror = Mirror::new(store, from, Some(filter), subjects).at_most(AT_MOST);
    runtime.block_on(async {
        let context = connect(access).await?;
        mirror.catch_up(&context, access.stream()).await
    })?;
    let unreadable = mirror.counts().unreadable;
    if unreadable > 0 {
        eprintln!(
            "oom-agent: {unreadable} messages of the stream are left out: this version does not understand them"
        );
    }
    Ok(mirror)
}

/// The question about the last days, if it names no time; that is said.
pub(super) fn of_late(question: &Question) -> Question {
    let mut question = question.clone();
    if question.since.is_none() {
        let until = question.until.map_or_else(
            || i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX),
            |until| until.0,
        );
        question.since = Some(When(until.saturating_sub(i64::from(DAYS) * DAY_NS)));
        eprintln!("oom-agent: of {DAYS} days; --since tells how far back");
    }
    question
}

/// Signals that end the process; from before there is anything to remove.
struct Signals {
    runtime: Runtime,
    all: [(SignalKind, Signal); 3],
}

impl Signals {
    fn catch() -> Result<Self, FleetError> {
        let runtime = runtime()?;
        let caught = |kind| {
            let _within = runtime.enter();
            signal(kind).map(|signal| (kind, signal))
        };
        let all = (|| {
            Ok([
                caught(SignalKind::hangup())?,
                caught(SignalKind::interrupt())?,
                caught(SignalKind::terminate())?,
            ])
        })();
        let all = all.map_err(system("cannot catch signals"))?;
        Ok(Self { runtime, all })
    }

    /// Ends the process when one comes, without this directory.
    fn remove(self, dir: &Path, ending: Ending) -> Result<(), FleetError> {
        let dir = dir.to_owned();
        let Self { runtime, mut all } = self;
        let wait = move || {
            let [(hangup, a), (interrupt, b), (terminate, c)] = &mut all;
            let signal = runtime.block_on(async {
                tokio::select! {
                    _ = a.recv() => *hangup,
                    _ = b.recv() => *interrupt,
                    _ = c.recv() => *terminate,
                }
            });
            ending.0.store(true, Ordering::Release);
            if let Err(error) = removed(&dir) {
                eprintln!("oom-agent: {} is left: {error}", dir.display());
            }
            // As a shell tells it of a process that a signal ended.
            process::exit(128 + signal.as_raw_value());
        };
        let thread = thread::Builder::new().name("signals".into()).spawn(wait);
        // It ends with the process.
        drop(thread.map_err(system("cannot start a thread"))?);
        Ok(())
    }
}

/// Removes a directory into which another thread may be writing.
fn removed(dir: &Path) -> io::Result<()> {
    let (tries, pause) = REMOVE;
    for _ in 1..tries {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => thread::sleep(pause),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            done => return done,
        }
    }
    fs::remove_dir_all(dir)
}

/// What comes, until the process ends or nothing more can come.
fn read_on(runtime: &Runtime, access: &Access, mirror: &mut Mirror) {
    let mut said = false;
    loop {
        let ended = runtime.block_on(async {
            let context = connect(access).await?;
            if std::mem::take(&mut said) {
                eprintln!("oom-agent: the servers are back");
            }
            let stream = access.stream();
            mirror.follow(&context, stream, &mut |_, _| {}).await
        });
        let Err(error) = ended else { continue };
        if !error.is_passing() {
            eprintln!("oom-agent: nothing more is shown: {}", chain(&error));
            return;
        }
        if !std::mem::replace(&mut said, true) {
            eprintln!(
                "oom-agent: the servers have gone, and are waited for: {}",
                chain(&error)
            );
        }
        thread::sleep(AGAIN);
    }
}

/// A runtime for one command.
pub(super) fn runtime() -> Result<Runtime, FleetError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(system("cannot start the client"))
}

/// A connection for one command.
pub(super) async fn connect(access: &Access) -> Result<async_nats::jetstream::Context, FleetError> {
    let connected = access.connect("oom-agent fleet").await;
    Ok(connected.map_err(crate::nats::LinkError::from)?)
}

fn system(what: &'static str) -> impl FnOnce(io::Error) -> FleetError {
    move |error| FleetError::System { what, error }
}
