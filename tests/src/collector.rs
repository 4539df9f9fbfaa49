//! A collector on the service definitions of OTLP, over gRPC, plain or by TLS, that can be told to fail in each way
//! in which real ones do.
//!
//! Emits the records and metrics that it has taken.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use anyhow::{Result, ensure};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
            logs_service_server::{LogsService, LogsServiceServer},
        },
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
    },
    common::v1::{KeyValue, any_value::Value},
    logs::v1::LogRecord,
    metrics::v1::Metric,
};
use tokio::{runtime, sync::oneshot};
use tonic::{
    Request, Response, Status,
    metadata::MetadataMap,
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

use crate::{agent::DEADLINE, certificate::Localhost};

/// How a request for logs is answered instead.
#[derive(Clone, Debug)]
pub enum Fault {
    /// With this status.
    Status(Status),
    /// By taking all but so many records.
    Rejects(i64),
    /// Not at all.
    Hangs,
}

/// The collector. What it has outlives [`Collector::stop`].
#[derive(Debug)]
pub struct Collector {
    shared: Service,
    address: SocketAddr,
    tls: Option<Localhost>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

#[derive(Clone, Debug, Default)]
struct Service(Arc<(Mutex<Taken>, Condvar)>);

/// What it has.
#[derive(Debug, Default)]
pub struct Taken {
    /// Requests for logs, as they came, taken or not.
    pub requests: Vec<ExportLogsServiceRequest>,
    /// Metadata of the last.
    pub metadata: MetadataMap,
    /// All records that were taken.
    pub records: Vec<LogRecord>,
    /// Requests for metrics.
    pub metrics: Vec<ExportMetricsServiceRequest>,
    faults: VecDeque<Fault>,
}

impl Collector {
    /// Without TLS.
    pub fn plain() -> Result<Self> {
        Self::start(None)
    }

    /// With TLS.
    pub fn tls() -> Result<Self> {
        Self::start(Some(Localhost::new()?))
    }

    fn start(tls: Option<Localhost>) -> Result<Self> {
        let mut collector = Self {
            shared: Service::default(),
            address: ([127, 0, 0, 1], 0).into(),
            tls,
            running: None,
        };
        collector.go_on()?;
        Ok(collector)
    }

    /// Starts it again, at the same address.
    pub fn go_on(&mut self) -> Result<()> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let entered = runtime.enter();
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(self.address)?;
        let listener = socket.listen(128)?;
        self.address = listener.local_addr()?;
        let mut server = Server::builder();
        if let Some(tls) = &self.tls {
            let identity = Identity::from_pem(&tls.certificate, &tls.key);
            server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
        }
        let server = server
            .add_service(LogsServiceServer::new(self.shared.clone()))
            .add_service(MetricsServiceServer::new(self.shared.clone()));
        drop(entered);
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = server.serve_with_incoming(TcpIncoming::from(listener)) => {}
                    _ = stopped => {}
                }
            });
            // With all its connections.
            runtime.shutdown_background();
        });
        self.running = Some((stop, thread));
        Ok(())
    }

    /// Closes its port and all connections.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
        }
    }

    /// Where it is, by a name that is to be looked up.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.address.port())
    }

    /// The certificate of its authority, in PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.tls.as_ref().map_or("", |tls| &tls.authority)
    }

    /// The next requests for logs are answered so.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.lock().faults.extend(faults);
    }

    /// Looks at what it has.
    pub fn with<T>(&self, look: impl FnOnce(&Taken) -> T) -> T {
        look(&self.shared.lock())
    }

    /// Waits until it has what is looked for.
    pub fn wait(&self, what: &str, mut found: impl FnMut(&Taken) -> bool) -> Result<()> {
        let (_, changed) = &*self.shared.0;
        let taken = self.shared.lock();
        let waited = changed.wait_timeout_while(taken, DEADLINE, |taken| !found(taken));
        let (taken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let seen = (
            taken.records.len(),
            taken.requests.len(),
            taken.metrics.len(),
        );
        ensure!(!timeout.timed_out(), "no {what}: {seen:?}");
        Ok(())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Taken {
    /// The text of this attribute of each record, in their order.
    #[must_use]
    pub fn texts(&self, key: &str) -> Vec<String> {
        let records = self.records.iter();
        records.filter_map(|it| text(&it.attributes, key)).collect()
    }

    /// The metrics of the last request for some that have this name.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<Metric> {
        let resources = self
            .metrics
            .iter()
            .rev()
            .flat_map(|it| &it.resource_metrics);
        let mut metrics = resources
            .flat_map(|it| &it.scope_metrics)
            .flat_map(|it| &it.metrics);
        metrics.find(|it| it.name == name).cloned()
    }
}

/// An attribute as text.
#[must_use]
pub fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|it| it.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(int) => Some(int.to_string()),
        Value::BoolValue(bool) => Some(bool.to_string()),
        Value::DoubleValue(double) => Some(double.to_string()),
        _ => None,
    }
}

/// All records of a request.
pub fn records(request: &ExportLogsServiceRequest) -> impl Iterator<Item = &LogRecord> {
    let resources = request.resource_logs.iter();
    resources
        .flat_map(|it| &it.scope_logs)
        .flat_map(|it| &it.log_records)
}

impl Service {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let metadata = request.metadata().clone();
        let message = request.into_inner();
        let fault = {
            let mut taken = self.lock();
            taken.metadata = metadata;
            taken.requests.push(message.clone());
            taken.faults.pop_front()
        };
        let mut response = ExportLogsServiceResponse::default();
        let mut kept: Vec<_> = records(&message).cloned().collect();
        match fault {
            None => {}
            Some(Fault::Status(status)) => {
                self.0.1.notify_all();
                return Err(status);
            }
            Some(Fault::Hangs) => {
                self.0.1.notify_all();
                return std::future::pending().await;
            }
            Some(Fault::Rejects(rejected)) => {
                kept.drain(..usize::try_from(rejected).unwrap_or(0).min(kept.len()));
                response.partial_success = Some(ExportLogsPartialSuccess {
                    rejected_log_records: rejected,
                    error_message: "too old".to_owned(),
                });
            }
        }
        self.lock().records.extend(kept);
        self.0.1.notify_all();
        Ok(Response::new(response))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.lock().metrics.push(request.into_inner());
        self.0.1.notify_all();
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
