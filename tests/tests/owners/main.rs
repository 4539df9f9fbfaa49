//! Whose a kill was, with real kills in plain cgroups at the paths that runtimes use: what is on disk may
//! be hostile, missing, late, gone or another's.
//!
//! `cargo test -p oom-tests --test owners`, as root. No runtime is needed: what one leaves on disk is written
//! by hand into a directory that stands for the host's root.

#![cfg(not(target_env = "musl"))]

use std::{
    fs::{self, File, Permissions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{sys::stat::Mode, unistd::mkfifo};
use oom_agent::{
    event::{LimitLevel, Owner, OwnerKind},
    hierarchy::Hierarchy,
};
use oom_tests::{
    agent::{Agent, Finished, Launch, is_instance},
    machine::{self, Machine},
    runtime::{
        LIMIT, Running as _,
        bundle::Bundle,
        expect,
        plain::{self, Place, Plain},
        play::{self, Death, Dies, Life, Story},
        unit,
    },
    scene,
};
use rustix::{fs::OFlags, process::Signal};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A kill is told within this, whatever is on disk.
const AT_ONCE_NS: u64 = 1_000_000_000;

/// What a canary is given to be told of.
const SOON: Duration = Duration::from_millis(500);

const CAME_AND_WENT: [&str; 2] = ["ContainerCreation", "ContainerDeletion"];

/// The machine, and a root of the host that has no runtime yet.
struct Scene {
    machine: Machine,
    root: TempDir,
}

impl Scene {
    fn alone() -> Result<Option<Self>> {
        let Some(machine) = Machine::alone()? else {
            return Ok(None);
        };
        let root = tempfile::tempdir()?;
        Ok(Some(Self { machine, root }))
    }

    fn hierarchy(&self) -> &Hierarchy {
        &self.machine.hierarchy
    }

    fn in_pod(&self) -> Bundle {
        Bundle::in_pod(self.root.path())
    }

    fn launch(&self, args: &[&str]) -> Result<Launch> {
        let root = self.root.path().to_str().context("path")?;
        let all = ["--require-bpf", "--host-root", root];
        Ok(Launch::run(&[&all, args].concat()))
    }

    /// An agent that watches cgroups, and has seen all that there were.
    fn watching(&self, watch: &str) -> Result<Agent> {
        let agent = self.launch(&["--cgroup-watch", watch])?.start()?;
        self.until_it_sees(&agent)?;
        Ok(agent)
    }

    /// What comes before its first scan is over is no news, and not told.
    fn until_it_sees(&self, agent: &Agent) -> Result<()> {
        agent.watches_cgroups()?;
        self.until_told(agent)
    }

    /// The same, by what it tells alone.
    fn until_told(&self, agent: &Agent) -> Result<()> {
        for _ in 0..100 {
            let canary = format!("/docker/{}", "ca".repeat(32));
            let owner = Owner::of(OwnerKind::Container);
            let level = LimitLevel::Container;
            let place = Place {
                path: canary.clone(),
                owner,
                level,
            };
            let canary_lives = self.run(&place)?;
            let told = agent.wait_within(SOON, "canary", |events| {
                let is_it = |event: &Value| event["cgroup"]["path"] == canary;
                events.iter().any(is_it).then_some(())
            });
            drop(canary_lives);
            if told.is_ok() {
                return Ok(());
            }
        }
        anyhow::bail!("it tells of no cgroup")
    }

    fn run(&self, place: &Place) -> Result<Plain> {
        let args = Dies::Main.args();
        Plain::run(self.hierarchy(), place, LIMIT, &plain::payload()?, args)
    }

    /// A process dies in it; then it is removed, before anybody has told of anything.
    fn kill(&self, place: &Place) -> Result<Story> {
        self.end(self.run(place)?)
    }

    fn end(&self, mut plain: Plain) -> Result<Story> {
        let container = plain.container().clone();
        let death = play::die(self.hierarchy(), &container, None)?;
        plain.remove()?;
        Ok(Story {
            deaths: vec![death],
            lives: vec![Life::killed(container)],
        })
    }
}

/// Waits until the agent has told of everything, and ends it.
fn to_the_end(agent: Agent, stories: &[Story]) -> Result<Finished> {
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
fn only_the_kill(mut story: Story) -> Story {
    story.lives.clear();
    story
}

/// What was told is what happened, each kill at once.
fn told(finished: &Finished, stories: &[Story], unattributed: i64) -> Result<()> {
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

/// Puts something at the path of a bundle.
type Hostile = fn(&Bundle, &Path) -> Result<()>;

const HOSTILE: &[(&str, Hostile)] = &[
    ("a FIFO", |bundle, _| {
        Ok(mkfifo(&bundle.file, Mode::from_bits_truncate(0o600))?)
    }),
    ("a link out of its place", |bundle, root| {
        let elsewhere = root.join("elsewhere.json");
        fs::write(&elsewhere, bundle.content.to_string())?;
        Ok(symlink(elsewhere, &bundle.file)?)
    }),
    ("100 MB of [", |bundle, _| brackets(&bundle.file, 100)),
    ("1 MB of [, which may be read", |bundle, _| {
        brackets(&bundle.file, 1)
    }),
    ("a directory", |bundle, _| Ok(fs::create_dir(&bundle.file)?)),
    ("no UTF-8", |bundle, _| {
        let mut text = bundle.content.to_string().into_bytes();
        let at = text
            .windows(3)
            .position(|word| word == b"app")
            .context("app")?;
        text[at] = 0xff;
        Ok(fs::write(&bundle.file, text)?)
    }),
    ("a file that speaks of another pod", |bundle, root| {
        let other = Bundle::in_pod(root);
        Ok(fs::write(&bundle.file, other.content.to_string())?)
    }),
];

fn brackets(file: &Path, megabytes: usize) -> Result<()> {
    let mut file = File::create(file)?;
    let piece = vec![b'['; 1 << 20];
    for _ in 0..megabytes {
        file.write_all(&piece)?;
    }
    Ok(())
}

fn hostile(watch: &str) -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    let agent = scene.watching(watch)?;
    let mut stories = Vec::new();
    for (what, put) in HOSTILE {
        let bundle = scene.in_pod();
        bundle.dir()?;
        put(&bundle, scene.root.path()).context(*what)?;
        stories.push(scene.kill(&bundle.bare).context(*what)?);
        bundle.remove()?;
    }
    // It has lived through that.
    let good = scene.in_pod();
    good.write()?;
    stories.push(scene.kill(&good.named)?);
    let finished = to_the_end(agent, &stories)?;
    let hostile = i64::try_from(HOSTILE.len())?;
    told(&finished, &stories, hostile)?;
    let unreadable = finished.summary()?.get("unreadable_bundles")?;
    ensure!(unreadable == hostile, "{:?}", finished.log);
    Ok(())
}

#[test]
fn hostile_bundles_with_bpf() -> Result<()> {
    hostile("auto")
}

#[test]
fn hostile_bundles_with_inotify() -> Result<()> {
    hostile("inotify")
}

#[test]
fn a_bundle_that_may_not_be_read() -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    if Command::new("setpriv").arg("--version").output().is_err() {
        return machine::skip("needs setpriv (util-linux)");
    }
    let agent = machine::agent_binary()?.to_str().context("path")?;
    // Root, but nobody's files are open to it that way.
    let words = [
        "setpriv",
        "--bounding-set=-dac_override,-dac_read_search",
        "--",
        agent,
    ];
    let agent = scene
        .launch(&[])?
        .program(&words.map(str::to_owned))
        .start()?;
    scene.until_it_sees(&agent)?;
    let bundle = scene.in_pod();
    bundle.write()?;
    fs::set_permissions(&bundle.file, Permissions::from_mode(0o0))?;
    let stories = [scene.kill(&bundle.bare)?];
    let finished = to_the_end(agent, &stories)?;
    told(&finished, &stories, 1)?;
    ensure!(finished.summary()?.get("unreadable_bundles")? == 1);
    Ok(())
}

fn no_bundle(watch: &str) -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    let agent = scene.watching(watch)?;
    let stories = [
        scene.kill(&scene.in_pod().bare)?,
        only_the_kill(scene.kill(&unit::place())?),
    ];
    let plain = scene::one_kill(scene.hierarchy())?;
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

/// Nobody reads what the agent logs, and there is no room for more from the start.
#[test]
fn a_full_stderr_does_not_stop_detection() -> Result<()> {
    let Some(scene) = Scene::alone()? else {
        return Ok(());
    };
    let fifo = scene.root.path().join("stderr");
    mkfifo(&fifo, Mode::from_bits_truncate(0o600))?;
    let nonblock = i32::try_from(OFlags::NONBLOCK.bits())?;
    let mut pipe = File::options()
        .read(true)
        .write(true)
        .custom_flags(nonblock)
        .open(&fifo)?;
    fill(&mut pipe)?;
    let redirect = format!("exec \"$0\" \"$@\" 2>{}", fifo.display());
    let program = machine::agent_binary()?.to_str().context("path")?;
    let words = ["sh", "-c", &redirect, program];
    let agent = scene
        .launch(&[])?
        .program(&words.map(str::to_owned))
        .start()?;
    scene.until_told(&agent)?;
    let bundle = scene.in_pod();
    bundle.write()?;
    let stories = [scene.kill(&bundle.named)?];
    let death = &stories[0].deaths[0];
    let (kill, instance) = agent.wait_for_death(death.victim.pid)?;
    let latency = kill["detection_latency_ns"].as_u64();
    ensure!(latency.is_some_and(|ns| ns < AT_ONCE_NS), "late: {kill:#}");
    ensure!(kill["owner"] == json!(death.container.owner), "{kill:#}");
    ensure!(is_instance(&instance));
    // Nor does it keep the agent from ending.
    let finished = agent.stop(Signal::TERM)?;
    ensure!(finished.status.success(), "{:?}", finished.status);
    Ok(())
}

fn fill(pipe: &mut File) -> Result<()> {
    loop {
        match pipe.write(&[b'.'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
