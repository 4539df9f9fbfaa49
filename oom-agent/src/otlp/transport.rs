//! Requests to a collector: by gRPC, or by HTTP with protocol buffers.
//!
//! Takes requests; emits what their answers mean. Refuses compression: requests are small.

use std::time::Duration;

use hyper::{
    HeaderMap,
    header::{CONTENT_TYPE, HeaderValue},
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{
        ExportLogsServiceRequest, ExportLogsServiceResponse, logs_service_client::LogsServiceClient,
    },
    metrics::v1::{
        ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_client::MetricsServiceClient,
    },
};
use prost::Message;
use tonic::{
    Request,
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig, Endpoint as GrpcEndpoint},
};

use super::{Options, OtlpError, Protocol, answer};
use crate::{
    deliver::{Answer, Trouble},
    outbound::{self, Client, Endpoint, Roots, read_headers},
};

/// A host that does not answer is given up after this.
const CONNECTING: Duration = Duration::from_secs(5);

/// A collector.
#[derive(Debug)]
pub(super) struct Transport {
    to: To,
    headers: HeaderMap,
}

#[derive(Debug)]
enum To {
    Grpc {
        endpoint: Box<GrpcEndpoint>,
        /// Made in the runtime that it is used in.
        channel: Option<Channel>,
    },
    Http {
        client: Box<Client>,
        logs: Endpoint,
        metrics: Endpoint,
    },
}

impl Transport {
    /// Reads what it needs. Connects to nothing yet.
    pub(super) fn new(options: &Options, patience: Duration) -> Result<Self, OtlpError> {
        if !options.to.is_private() && !options.insecure {
            return Err(OtlpError::Insecure(options.to.clone()));
        }
        let roots = options
            .to
            .is_tls()
            .then(|| Roots::read(options.ca.as_deref()));
        let roots = roots.transpose()?;
        let headers = options.headers.as_deref().map(read_headers).transpose()?;
        let to = match options.protocol() {
            Protocol::Grpc => {
                let failed = |error| OtlpError::Grpc(options.to.clone(), error);
                let mut endpoint = GrpcEndpoint::from_shared(options.to.uri().to_string())
                    .and_then(|it| it.user_agent(concat!("oom-agent/", env!("CARGO_PKG_VERSION"))))
                    .map_err(failed)?
                    .connect_timeout(CONNECTING.min(patience))
                    .timeout(patience);
                if let Some(roots) = &roots {
                    let tls = ClientTlsConfig::new().trust_anchors(roots.anchors());
                    endpoint = endpoint.tls_config(tls).map_err(failed)?;
                }
                To::Grpc {
                    endpoint: Box::new(endpoint),
                    channel: None,
                }
            }
            Protocol::Http => {
                let of = |signal: &str| {
                    let path = options.to.join(signal);
                    path.ok_or_else(|| OtlpError::Path(options.to.clone()))
                };
                To::Http {
                    client: Box::new(Client::new(roots.as_ref(), patience)?),
                    logs: of("v1/logs")?,
                    metrics: of("v1/metrics")?,
                }
            }
        };
        Ok(Self {
            to,
            headers: headers.unwrap_or_default(),
        })
    }

    /// Tells records.
    pub(super) async fn logs(&mut self, message: ExportLogsServiceRequest) -> Answer {
        let headers = self.headers.clone();
        match &mut self.to {
            To::Grpc { endpoint, channel } => {
                let mut client = LogsServiceClient::new(connected(endpoint, channel));
                match client.export(with(message, headers)).await {
                    Ok(response) => answer::of(response.get_ref()),
                    Err(status) => answer::of_status(&status),
                }
            }
            To::Http { client, logs, .. } => {
                let reply = client
                    .post(logs, typed(headers), message.encode_to_vec().into())
                    .await;
                let answer = outbound::answer(reply.as_ref().map_err(Clone::clone));
                match (&answer, reply) {
                    (Answer::Taken, Ok(reply)) => {
                        let response = ExportLogsServiceResponse::decode(reply.body);
                        answer::of(&response.unwrap_or_default())
                    }
                    _ => answer,
                }
            }
        }
    }

    /// Tells metrics; why that failed.
    pub(super) async fn metrics(
        &mut self,
        message: ExportMetricsServiceRequest,
    ) -> Result<(), String> {
        let headers = self.headers.clone();
        let response = match &mut self.to {
            To::Grpc { endpoint, channel } => {
                let mut client = MetricsServiceClient::new(connected(endpoint, channel));
                let response = client.export(with(message, headers)).await;
                response
                    .map_err(|status| answer::told(&status))?
                    .into_inner()
            }
            To::Http {
                client, metrics, ..
            } => {
                let body = message.encode_to_vec().into();
                let reply = client.post(metrics, typed(headers), body).await;
                match outbound::answer(reply.as_ref().map_err(Clone::clone)) {
                    Answer::Taken | Answer::TakenBut(..) => {}
                    Answer::Refused(why)
                    | Answer::Denied(Trouble { why, .. })
                    | Answer::Again(Trouble { why, .. }) => return Err(why),
                }
                let body = reply.map(|reply| reply.body).unwrap_or_default();
                ExportMetricsServiceResponse::decode(body).unwrap_or_default()
            }
        };
        match response.partial_success {
            Some(partial) if partial.rejected_data_points > 0 => Err(format!(
                "{} points rejected: {}",
                partial.rejected_data_points, partial.error_message
            )),
            _ => Ok(()),
        }
    }
}

fn connected(endpoint: &GrpcEndpoint, channel: &mut Option<Channel>) -> Channel {
    channel
        .get_or_insert_with(|| endpoint.connect_lazy())
        .clone()
}

fn with<T>(message: T, headers: HeaderMap) -> Request<T> {
    let mut request = Request::new(message);
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    request
}

fn typed(mut headers: HeaderMap) -> HeaderMap {
    let kind = HeaderValue::from_static("application/x-protobuf");
    headers.insert(CONTENT_TYPE, kind);
    headers
}
