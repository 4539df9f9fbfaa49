//! What is stored: `/v1/events`, `/v1/events/{id}`, `/v1/instances/{id}`, `/v1/instances/{id}/explanation`.
//!
//! Reads the store; emits its events as they are there, without taking them apart, or a report in plain words. Refuses a parameter that
//! it does not know.

use axum::{
    extract::{FromRef, Path, State, rejection::PathRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem, Records,
    query::{Query, one_kind, refused, within},
    readers::Patience,
    route::Route,
};
use crate::{
    event::{Event, Kind, OomInstance},
    explain::explain,
    question::{Kinds, Question},
    render::text::TextStyle,
    store::{Cursor, Order, Page, Stored},
};

/// Events of a page if nothing is said, and at most.
const LIMIT: u16 = 100;
const LIMIT_MAX: u16 = 1000;

/// Which page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Paging {
    /// Which end of time comes first; the newest if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<PageOrder>,
    /// How many events at most; 100 if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u16>,
    /// Go on behind this place: `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Which end of time comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PageOrder {
    /// The newest.
    #[default]
    Newest,
    /// The oldest.
    Oldest,
}

/// A page of events, in the order of their times.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Events {
    /// As many as were asked for, or all that there were; fewer where they are very long.
    pub events: Vec<Event>,
    /// Where the next page goes on: its `after`. Null if there was nothing more.
    pub next: Option<String>,
}

/// Which of the events with this id.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Which {
    /// The kind, where several kinds share the id.
    kind: Option<Kinds>,
}

pub(super) fn routes<S>() -> Vec<Route<S>>
where
    S: Clone + Send + Sync + 'static,
    Records: FromRef<S>,
{
    vec![
        Route::new(
            "/v1/events",
            get(page),
            "Events that are stored, in the order of time.",
        )
        .takes::<Question>()
        .takes::<Paging>()
        .answers::<Events>()
        .fails(&[400, 503]),
        Route::new("/v1/events/{id}", get(by_id), "One event, by its id.")
            .takes::<Which>()
            .answers::<Event>()
            .fails(&[400, 404, 503]),
        Route::new(
            "/v1/instances/{id}",
            get(instance),
            "One report, by its id: `instance_id` of its kills.",
        )
        .answers::<OomInstance>()
        .fails(&[400, 404, 503]),
        Route::new(
            "/v1/instances/{id}/explanation",
            get(explanation),
            "One report in plain words, as `oom-agent explain` has it.",
        )
        .fails(&[400, 404, 503]),
    ]
}

/// What the query asks for, and no more.
pub(super) fn question(query: &Query) -> Result<Question, Problem> {
    if query.has("subtree") && !query.has("cgroup") {
        return Err(refused("subtree is said of a cgroup, and none is given"));
    }
    query.read()
}

async fn page(State(records): State<Records>, mut query: Query) -> Result<Response, Problem> {
    let paging: Paging = query.take(&["order", "limit", "after"]).read()?;
    let filter = question(&query)?.filter();
    let limit = within("limit", paging.limit, LIMIT, LIMIT_MAX)?;
    let order = match paging.order.unwrap_or_default() {
        PageOrder::Newest => Order::NewestFirst,
        PageOrder::Oldest => Order::OldestFirst,
    };
    let after = paging
        .after
        .map(|after| after.parse::<Cursor>())
        .transpose();
    let after = after.map_err(|error| refused(format!("after: {error}")))?;
    let page = records.readers.ask(Patience::Some, move |reader| {
        reader.page(&filter, order, after, limit.into())
    });
    Ok(json(spliced(&page.await?)))
}

/// A page as JSON, of events that are JSON already.
fn spliced(page: &Page) -> String {
    let length: usize = page.events.iter().map(|stored| stored.body.len() + 1).sum();
    let mut body = String::with_capacity(length + 128);
    body += "{\"events\":[";
    for (at, stored) in page.events.iter().enumerate() {
        body += if at == 0 { "" } else { "," };
        body += &stored.body;
    }
    body += "],\"next\":";
    match page.next {
        Some(cursor) => body.extend(["\"", &cursor.to_string(), "\""]),
        None => body += "null",
    }
    body + "}\n"
}

async fn by_id(
    State(records): State<Records>,
    id: Result<Path<String>, PathRejection>,
    query: Query,
) -> Result<Response, Problem> {
    let which: Which = query.read()?;
    let kind = one_kind(which.kind.as_ref())?;
    let found = one(&records, kind, path(id)?).await?;
    Ok(json(found.body + "\n"))
}

async fn instance(
    State(records): State<Records>,
    id: Result<Path<String>, PathRejection>,
    query: Query,
) -> Result<Response, Problem> {
    query.none()?;
    let found = one(&records, Some(Kind::OomInstance), path(id)?).await?;
    Ok(json(found.body + "\n"))
}

async fn explanation(
    State(records): State<Records>,
    id: Result<Path<String>, PathRejection>,
    query: Query,
) -> Result<String, Problem> {
    query.none()?;
    let found = one(&records, Some(Kind::OomInstance), path(id)?).await?;
    let mut told = String::new();
    let Ok(Event::OomInstance(report)) = serde_json::from_str(&found.body) else {
        let detail = format!("report {:?} is not of this version", found.id);
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    };
    explain(&report, TextStyle::default(), &mut told);
    Ok(told)
}

/// The part of the path that is the client's choice.
pub(super) fn path(part: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    part.map(|Path(part)| part)
        .map_err(|error| refused(error.body_text()))
}

async fn one(records: &Records, kind: Option<Kind>, id: String) -> Result<Stored, Problem> {
    let detail = format!("no event has the id {id:?}, or it is no longer kept");
    let found = records
        .readers
        .ask(Patience::Some, move |reader| reader.get(kind, &id));
    let found: Option<Stored> = found.await?;
    found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, detail))
}

/// Text that is JSON.
pub(super) fn json(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
