//! What an answer means for the records that were told.
//!
//! Reads responses and statuses of gRPC; emits [`Answer`]s. Pure. What may be tried again is as
//! <https://opentelemetry.io/docs/specs/otlp/> has it, with `RetryInfo`. What may be a slip of whoever set this up
//! (an address, a right) waits all the same as long as no other record is taken.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message;
use tonic::{Code, Status};

use crate::deliver::{Answer, Trouble};

/// `google.rpc.Status`, as it is in `grpc-status-details-bin`.
#[derive(Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// Of a response: a part may have been rejected, and is not to be told again.
pub(super) fn of(response: &ExportLogsServiceResponse) -> Answer {
    let Some(partial) = &response.partial_success else {
        return Answer::Taken;
    };
    let rejected = u64::try_from(partial.rejected_log_records).unwrap_or(0);
    if rejected > 0 {
        return Answer::TakenBut(rejected, format!("rejected: {}", partial.error_message));
    }
    if !partial.error_message.is_empty() {
        tracing::warn!("otlp: taken, with a warning: {}", partial.error_message);
    }
    Answer::Taken
}

/// Of an error.
pub(super) fn of_status(status: &Status) -> Answer {
    let retry_after = retry_info(status.details());
    let why = told(status);
    let trouble = Trouble { why, retry_after };
    match status.code() {
        Code::Unavailable | Code::Aborted | Code::OutOfRange | Code::DataLoss => {
            Answer::Again(trouble)
        }
        // Without a word on when to come back, the request may have been too large.
        Code::ResourceExhausted if retry_after.is_some() => Answer::Again(trouble),
        Code::InvalidArgument | Code::FailedPrecondition | Code::AlreadyExists => {
            Answer::Refused(trouble.why)
        }
        // What the request may be the reason of, also if there was no answer in time.
        _ => Answer::Denied(trouble),
    }
}

/// In one line, for logs.
pub(super) fn told(status: &Status) -> String {
    let line = status.message().lines().next().unwrap_or_default();
    let line: String = line.chars().filter(|c| !c.is_control()).take(200).collect();
    if line.is_empty() {
        format!("{:?}", status.code())
    } else {
        format!("{:?}: {line}", status.code())
    }
}

fn retry_info(details: &[u8]) -> Option<Duration> {
    let details = Details::decode(details).ok()?.details;
    let info = details
        .iter()
        .find(|it| it.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(info.value.as_slice()).ok()?.delay?;
    let seconds = u64::try_from(delay.seconds).ok()?;
    Some(Duration::new(
        seconds,
        u32::try_from(delay.nanos).ok()?.min(999_999_999),
    ))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsPartialSuccess;

    use super::*;

    fn with_retry(code: Code, seconds: i64) -> Status {
        let info = RetryInfo {
            delay: Some(Delay { seconds, nanos: 0 }),
        };
        let any = Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: info.encode_to_vec(),
        };
        let details = Details { details: vec![any] };
        Status::with_details(code, "busy", details.encode_to_vec().into())
    }

    #[test]
    fn each_code_has_its_meaning() {
        let again = |status: &Status| matches!(of_status(status), Answer::Again(_));
        for code in [
            Code::Unavailable,
            Code::Aborted,
            Code::OutOfRange,
            Code::DataLoss,
        ] {
            assert!(again(&Status::new(code, "x")), "{code:?}");
        }
        assert!(again(&with_retry(Code::ResourceExhausted, 1)));
        for code in [
            Code::ResourceExhausted,
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::Unimplemented,
            Code::Internal,
            Code::DeadlineExceeded,
            Code::Cancelled,
            Code::Unknown,
        ] {
            let answer = of_status(&Status::new(code, "x"));
            assert!(matches!(answer, Answer::Denied(_)), "{code:?}: {answer:?}");
        }
        let refused = Answer::Refused("InvalidArgument: no body".to_owned());
        assert_eq!(
            of_status(&Status::new(Code::InvalidArgument, "no body")),
            refused
        );
    }

    #[test]
    fn the_server_says_when_to_come_back() {
        let Answer::Again(trouble) = of_status(&with_retry(Code::Unavailable, 7)) else {
            panic!()
        };
        assert_eq!(trouble.retry_after, Some(Duration::from_secs(7)));
        assert_eq!(retry_info(b"\xff\xff"), None);
        assert_eq!(
            retry_info(with_retry(Code::Unavailable, -1).details()),
            None
        );
    }

    #[test]
    fn a_part_may_be_rejected() {
        let of = |rejected| {
            of(&ExportLogsServiceResponse {
                partial_success: Some(ExportLogsPartialSuccess {
                    rejected_log_records: rejected,
                    error_message: "too old".to_owned(),
                }),
            })
        };
        assert_eq!(of(2), Answer::TakenBut(2, "rejected: too old".to_owned()));
        assert_eq!(of(0), Answer::Taken);
        assert_eq!(of(-1), Answer::Taken);
    }
}
