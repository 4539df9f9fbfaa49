//! A collector on the service definitions of OTLP, over gRPC, plain or by TLS, that can be told to fail in each way
//! in which real ones do.
//!
//! Emits the records and metrics that it has taken.

use std::{collections::VecDeque, sync::Arc};

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
use tonic::{
    Request, Response, Status,
    metadata::MetadataMap,
    transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

use crate::{agent::DEADLINE, certificate::Localhost, loopback::Loopback, watched::Watched};

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
    tls: Option<Localhost>,
    server: Loopback,
}

#[derive(Clone, Debug, Default)]
struct Service(Arc<Watched<Taken>>);

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
            tls,
            server: Loopback::new(),
        };
        collector.go_on()?;
        Ok(collector)
    }

    /// Starts it again, at the same address.
    pub fn go_on(&mut self) -> Result<()> {
        let mut server = Server::builder();
        if let Some(tls) = &self.tls {
            let identity = Identity::from_pem(&tls.certificate, &tls.key);
            server = server.tls_config(ServerTlsConfig::new().identity(identity))?;
        }
        let server = server
            .add_service(LogsServiceServer::new(self.shared.clone()))
            .add_service(MetricsServiceServer::new(self.shared.clone()));
        self.server
            .go_on(|listener| server.serve_with_incoming(TcpIncoming::from(listener)))
    }

    /// Closes its port and all connections.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Where it is, by a name that is to be looked up.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}", self.server.port())
    }

    /// The certificate of its authority, in PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.tls.as_ref().map_or("", |tls| &tls.authority)
    }

    /// The next requests for logs are answered so.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.0.lock().faults.extend(faults);
    }

    /// Looks at what it has.
    pub fn with<T>(&self, look: impl FnOnce(&Taken) -> T) -> T {
        look(&self.shared.0.lock())
    }

    /// Waits until it has what is looked for.
    pub fn wait(&self, what: &str, mut found: impl FnMut(&Taken) -> bool) -> Result<()> {
        let (taken, found) = self.shared.0.wait(DEADLINE, |taken| found(taken));
        let seen = (
            taken.records.len(),
            taken.requests.len(),
            taken.metrics.len(),
        );
        ensure!(found, "no {what}: {seen:?}");
        Ok(())
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

#[tonic::async_trait]
impl LogsService for Service {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let metadata = request.metadata().clone();
        let message = request.into_inner();
        let fault = self.0.change(|taken| {
            taken.metadata = metadata;
            taken.requests.push(message.clone());
            taken.faults.pop_front()
        });
        let mut response = ExportLogsServiceResponse::default();
        let mut kept: Vec<_> = records(&message).cloned().collect();
        match fault {
            None => {}
            Some(Fault::Status(status)) => return Err(status),
            Some(Fault::Hangs) => return std::future::pending().await,
            Some(Fault::Rejects(rejected)) => {
                kept.drain(..usize::try_from(rejected).unwrap_or(0).min(kept.len()));
                response.partial_success = Some(ExportLogsPartialSuccess {
                    rejected_log_records: rejected,
                    error_message: "too old".to_owned(),
                });
            }
        }
        self.0.change(|taken| taken.records.extend(kept));
        Ok(Response::new(response))
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let message = request.into_inner();
        self.0.change(|taken| taken.metrics.push(message));
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}
