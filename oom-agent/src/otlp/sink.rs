//! The sink: events as records, and metrics beside them.
//!
//! Takes events of [`crate::deliver`], and now and then what is counted; makes one request after the other. Metrics
//! that could not be told are not kept: the next say all that they said.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Metric, ResourceMetrics, ScopeMetrics},
    resource::v1::Resource,
};
use prost::Message;
use tokio::{task::spawn_blocking, time::Instant};

use super::{
    Counted, Options, OtlpError, convert, openmetrics, record, resource, transport::Transport,
};
use crate::{
    deliver::{Answer, Beside, Most, Post},
    event::Kind,
    host::Host,
    metrics::Format,
    store::{Filter, Stored},
};

/// For a request and its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Collectors take 4 MiB in a request of gRPC if nothing is said; there is more in it than records.
const BYTES: usize = 3 << 20;

/// Records of one request.
const RECORDS: usize = 256;

/// Until there is something to count.
const NOT_YET: Duration = Duration::from_secs(1);

/// Tells events and metrics.
#[derive(Debug)]
pub struct Otlp {
    transport: Transport,
    kinds: Vec<Kind>,
    resource: Resource,
    counted: Counted,
    interval: Duration,
    due: Option<Instant>,
    /// Why metrics could not be told the last time.
    trouble: Option<String>,
}

impl Otlp {
    /// Reads what it needs, for this node, whose files are below `root`.
    pub fn new(
        options: &Options,
        host: &Host,
        root: &Path,
        counted: Counted,
    ) -> Result<Self, OtlpError> {
        Self::patient(options, host, root, counted, PATIENCE)
    }

    /// The same, with so long for each request.
    pub fn patient(
        options: &Options,
        host: &Host,
        root: &Path,
        counted: Counted,
        patience: Duration,
    ) -> Result<Self, OtlpError> {
        Ok(Self {
            transport: Transport::new(options, patience)?,
            kinds: options.kinds.clone(),
            resource: resource::of(host, root, &options.resource),
            counted,
            interval: options.metrics_interval,
            due: None,
            trouble: None,
        })
    }

    /// What is counted now, as requests; `None` if that is not known yet.
    async fn metrics(&self) -> Option<Vec<Vec<Metric>>> {
        let board = self.counted.board.get()?.clone();
        let metrics = self.counted.metrics.get()?.clone();
        // The board waits for detection, a second at most.
        let converted = spawn_blocking(move || {
            let status = board.read();
            let text = metrics.encode(Format::OpenMetrics, &status);
            let unix_ns = |ns: i128| u64::try_from(ns).unwrap_or(0);
            let times = convert::Times {
                started: unix_ns(status.started.as_unix_ns()),
                now: unix_ns(Timestamp::now().as_nanosecond()),
            };
            let (families, lines) = openmetrics::parse(&text);
            let (requests, samples) = convert::requests(&families, times);
            if lines + samples > 0 {
                tracing::warn!("otlp: {} metrics could not be told", lines + samples);
            }
            requests
        });
        converted.await.ok()
    }

    async fn tell_metrics(&mut self, requests: Vec<Vec<Metric>>) -> Result<(), String> {
        for metrics in requests {
            let message = ExportMetricsServiceRequest {
                resource_metrics: vec![ResourceMetrics {
                    resource: Some(self.resource.clone()),
                    scope_metrics: vec![ScopeMetrics {
                        scope: Some(resource::scope()),
                        metrics,
                        schema_url: String::new(),
                    }],
                    schema_url: resource::SCHEMA_URL.to_owned(),
                }],
            };
            self.transport.metrics(message).await?;
        }
        Ok(())
    }
}

impl Post for Otlp {
    type Letter = LogRecord;

    fn name(&self) -> &'static str {
        "otlp"
    }

    fn filter(&self) -> Filter {
        Filter {
            kinds: self.kinds.clone(),
            ..Filter::default()
        }
    }

    fn most(&self) -> Most {
        Most {
            events: RECORDS,
            bytes: BYTES,
        }
    }

    fn write(&self, event: &Stored) -> Result<(LogRecord, usize), String> {
        let record = record::of(event)?;
        let bytes = record.encoded_len();
        Ok((record, bytes))
    }

    async fn post(&mut self, letters: &[&LogRecord]) -> Answer {
        let message = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(self.resource.clone()),
                scope_logs: vec![ScopeLogs {
                    scope: Some(resource::scope()),
                    log_records: letters.iter().copied().cloned().collect(),
                    schema_url: String::new(),
                }],
                schema_url: resource::SCHEMA_URL.to_owned(),
            }],
        };
        self.transport.logs(message).await
    }

    async fn beside(&mut self) -> Beside {
        if self.interval.is_zero() {
            return Beside::default();
        }
        let now = Instant::now();
        if let Some(due) = self.due.filter(|due| *due > now) {
            return Beside {
                failed: 0,
                again: Some(due - now),
            };
        }
        let Some(requests) = self.metrics().await else {
            return Beside {
                failed: 0,
                again: Some(NOT_YET.min(self.interval)),
            };
        };
        self.due = Some(now + self.interval);
        let told = self.tell_metrics(requests).await;
        let failed = u64::from(told.is_err());
        let trouble = told.err();
        if let Some(why) = trouble.as_ref().filter(|_| self.trouble != trouble) {
            tracing::warn!("otlp: metrics: {why}; told again in {:?}", self.interval);
        }
        self.trouble = trouble;
        Beside {
            failed,
            again: Some(self.interval),
        }
    }
}
