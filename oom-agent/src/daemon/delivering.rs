//! Those to whom events are delivered from the store, from their credentials to the end.
//!
//! Reads options before confinement; emits running deliveries. Refuses to deliver without a store: it is the
//! queue.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use super::{Options, RunError, durable::Keeping, system};
#[cfg(any(feature = "otlp", feature = "webhook"))]
use crate::deliver::Posts;
#[cfg(feature = "sinks")]
use crate::deliver::Sink;
#[cfg(feature = "kubernetes")]
use crate::kubernetes::{self, Credentials};
use crate::metrics::Metrics;
#[cfg(feature = "otlp")]
use crate::otlp::{self, Counted, Otlp};
#[cfg(feature = "webhook")]
use crate::webhook::{self, Webhook};
#[cfg(feature = "nats")]
use crate::{
    clock::Now,
    nats::{self, Access, Heartbeat, How},
};
use crate::{deliver::Delivery, host::Host, status::Board, store::Deliveries};

/// At the end, all of them together may take this long.
pub(super) const LAST: Duration = Duration::from_secs(2);

/// To whom events are delivered.
#[derive(Clone, Debug, Default)]
pub struct SinkOptions {
    /// Events of Kubernetes; `None`: not.
    #[cfg(feature = "kubernetes")]
    pub kubernetes: Option<kubernetes::Options>,
    /// A fleet's stream; `None`: not.
    #[cfg(feature = "nats")]
    pub nats: Option<nats::Options>,
    /// Log records and metrics for OpenTelemetry; `None`: not.
    #[cfg(feature = "otlp")]
    pub otlp: Option<otlp::Options>,
    /// `CloudEvents` over HTTPS; `None`: not.
    #[cfg(feature = "webhook")]
    pub webhook: Option<webhook::Options>,
}

/// Why there is nothing that this sink could do.
#[cfg(feature = "sinks")]
fn refused<E>(sink: &'static str) -> impl FnOnce(E) -> RunError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |why| RunError::Sink {
        sink,
        why: why.into(),
    }
}

/// Starts one delivery from this store.
type Start = Box<dyn FnOnce(PathBuf, Deliveries) -> io::Result<Delivery>>;

/// The board, for sinks that tell how the agent is; empty until all that it tells of has been started.
pub(super) type BoardLater = Arc<OnceLock<Board>>;

/// What is counted, for sinks that tell it, likewise.
pub(super) type MetricsLater = Arc<OnceLock<Metrics>>;

/// Sinks that are ready to start.
#[derive(Default)]
pub(super) struct Sinks {
    ready: Vec<Start>,
    board: BoardLater,
    metrics: MetricsLater,
}

/// Deliveries that run.
#[derive(Debug, Default)]
pub(super) struct Delivering {
    running: Vec<Delivery>,
    board: BoardLater,
    metrics: MetricsLater,
}

impl SinkOptions {
    /// Whether there are any.
    #[must_use]
    pub const fn is_used(&self) -> bool {
        #[cfg(feature = "kubernetes")]
        if self.kubernetes.is_some() {
            return true;
        }
        #[cfg(feature = "nats")]
        if self.nats.is_some() {
            return true;
        }
        #[cfg(feature = "otlp")]
        if self.otlp.is_some() {
            return true;
        }
        #[cfg(feature = "webhook")]
        if self.webhook.is_some() {
            return true;
        }
        false
    }

    /// Whether one of them tells metrics.
    #[must_use]
    pub fn tell_metrics(&self) -> bool {
        #[cfg(feature = "otlp")]
        if let Some(otlp) = &self.otlp {
            return !otlp.metrics_interval.is_zero();
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
            let credentials = Credentials::read(kubernetes.kubeconfig.as_deref());
            let credentials = credentials.map_err(refused("kubernetes"))?;
            let node = host.node.as_deref().unwrap_or_default();
            sinks.add(kubernetes::Events::new(credentials, node));
        }
        #[cfg(feature = "nats")]
        if let Some(nats) = &options.sinks.nats {
            let access = Access::read(nats).map_err(refused("nats"))?;
            let node = host.node.as_deref().unwrap_or_default();
            let cluster = host.cluster.as_deref().unwrap_or_default();
            let how = sinks.how(cluster, nats.heartbeat);
            let events = nats::Events::new(access, cluster, node, nats.heartbeat, how);
            sinks.add(events);
        }
        #[cfg(feature = "otlp")]
        if let Some(otlp) = &options.sinks.otlp {
            let counted = Counted {
                board: sinks.board.clone(),
                metrics: sinks.metrics.clone(),
            };
            let root = &options.helpers.host_root;
            let otlp = Otlp::new(otlp, host, root, counted).map_err(refused("otlp"))?;
            sinks.add(Posts::new(otlp));
        }
        #[cfg(feature = "webhook")]
        if let Some(webhook) = &options.sinks.webhook {
            let webhook = Webhook::new(webhook, host).map_err(refused("webhook"))?;
            sinks.add(Posts::new(webhook));
        }
        #[cfg(not(feature = "sinks"))]
        let _ = (host, &mut sinks);
        Ok(sinks)
    }

    /// Tells of the agent, once there is something to tell.
    #[cfg(feature = "nats")]
    fn how(&self, cluster: &str, period: Duration) -> How {
        let (board, cluster) = (self.board.clone(), cluster.to_owned());
        Arc::new(move |stopping| {
            let status = board.get()?.read();
            let now = Now::read();
            let time = now.wall(now.monotonic_ns);
            Some(Heartbeat {
                stopping,
                ..Heartbeat::of(status, &cluster, time, period)
            })
        })
    }

    #[cfg(feature = "sinks")]
    fn add(&mut self, sink: impl Sink) {
        let start = |store, deliveries| Delivery::start(sink, store, deliveries);
        self.ready.push(Box::new(start));
    }

    /// Starts them. Detection must not run yet: what it tells is for them.
    pub(super) fn start(
        self,
        options: &Options,
        keeping: Option<&Keeping>,
    ) -> Result<Delivering, RunError> {
        let mut delivering = Delivering {
            board: self.board,
            metrics: self.metrics,
            ..Delivering::default()
        };
        let (Some(store), Some(keeping)) = (&options.store.path, keeping) else {
            return Ok(delivering);
        };
        for start in self.ready {
            let delivery = start(store.clone(), keeping.storing.deliveries());
            let delivery = delivery.map_err(system("cannot start a thread"))?;
            delivering.running.push(delivery);
        }
        Ok(delivering)
    }
}

impl Delivering {
    /// Has the board tell how each goes, and each what the board tells and what is counted.
    pub(super) fn show(&self, board: &Board, metrics: Option<&Metrics>) {
        for delivery in &self.running {
            board.add_sink(delivery.health());
        }
        // Called once: there is nothing in it.
        let _ = self.board.set(board.clone());
        let _ = metrics.map(|metrics| self.metrics.set(metrics.clone()));
    }

    /// Ends them. The store must still run.
    pub(super) fn stop(self) {
        Delivery::stop_all(self.running, LAST);
    }
}
