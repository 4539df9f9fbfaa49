//! Single kills: who died, who asked, which limit was hit and whose it was, as the test set it up.

use anyhow::Result;
use oom_tests::{
    agent::{Agent, Launch},
    check::{self, Known},
    machine::Machine,
    scene::{self, Truth},
};
use rustix::process::Signal;

/// Plays a scene under the agent and compares. The agent must also end well, with its sums right.
fn reported(args: &[&str], known: Known, scene: impl Fn(&Machine) -> Result<Truth>) -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let agent = Launch::run(args).start()?;
    let truth = scene(&machine)?;
    compare(&agent, &truth, known)?;
    let summary = agent.stop(Signal::TERM)?.summary()?;
    assert_eq!(summary.get("unexplained")?, 0, "{summary:?}");
    assert_eq!(summary.get("ring_dropped")?, 0, "{summary:?}");
    Ok(())
}

fn compare(agent: &Agent, truth: &Truth, known: Known) -> Result<()> {
    let (kill, instance) = agent.wait_for_death(truth.tid)?;
    check::death(&kill, &instance, truth, known)
}

/// With BPF every value must be there; the log alone may leave some out, but must not be wrong.
fn reported_by_both(scene: impl Fn(&Machine) -> Result<Truth>) -> Result<()> {
    reported(&["--require-bpf"], Known::Everything, &scene)?;
    reported(&["--source", "kmsg"], Known::WhatTheLogHolds, &scene)
}

#[test]
fn one_kill() -> Result<()> {
    reported_by_both(|machine| scene::one_kill(&machine.hierarchy))
}

#[test]
fn the_limit_is_an_ancestors() -> Result<()> {
    reported_by_both(|machine| scene::ancestor_limit(&machine.hierarchy))
}

#[test]
fn the_victim_is_not_the_trigger() -> Result<()> {
    reported_by_both(|machine| scene::victim_is_not_the_trigger(&machine.hierarchy))
}

#[test]
fn the_victims_main_thread_has_exited() -> Result<()> {
    reported_by_both(|machine| scene::leaderless(&machine.hierarchy))
}

#[test]
fn hostile_process_names() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    for args in [["--source", "bpf"], ["--source", "kmsg"]] {
        let known = match args[1] {
            "bpf" => Known::Everything,
            _ => Known::WhatTheLogHolds,
        };
        let agent = Launch::run(&args).start()?;
        for comm in [
            &b"a,b=c"[..],
            b"x) y (z",
            b"new\nline",
            b"x,pid=1,uid=0",
            b"Killed process ",
            b"\"quo\\ted\"",
            b"\xff\xfe\x80 raw",
            "gr\u{fc}n".as_bytes(),
            b"tab\there\x1b[31m",
            b" ",
        ] {
            let truth = scene::named(&machine.hierarchy, "", comm)?;
            compare(&agent, &truth, known)?;
        }
        let summary = agent.stop(Signal::TERM)?.summary()?;
        assert_eq!(summary.get("unexplained")?, 0, "{summary:?}");
        assert_eq!(summary.get("forged")?, 0, "{summary:?}");
    }
    Ok(())
}

#[test]
fn hostile_cgroup_names() -> Result<()> {
    for suffix in [
        ", a b",
        "=x,task=init,pid=1,uid=0",
        ",task_memcg=\\other,oom_memcg=",
        "\u{20ac}uro",
    ] {
        reported_by_both(|machine| scene::named(&machine.hierarchy, suffix, b"hog"))?;
    }
    Ok(())
}
