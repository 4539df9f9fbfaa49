//! How many kills of whom, and when: `/v1/timeline`.
//!
//! Reads the index of the store; emits counts. Refuses reports, which have several owners: their kills are counted.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{FromRef, State},
    routing::get,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem, Records,
    events::question,
    query::{Query, one_kind, refused, within},
    readers::Patience,
    route::Route,
};
use crate::{
    clock::Now,
    event::{Kind, Timestamp},
    question::{Kinds, Question},
    store::{By, Counted, Row, Timeline},
};

/// Parts of time if nothing is said, and at most.
const BUCKETS: u16 = 60;
const BUCKETS_MAX: u16 = 500;

/// Owners if nothing is said, and at most.
const TOP: u16 = 8;
const TOP_MAX: u16 = 100;

/// So many owners are known apart: enough for a fleet, and some megabytes at most.
const APART: usize = 16_384;

/// How it is counted.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Counting {
    /// Whose events are put together; the owner's if nothing is said: the pod of a cluster and its container, else the
    /// container, the unit or the cgroup of a node.
    by: Option<OwnerBy>,
    /// Into how many parts time is divided; 60 if nothing is said.
    #[schemars(range(min = 1, max = 500))]
    buckets: Option<u16>,
    /// How many owners are told one by one; 8 if nothing is said.
    #[schemars(range(min = 1, max = 100))]
    top: Option<u16>,
}

/// Whose events are put together.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OwnerBy {
    #[default]
    Owner,
    Namespace,
    Pod,
    Container,
    Unit,
    Cgroup,
    Comm,
    Workload,
    Node,
    Cluster,
}

/// Counts by owner and by time.
#[derive(Debug, Serialize, JsonSchema)]
struct Counts {
    /// Where the first part of time begins: `since`, or the oldest event.
    from: Timestamp,
    /// Where the last one ends: `until`, or now.
    to: Timestamp,
    /// How long each part is, nanoseconds.
    bucket_ns: u64,
    /// All events that are meant.
    total: u64,
    /// How many owners they have, as far as they are known apart.
    owners: u64,
    /// There are more owners than that, whose events are in `rest`: only the first 16,384 are known apart.
    more_owners: bool,
    /// The owners with the most, the first of them first.
    rows: Vec<OwnerCounts>,
    /// Events of all other owners, by part of time.
    rest: Vec<u64>,
}

/// Counts of one owner.
#[derive(Debug, Serialize, JsonSchema)]
struct OwnerCounts {
    /// Its names, which are the conditions that find its events (of a cgroup with `subtree=false`). Empty for events without an owner.
    of: BTreeMap<String, String>,
    /// Its events.
    total: u64,
    /// By part of time.
    counts: Vec<u64>,
}

pub(super) fn routes<S>() -> Vec<Route<S>>
where
    S: Clone + Send + Sync + 'static,
    Records: FromRef<S>,
{
    vec![
        Route::new(
            "/v1/timeline",
            get(timeline),
            "How many kills of whom, and when. `kind` may name another kind than `OomKill`, but not reports.",
        )
        .takes::<Question>()
        .takes::<Counting>()
        .answers::<Counts>()
        .fails(&[400, 503]),
    ]
}

async fn timeline(
    State(records): State<Records>,
    mut query: Query,
) -> Result<Json<Counts>, Problem> {
    let counting: Counting = query.take(&["by", "buckets", "top"]).read()?;
    let question = question(&query)?;
    let now = Now::read();
    let counted = Counted {
        kind: kind(question.kind.as_ref())?,
        by: counting.by.unwrap_or_default().into(),
        buckets: within("buckets", counting.buckets, BUCKETS, BUCKETS_MAX)?,
        top: within("top", counting.top, TOP, TOP_MAX)?.into(),
        apart: APART,
        now_ns: i64::try_from(now.wall(now.monotonic_ns).as_unix_ns()).unwrap_or(i64::MAX),
    };
    let filter = question.filter();
    let timeline = (records.readers).ask(Patience::Some, move |reader| {
        reader.timeline(&filter, counted)
    });
    Ok(Json(timeline.await?.into()))
}

/// What is counted: one kind, whose events have one owner each.
fn kind(kinds: Option<&Kinds>) -> Result<Kind, Problem> {
    match one_kind(kinds)? {
        None => Ok(Kind::OomKill),
        Some(Kind::OomInstance) => Err(refused(
            "kind: reports have several owners; their kills are counted",
        )),
        Some(kind) => Ok(kind),
    }
}

impl From<OwnerBy> for By {
    fn from(by: OwnerBy) -> Self {
        match by {
            OwnerBy::Owner => Self::Owner,
            OwnerBy::Namespace => Self::Namespace,
            OwnerBy::Pod => Self::Pod,
            OwnerBy::Container => Self::Container,
            OwnerBy::Unit => Self::Unit,
            OwnerBy::Cgroup => Self::Cgroup,
            OwnerBy::Comm => Self::Comm,
            OwnerBy::Workload => Self::Workload,
            OwnerBy::Node => Self::Node,
            OwnerBy::Cluster => Self::Cluster,
        }
    }
}

impl From<Timeline> for Counts {
    fn from(timeline: Timeline) -> Self {
        let row = |row: Row| OwnerCounts {
            of: (row.of.into_iter())
                .map(|(name, word)| (name.to_owned(), word))
                .collect(),
            total: row.total,
            counts: row.counts,
        };
        Self {
            from: Timestamp::from_unix_ns(timeline.from.into()),
            to: Timestamp::from_unix_ns(timeline.to.into()),
            bucket_ns: timeline.bucket_ns.unsigned_abs(),
            total: timeline.total,
            owners: timeline.owners,
            more_owners: timeline.more_owners,
            rows: timeline.rows.into_iter().map(row).collect(),
            rest: timeline.rest,
        }
    }
}
