//! Events as they come, as server-sent events: `/v1/events/stream`.
//!
//! Reads the query, and where the client was; emits `event: KIND` with the event as `data`, and an `id`
//! wherever everything up to it has been told, alone if need be: so a client that comes back with
//! `Last-Event-ID` misses nothing: also after the store was begun anew, which the id tells. Events that came at once, before they were stored, come without an id, and those of
//! the last milliseconds may then come again: their own ids are the same. `event: gap` stands where events were removed before they were told. Without a store there
//! are no ids.
//!
//! The form: <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::{collections::VecDeque, convert::Infallible};

use axum::{
    body::Body,
    extract::{FromRef, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Problem, Records,
    events::question,
    listener::{Listener, Said},
    place::Place,
    query::{Query, refused},
    route::Route,
};
use crate::{question::Question, watch::Line};

/// Where a stream begins.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Begin {
    /// Behind this place, as the `id` of a stream was, or its number alone; 0: with everything that there is. A place
    /// that the store does not have is one of an earlier store: the stream begins with a gap, and everything. If
    /// nothing is said, with what happens from now on. The header `Last-Event-ID` goes before it.
    after_seq: Option<Place>,
}

pub(super) fn routes<S>() -> Vec<Route<S>>
where
    S: Clone + Send + Sync + 'static,
    Records: FromRef<S>,
{
    vec![
        Route::new(
            "/v1/events/stream",
            get(events),
            "Events as they come, as server-sent events; an id is a place to go on from (`Last-Event-ID`).",
        )
        .takes::<Question>()
        .takes::<Begin>()
        .answers_in("text/event-stream")
        .fails(&[400, 429, 503]),
    ]
}

async fn events(
    State(records): State<Records>,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    let begin: Begin = query.take(&["after_seq"]).read()?;
    let filter = question(&query)?.filter();
    let after = last_event_id(&headers)?.or(begin.after_seq);
    let listener = Listener::begin(&records.streams, &records.readers, filter, after).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, body(listener, frames)).into_response())
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<Place>, Problem> {
    let Some(id) = headers.get("last-event-id").filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    let place = id.to_str().unwrap_or_default().parse();
    let place = place.map_err(|error| refused(format!("Last-Event-ID: {error}")))?;
    Ok(Some(place))
}

/// What a listener is told, as the client asks for it; at the end one more line says so.
pub(super) fn body(
    listener: Listener,
    frames: impl Fn(Option<Said>) -> Frames + Send + 'static,
) -> Body {
    let state = (Some(listener), Frames::new(), frames);
    let told = stream::unfold(state, |(mut listener, mut waiting, frames)| async move {
        loop {
            if let Some(frame) = waiting.pop_front() {
                if let Some(listener) = &mut listener {
                    listener.written();
                }
                return Some((Ok::<_, Infallible>(frame), (listener, waiting, frames)));
            }
            let said = listener.as_mut()?.next().await;
            if said.is_none() {
                listener = None;
            }
            waiting = frames(said);
        }
    });
    Body::from_stream(told)
}

/// Pieces of a body.
pub(super) type Frames = VecDeque<Bytes>;

fn frames(said: Option<Said>) -> Frames {
    let id = |place: Place| Bytes::from(format!("id: {place}\n"));
    let alone = |text: &'static str| Frames::from([Bytes::from_static(text.as_bytes())]);
    match said {
        Some(Said::Event(place, line)) => {
            let frame = line.rendered(frame);
            place.map(id).into_iter().chain([frame]).collect()
        }
        Some(Said::Place(place)) => [Bytes::from(format!("id: {place}\n\n"))].into(),
        Some(Said::Gap(gap)) => {
            let (through, at_most) = gap.unzip();
            let data = serde_json::json!({ "through": through, "at_most": at_most });
            [Bytes::from(format!("event: gap\ndata: {data}\n\n"))].into()
        }
        Some(Said::Nothing) => alone(": nothing new\n\n"),
        None => alone(": the agent stops, or cannot go on here: come again with the last id\n\n"),
    }
}

/// JSON has no line breaks but escaped ones.
fn frame(line: &Line) -> Bytes {
    let kind = line.kind().as_str();
    match line.json() {
        Ok(json) => format!("event: {kind}\ndata: {json}\n\n").into(),
        Err(error) => format!(": event {} cannot be written: {error}\n\n", line.id()).into(),
    }
}
