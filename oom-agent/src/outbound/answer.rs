//! What an answer over HTTP means for the events that were posted.
//!
//! Reads replies; emits [`Answer`]s. Pure. A busy server and one that is away are asked again; what an event is
//! refused for is final where others are taken; all that may be a slip of whoever set this up (an address, a right) waits as long as
//! no other event is taken.

use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;

use super::{Failure, Reply};
use crate::deliver::{Answer, Trouble, retry_after};

/// Whoever says that it is gone is not asked every minute.
const GONE: Duration = Duration::from_mins(10);

/// Of a reply, or of none.
#[must_use]
pub fn answer(outcome: Result<&Reply, Failure>) -> Answer {
    match outcome {
        Ok(reply) => of(reply, retry_after(&reply.headers, Timestamp::now())),
        Err(failure) => of_none(failure),
    }
}

/// Of a reply, with what it asks to wait.
fn of(reply: &Reply, retry_after: Option<Duration>) -> Answer {
    let why = reply.told();
    let trouble = |retry_after| Trouble {
        why: why.clone(),
        retry_after,
    };
    match reply.status {
        status if status.is_success() => Answer::Taken,
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_EARLY
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Answer::Again(trouble(retry_after)),
        StatusCode::GONE => Answer::Denied(trouble(Some(GONE))),
        StatusCode::UNAUTHORIZED
        | StatusCode::PAYMENT_REQUIRED
        | StatusCode::FORBIDDEN
        | StatusCode::NOT_FOUND
        | StatusCode::METHOD_NOT_ALLOWED
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        | StatusCode::CONFLICT => Answer::Denied(trouble(retry_after)),
        status if status.is_client_error() => Answer::Refused(why),
        // Redirects are not followed; the rest is 5xx, or nothing that HTTP knows.
        _ => Answer::Denied(trouble(retry_after)),
    }
}

/// Of none. What was sent may be the reason.
fn of_none(failure: Failure) -> Answer {
    let trouble = Trouble {
        why: failure.why,
        retry_after: None,
    };
    if failure.was_sent {
        Answer::Denied(trouble)
    } else {
        Answer::Again(trouble)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::HeaderMap;

    use super::*;

    fn reply(status: u16) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"\n  no such \x07 hook\nmore"),
        }
    }

    #[test]
    fn each_status_has_its_meaning() {
        let second = Some(Duration::from_secs(1));
        for status in [200, 201, 202, 204] {
            assert_eq!(of(&reply(status), None), Answer::Taken);
        }
        for status in [408, 425, 429, 502, 503, 504] {
            let Answer::Again(trouble) = of(&reply(status), second) else {
                panic!("{status}")
            };
            assert_eq!(trouble.retry_after, second);
        }
        for status in [301, 307, 401, 403, 404, 405, 409, 410, 500, 501, 599] {
            let answer = of(&reply(status), second);
            assert!(matches!(answer, Answer::Denied(_)), "{status}: {answer:?}");
        }
        for status in [400, 413, 415, 422, 431] {
            let answer = of(&reply(status), None);
            assert!(matches!(answer, Answer::Refused(_)), "{status}: {answer:?}");
        }
        let Answer::Refused(why) = of(&reply(422), None) else {
            panic!()
        };
        assert_eq!(why, "422 Unprocessable Entity: no such  hook");
    }

    #[test]
    fn who_cannot_be_reached_is_nobodys_fault() {
        for was_sent in [true, false] {
            let why = "broken off".to_owned();
            let answer = of_none(Failure { why, was_sent });
            assert_eq!(matches!(answer, Answer::Denied(_)), was_sent);
        }
    }
}
