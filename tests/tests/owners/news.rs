//! Which cgroups come and go in the events, by what the agent was asked to tell.

use anyhow::{Result, ensure};
use oom_tests::{agent::Finished, runtime::unit};
use serde_json::{Value, json};

use crate::{
    comparing::{only_the_kill, to_the_end, told},
    scene::Scene,
};

const CAME_AND_WENT: [&str; 2] = ["ContainerCreation", "ContainerDeletion"];

#[test]
fn without_a_watch_the_path_alone_tells() -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    let agent = scene.launch(&["--cgroup-watch", "off"])?.start()?;
    let bundle = scene.in_pod();
    bundle.write()?;
    let stories = [only_the_kill(scene.kill(&bundle.bare)?)];
    let finished = to_the_end(agent, &stories)?;
    told(&finished, &stories, 1)?;
    ensure!(news(&finished).next().is_none(), "{:#?}", finished.events);
    for instance in finished.instances() {
        let history = &instance["memory_history"];
        ensure!(*history == json!([]) || history.is_null(), "{instance:#}");
        ensure!(instance["memory_trend"].is_null(), "{instance:#}");
    }
    Ok(())
}

fn news(finished: &Finished) -> impl Iterator<Item = &Value> {
    let kinds = CAME_AND_WENT.map(Some);
    let events = finished.events.iter();
    events.filter(move |event| kinds.contains(&event["kind"].as_str()))
}

#[test]
fn all_events_tell_of_plain_cgroups_too() -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    let agent = scene.launch(&["--container-events", "all"])?.start()?;
    scene.until_it_sees(&agent)?;
    let bundle = scene.in_pod();
    bundle.write()?;
    let stories = [scene.kill(&unit::place())?, scene.kill(&bundle.named)?];
    let finished = to_the_end(agent, &stories)?;
    told(&finished, &stories, 0)?;
    let life = &stories[0].lives[0].container.place;
    for kind in CAME_AND_WENT {
        let is_it = |event: &&Value| {
            event["kind"] == kind
                && event["cgroup"]["path"] == life.path
                && event["cgroup"]["id"] == life.id
                && event["owner"]["kind"] == "unit"
        };
        ensure!(
            news(&finished).filter(is_it).count() == 1,
            "{kind} of {life:?}"
        );
    }
    Ok(())
}

#[test]
fn no_events_tell_of_containers() -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    let agent = scene.launch(&["--container-events", "none"])?.start()?;
    agent.watches_cgroups()?;
    let bundle = scene.in_pod();
    bundle.write()?;
    let stories = [only_the_kill(scene.kill(&bundle.named)?)];
    let finished = to_the_end(agent, &stories)?;
    told(&finished, &stories, 0)?;
    ensure!(news(&finished).next().is_none(), "{:#?}", finished.events);
    Ok(())
}
