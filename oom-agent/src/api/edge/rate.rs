//! How often a peer may ask over TCP. Who may open the Unix socket is known, and is not counted.
//!
//! Reads where a request comes from and when; emits 429 with the time to wait. Refuses to remember more peers
//! than can be connected: one that has been quiet is not different from one that is new.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};

use super::seats::Peer;
use crate::api::Problem;

/// A request of a peer costs this much time, on the average: 50 in a second. A failed guess of a token costs
/// the same.
const EACH: Duration = Duration::from_millis(20);

/// So much may be owed: 200 requests at once.
const BURST: Duration = Duration::from_secs(4);

/// When it is looked which peers owe nothing any more.
const MANY: usize = 1024;

/// What each peer owes: the generic cell rate algorithm (ITU-T I.371).
#[derive(Debug, Default)]
pub(super) struct Rate(Mutex<HashMap<Peer, Instant>>);

impl Rate {
    /// Books a request; or how long to wait for the next.
    fn book(&self, peer: Peer, now: Instant) -> Result<(), Duration> {
        let mut paid = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if paid.len() >= MANY {
            paid.retain(|_, paid| *paid > now);
        }
        let paid = paid.entry(peer).or_insert(now);
        let after = (*paid).max(now) + EACH;
        let owed = after.saturating_duration_since(now);
        if let Some(wait) = owed.checked_sub(BURST).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        *paid = after;
        Ok(())
    }
}

/// Not more often than that.
pub(super) fn within(router: Router, rate: Rate) -> Router {
    router.layer(from_fn_with_state(Arc::new(rate), limited))
}

async fn limited(State(rate): State<Arc<Rate>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let booked = peer.map(|peer| rate.book(peer, Instant::now()));
    match booked {
        Some(Err(wait)) => {
            Problem::too_many("more than 50 requests in a second", wait).into_response()
        }
        Some(Ok(())) | None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn peer(address: [u8; 4]) -> Peer {
        Peer::of(IpAddr::from(address))
    }

    #[test]
    fn a_burst_is_taken_and_then_the_average() {
        let (rate, now) = (Rate::default(), Instant::now());
        let one = peer([192, 0, 2, 1]);
        let taken = (0..300).filter(|_| rate.book(one, now).is_ok()).count();
        assert_eq!(taken, 200);
        assert_eq!(rate.book(one, now), Err(EACH));
        // Another one is not held up.
        assert_eq!(rate.book(peer([192, 0, 2, 2]), now), Ok(()));
        let later = now + Duration::from_secs(1);
        let taken = (0..300).filter(|_| rate.book(one, later).is_ok()).count();
        assert_eq!(taken, 50);
    }

    #[test]
    fn who_owes_nothing_is_forgotten() {
        let (rate, now) = (Rate::default(), Instant::now());
        for n in 0..=u16::MAX {
            let [high, low] = n.to_be_bytes();
            let later = now + Duration::from_millis(n.into());
            assert_eq!(rate.book(peer([10, 0, high, low]), later), Ok(()));
        }
        assert!(rate.0.lock().unwrap().len() <= MANY);
    }
}
