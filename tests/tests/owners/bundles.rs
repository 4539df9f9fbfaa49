//! Bundles that are missing, older than the agent, late, gone, or another's at the same path.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    bpffs::Bpffs,
    machine,
    runtime::{Running as _, bundle::Bundle, play, unit},
    scene::one_kill,
};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    comparing::{only_the_kill, to_the_end, told},
    scene::Scene,
};

fn no_bundle(watch: &str) -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    let agent = scene.watching(watch)?;
    let stories = [
        scene.kill(&scene.in_pod().bare)?,
        only_the_kill(scene.kill(&unit::place())?),
    ];
    let plain = one_kill(scene.hierarchy())?;
    let (kill, _) = agent.wait_for_death(plain.tid)?;
    ensure!(kill["owner"]["kind"] == "system", "{kill:#}");
    let finished = to_the_end(agent, &stories)?;
    told(&finished, &stories, 1)?;
    ensure!(finished.summary()?.get_or_zero("unreadable_bundles")? == 0);
    Ok(())
}

#[test]
fn only_a_container_needs_a_bundle_with_bpf() -> Result<()> {
    no_bundle("auto")
}

#[test]
fn only_a_container_needs_a_bundle_with_inotify() -> Result<()> {
    no_bundle("inotify")
}

/// The containers are older than the agent.
fn older(watch: &str) -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    let (kept, lost) = (scene.in_pod(), scene.in_pod());
    let mut running = Vec::new();
    for bundle in [&kept, &lost] {
        bundle.write()?;
        running.push(scene.run(&bundle.named)?);
    }
    let reads = lost.reads()?;
    let agent = scene.launch(&["--cgroup-watch", watch])?.start()?;
    reads.wait()?;
    // What the scan has read is enough.
    lost.remove()?;
    let mut stories = Vec::new();
    // The cgroups above both are the first one's.
    while let Some(plain) = running.pop() {
        stories.push(only_the_kill(scene.end(plain)?));
    }
    let finished = to_the_end(agent, &stories)?;
    told(&finished, &stories, 0)
}

#[test]
fn containers_that_are_older_than_the_agent_with_bpf() -> Result<()> {
    older("auto")
}

#[test]
fn containers_that_are_older_than_the_agent_with_inotify() -> Result<()> {
    older("inotify")
}

/// The container was made, and somebody in it killed, while no agent ran; it is there when the next one starts.
#[test]
fn kills_that_nobody_watched_have_the_names_of_a_container_that_is_still_there() -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    let bpffs = Bpffs::mount()?;
    let pins = bpffs.pins();
    let pins = pins.to_str().context("path")?;
    let args = ["--store", "none", "--pin-path", pins];
    let start = || scene.launch(&args)?.keeping().start();
    start()?.stop(Signal::TERM)?;
    if bpffs.generations()?.is_empty() {
        machine::say_skipped("this kernel pins no links");
        return Ok(());
    }
    let bundle = scene.in_pod();
    bundle.write()?;
    let plain = scene.run(&bundle.named)?;
    let death = play::die(scene.hierarchy(), plain.container(), None)?;
    let agent = start()?;
    let (kill, instance) = agent.wait_for_death(death.victim.pid)?;
    let truth = serde_json::to_value(&bundle.named.owner)?;
    ensure!(truth["container_name"].is_string(), "{truth:#}");
    for event in [&kill, &instance["kills"][0]] {
        ensure!(event["owner"] == truth, "{truth:#}\n{event:#}");
    }
    Ok(())
}

/// Bundles go before the kill, and right after it.
fn gone(watch: &str) -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    let agent = scene.watching(watch)?;
    let before = scene.in_pod();
    before.write()?;
    let reads = before.reads()?;
    let plain = scene.run(&before.named)?;
    reads.wait()?;
    before.remove()?;
    let mut stories = vec![scene.end(plain)?];
    let after = scene.in_pod();
    after.write()?;
    stories.push(scene.kill(&after.named)?);
    after.remove()?;
    let finished = to_the_end(agent, &stories)?;
    told(&finished, &stories, 0)
}

#[test]
fn bundles_that_are_gone_with_bpf() -> Result<()> {
    gone("auto")
}

#[test]
fn bundles_that_are_gone_with_inotify() -> Result<()> {
    gone("inotify")
}

#[test]
fn a_bundle_that_comes_after_the_cgroup() -> Result<()> {
    const LATE: Duration = Duration::from_millis(50);
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    let agent = scene.watching("auto")?;
    let bundle = scene.in_pod();
    let reads = bundle.reads()?;
    let plain = scene.run(&bundle.named)?;
    // So late is the runtime.
    thread::sleep(LATE);
    bundle.write()?;
    reads.wait()?;
    let stories = [only_the_kill(scene.end(plain)?)];
    told(&to_the_end(agent, &stories)?, &stories, 0)
}

/// One path, three containers one after the other; the last has left nothing on disk.
#[test]
fn a_path_that_is_used_again() -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    let agent = scene.watching("auto")?;
    let id = format!("oom-test-{}", std::process::id());
    let mut stories = Vec::new();
    for name in ["first", "second"] {
        let bundle = Bundle::by_hand(scene.root.path(), &id, name);
        bundle.write()?;
        stories.push(scene.kill(&bundle.named)?);
        bundle.remove()?;
    }
    let bare = Bundle::by_hand(scene.root.path(), &id, "third").bare;
    stories.push(only_the_kill(scene.kill(&bare)?));
    // The same in a pod, where the path has the id, too.
    let mut pod = scene.in_pod();
    for name in ["one", "two"] {
        pod.content["annotations"]["io.kubernetes.cri.container-name"] = json!(name);
        pod.named.owner.container_name = Some(name.to_owned());
        pod.write()?;
        stories.push(scene.kill(&pod.named)?);
        pod.remove()?;
    }
    told(&to_the_end(agent, &stories)?, &stories, 0)
}
