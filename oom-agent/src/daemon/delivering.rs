//! Those to whom events are delivered from the store, from their credentials to the end.
//!
//! Reads options before confinement; emits running deliveries. Refuses to deliver without a store: it is the
//! queue.

use std::{io, path::PathBuf, time::Duration};

use super::{Options, RunError, durable::Keeping, system};
use crate::{correlate::Host, deliver::Delivery, status::Board, store::Deliveries};
#[cfg(feature = "kubernetes")]
use crate::{
    deliver::Sink,
    kubernetes::{self, Credentials},
};

/// At the end, all of them together may take this long.
const LAST: Duration = Duration::from_secs(2);

/// To whom events are delivered.
#[derive(Clone, Debug, Default)]
pub struct SinkOptions {
    /// Events of Kubernetes; `None`: not.
    #[cfg(feature = "kubernetes")]
    pub kubernetes: Option<kubernetes::Options>,
}

/// Starts one delivery from this store.
type Start = Box<dyn FnOnce(PathBuf, Deliveries) -> io::Result<Delivery>>;

/// Sinks that are ready to start.
#[derive(Default)]
pub(super) struct Sinks(Vec<Start>);

/// Deliveries that run.
#[derive(Debug, Default)]
pub(super) struct Delivering(Vec<Delivery>);

impl SinkOptions {
    /// Whether there are any.
    #[must_use]
    pub const fn is_used(&self) -> bool {
        #[cfg(feature = "kubernetes")]
        if self.kubernetes.is_some() {
            return true;
        }
        false
    }
}

impl Sinks {
    /// Reads what they need.
    pub(super) fn read(options: &Options, host: &Host) -> Result<Self, RunError> {
        if options.sinks.is_used() && options.store.path.is_none() {
            return Err(RunError::NoQueue);
        }
        let mut sinks = Self::default();
        #[cfg(feature = "kubernetes")]
        if let Some(kubernetes) = &options.sinks.kubernetes {
            let credentials = Credentials::read(kubernetes.kubeconfig.as_deref())?;
            let node = host.node.as_deref().unwrap_or_default();
            sinks.add(kubernetes::Events::new(credentials, node));
        }
        #[cfg(not(feature = "kubernetes"))]
        let _ = (host, &mut sinks);
        Ok(sinks)
    }

    #[cfg(feature = "kubernetes")]
    fn add(&mut self, sink: impl Sink) {
        let start = |store, deliveries| Delivery::start(sink, store, deliveries);
        self.0.push(Box::new(start));
    }

    /// Starts them. Detection must not run yet: what it tells is for them.
    pub(super) fn start(
        self,
        options: &Options,
        keeping: Option<&Keeping>,
    ) -> Result<Delivering, RunError> {
        let mut delivering = Delivering::default();
        let (Some(store), Some(keeping)) = (&options.store.path, keeping) else {
            return Ok(delivering);
        };
        for start in self.0 {
            let delivery = start(store.clone(), keeping.storing.deliveries());
            let delivery = delivery.map_err(system("cannot start a thread"))?;
            delivering.0.push(delivery);
        }
        Ok(delivering)
    }
}

impl Delivering {
    /// Has the board tell how each goes.
    pub(super) fn show(&self, board: &Board) {
        for delivery in &self.0 {
            board.add_sink(delivery.health());
        }
    }

    /// Ends them. The store must still run.
    pub(super) fn stop(self) {
        for delivery in self.0 {
            delivery.stop(LAST);
        }
    }
}
