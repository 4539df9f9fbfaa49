//! What an agent has told of stories, compared with them; and that it told of each kill at once.

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    agent::{Agent, Finished},
    runtime::{
        expect,
        play::{Death, Story},
    },
};
use rustix::process::Signal;
use serde_json::Value;

use crate::scene::SOON;

/// A kill is told within this, whatever is on disk.
pub(crate) const AT_ONCE_NS: u64 = 1_000_000_000;

/// Waits until the agent has told of everything, and ends it.
pub(crate) fn to_the_end(agent: Agent, stories: &[Story]) -> Result<Finished> {
    for death in deaths(stories) {
        agent.wait_for_death(death.victim.pid)?;
    }
    // What never comes is said with all other differences.
    let _ = agent.wait_within(2 * SOON, "end of the containers", |events| {
        let mut lives = stories.iter().flat_map(|story| &story.lives);
        lives
            .all(|life| expect::is_gone(events, life))
            .then_some(())
    });
    agent.stop(Signal::TERM)
}

fn deaths(stories: &[Story]) -> impl Iterator<Item = &Death> {
    stories.iter().flat_map(|story| &story.deaths)
}

/// A story of which only the kill is compared.
pub(crate) fn only_the_kill(mut story: Story) -> Story {
    story.lives.clear();
    story
}

/// What was told is what happened, each kill at once.
pub(crate) fn told(finished: &Finished, stories: &[Story], unattributed: i64) -> Result<()> {
    let ours: Vec<u64> = deaths(stories)
        .map(|death| death.victim.pid.into())
        .collect();
    let of_us = |kill: &&Value| {
        let tid = kill["victim"]["tid"].as_u64();
        tid.is_some_and(|tid| ours.contains(&tid))
    };
    // Somebody else on this machine may kill, too, in containers whose files are not below our root.
    let others: Vec<&Value> = finished.kills().filter(|kill| !of_us(kill)).collect();
    let nameless = others.iter().filter(|kill| !is_attributed(kill)).count();
    let unattributed = unattributed + i64::try_from(nameless)?;
    expect::told_but(finished, stories, unattributed)
        .with_context(|| format!("{:?}, others: {others:#?}", finished.log))?;
    for kill in finished.kills().filter(of_us) {
        let latency = kill["detection_latency_ns"].as_u64();
        ensure!(latency.is_some_and(|ns| ns < AT_ONCE_NS), "late: {kill:#}");
    }
    Ok(())
}

/// As the summary counts it.
fn is_attributed(kill: &Value) -> bool {
    let owner = &kill["owner"];
    let no_pod = owner["pod"].is_null();
    let pod_named = no_pod || owner["pod"]["name"].is_string();
    let named = owner["container_name"].is_string() || !no_pod;
    owner.is_object() && pod_named && (owner["container_id"].is_null() || named)
}
