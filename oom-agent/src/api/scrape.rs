//! `/metrics`.
//!
//! Reads the `Accept` header, the board and what is counted; emits text in the format that the client takes.
//! Writes one answer at a time, on a thread that may wait: however many ask, no more than one is in the making.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::task::spawn_blocking;

use super::{Problem, Shared, route::Route};
use crate::metrics::Format;

pub(super) fn routes() -> Vec<Route<Shared>> {
    vec![
        Route::new("/metrics", get(scrape), "What is counted, for Prometheus.")
            .answers_in(Format::OpenMetrics.content_type())
            .or_in(Format::Classic.content_type()),
    ]
}

async fn scrape(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, Problem> {
    let accept = headers.get_all(header::ACCEPT).iter();
    let accept: Vec<_> = accept.filter_map(|value| value.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    let internal =
        |error: &dyn ToString| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let turn = shared.0.scraping.clone().acquire_owned().await;
    let turn = turn.map_err(|error| internal(&error))?;
    let text = spawn_blocking(move || {
        // Given back when the text is written, whether or not the client is still there.
        let _turn = turn;
        let parts = &shared.0.parts;
        parts.metrics.encode(format, &parts.board.read())
    });
    let text = text.await.map_err(|error| internal(&error))?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}
