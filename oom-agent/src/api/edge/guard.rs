//! Who may ask over TCP: whoever has the token (RFC 6750), where there is one. Probes need none, nor do the files of the
//! page, which asks for it and sends it.
//!
//! Reads the head of a request; emits 401. Where a loopback address is served without a token it also
//! refuses names that are not this machine's (403): a web page that has its own name point to 127.0.0.1
//! would read everything with the visitor's browser (DNS rebinding).

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header, uri::Authority},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use subtle::ConstantTimeEq as _;

use super::secret::{Secret, SecretError, warn_if_open};
use crate::api::{Problem, page};

/// More is no token.
const LONGEST: usize = 4096;

/// What probes ask, which have no token.
pub(super) const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// The token, as long as its file is what it was.
pub(super) type Token = Secret<Vec<u8>>;

/// Reads it.
pub(super) fn token(path: PathBuf) -> Result<Token, SecretError> {
    warn_if_open(&path);
    Secret::open(vec![path.clone()], move || read(&path))
}

/// One line of visible ASCII, which is what fits into a header.
fn read(path: &Path) -> Result<Vec<u8>, SecretError> {
    let bytes = fs::read(path).map_err(SecretError::read(path))?;
    let token = bytes.trim_ascii();
    let visible = token.iter().all(u8::is_ascii_graphic);
    if token.is_empty() || token.len() > LONGEST || !visible {
        return Err(SecretError::malformed(
            path,
            "token: one word of ASCII, 4096 bytes at most",
        ));
    }
    Ok(token.to_vec())
}

/// Who is let through.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    token: Option<Arc<Token>>,
    /// The machine must be called by a name of its own.
    named: bool,
}

impl Guard {
    pub(super) const fn new(token: Option<Arc<Token>>, named: bool) -> Self {
        Self { token, named }
    }

    fn lets(&self, request: &Request) -> Result<(), Problem> {
        if self.named && !host(request).is_some_and(|host| is_own(&host)) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "without a token this machine is asked as localhost or by its address",
            ));
        }
        let Some(token) = &self.token else {
            return Ok(());
        };
        if PROBES.contains(&request.uri().path()) || page::is_page(request) {
            return Ok(());
        }
        let given = request.headers().get(header::AUTHORIZATION);
        let given = given.and_then(|value| bearer(value.as_bytes()));
        // It takes as long whatever is right in it.
        if given.is_some_and(|given| given.ct_eq(&token.get()).into()) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "it takes the token: `Authorization: Bearer TOKEN`",
        ))
    }
}

/// The token of `Bearer TOKEN`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then_some(token.trim_ascii())
}

/// Whom it asks, without the port.
fn host(request: &Request) -> Option<String> {
    let authority = match request.uri().authority() {
        Some(authority) => authority.clone(),
        None => Authority::try_from(request.headers().get(header::HOST)?.as_bytes()).ok()?,
    };
    Some(authority.host().to_owned())
}

/// No name that somebody else can point here.
fn is_own(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

/// Only those who may.
pub(super) fn guarded(router: Router, guard: Guard) -> Router {
    router.layer(from_fn_with_state(guard, let_through))
}

async fn let_through(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let problem = match guard.lets(&request) {
        Ok(()) => return next.run(request).await,
        Err(problem) => problem,
    };
    let mut response = problem.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(path: &str, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn the_token_opens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, " s3cret\n").unwrap();
        let guard = Guard::new(Some(Arc::new(token(path).unwrap())), false);
        for (path, value, status) in [
            ("/v1/status", Some("Bearer s3cret"), None),
            ("/v1/status", Some("bearer  s3cret "), None),
            ("/v1/status", Some("Bearer s3cre"), Some(401)),
            ("/v1/status", Some("Bearer s3cretx"), Some(401)),
            ("/v1/status", Some("Basic s3cret"), Some(401)),
            ("/v1/status", Some("Bearer"), Some(401)),
            ("/v1/status", Some(""), Some(401)),
            ("/v1/status", None, Some(401)),
            ("/metrics", None, Some(401)),
            ("/livez", None, None),
            ("/readyz", None, None),
            ("/livez/", None, Some(401)),
            ("/page/app.js", None, None),
            ("/page/none.js", None, Some(401)),
            ("/", None, Some(401)),
        ] {
            let headers: Vec<_> = value
                .map(|value| ("authorization", value))
                .into_iter()
                .collect();
            let found = guard.lets(&request(path, &headers)).err();
            assert_eq!(found.map(|it| it.status), status, "{path} {value:?}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let long = "x".repeat(LONGEST + 1);
        for bad in ["", " \n", "two words", "zwölf", &long] {
            fs::write(&path, bad).unwrap();
            let error = token(path.clone()).unwrap_err();
            assert!(matches!(error, SecretError::Malformed { .. }), "{bad:?}");
        }
        let error = token(dir.path().join("none")).unwrap_err();
        assert!(matches!(error, SecretError::Read { .. }));
    }

    #[test]
    fn a_name_that_others_can_point_here_is_refused() {
        let guard = Guard::new(None, true);
        for (host, lets) in [
            ("localhost", true),
            ("LOCALHOST:9000", true),
            ("127.0.0.1:9000", true),
            ("[::1]:9000", true),
            ("192.0.2.1", true),
            ("evil.example:9000", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("user@localhost", true),
            ("", false),
            ("a b", false),
        ] {
            let found = guard.lets(&request("/v1/status", &[("host", host)]));
            assert_eq!(found.is_ok(), lets, "{host}");
        }
        assert!(guard.lets(&request("/v1/status", &[])).is_err());
        assert!(
            guard
                .lets(&request("http://localhost:1/livez", &[]))
                .is_ok()
        );
        assert!(guard.lets(&request("http://evil.example/", &[])).is_err());
    }
}
