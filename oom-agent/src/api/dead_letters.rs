//! `/v1/dead-letters`: what sinks will never deliver.
//!
//! Reads the store; emits what is kept of it. Refuses a parameter that it does not know.

use axum::{
    Json,
    extract::{FromRef, State},
    routing::get,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Problem, Records,
    query::{Query, within},
    readers::Patience,
    route::Route,
};
use crate::store::DeadLetters;

/// How many of them if nothing is said, and at most.
const LIMIT: u16 = 100;
const LIMIT_MAX: u16 = 1000;

/// Which of them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Which {
    /// Of this sink alone.
    sink: Option<String>,
    /// How many at most, the newest first; 100 if nothing is said.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<u16>,
}

pub(super) fn routes<S>() -> Vec<Route<S>>
where
    S: Clone + Send + Sync + 'static,
    Records: FromRef<S>,
{
    vec![
        Route::new(
            "/v1/dead-letters",
            get(list),
            "What sinks will never deliver, the newest first.",
        )
        .takes::<Which>()
        .answers::<DeadLetters>()
        .fails(&[400, 503]),
    ]
}

async fn list(State(records): State<Records>, query: Query) -> Result<Json<DeadLetters>, Problem> {
    let which: Which = query.read()?;
    let limit = within("limit", which.limit, LIMIT, LIMIT_MAX)?;
    let list = records.readers.ask(Patience::Some, move |reader| {
        reader.dead_letters(which.sink.as_deref(), limit.into())
    });
    list.await.map(Json)
}
