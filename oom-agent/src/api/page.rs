//! The page for browsers: at `/` beside the text for all others, and its files below `/page/`.
//!
//! Reads the `Accept` header; emits files that are part of the program, under a policy that lets the page load
//! nothing else, ask nobody but this server, and make no markup of text. Refuses nothing: no file holds what must not
//! be known, so they need no token ([`is_page`]); what they ask does.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::{
    extract::{Path, Request, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{Problem, events::path, problem::not_found, route::Route};

/// A file of the page.
struct File {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

/// Files of `oom-agent/page/`.
macro_rules! files {
    ($($name:literal: $media_type:expr,)*) => {
        [$(File {
            name: $name,
            media_type: $media_type,
            text: include_str!(concat!("../../page/", $name)),
        }),*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// All of them; the first is the page itself.
static FILES: &[File] = &files! {
    "index.html": HTML,
    "page.css": CSS,
    "app.js": SCRIPT,
    "curve.js": SCRIPT,
    "dom.js": SCRIPT,
    "facts.js": SCRIPT,
    "filters.js": SCRIPT,
    "keep.js": SCRIPT,
    "list.js": SCRIPT,
    "live.js": SCRIPT,
    "net.js": SCRIPT,
    "rows.js": SCRIPT,
    "state.js": SCRIPT,
    "status.js": SCRIPT,
    "story.js": SCRIPT,
    "timeline.js": SCRIPT,
    "tree.js": SCRIPT,
    "units.js": SCRIPT,
};

/// Nothing but these files, nobody but this server; and text cannot become markup (Trusted Types).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// What every file is sent with.
const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    // Asked for again each time, and sent only if it is another one: that of another agent.
    ("cache-control", "no-cache"),
];

/// The files. They ask nothing of a server's state.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Vec<Route<S>> {
    vec![Route::new("/page/{file}", get(file), "A file of the page.")]
}

/// `/`: the page for browsers, this text for all others.
pub(super) fn root<S: Clone + Send + Sync + 'static>(text: &'static str) -> Route<S> {
    let handler = async move |headers: HeaderMap| {
        if is_for_browsers(&headers) {
            sent(&FILES[0], &headers)
        } else {
            ([(header::VARY, "accept")], text).into_response()
        }
    };
    Route::new(
        "/",
        get(handler),
        "What there is, in words; for browsers, a page.",
    )
    .or_in("text/html")
}

/// Whether it is a file of the page, which anybody may have.
pub(super) fn is_page(request: &Request) -> bool {
    match request.uri().path() {
        "/" => is_for_browsers(request.headers()),
        path => path
            .strip_prefix("/page/")
            .is_some_and(|name| find(name).is_some()),
    }
}

async fn file(
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    match find(&path(name)?) {
        Some(file) => Ok(sent(file, &headers)),
        None => Err(not_found().await),
    }
}

fn find(name: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.name == name)
}

/// Who takes HTML by its name is a browser; who takes anything is not.
fn is_for_browsers(headers: &HeaderMap) -> bool {
    let accept = headers.get_all(header::ACCEPT).iter();
    let mut ranges = accept
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts
            .next()
            .is_some_and(|of| of.eq_ignore_ascii_case("text/html"));
        is_html && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// The file, unless the client has it.
fn sent(file: &File, headers: &HeaderMap) -> Response {
    let tag = tag(file);
    let is_known = headers.get_all(header::IF_NONE_MATCH).iter().any(|known| {
        let known = known.to_str().unwrap_or_default().split(',');
        known
            .map(str::trim)
            .any(|known| known.trim_start_matches("W/") == tag)
    });
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, file.media_type)], file.text).into_response()
    };
    let own = response.headers_mut();
    for (name, value) in HEADERS {
        own.insert(name, HeaderValue::from_static(value));
    }
    own.insert(header::VARY, HeaderValue::from_static("accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        own.insert(header::ETAG, tag);
    }
    response
}

/// One text for each content.
fn tag(file: &File) -> String {
    let mut hasher = DefaultHasher::new();
    file.text.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn request(path: &str, accept: &str) -> Request {
        let request = Request::builder().uri(path).header("accept", accept);
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn browsers_get_the_page_and_nobody_else() {
        for (accept, is) in [
            ("text/html", true),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                true,
            ),
            ("application/json, Text/HTML;q=0.5", true),
            ("text/html;q=0, */*", false),
            ("*/*", false),
            ("", false),
            ("text/htmlx", false),
            ("application/json", false),
        ] {
            assert_eq!(is_page(&request("/", accept)), is, "{accept}");
        }
    }

    #[test]
    fn only_files_that_there_are_need_no_token() {
        for (path, is) in [
            ("/page/app.js", true),
            ("/page/page.css", true),
            ("/page/", false),
            ("/page/none.js", false),
            ("/page/../v1/status", false),
            ("/page/app.js/", false),
            ("/v1/events", false),
            ("//", false),
        ] {
            assert_eq!(is_page(&request(path, "text/html")), is, "{path}");
        }
    }

    #[test]
    fn a_file_is_sent_once() {
        let mut headers = HeaderMap::new();
        let first = sent(&FILES[0], &headers);
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers()[header::ETAG].clone();
        headers.insert(header::IF_NONE_MATCH, tag);
        assert_eq!(sent(&FILES[0], &headers).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(sent(&FILES[1], &headers).status(), StatusCode::OK);
    }

    /// Nothing that the policy would refuse, and no way from text to markup.
    #[test]
    fn files_keep_to_the_policy() {
        for file in FILES {
            for bad in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                " style=",
                " onclick=",
                "http://",
                "https://",
                "<style",
            ] {
                let is_namespace =
                    bad == "http://" && file.text.contains("http://www.w3.org/2000/svg");
                assert!(
                    is_namespace || !file.text.contains(bad),
                    "{}: {bad}",
                    file.name
                );
            }
        }
    }
}
