//! `/metrics` over HTTP.
//!
//! Reads the `Accept` header, the board and what is counted; emits text in the format that the client takes.
//! Writes one answer at a time, on a thread that may wait: however many ask, no more than one is in the making.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{Format, Metrics};
use crate::{api::Problem, status::Board};

/// What a scrape needs.
#[derive(Clone, Debug)]
struct Scraped {
    metrics: Metrics,
    board: Board,
    turn: Arc<Semaphore>,
}

/// The route.
pub fn routes<S: Clone + Send + Sync + 'static>(metrics: Metrics, board: Board) -> Router<S> {
    let scraped = Scraped {
        metrics,
        board,
        turn: Arc::new(Semaphore::new(1)),
    };
    Router::new()
        .route("/metrics", get(scrape))
        .with_state(scraped)
}

async fn scrape(State(scraped): State<Scraped>, headers: HeaderMap) -> Result<Response, Problem> {
    let accept = headers.get_all(header::ACCEPT).iter();
    let accept: Vec<_> = accept.filter_map(|value| value.to_str().ok()).collect();
    let format = Format::accepted(&accept.join(","));
    let internal =
        |error: &dyn ToString| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let turn = scraped.turn.clone().acquire_owned().await;
    let turn = turn.map_err(|error| internal(&error))?;
    let text = spawn_blocking(move || {
        // Given back when the text is written, whether or not the client is still there.
        let _turn = turn;
        scraped.metrics.encode(format, &scraped.board.read())
    });
    let text = text.await.map_err(|error| internal(&error))?;
    Ok(([(header::CONTENT_TYPE, format.content_type())], text).into_response())
}
