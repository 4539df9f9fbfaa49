//! When the other end wants to be asked again: `Retry-After` (RFC 9110, section 10.2.3).
//!
//! Reads headers; emits a time to wait. Refuses nothing: what is not understood asks for nothing.

use std::time::Duration;

use hyper::{HeaderMap, header::RETRY_AFTER};
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};

/// Seconds, or a date, of which one that is over asks for no wait.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTimeParser::new().parse_timestamp(value).ok()?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates() {
        let now = "1994-11-06T08:49:00Z".parse().unwrap();
        for (value, wanted) in [
            ("7", Some(7)),
            (" 1 ", Some(1)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            let found = retry_after(&headers, now);
            assert_eq!(found, wanted.map(Duration::from_secs), "{value}");
        }
    }
}
