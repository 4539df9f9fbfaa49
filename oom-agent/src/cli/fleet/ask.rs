//! The part of the stream that a question is about, in a store of one's own.
//!
//! Reads the stream; emits the file of a store in a directory that goes when the command ends. Who follows has a
//! thread that reads on, also over a broken connection.

use std::{path::PathBuf, thread, time::Duration};

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

use crate::{
    cli::{nats::ServersArgs, output::Failure},
    client::{Client, Whom},
    error::chain,
    fleet::{FleetError, From, Mirror},
    nats::{Access, subjects_of},
    question::Question,
    store::Store,
};

/// The store of a command has no boot of its own.
const BOOT: &str = "fleet";

/// Between two tries to reach the servers again.
const AGAIN: Duration = Duration::from_secs(1);

/// A copy. Its file goes with it.
pub(super) struct Copy {
    path: PathBuf,
    _dir: TempDir,
}

impl Copy {
    /// Reads what the question may mean, up to now; to follow, a thread reads on.
    pub(super) fn read(
        servers: ServersArgs,
        question: Option<&Question>,
        follow: bool,
    ) -> Result<Self, Failure> {
        let access = Access::read(&servers.options()).map_err(FleetError::from)?;
        let dir = tempfile::Builder::new().prefix("oom-agent-fleet").tempdir();
        let dir = dir.map_err(system("cannot make a directory"))?;
        let path = dir.path().join("events.db");
        let filter = question.map(|question| question.clone().filter());
        let from = filter.as_ref().and_then(|it| it.since);
        let from = from.map_or(From::Behind(0), From::Since);
        let subjects = filter.as_ref().map_or_else(Vec::new, |filter| {
            subjects_of(
                filter.cluster.as_deref(),
                filter.node.as_deref(),
                &filter.kinds,
            )
        });
        let store = Store::open(&path, BOOT, 0).map_err(FleetError::from)?;
        let mut mirror = Mirror::new(store, from, filter, subjects);
        let runtime = runtime()?;
        runtime.block_on(async {
            let context = connect(&access).await?;
            mirror.catch_up(&context, access.stream()).await
        })?;
        let unreadable = mirror.counts().unreadable;
        if unreadable > 0 {
            eprintln!(
                "oom-agent: {unreadable} messages of the stream are left out: this version does not understand them"
            );
        }
        if follow {
            let read_on = move || read_on(&runtime, &access, &mut mirror);
            let thread = thread::Builder::new().name("fleet".into()).spawn(read_on);
            // It ends with the process.
            drop(thread.map_err(system("cannot start a thread"))?);
        }
        Ok(Self { path, _dir: dir })
    }

    /// The store, as it is asked.
    pub(super) fn open(&self) -> Result<(Client, Whom), Failure> {
        let whom = Whom::Store(self.path.clone());
        Ok((Client::open(whom.clone())?, whom))
    }
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

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> FleetError {
    move |error| FleetError::System { what, error }
}
