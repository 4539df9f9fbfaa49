//! How the agent and its machine are: `/`, `/livez`, `/readyz`, `/v1/status`, `/v1/machine`.
//!
//! Reads the board and files, on a thread that may wait; emits JSON, and plain words for probes.

use axum::{Json, extract::State, http::StatusCode, routing::get};
use tokio::task::spawn_blocking;

use super::{Problem, Shared, page, route::Route};
use crate::{
    machine::{Machine, Places},
    status::Status,
};

pub(super) fn routes() -> Vec<Route<Shared>> {
    vec![
        page::root(INDEX),
        Route::new("/livez", get(livez), "Whether detection turns.").also(503),
        Route::new(
            "/readyz",
            get(readyz),
            "Whether detection turns, and everything has been started.",
        )
        .also(503),
        Route::new("/v1/status", get(status), "How the agent is.").answers::<Status>(),
        Route::new("/v1/machine", get(machine), "What machine this is.").answers::<Machine>(),
    ]
}

/// What there is, for who comes without a manual.
const INDEX: &str = concat!(
    "oom-agent ",
    env!("CARGO_PKG_VERSION"),
    "\n",
    include_str!("index.txt")
);

/// On a thread that may wait.
async fn read<T: Send + 'static>(
    shared: Shared,
    read: impl FnOnce(&Shared) -> T + Send + 'static,
) -> Result<T, Problem> {
    let read = spawn_blocking(move || read(&shared)).await;
    read.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

async fn status(State(shared): State<Shared>) -> Result<Json<Status>, Problem> {
    read(shared, |shared| shared.board().read()).await.map(Json)
}

async fn machine(State(shared): State<Shared>) -> Result<Json<Machine>, Problem> {
    let machine = |shared: &Shared| {
        let places = Places::new(&shared.0.parts.host_root);
        Machine::read(&shared.0.parts.host, &places)
    };
    read(shared, machine).await.map(Json)
}

/// Well, or why not.
fn probed(why: Option<&str>) -> (StatusCode, String) {
    match why {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// Detection turns: an agent that starts or ends is alive.
async fn livez(State(shared): State<Shared>) -> Result<(StatusCode, String), Problem> {
    let status = read(shared, |shared| shared.board().read()).await?;
    Ok(probed(status.not_ready().filter(|_| !status.detecting)))
}

/// Detection turns, and everything has been started.
async fn readyz(State(shared): State<Shared>) -> Result<(StatusCode, String), Problem> {
    let status = read(shared, |shared| shared.board().read()).await?;
    Ok(probed(status.not_ready()))
}
