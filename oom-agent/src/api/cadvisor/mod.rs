//! cAdvisor's events, for clients that were written for cAdvisor: `/api/v1.3/events/<container>`, and the
//! same of v2.0 and v2.1.
//!
//! Reads its parameters; emits its JSON: an array, or one object after the other as they come. Refuses what
//! cAdvisor passes over: a parameter that it does not know, or that it cannot read, is answered with 400.
//!
//! An event is told when its report is closed, some milliseconds after the kill: cAdvisor waits for the
//! kernel's log, too.

mod convert;
mod params;

use std::collections::HashSet;

use axum::{
    extract::{FromRef, Path, State, rejection::PathRejection},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;

pub use self::convert::CadvisorEvent;
use self::{
    convert::events,
    params::{Parameters, Request},
};
use super::{
    Problem, Records,
    events::{json, path},
    listener::{Listener, Said},
    query::Query,
    readers::Patience,
    route::Route,
    stream::{Frames, body},
};
use crate::{
    store::{Order, QueryError, Reader},
    watch::Line,
};

/// Stored events that are looked at at a time.
const AT_A_TIME: usize = 128;

pub(super) fn routes<S>() -> Vec<Route<S>>
where
    S: Clone + Send + Sync + 'static,
    Records: FromRef<S>,
{
    let paths = [
        (
            "/api/v1.3/events",
            "/api/v1.3/events/",
            "/api/v1.3/events/{*container}",
        ),
        (
            "/api/v2.0/events",
            "/api/v2.0/events/",
            "/api/v2.0/events/{*container}",
        ),
        (
            "/api/v2.1/events",
            "/api/v2.1/events/",
            "/api/v2.1/events/{*container}",
        ),
    ];
    let documented = |route: Route<S>| {
        route
            .takes::<Parameters>()
            .answers::<Vec<CadvisorEvent>>()
            .or_in("application/x-ndjson")
            .fails(&[400, 429, 503])
    };
    let of_version = |(bare, root, below)| {
        let about = "Events of a container (its cgroup), as cAdvisor has them.";
        let about_root = "Events of the root cgroup, as cAdvisor has them.";
        [
            Route::new(bare, get(of_root), about_root),
            Route::new(root, get(of_root), about_root),
            Route::new(below, get(of_container), about),
        ]
    };
    let routes = paths.into_iter().flat_map(of_version);
    routes.map(documented).collect()
}

async fn of_root(state: State<Records>, query: Query) -> Result<Response, Problem> {
    answer(&state, "", query).await
}

async fn of_container(
    state: State<Records>,
    name: Result<Path<String>, PathRejection>,
    query: Query,
) -> Result<Response, Problem> {
    answer(&state, &path(name)?, query).await
}

async fn answer(records: &Records, name: &str, query: Query) -> Result<Response, Problem> {
    let parameters: Parameters = query.read()?;
    let request = Request::new(name, &parameters)?;
    if request.stream {
        let filter = request.filter();
        let listener = Listener::begin(&records.streams, &records.readers, filter, None).await?;
        let content = [(header::CONTENT_TYPE, "application/x-ndjson")];
        let body = body(listener, move |said| frames(&request, said));
        return Ok((content, body).into_response());
    }
    let past = move |reader: &Reader| past(reader, &request);
    let past = records.readers.ask(Patience::Some, past).await?;
    let text = serde_json::to_string(&past);
    text.map(json).map_err(|error| {
        Problem::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            error.to_string(),
        )
    })
}

/// The newest that are meant, the oldest of them first.
fn past(reader: &Reader, request: &Request) -> Result<Vec<CadvisorEvent>, QueryError> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    for filter in request.searches() {
        let before = found.len();
        let mut after = None;
        while found.len() - before < request.at_most {
            let page = reader.page(&filter, Order::NewestFirst, after, AT_A_TIME)?;
            for stored in page.events {
                if found.len() - before >= request.at_most {
                    break;
                }
                if seen.insert(stored.seq) {
                    found.extend(meant(request, &stored.into()));
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    found.sort_by_key(|event| event.timestamp);
    Ok(found.split_off(found.len().saturating_sub(request.at_most)))
}

fn meant<'a>(request: &'a Request, line: &Line) -> impl Iterator<Item = CadvisorEvent> + use<'a> {
    let events = line.event().map(events).unwrap_or_default();
    events.into_iter().filter(|event| request.means(event))
}

/// One line for each event; an empty one while nothing happens, which no reader of JSON minds.
fn frames(request: &Request, said: Option<Said>) -> Frames {
    let alive = || Frames::from([Bytes::from_static(b"\n")]);
    match said {
        Some(Said::Event(_, line)) => {
            let lines = meant(request, &line).filter_map(|event| {
                let text = serde_json::to_string(&event).ok()?;
                Some(Bytes::from(text + "\n"))
            });
            lines.collect()
        }
        Some(Said::Nothing) => alive(),
        // There is no word for either; if nothing has been written for a while, `Nothing` comes next.
        Some(Said::Place(_) | Said::Gap(_)) | None => Frames::new(),
    }
}
