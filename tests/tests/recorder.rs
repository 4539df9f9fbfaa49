//! The flight recorder alone, with real cgroups and a real kill: what it says of the memory before is
//! compared with the rate at which a process took it.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::{
    clock::Now,
    correlate::Wish,
    evidence::{CgroupEvidence, Evidence, Found, KnownCgroup, Lookup, MemoryEvidence},
    source::memory::{MemoryThread, Recorder},
    trigger::scratch::{ScratchCgroup, Settings},
};
use oom_tests::{machine::Machine, scene::actor::Actor};

const LIMIT: u64 = 32 << 20;
const PER_S: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

fn known(cgroup: &ScratchCgroup) -> Result<Evidence> {
    let path = cgroup.kernel_path().context("in a cgroup namespace")?;
    Ok(Evidence::Cgroup(Box::new(CgroupEvidence::Known(
        KnownCgroup {
            path: path.into(),
            id: Some(cgroup.id()),
            version: cgroup.version().number(),
            monotonic_ns: Now::read().monotonic_ns,
            found: Found::Created,
            lookup: Lookup::NotNeeded,
        },
    ))))
}

fn removed(cgroup: &ScratchCgroup) -> Result<Evidence> {
    let path = cgroup.kernel_path().context("in a cgroup namespace")?;
    Ok(Evidence::Cgroup(Box::new(CgroupEvidence::Removed {
        path: path.into(),
        id: Some(cgroup.id()),
        monotonic_ns: Now::read().monotonic_ns,
        exit_code: None,
    })))
}

fn wish(cgroup: &ScratchCgroup, monotonic_ns: u64) -> Wish {
    Wish {
        instance: Arc::from("oom-test"),
        monotonic_ns,
        limit: cgroup.kernel_path(),
        victim: cgroup.kernel_path(),
        machine: false,
        levels: Vec::new(),
    }
}

fn answer(
    recorder: &Recorder,
    answers: &mpsc::Receiver<Vec<Evidence>>,
    wish: Wish,
) -> Result<Box<MemoryEvidence>> {
    ensure!(recorder.ask(wish), "refused");
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        for evidence in answers.recv_timeout(left).context("no answer")? {
            if let Evidence::Memory(memory) = evidence {
                return Ok(memory);
            }
        }
    }
}

/// Waits until so many cgroups are recorded.
fn wait_for(recorder: &Recorder, count: u64) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while recorder.counters().recorded != count {
        ensure!(Instant::now() < until, "{:?}", recorder.counters());
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Compares with the truth; gives the number of samples.
fn check(memory: MemoryEvidence, cgroup: &ScratchCgroup) -> Result<usize> {
    let (samples, trend) = memory.history.context("no history")?;
    let last = samples.last().context("no samples")?;
    assert!((-3_000_000_000..=0).contains(&last.t_ns), "{samples:?}");
    assert!(samples.windows(2).all(|pair| pair[0].t_ns < pair[1].t_ns));
    let rising: Vec<_> = samples
        .iter()
        .filter(|s| s.usage_bytes > LIMIT / 16)
        .collect();
    assert!(rising.len() >= 3, "{samples:?}");
    assert!(
        rising.is_sorted_by_key(|sample| sample.usage_bytes),
        "{samples:?}"
    );
    assert!(
        samples
            .iter()
            .any(|s| s.anon_bytes.is_some_and(|anon| anon > LIMIT / 4)),
        "{samples:?}"
    );
    assert!(
        samples.iter().any(|s| s.limit_bytes == Some(LIMIT)),
        "{samples:?}"
    );
    let growth = trend.growth_bytes_per_s.context("no growth")?;
    assert!(
        growth.abs_diff(i64::try_from(PER_S)?) < PER_S / 5,
        "{trend:?}"
    );
    // 20 % of the limit at that rate.
    let since = trend.since_80_percent_ns.context("not past 80 %")?;
    assert!(
        (200_000_000..4_000_000_000).contains(&since),
        "{trend:?} {samples:?}"
    );
    assert_eq!(trend.cgroup.id, Some(cgroup.id()));

    let state = memory.state.context("no state")?;
    // Version 2 tells it since 5.19.
    let tells = ["memory.peak", "memory.max_usage_in_bytes"].map(|file| cgroup.dir().join(file));
    if tells.iter().any(|file| file.exists()) {
        let peak = state.peak_bytes.context("no peak")?;
        assert!(peak > LIMIT / 8 * 7, "{state:?}");
    }
    assert_eq!(
        state.events.and_then(|events| events.oom_kill),
        Some(1),
        "{state:?}"
    );
    assert!(state.after_ns < 250_000_000, "{state:?}");
    let held = memory
        .limit_memory
        .and_then(|memory| memory.memory)
        .context("no memory")?;
    assert_eq!(held.limit_bytes, Some(LIMIT));
    Ok(samples.len())
}

#[test]
fn a_steady_growth_to_the_limit() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let (submit, answers) = mpsc::channel();
    let (thread, recorder) = MemoryThread::start(machine.hierarchy.clone(), move |evidence| {
        let _ = submit.send(evidence);
    })?;
    let cgroup = machine.scratch("grows", LIMIT)?;
    recorder.follow(&[known(&cgroup)?]);
    // It is no container: it is recorded once its limit has been seen.
    wait_for(&recorder, 1)?;
    let rate = format!("--bytes-per-s={PER_S}");
    let mut grower = Actor::start("grower", b"grower", 1000, &cgroup, &[&rate])?;
    grower.killed()?;
    let killed_ns = Now::read().monotonic_ns;

    let memory = answer(&recorder, &answers, wish(&cgroup, killed_ns))?;
    let samples = check(*memory, &cgroup)?;

    // A history outlives its cgroup, and one that is made anew has another.
    recorder.follow(&[removed(&cgroup)?]);
    wait_for(&recorder, 0)?;
    cgroup.remove()?;
    let again = machine.scratch("grows", LIMIT)?;
    let after = answer(&recorder, &answers, wish(&again, killed_ns))?;
    assert!(after.history.is_some_and(|(told, _)| told.len() == samples));
    assert_eq!(after.state, None);
    recorder.follow(&[known(&again)?]);
    wait_for(&recorder, 1)?;
    let after = answer(&recorder, &answers, wish(&again, killed_ns))?;
    assert!(after.history.is_some_and(|(told, _)| told.len() == samples));
    let now_ns = Now::read().monotonic_ns;
    let young = answer(&recorder, &answers, wish(&again, now_ns))?;
    assert!(
        young
            .state
            .is_some_and(|state| state.cgroup.id == Some(again.id()))
    );
    assert!(young.history.is_none_or(|(told, _)| told.len() < samples));
    let counters = thread.stop();
    assert_eq!(
        (
            counters.no_room,
            counters.news_lost,
            counters.wishes_refused
        ),
        (0, 0, 0)
    );
    Ok(())
}

#[test]
fn the_machine_ran_out() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let (submit, answers) = mpsc::channel();
    let (thread, recorder) = MemoryThread::start(machine.hierarchy.clone(), move |evidence| {
        let _ = submit.send(evidence);
    })?;
    let cgroup = machine.scratch("held", LIMIT)?;
    recorder.follow(&[known(&cgroup)?]);
    wait_for(&recorder, 1)?;
    // A service without a limit, which nobody records, holds more.
    let service = cgroup.child("service", Settings::default())?;
    let bytes = format!("--bytes={}", LIMIT / 2);
    let mut holder = Actor::start("holder", b"holder", 1000, &service, &[&bytes])?;
    holder.must_say("held")?;
    let wish = Wish {
        limit: None,
        machine: true,
        ..wish(&cgroup, Now::read().monotonic_ns)
    };
    let memory = answer(&recorder, &answers, wish)?;
    let tasks: Vec<_> = memory.tasks.iter().map(|task| task.pid).collect();
    assert!(tasks.contains(&holder.process.pid), "{tasks:?}");
    assert!(
        memory
            .tasks
            .is_sorted_by_key(|task| std::cmp::Reverse(task.rss_bytes))
    );
    assert!(
        memory
            .system_memory
            .is_some_and(|memory| memory.free_bytes > Some(0))
    );
    assert_eq!(memory.limit_memory, None);
    assert!(memory.state.is_some());
    let top: Vec<_> = memory.top.iter().map(|top| top.cgroup.id).collect();
    assert!(top.contains(&Some(service.id())), "{:?}", memory.top);
    drop(holder);
    thread.stop();
    Ok(())
}
