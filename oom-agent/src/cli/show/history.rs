//! How often the same was hit before, and since.
//!
//! Asks for the kills of the same owner around one kill; emits a sentence. The same is the same container of
//! the same pod, the same container or unit by its name, else the same cgroup. Kills of the same
//! decision are not counted.

use serde::Deserialize;

use crate::{
    cli::{output::Failure, owner_cell},
    client::Client,
    event::{Kind, OomKill, Timestamp},
    question::{Kinds, Question, When},
    sink::{
        flow::{Lines, Tone},
        text::TextStyle,
        units::{count, grouped},
    },
    store::Order,
};

const DAYS: i64 = 7;
const DAY_NS: i64 = 86_400_000_000_000;

/// Kills are counted up to so many.
const MOST: usize = 1000;

/// What is counted by.
#[derive(Deserialize)]
struct Other {
    instance_id: String,
    time: Option<Timestamp>,
}

/// Appends how often.
pub(super) fn tell(
    client: &mut Client,
    kill: &OomKill,
    style: TextStyle,
    out: &mut String,
) -> Result<(), Failure> {
    let (Some(time), Some((mut question, what))) = (kill.time, same(kill)) else {
        return Ok(());
    };
    let since = time.as_unix_ns() - i128::from(DAYS * DAY_NS);
    question.since = i64::try_from(since).ok().map(When);
    let page = client.page(&question, Order::NewestFirst, None, MOST)?;
    let (mut before, mut after) = (0, 0);
    for json in &page.events {
        let other: Other = serde_json::from_str(json.get())?;
        if *other.instance_id == *kill.instance_id {
            continue;
        }
        if other.time > Some(time) {
            after += 1;
        } else {
            before += 1;
        }
    }

    let mut lines = Lines::default();
    lines.head().say_in(Tone::Strong, "How often");
    let line = lines.below();
    let name = owner_cell::owner(kill.owner.as_ref(), kill.cgroup.as_ref());
    line.say(what);
    if let Some(name) = name {
        line.solid(Tone::Strong, &name);
    }
    line.say("had");
    // The newest come first: what was not counted is older.
    let more = if page.next.is_some() { "at least" } else { "" };
    line.say(more);
    match (before, more) {
        (0, "") => line.say("no other kill"),
        _ => line.solid(Tone::Strong, &count(before, "other kill", "other kills")),
    };
    line.say(&format!("in the {DAYS} days before, and"));
    match after {
        0 => line.say("none"),
        _ => line.solid(Tone::Strong, &grouped(after)),
    };
    line.say("since.");
    out.push('\n');
    lines.render(style, out);
    Ok(())
}

/// How to ask for kills of the same owner, and what it is.
fn same(kill: &OomKill) -> Option<(Question, &'static str)> {
    let mut question = Question {
        kind: Some(Kinds(vec![Kind::OomKill])),
        ..Question::default()
    };
    let owner = kill.owner.as_ref();
    let container = owner.and_then(|owner| {
        let name = owner.container_name.as_ref();
        name.or(owner.container_id.as_ref()).cloned()
    });
    let unit = owner.and_then(|owner| owner.unit.clone());
    let what = match (owner.and_then(|owner| owner.pod.as_ref()), container, unit) {
        (Some(pod), container, _) => {
            question.namespace.clone_from(&pod.namespace);
            question.pod = pod.name.clone().or_else(|| Some(pod.uid.clone()));
            let is_pod = container.is_none();
            question.container = container;
            if is_pod { "The pod" } else { "The container" }
        }
        (None, Some(container), _) => {
            question.container = Some(container);
            "The container"
        }
        (None, None, Some(unit)) => {
            question.unit = Some(unit);
            "The unit"
        }
        (None, None, None) => {
            question.cgroup.clone_from(&kill.cgroup.as_ref()?.path);
            question.cgroup.as_ref()?;
            question.subtree = Some(false);
            "The cgroup"
        }
    };
    Some((question, what))
}
