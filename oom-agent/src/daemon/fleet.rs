//! `oom-agent fleet serve`: the API of one agent over the events of all.
//!
//! Reads the stream into a store of its own, and the nodes' signs of life; emits the routes of [`crate::api`] that ask
//! a store, and those of the fleet. Goes on where it was: the place in the stream is in the store. Refuses a store
//! that an agent writes, and to answer from nothing: until the first look at the stream it is not ready.

use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    time::sleep,
};

use crate::{
    api::{self, ApiError, Bound, Fleet, Records, Server},
    clock::Now,
    confine::{self, Confinement, Feature, Guard},
    error::chain,
    fleet::{FleetError, From, Heard, Mirror, nodes},
    host,
    hub::Output as _,
    nats::{self, Access, LinkError},
    notify::{Manager, tell},
    store::{Reader, Retention, Run, Store},
    watch::{Intake, Watchers},
};

/// Between two looks at the nodes.
const LOOK: Duration = Duration::from_secs(5);

/// Between two tries to reach the servers again.
const AGAIN: Duration = Duration::from_secs(1);

/// At the end, those who ask may take this long.
const DISMISS: Duration = Duration::from_secs(2);

/// What is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// The servers.
    pub nats: nats::Options,
    /// The database.
    pub store: PathBuf,
    /// What it keeps.
    pub retention: Retention,
    /// Where it is served.
    pub api: api::Options,
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The stream, or the store.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The sockets.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// There are none.
    #[error("nothing is served: --socket none takes --listen")]
    Nowhere,
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

fn system(what: &'static str) -> impl FnOnce(io::Error) -> ServeError {
    move |error| ServeError::System { what, error }
}

/// Serves until SIGINT or SIGTERM.
pub fn serve(options: &Options) -> Result<(), ServeError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(system("cannot start"))?;
    let stopped = {
        let _within = runtime.enter();
        let interrupt = signal(SignalKind::interrupt());
        let terminate = signal(SignalKind::terminate());
        let caught = interrupt.and_then(|it| Ok((it, terminate?)));
        let (mut interrupt, mut terminate) = caught.map_err(system("cannot catch signals"))?;
        async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
    };
    let access = Access::read(&options.nats).map_err(FleetError::from)?;
    let bound = Bound::open(&options.api)?;
    if bound.is_empty() {
        return Err(ServeError::Nowhere);
    }
    let store = open(&options.store)?;
    let manager = Manager::open().map_err(system("cannot talk to the service manager"))?;
    let features = [Feature::Store, Feature::Server, Feature::Client];
    let confinement = confine(options, &features);
    let (watchers, intake, thread) = Watchers::start().map_err(system("cannot start a thread"))?;
    let fleet = Fleet::new(Records::new(watchers, Some(options.store.clone())));
    let server = Server::start(bound, api::router_of_fleet(fleet.clone()));
    let server = server.map_err(system("cannot start the API's thread"))?;
    confinement.system_calls(&features);
    for line in confinement.told() {
        tracing::info!("{line}");
    }

    let place = place(&options.store);
    let mut mirror = Mirror::new(store, place, None, Vec::new()).retaining(options.retention);
    let failed = runtime.block_on(async {
        tokio::select! {
            () = stopped => None,
            error = read(&access, &mut mirror, intake, &fleet, manager.as_ref()) => Some(error),
            never = look(&access, &fleet) => match never {},
        }
    });
    tell(manager.as_ref(), Manager::stopping);
    server.stop(DISMISS);
    if thread.join().is_err() {
        tracing::error!("the thread of those who watch had panicked");
    }
    let counts = mirror.counts();
    if let Some(error) = failed {
        return Err(error.into());
    }
    mirror
        .store()
        .end_run(&Now::read())
        .map_err(FleetError::from)?;
    tracing::info!(
        "read={} stored={} doubles={} unreadable={} missed={} anew={}",
        counts.read,
        counts.stored,
        counts.doubles,
        counts.unreadable,
        counts.missed,
        counts.anew
    );
    Ok(())
}

/// Opens the store, and notes the start down.
fn open(path: &Path) -> Result<Store, ServeError> {
    let host = host::read(None, None).map_err(system("cannot tell which boot this is"))?;
    let boot_id = host.boot_id.as_deref().unwrap_or_default();
    let now = Now::read();
    let run = Run {
        pid: std::process::id(),
        pid_start_ns: None,
        started: now.wall(now.monotonic_ns),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ring_generation: None,
        first_log: None,
    };
    let opened = Store::open(path, boot_id, 0).and_then(|mut store| {
        store.begin_run(&run, &host, &now)?;
        Ok(store)
    });
    Ok(opened.map_err(FleetError::from)?)
}

/// It needs no privilege but its files, sockets and the network.
fn confine(options: &Options, features: &[Feature]) -> Confinement {
    let confinement = Confinement::begin(&confine::Options {
        without: vec![Guard::OomScore, Guard::MemoryLock],
        oom_score_adj: 0,
    });
    let dir = |path: &'_ Path| {
        let dir = path.parent().filter(|dir| *dir != Path::new(""));
        dir.unwrap_or(Path::new(".")).to_owned()
    };
    let socket = options.api.socket.as_deref().map(dir);
    let dirs: Vec<_> = [Some(dir(&options.store)), socket]
        .into_iter()
        .flatten()
        .collect();
    let dirs: Vec<_> = dirs.iter().map(PathBuf::as_path).collect();
    confinement.threads(features, &dirs);
    confinement
}

/// Where this store has got to in the stream.
fn place(path: &Path) -> From {
    let kept = Reader::open(path).and_then(|reader| reader.delivered(Mirror::place()));
    match kept {
        Ok(Some((_, state))) => match state.parse() {
            Ok(place) => From::Behind(Some(place)),
            Err(error) => {
                // What is read once more is there already, and known by its id.
                tracing::warn!("the place in the stream is not known: {error}: {state:?}");
                From::Behind(None)
            }
        },
        Ok(None) => From::Behind(None),
        Err(error) => {
            tracing::warn!("the place in the stream is not known: {}", chain(&error));
            From::Behind(None)
        }
    }
}

/// Reads the stream for ever; why it cannot go on.
async fn read(
    access: &Access,
    mirror: &mut Mirror,
    mut intake: Intake,
    fleet: &Fleet,
    manager: Option<&Manager>,
) -> FleetError {
    let mut said = None;
    loop {
        let ended = async {
            let connected = access.connect("oom-agent fleet serve").await;
            let context = connected.map_err(LinkError::from)?;
            let mut told = |heard: Heard<'_>, counts| match heard {
                Heard::Event(event) => {
                    intake.offer(event);
                }
                Heard::Stored { left } => {
                    if fleet.read(counts, left) {
                        tell(manager, |it| it.ready("serving"));
                        tracing::info!("serving");
                    }
                }
            };
            mirror.follow(&context, access.stream(), &mut told).await
        };
        let Err(error) = ended.await else { continue };
        let error: FleetError = error;
        let why = chain(&error);
        fleet.fail(&why);
        if matches!(&error, FleetError::Store(error) if !error.is_passing()) {
            return error;
        }
        if said.as_deref() != Some(&*why) {
            tracing::warn!("{why}; tried again, nothing is lost");
            said = Some(why);
        }
        sleep(AGAIN).await;
    }
}

/// Looks at the nodes for ever.
async fn look(access: &Access, fleet: &Fleet) -> Infallible {
    loop {
        let looked = async {
            let connected = access.connect("oom-agent fleet serve (nodes)").await;
            let context = connected.map_err(LinkError::from)?;
            loop {
                fleet.heard(nodes(&context, access.stream()).await?);
                sleep(LOOK).await;
            }
        };
        let Err(error): Result<Infallible, FleetError> = looked.await;
        fleet.fail_nodes(&chain(&error));
        sleep(LOOK).await;
    }
}
