//! The kernel side outlives the agent: what happens while none runs is told by the next, once.
//!
//! `OOM_RESTARTS=N` restarts the agent so often, to see that nothing is left behind.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::trigger;
use oom_tests::{
    agent::{Agent, DEADLINE, Launch, is_kill},
    bpffs::Bpffs,
    kept::Kept,
    machine::{self, Machine},
    scene::{self, Truth},
};
use rustix::{
    process::Signal,
    time::{ClockId, clock_gettime},
};
use serde_json::Value;

/// A machine, a bpffs, and how to start agents that pin there.
struct Stage {
    machine: Machine,
    bpffs: Bpffs,
}

impl Stage {
    /// `None` where there are no OOM kills, or no BPF links that could be pinned.
    fn set() -> Result<Option<Self>> {
        let Some(machine) = Machine::alone()? else {
            return Ok(None);
        };
        let bpffs = Bpffs::mount()?;
        let stage = Self { machine, bpffs };
        // What cannot be had here an agent says before it is ready.
        let finished = stage.launch(&[]).start()?.stop(Signal::TERM)?;
        let can_pin = !stage.bpffs.generations()?.is_empty();
        if !can_pin {
            let why = finished
                .log
                .iter()
                .find(|line| line.contains("while no agent runs"));
            let why = why.context("neither pins nor a reason")?;
            machine::say_skipped(why);
            return Ok(None);
        }
        ensure!(stage.cleanup(&[])?.status.success());
        Ok(Some(stage))
    }

    /// Without a store: what has been told is let go of at once.
    fn launch(&self, args: &[&str]) -> Launch {
        self.launch_with(&["--store", "none"], args)
    }

    fn launch_with(&self, store: &[&str], args: &[&str]) -> Launch {
        let pins = self.bpffs.pins();
        let pins = pins.to_string_lossy();
        let mut all = vec!["--pin-path", &*pins];
        all.extend(store);
        all.extend(args);
        Launch::run(&all).keeping()
    }

    fn cleanup(&self, args: &[&str]) -> Result<Output> {
        Command::new(machine::agent_binary()?)
            .args(["cleanup", "--pin-path"])
            .arg(self.bpffs.pins())
            .args(args)
            .output()
            .context("cleanup")
    }

    fn kill(&self) -> Result<Truth> {
        scene::one_kill(&self.machine.hierarchy)
    }

    /// Waits until there is but one generation.
    fn wait_for_one(&self) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        loop {
            let generations = self.bpffs.generations()?;
            if generations.len() == 1 {
                return Ok(());
            }
            ensure!(Instant::now() < end, "it stays: {generations:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The only generation.
    fn generation(&self) -> Result<(String, Vec<String>)> {
        let mut generations = self.bpffs.generations()?;
        ensure!(generations.len() == 1, "{generations:?}");
        generations.pop().context("no generation")
    }
}

fn monotonic_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, ns): (u64, u64) = (now.tv_sec.try_into()?, now.tv_nsec.try_into()?);
    Ok(seconds * 1_000_000_000 + ns)
}

fn ids(events: &[Value]) -> Vec<&str> {
    let kills = events.iter().filter(|event| is_kill(event));
    kills.filter_map(|kill| kill["id"].as_str()).collect()
}

/// Waits for these deaths, and sees that they are told as they happened.
fn told_late(agent: &Agent, truths: &[Truth], before_ns: u64) -> Result<()> {
    let tier = agent.tier()?;
    for truth in truths {
        let (kill, _) = agent.wait_for_death(truth.tid)?;
        let at = kill["monotonic_ns"].as_u64().context("no time")?;
        ensure!(at < before_ns, "not the time of the kill: {kill}");
        if tier.name.contains("by format") {
            continue;
        }
        // What marks carry only as a pid is looked up in /proc, and gone.
        if !tier.name.contains("by pid") || tier.decides {
            ensure!(kill["victim"]["pid"] == truth.victim.pid, "{kill}");
            ensure!(
                kill["cgroup"]["path"] == *truth.victim.cgroup.path,
                "{kill}"
            );
            ensure!(kill["memory"]["anon_bytes"].as_u64() > Some(0), "{kill}");
        }
    }
    Ok(())
}

fn a_start_tells_what_it_missed(end: Signal) -> Result<()> {
    let Some(stage) = Stage::set()? else {
        return Ok(());
    };
    let agent = stage.launch(&[]).start()?;
    agent.signal(end)?;
    let ended = agent.ended()?;
    if end == Signal::TERM {
        ended.says(&["goes on recording", "oom-agent cleanup"])?;
    }
    let missed = [stage.kill()?, stage.kill()?, stage.kill()?];
    let before_ns = monotonic_ns()?;
    let agent = stage.launch(&[]).start()?;
    told_late(&agent, &missed, before_ns)?;
    let seen = stage.kill()?;
    agent.wait_for_death(seen.tid)?;
    let finished = agent.stop(Signal::TERM)?;
    finished.says(&["taken over"])?;
    ensure!(ids(&finished.events).len() == 4, "{finished:?}");
    ensure!(finished.summary()?.get("ring_dropped")? == 0);

    let finished = stage.launch(&[]).start()?.stop(Signal::TERM)?;
    ensure!(ids(&finished.events).is_empty(), "twice: {finished:?}");
    ensure!(stage.cleanup(&[])?.status.success());
    Ok(())
}

#[test]
fn what_happens_while_no_agent_runs_is_told_by_the_next() -> Result<()> {
    a_start_tells_what_it_missed(Signal::TERM)
}

#[test]
fn what_happens_after_an_agent_was_killed_is_told_by_the_next() -> Result<()> {
    a_start_tells_what_it_missed(Signal::KILL)
}

#[test]
fn what_the_ring_cannot_hold_meanwhile_is_counted() -> Result<()> {
    const KILLS: u32 = 10;
    let Some(stage) = Stage::set()? else {
        return Ok(());
    };
    // Two records of a kill at most.
    let launch = stage.launch(&["--ring-bytes", "4096"]);
    launch.start()?.stop(Signal::TERM)?;
    trigger::storm(&scene::trigger_options(1 << 20)?, KILLS)?;
    let agent = launch.start()?;
    agent.wait_for("a kill", |events| (!ids(events).is_empty()).then_some(()))?;
    // The next record shows what is missing before it.
    let truth = stage.kill()?;
    agent.wait_for_death(truth.tid)?;
    let finished = agent.stop(Signal::TERM)?;
    let told = i64::try_from(ids(&finished.events).len())? - 1;
    let dropped = finished.summary()?.get("ring_dropped")?;
    // A decision has a record of its own.
    let missing = i64::from(KILLS) - told;
    ensure!(
        told > 0 && (missing..=2 * missing).contains(&dropped),
        "{told} told, {dropped} dropped: {finished:?}"
    );
    let again = launch.start()?.stop(Signal::TERM)?.summary()?;
    ensure!(again.get("ring_dropped")? == 0, "{again:?}");
    Ok(())
}

/// Other programs take over in a storm, from an agent that runs and from one that is dead: those of other
/// options, and those of a newer build, which can read what the older one has recorded.
#[test]
fn other_programs_take_over_in_a_storm() -> Result<()> {
    const KILLS: u32 = 150;
    let Some(stage) = Stage::set()? else {
        return Ok(());
    };
    let kept = Kept::without_pins()?;
    let store = kept.store().to_string_lossy().into_owned();
    let launch = |args: &[&str]| stage.launch_with(&["--store", &store], args);
    let mut agent = launch(&[]).start()?;
    let options = scene::trigger_options(1 << 20)?;
    let raging = AtomicBool::new(true);
    let (kills, agent) = thread::scope(|scope| {
        let kills = scope.spawn(|| {
            let kills = trigger::storm(&options, KILLS);
            raging.store(false, Ordering::Release);
            kills
        });
        for (dies, args) in [
            (false, &["--ring-bytes", "1048576"][..]),
            (true, &[]),
            (false, &["--wire-version", "7"]),
            (true, &["--wire-version", "7", "--ring-bytes", "1048576"]),
        ] {
            agent.wait_for("a kill", |events| {
                (!ids(events).is_empty() || !raging.load(Ordering::Acquire)).then_some(())
            })?;
            if dies {
                agent.stop(Signal::KILL)?;
                agent = launch(args).start()?;
            } else {
                let args: Vec<&str> = args.iter().copied().chain(["--take-over"]).collect();
                let next = launch(&args).start()?;
                ensure!(agent.ended()?.status.success());
                agent = next;
            }
            let generations = stage.bpffs.generations()?;
            let is_mark = |pin: &String| pin.starts_with("mark-");
            let attached = generations
                .iter()
                .filter(|(_, pins)| pins.iter().any(is_mark));
            ensure!(attached.count() == 1, "{generations:?}");
        }
        let kills = kills.join().map_err(|_| anyhow::anyhow!("panicked"))?;
        anyhow::Ok((kills?, agent))
    })?;
    let content = kept.wait_for("all kills", |content| content.kills.len() >= KILLS as usize)?;
    let mut stored: BTreeMap<_, u32> = BTreeMap::new();
    for kill in &content.kills {
        *stored.entry(kill["victim"]["tid"].as_u64()).or_default() += 1;
    }
    for kill in &kills.kills {
        let times = stored.remove(&Some(kill.pid.into())).unwrap_or(0);
        ensure!(times == 1, "{} is there {times} times", kill.pid);
    }
    let summary = agent.stop(Signal::TERM)?.summary()?;
    ensure!(summary.get("ring_dropped")? == 0, "{summary:?}");
    Ok(())
}

#[test]
fn records_that_nobody_can_read_are_counted() -> Result<()> {
    let Some(stage) = Stage::set()? else {
        return Ok(());
    };
    let later = stage.launch(&["--wire-version", "7"]);
    later.start()?.stop(Signal::TERM)?;
    let missed = stage.kill()?;
    let agent = stage.launch(&[]).start()?;
    let seen = stage.kill()?;
    agent.wait_for_death(seen.tid)?;
    let finished = agent.stop(Signal::TERM)?;
    finished.says(&["w7-", "are lost", "cannot read"])?;
    ensure!(finished.summary()?.get("ring_dropped")? > 0, "{finished:?}");
    let kills: Vec<_> = finished
        .kills()
        .map(|kill| &kill["victim"]["tid"])
        .collect();
    ensure!(!kills.contains(&&missed.tid.into()), "{kills:?}");
    let (name, _) = stage.generation()?;
    ensure!(name.starts_with("w1-"), "{name}");
    Ok(())
}

/// What an older build has recorded is read, and removed, by an agent that is confined by then.
#[test]
fn an_upgrade_leaves_nothing_of_the_older_build() -> Result<()> {
    let Some(stage) = Stage::set()? else {
        return Ok(());
    };
    let kept = Kept::without_pins()?;
    let store = kept.store().to_string_lossy().into_owned();
    for store in ["none", &store] {
        let launch = |args: &[&str]| stage.launch_with(&["--store", store], args);
        launch(&[]).start()?.stop(Signal::TERM)?;
        let (old, _) = stage.generation()?;
        let missed = stage.kill()?;
        let agent = launch(&["--wire-version", "7"]).start()?;
        agent.wait_for_death(missed.tid)?;
        // A record of the new ring is proof that the old one is read to its end.
        let seen = stage.kill()?;
        agent.wait_for_death(seen.tid)?;
        stage.wait_for_one()?;
        let (new, _) = stage.generation()?;
        ensure!(new.starts_with("w7-"), "{old}, then {new}");
        let finished = agent.stop(Signal::TERM)?;
        finished.says(&[&old, "is read first"])?;
        finished.says(&["confined by: ", "seccomp"])?;
        let warned = finished.log.iter().find(|line| line.contains("WARN"));
        ensure!(warned.is_none(), "{warned:?}");
        ensure!(stage.cleanup(&[])?.status.success());
    }
    Ok(())
}

#[test]
fn two_agents_do_not_read_one_ring() -> Result<()> {
    let Some(stage) = Stage::set()? else {
        return Ok(());
    };
    let first = stage.launch(&[]).start()?;
    let second = stage.launch(&[]).finish()?;
    ensure!(second.status.code() == Some(5), "{second:?}");
    let pid = first.pid().to_string();
    second.says(&["another agent", &pid, "--take-over"])?;

    let refused = stage.cleanup(&[])?;
    ensure!(refused.status.code() == Some(5), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(said.contains(&pid), "{said}");

    let second = stage.launch(&["--take-over"]).start()?;
    ensure!(first.ended()?.status.success());
    let truth = stage.kill()?;
    second.wait_for_death(truth.tid)?;
    second.stop(Signal::TERM)?.says(&["taking over", &pid])
}

#[test]
fn what_a_crash_has_left_half_made_is_removed() -> Result<()> {
    let Some(stage) = Stage::set()? else {
        return Ok(());
    };
    stage.launch(&[]).start()?.stop(Signal::TERM)?;
    let (name, pins) = stage.generation()?;
    let dir = stage.bpffs.pins();
    let half = dir.join("new-1");
    fs::create_dir(&half)?;
    for pin in &pins {
        fs::hard_link(dir.join(&name).join(pin), half.join(pin))?;
    }
    stage.launch(&[]).start()?.stop(Signal::TERM)?;
    ensure!(stage.generation()? == (name.clone(), pins.clone()));

    // One that has lost its mark is no generation to go on with.
    let mark = pins.iter().find(|pin| pin.starts_with("mark-"));
    fs::remove_file(dir.join(&name).join(mark.context("no mark")?))?;
    let agent = stage.launch(&[]).start()?;
    let truth = stage.kill()?;
    agent.wait_for_death(truth.tid)?;
    agent.stop(Signal::TERM)?;
    ensure!(stage.generation()? == (name, pins));
    Ok(())
}

/// What is looked for after a cleanup is found before it.
fn holds_all_kinds(before: &BTreeSet<(&'static str, u32)>) -> Result<()> {
    let held = held()?;
    let new = held.difference(before);
    let kinds: BTreeSet<&str> = new.map(|(kind, _)| *kind).collect();
    ensure!(kinds.len() == 3, "{kinds:?}");
    Ok(())
}

#[test]
fn nothing_stays_after_a_cleanup() -> Result<()> {
    let Some(stage) = Stage::set()? else {
        return Ok(());
    };
    let before = held()?;
    stage.launch(&[]).start()?.stop(Signal::TERM)?;
    holds_all_kinds(&before)?;
    let (name, _) = stage.generation()?;
    // Root removes what another user's agent has left.
    chown(stage.bpffs.pins(), Some(65_534), None)?;
    let output = stage.cleanup(&[])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success() && said.contains(&name),
        "{output:?}"
    );
    ensure!(!stage.bpffs.pins().exists());
    let again = stage.cleanup(&[])?;
    ensure!(again.status.success(), "{again:?}");
    gone(&before)?;

    let agent = stage.launch(&[]).start()?;
    ensure!(stage.cleanup(&["--force"])?.status.success());
    agent.stop(Signal::TERM)?;
    gone(&before)
}

#[test]
fn without_a_bpffs_it_says_so_and_watches() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let pins: PathBuf = dir.path().join("pins");
    let pins = pins.to_string_lossy();
    let launch = Launch::run(&["--store", "none", "--pin-path", &pins]).keeping();
    let agent = launch.start()?;
    let truth = scene::one_kill(&machine.hierarchy)?;
    agent.wait_for_death(truth.tid)?;
    let finished = agent.stop(Signal::TERM)?;
    finished.says(&["nothing is recorded while no agent runs", "mount -t bpf"])
}

#[test]
fn restarts_leave_nothing_behind() -> Result<()> {
    let Some(stage) = Stage::set()? else {
        return Ok(());
    };
    let restarts: u32 = match env::var("OOM_RESTARTS") {
        Ok(count) => count.parse().context("OOM_RESTARTS is no number")?,
        Err(_) => 20,
    };
    let before = held()?;
    let agent = stage.launch(&[]).start()?;
    agent.watches_cgroups()?;
    let descriptors = agent.descriptors()?;
    agent.stop(Signal::TERM)?;
    let generation = stage.generation()?;
    let once = held()?;
    for number in 0..restarts {
        let agent = stage.launch(&[]).start()?;
        if number % 2 == 0 || number + 1 == restarts {
            agent.watches_cgroups()?;
            agent.holds_at_most(descriptors)?;
        }
        if number % 2 == 0 {
            agent.stop(Signal::TERM)?;
        } else {
            agent.stop(Signal::KILL)?;
        }
        ensure!(stage.generation()? == generation);
    }
    gone(&once)?;
    ensure!(stage.cleanup(&[])?.status.success());
    gone(&before)
}

/// Ids of what the kernel holds of our kind: programs and maps by the names in the object, and all links.
fn held() -> Result<BTreeSet<(&'static str, u32)>> {
    let object = fs::read(object())?;
    let object = aya_obj::Object::parse(&object)?;
    let programs: BTreeSet<&str> = object.programs.keys().map(|name| in_kernel(name)).collect();
    let maps: BTreeSet<&str> = object.maps.keys().map(|name| in_kernel(name)).collect();
    let mut held = BTreeSet::new();
    for program in aya::programs::loaded_programs().flatten() {
        if programs.contains(program.name_as_str().unwrap_or_default()) {
            held.insert(("program", program.id()));
        }
    }
    for map in aya::maps::loaded_maps().flatten() {
        if maps.contains(map.name_as_str().unwrap_or_default()) {
            held.insert(("map", map.id()));
        }
    }
    for link in aya::programs::loaded_links().flatten() {
        held.insert(("link", link.id()));
    }
    Ok(held)
}

/// The committed object of this architecture.
fn object() -> PathBuf {
    let bpf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../oom-agent/bpf");
    bpf.join(format!("oom.{}.bpf.o", env::consts::ARCH))
}

/// The kernel keeps so much of a name (`BPF_OBJ_NAME_LEN`, with its end).
fn in_kernel(name: &str) -> &str {
    name.get(..15).unwrap_or(name)
}

/// Waits until nothing is held that was not before: the kernel frees in its own time.
fn gone(before: &BTreeSet<(&'static str, u32)>) -> Result<()> {
    let end = Instant::now() + DEADLINE;
    loop {
        let held = held()?;
        let new: Vec<_> = held.difference(before).collect();
        if new.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < end, "left behind: {new:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
