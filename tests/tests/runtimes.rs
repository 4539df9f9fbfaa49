//! Real containers on this machine: whose a kill is, which level's limit was hit, and which containers came
//! and went.
//!
//! `cargo test -p oom-tests --test runtimes -- --nocapture`, as root. Skipped where a runtime is missing.

#![cfg(not(target_env = "musl"))]

use std::time::Duration;

use anyhow::Result;
use oom_agent::{event::LimitLevel, hierarchy::Hierarchy};
use oom_tests::{
    agent::{Agent, Finished, Launch},
    runtime::{
        LIMIT, Running, Stage,
        churn::Churn,
        containerd::Containerd,
        cri::Cri,
        ctr::Ctr,
        expect,
        play::{self, Dies, Life, Limit, Removed, Story},
        podman::Podman,
        runc::{self, Runc},
        unit::{self, Unit},
    },
};
use rustix::process::Signal;

/// A container that is gone is told of so soon.
const SOON: Duration = Duration::from_secs(2);

/// The agent watches while `play` plays; what it told is compared.
fn told(play: impl FnOnce(&Agent) -> Result<Vec<Story>>) -> Result<()> {
    let agent = Launch::run(&["--require-bpf"]).start()?;
    agent.watches_cgroups()?;
    let stories = play(&agent)?;
    expect::told(&to_the_end(agent, &stories)?, &stories)
}

/// Waits until the agent has told of everything, and ends it.
fn to_the_end(agent: Agent, stories: &[Story]) -> Result<Finished> {
    for death in stories.iter().flat_map(|story| &story.deaths) {
        agent.wait_for_death(death.victim.pid)?;
    }
    // What never comes is said with all other differences.
    let _ = agent.wait_within(SOON, "end of the containers", |events| {
        let mut lives = stories.iter().flat_map(|story| &story.lives);
        lives
            .all(|life| expect::is_gone(events, life))
            .then_some(())
    });
    agent.stop(Signal::TERM)
}

/// One kill in one container.
fn one<R: Running>(
    hierarchy: &Hierarchy,
    dies: Dies,
    removed: Removed,
    run: impl FnOnce(&[&str], bool) -> Result<R>,
) -> Result<()> {
    told(|agent| {
        let running = run(dies.args(), removed == Removed::AtOnce)?;
        Ok(vec![play::kill(agent, hierarchy, running, dies, removed)?])
    })
}

fn with_ctr(dies: Dies, removed: Removed) -> Result<()> {
    let Some(daemon) = Containerd::start()? else {
        return Ok(());
    };
    let hierarchy = &daemon.stage().machine.hierarchy;
    one(hierarchy, dies, removed, |args, rm| {
        Ctr::run(&daemon, args, rm)
    })
}

#[test]
fn ctr_the_main_process_dies() -> Result<()> {
    with_ctr(Dies::Main, Removed::Later)
}

#[test]
fn ctr_a_child_dies() -> Result<()> {
    with_ctr(Dies::Child, Removed::Later)
}

#[test]
fn ctr_the_container_is_removed_at_once() -> Result<()> {
    with_ctr(Dies::Slow, Removed::AtOnce)
}

fn with_podman(dies: Dies, removed: Removed) -> Result<()> {
    let Some(podman) = Podman::ready()? else {
        return Ok(());
    };
    let hierarchy = &podman.stage.machine.hierarchy;
    one(hierarchy, dies, removed, |args, rm| podman.run(args, rm))
}

#[test]
fn podman_the_main_process_dies() -> Result<()> {
    with_podman(Dies::Main, Removed::Later)
}

#[test]
fn podman_a_child_dies() -> Result<()> {
    with_podman(Dies::Child, Removed::Later)
}

#[test]
fn podman_the_container_is_removed_at_once() -> Result<()> {
    with_podman(Dies::Main, Removed::AtOnce)
}

fn with_runc(dies: Dies, removed: Removed) -> Result<()> {
    let Some(stage) = Stage::alone(runc::PROGRAMS)? else {
        return Ok(());
    };
    one(&stage.machine.hierarchy, dies, removed, |args, rm| {
        Runc::run(&stage, args, rm)
    })
}

#[test]
fn runc_the_main_process_dies() -> Result<()> {
    with_runc(Dies::Main, Removed::Later)
}

#[test]
fn runc_a_child_dies() -> Result<()> {
    with_runc(Dies::Child, Removed::Later)
}

#[test]
fn runc_the_container_is_removed_at_once() -> Result<()> {
    with_runc(Dies::Main, Removed::AtOnce)
}

/// A service is no container: nobody tells that it came or went.
fn with_unit(dies: Dies, removed: Removed) -> Result<()> {
    let Some(stage) = Stage::alone(unit::PROGRAMS)? else {
        return Ok(());
    };
    let hierarchy = &stage.machine.hierarchy;
    told(|agent| {
        let unit = Unit::run(&stage, dies.args())?;
        let mut story = play::kill(agent, hierarchy, unit, dies, removed)?;
        story.lives.clear();
        Ok(vec![story])
    })
}

#[test]
fn unit_the_main_process_dies() -> Result<()> {
    with_unit(Dies::Main, Removed::Later)
}

#[test]
fn unit_a_child_dies() -> Result<()> {
    with_unit(Dies::Child, Removed::Later)
}

#[test]
fn unit_the_service_is_removed_at_once() -> Result<()> {
    with_unit(Dies::Main, Removed::AtOnce)
}

/// A kill in a container of a pod.
fn with_cri(dies: Dies, removed: Removed) -> Result<()> {
    let Some(daemon) = Containerd::start()? else {
        return Ok(());
    };
    let hierarchy = &daemon.stage().machine.hierarchy;
    let cri = Cri::connect(&daemon)?;
    told(|agent| {
        let pod = cri.pod()?;
        let pause = pod.pause()?;
        let running = pod.run("app", dies.args(), LIMIT)?;
        let mut story = play::kill(agent, hierarchy, running, dies, removed)?;
        pod.remove()?;
        story.lives.push(Life::ended(pause));
        Ok(vec![story])
    })
}

#[test]
fn cri_the_main_process_dies() -> Result<()> {
    with_cri(Dies::Main, Removed::Later)
}

#[test]
fn cri_a_child_dies() -> Result<()> {
    with_cri(Dies::Child, Removed::Later)
}

#[test]
fn cri_the_container_is_removed_at_once() -> Result<()> {
    with_cri(Dies::Main, Removed::AtOnce)
}

/// The container has no limit of its own; its pod's is hit.
#[test]
fn cri_the_limit_is_the_pods() -> Result<()> {
    let Some(daemon) = Containerd::start()? else {
        return Ok(());
    };
    let hierarchy = &daemon.stage().machine.hierarchy;
    let cri = Cri::connect(&daemon)?;
    told(|_| {
        let pod = cri.pod()?;
        let pause = pod.pause()?;
        let mut running = pod.run("app", Dies::Main.args(), 0)?;
        let limit = Limit::set(hierarchy, pod.path(), LimitLevel::Pod, LIMIT)?;
        let container = running.container().clone();
        let death = play::die(hierarchy, &container, Some(limit))?;
        running.remove()?;
        pod.remove()?;
        Ok(vec![Story {
            deaths: vec![death],
            lives: vec![Life::killed(container), Life::ended(pause)],
        }])
    })
}

/// A thousand cgroups that look like containers come and go; twenty containers lose a process meanwhile.
#[test]
fn kills_in_the_middle_of_churn() -> Result<()> {
    const KILLS: usize = 20;
    const EACH: usize = 50;
    let Some(daemon) = Containerd::start()? else {
        return Ok(());
    };
    let hierarchy = &daemon.stage().machine.hierarchy;
    let cri = Cri::connect(&daemon)?;
    let agent = Launch::run(&["--require-bpf"]).start()?;
    agent.watches_cgroups()?;
    let churn = Churn::start(hierarchy, EACH)?;
    let pod = cri.pod()?;
    let pause = pod.pause()?;
    let mut stories = Vec::new();
    for number in 0..KILLS {
        churn.turn()?;
        let mut running = pod.run(&format!("app-{number}"), Dies::Main.args(), LIMIT)?;
        let container = running.container().clone();
        let death = play::die(hierarchy, &container, None)?;
        running.remove()?;
        stories.push(Story {
            deaths: vec![death],
            lives: vec![Life::killed(container)],
        });
    }
    let made = churn.end()?;
    anyhow::ensure!(made.len() == KILLS * EACH);
    pod.remove()?;
    stories.push(Story {
        deaths: Vec::new(),
        lives: vec![Life::ended(pause)],
    });
    let finished = to_the_end(agent, &stories)?;
    let [came, went] = expect::moments(&finished, &made)?;
    println!(
        "of {} short-lived cgroups {came} were told to come, {went} to go",
        made.len()
    );
    expect::told(&finished, &stories)
}
