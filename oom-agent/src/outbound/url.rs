//! Where requests go: `https://HOST[:PORT][/PATH][?QUERY]`.
//!
//! Reads text of the command line; emits an [`Endpoint`]. Refuses other schemes, and names and passwords in the
//! address: anybody can read a command line. What is refused is not repeated: it may be a secret.

use std::{fmt, net::IpAddr, str::FromStr};

use hyper::Uri;

/// An address for requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Uri);

/// A text that is none. Says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not https://HOST[:PORT][/PATH][?QUERY], without a name or a password in it")]
pub struct NoEndpoint;

impl FromStr for Endpoint {
    type Err = NoEndpoint;

    fn from_str(text: &str) -> Result<Self, NoEndpoint> {
        let uri: Option<Uri> = text.parse().ok();
        uri.filter(|uri| {
            let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
            let authority = uri.authority().map(hyper::http::uri::Authority::as_str);
            is_http && authority.is_some_and(|it| !it.contains('@'))
        })
        .map(Self)
        .ok_or(NoEndpoint)
    }
}

impl fmt::Display for Endpoint {
    /// Without the query, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self.0.authority().map(ToString::to_string);
        let path = self.0.path();
        write!(f, "{scheme}://{}{path}", authority.unwrap_or_default())
    }
}

impl Endpoint {
    /// For requests.
    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.0
    }

    /// The port, if it is said.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.0.port_u16()
    }

    /// Nobody can read what goes there on its way.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.is_tls() || self.is_local()
    }

    /// By TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    fn is_local(&self) -> bool {
        let host = self.0.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let address = bare.parse::<IpAddr>();
        address.map_or(host == "localhost", |address| address.is_loopback())
    }

    /// The same server, with this behind the path, and the same query.
    #[must_use]
    pub fn join(&self, path: &str) -> Option<Self> {
        let mut joined = format!("{}/{path}", self.to_string().trim_end_matches('/'));
        if let Some(query) = self.0.query() {
            joined.push('?');
            joined.push_str(query);
        }
        joined.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_endpoint() {
        for (text, private) in [
            ("https://hooks.example.org/oom?key=s", Some(true)),
            ("http://localhost:8080/", Some(true)),
            ("http://127.0.0.1", Some(true)),
            ("http://[::1]:4318", Some(true)),
            ("http://localhost.example.org", Some(false)),
            ("http://10.0.0.7:4318", Some(false)),
            ("ftp://example.org", None),
            ("https://user:secret@example.org", None),
            ("example.org", None),
            ("/path", None),
            ("", None),
        ] {
            let found = text.parse::<Endpoint>().ok();
            assert_eq!(found.map(|it| it.is_private()), private, "{text}");
        }
        let hook: Endpoint = "https://hooks.example.org/oom?key=s".parse().unwrap();
        assert_eq!(hook.to_string(), "https://hooks.example.org/oom");
        let joined = hook.join("v1/logs").unwrap();
        let joined = joined.uri().to_string();
        assert_eq!(joined, "https://hooks.example.org/oom/v1/logs?key=s");
    }
}
