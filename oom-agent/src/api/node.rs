//! How the agent and its machine are: `/livez`, `/readyz`, `/v1/status`.
//!
//! Reads the board, on a thread that may wait; emits JSON, and plain words for probes.

use axum::{Json, extract::State, http::StatusCode, routing::get};
use tokio::task::spawn_blocking;

use super::{Problem, Shared, route::Route};
use crate::status::Status;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::new("/livez", get(livez), "Whether detection turns.").also(503),
        Route::new(
            "/readyz",
            get(readyz),
            "Whether detection turns, and everything has been started.",
        )
        .also(503),
        Route::new("/v1/status", get(status), "How the agent is.").answers::<Status>(),
    ]
}

async fn read(shared: Shared) -> Result<Status, Problem> {
    let status = spawn_blocking(move || shared.board().read()).await;
    status.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn status(State(shared): State<Shared>) -> Result<Json<Status>, Problem> {
    read(shared).await.map(Json)
}

/// Detection turns.
async fn livez(State(shared): State<Shared>) -> Result<(StatusCode, &'static str), Problem> {
    let status = read(shared).await?;
    Ok(if status.detecting {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "detection does not answer\n",
        )
    })
}

/// Detection turns, and everything has been started.
async fn readyz(State(shared): State<Shared>) -> Result<(StatusCode, &'static str), Problem> {
    let status = read(shared).await?;
    Ok(match status {
        Status {
            detecting: false, ..
        } => (
            StatusCode::SERVICE_UNAVAILABLE,
            "detection does not answer\n",
        ),
        Status { ready: false, .. } => (StatusCode::SERVICE_UNAVAILABLE, "starting or ending\n"),
        _ => (StatusCode::OK, "ok\n"),
    })
}
