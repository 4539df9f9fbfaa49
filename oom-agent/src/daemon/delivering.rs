//! Those to whom events are delivered from the store, from their credentials to the end.
//!
//! Reads options before confinement; emits running deliveries. Refuses to deliver without a store: it is the
//! queue.

use std::time::Duration;

use super::{Options, RunError, durable::Keeping};
#[cfg(feature = "kubernetes")]
use crate::kubernetes::{self, Credentials};
use crate::{correlate::Host, deliver::Delivery, status::Board};

/// At the end, all of them together may take this long.
const LAST: Duration = Duration::from_secs(2);

/// To whom events are delivered.
#[derive(Clone, Debug, Default)]
pub struct SinkOptions {
    /// Events of Kubernetes; `None`: not.
    #[cfg(feature = "kubernetes")]
    pub kubernetes: Option<kubernetes::Options>,
}

/// Sinks that are ready to start.
#[derive(Default)]
pub(super) struct Sinks {
    #[cfg(feature = "kubernetes")]
    kubernetes: Option<kubernetes::Events>,
}

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
        #[cfg(feature = "kubernetes")]
        if let Some(kubernetes) = &options.sinks.kubernetes {
            let credentials = Credentials::read(kubernetes.kubeconfig.as_deref())?;
            let node = host.node.as_deref().unwrap_or_default();
            let events = kubernetes::Events::new(credentials, node);
            return Ok(Self {
                kubernetes: Some(events),
            });
        }
        let _ = host;
        Ok(Self::default())
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
        let deliveries = || (store.to_owned(), keeping.storing.deliveries());
        #[cfg(feature = "kubernetes")]
        if let Some(events) = self.kubernetes {
            let (store, deliveries) = deliveries();
            let delivery = Delivery::start(events, store, deliveries);
            let delivery = delivery.map_err(super::system("cannot start a thread"))?;
            delivering.0.push(delivery);
        }
        #[cfg(not(feature = "kubernetes"))]
        let _ = (deliveries, &mut delivering);
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
