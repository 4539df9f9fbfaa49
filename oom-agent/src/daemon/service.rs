//! The main thread while the others work: signals, and what a service manager is told.
//!
//! The watchdog's sign of life is detection's own: the main thread wakes detection, and says that it is alive
//! only if detection has turned since it did so last.

use std::{io, time::Duration};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::{
    detect::Turns,
    notify::{self, Manager, Pulse, tell},
};

/// Detection is asked so many times within the time after which the service manager would lose patience.
const PULSES: u32 = 4;

/// Everything that it waits with, made while that is still allowed.
#[derive(Debug)]
pub(super) struct Service {
    runtime: Runtime,
    interrupt: Signal,
    terminate: Signal,
    manager: Option<Manager>,
    /// How long the service manager is patient.
    watchdog: Option<Duration>,
}

impl Service {
    /// From here on signals are caught.
    pub(super) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let (interrupt, terminate) = {
            let _within = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            )
        };
        let manager = Manager::open().unwrap_or_else(|error| {
            tracing::warn!("cannot talk to the service manager: {error}");
            None
        });
        Ok(Self {
            runtime,
            interrupt,
            terminate,
            watchdog: manager.as_ref().and_then(|_| notify::watchdog()),
            manager,
        })
    }

    /// Says that the agent is ready, and waits for a signal or for `once`.
    pub(super) fn wait(&mut self, once: &Notify, turns: &Turns, status: &str) {
        tell(self.manager.as_ref(), |manager| manager.ready(status));
        tracing::info!("watching");
        let Self {
            runtime,
            interrupt,
            terminate,
            manager,
            watchdog,
        } = self;
        let sign_of_life = || tell(manager.as_ref(), Manager::alive);
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = once.notified() => {}
                () = watch(*watchdog, turns, sign_of_life) => {}
            }
        });
        // One that has gone needs no word of the end.
        if let Some(manager) = &self.manager
            && let Err(error) = manager.stopping()
        {
            tracing::debug!("cannot talk to the service manager: {error}");
        }
    }
}

/// Gives signs of life as long as detection does; never ends.
async fn watch(patience: Option<Duration>, turns: &Turns, sign_of_life: impl Fn()) {
    let Some(patience) = patience else {
        return std::future::pending().await;
    };
    let period = patience / PULSES;
    let mut pulse = Pulse::new(turns.count());
    turns.wake();
    let mut clock = interval_at(Instant::now() + period, period);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        if pulse.beats(turns.count()) {
            sign_of_life();
        } else {
            tracing::error!("detection has not turned for {period:?}");
        }
        turns.wake();
    }
}
