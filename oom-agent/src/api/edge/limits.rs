//! How much may be asked at once, and for how long.
//!
//! Reads the size of a request; emits 413, 414 and 503. Refuses to let a request wait for ever: what is
//! not answered in time is told so. The time of a body does not count here: a stream may last.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::HttpBody as _,
    extract::{Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use tokio::{sync::Semaphore, time::timeout};

use super::guard::PROBES;
use crate::api::Problem;

/// Threads that may wait for disks.
pub(super) const ASKING: usize = 8;

/// Nothing that is asked is longer.
const URI: usize = 8 * 1024;

/// Nothing is told to the agent; some clients send empty forms.
const BODY: u64 = 16 * 1024;

/// Files that the agent has open for itself, and more.
const RESERVED: u64 = 384;

/// Files that are enough for an agent with some listeners.
pub(super) const FILES: u64 = 4096;

/// All limits of one server that tests make shorter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections to one address or socket; for more of them those leave that have asked nothing, or they
    /// wait in the kernel's queue.
    pub(super) connections: usize,
    /// Requests that are worked on.
    pub(super) requests: usize,
    /// A head must be there within this time; also from one request to the next.
    pub(super) head: Duration,
    /// An answer must have begun within this time.
    pub(super) answer: Duration,
    /// Who has not read for so long is gone.
    pub(super) unread: Duration,
}

impl Limits {
    /// The same, with files left for all else when every connection is taken: detection opens some, too.
    pub(super) fn fitting(self, files: u64, listeners: usize) -> Self {
        let files = usize::try_from(files.saturating_sub(RESERVED)).unwrap_or(usize::MAX);
        let fitting = files / listeners.max(1);
        Self {
            connections: self.connections.min(fitting).max(1),
            ..self
        }
    }

    /// Connections of one peer over TCP: ten would be needed to take all places.
    pub(super) fn of_one_peer(self) -> usize {
        (self.connections / 10).max(1)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 640,
            requests: 64,
            head: Duration::from_secs(5),
            answer: Duration::from_secs(10),
            unread: Duration::from_secs(30),
        }
    }
}

#[derive(Clone, Debug)]
struct Room {
    requests: Arc<Semaphore>,
    answer: Duration,
}

/// Not more than that.
pub(super) fn within(router: Router, limits: Limits) -> Router {
    let room = Room {
        requests: Arc::new(Semaphore::new(limits.requests)),
        answer: limits.answer,
    };
    router.layer(from_fn_with_state(room, limited))
}

async fn limited(State(room): State<Room>, request: Request, next: Next) -> Response {
    if let Err(problem) = size(&request) {
        return problem.into_response();
    }
    let probe = PROBES.contains(&request.uri().path());
    let answer = async {
        // Whether the agent lives must not depend on how much it is asked.
        let _place = if probe {
            None
        } else {
            room.requests.acquire().await.ok()
        };
        next.run(request).await
    };
    let answered = timeout(room.answer, answer).await;
    answered.unwrap_or_else(|_| {
        Problem::later("it took too long; ask for less, or later", room.answer).into_response()
    })
}

fn size(request: &Request) -> Result<(), Problem> {
    let uri = request.uri();
    let uri = uri.path_and_query().map_or(0, |it| it.as_str().len());
    if uri > URI {
        return Err(Problem::new(
            StatusCode::URI_TOO_LONG,
            format!("path and query have {URI} bytes at most"),
        ));
    }
    if request.body().size_hint().lower() > BODY {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a body has {BODY} bytes at most, and none is read"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_left_for_all_else() {
        let limits = Limits::default();
        for (files, listeners, connections) in [
            (FILES, 1, 640),
            (FILES, 4, 640),
            (1024, 1, 640),
            (1024, 2, 320),
            (256, 1, 1),
            (u64::MAX, 0, 640),
        ] {
            let fitting = limits.fitting(files, listeners);
            assert_eq!(fitting.connections, connections, "{files} {listeners}");
        }
    }
}
