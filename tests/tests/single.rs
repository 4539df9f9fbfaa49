//! Single kills with hostile names, and by the classic tracepoint: who died, who asked, which limit was
//! hit and whose it was, as the test set it up.

use std::path::Path;

use anyhow::Result;
use oom_tests::{
    agent::{Agent, Launch},
    check::{self, Known},
    machine::{self, Machine},
    scene::{self, Truth},
};
use rustix::process::Signal;
use serde_json::Value;

/// Plays a scene under the agent and compares. The agent must also end well, with its sums right.
fn reported(args: &[&str], scene: impl Fn(&Machine) -> Result<Truth>) -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let agent = Launch::run(args).start()?;
    let truth = scene(&machine)?;
    compare(&agent, &truth)?;
    let summary = agent.stop(Signal::TERM)?.summary()?;
    assert_eq!(summary.get("unexplained")?, 0, "{summary:?}");
    assert_eq!(summary.get("ring_dropped")?, 0, "{summary:?}");
    Ok(())
}

/// As much as its tier allows must be there, and nothing may be wrong. Gives the report.
fn compare(agent: &Agent, truth: &Truth) -> Result<Value> {
    let tier = agent.tier()?;
    let (kill, instance) = agent.wait_for_death(truth.tid)?;
    check::death(&kill, &instance, truth, tier.known)?;
    if tier.full {
        assert_eq!(instance["limit"]["source"], "oom_control", "{instance:#}");
    }
    Ok(instance)
}

fn reported_by_both(scene: impl Fn(&Machine) -> Result<Truth>) -> Result<()> {
    reported(&["--require-bpf"], &scene)?;
    reported(&["--source", "kmsg"], &scene)
}

/// For kernels without BTF: here it is tried on any that has the tracepoint.
#[test]
fn by_the_tracepoints_format() -> Result<()> {
    let args = ["--source", "bpf", "--bpf-by-format"];
    if !Path::new("/sys/kernel/tracing/events/oom/mark_victim/format").exists() {
        machine::say_skipped("this kernel shows no tracefs at /sys/kernel/tracing");
        return Ok(());
    }
    reported(&args, |machine| scene::one_kill(&machine.hierarchy))?;
    reported(&args, |machine| scene::ancestor_limit(&machine.hierarchy))
}

/// Where fentry cannot be had: here it is left out on any kernel that has kprobes.
#[test]
fn decision_by_kprobe() -> Result<()> {
    if !Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        machine::say_skipped("this kernel has no kprobes");
        return Ok(());
    }
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    // Without the log, so that the limit can come from nowhere else.
    let agent = Launch::run(&["--source", "bpf", "--bpf-hook=kprobe"]).start()?;
    let known = agent.tier()?.known;
    let not_better = "fentry on oom_kill_process: not tried";
    if known == Known::ButForNamesAndCounters {
        let finished = agent.stop(Signal::TERM)?;
        finished.says(&[not_better, "kprobe on it", "lockdown=confidentiality"])?;
        machine::say_skipped("this kernel is locked down: no kprobe may read its memory");
        return Ok(());
    }
    for scene in [
        scene::one_kill,
        scene::ancestor_limit,
        scene::victim_is_not_the_trigger,
        scene::leaderless,
    ] {
        let truth = scene(&machine.hierarchy)?;
        let instance = compare(&agent, &truth)?;
        assert_eq!(instance["limit"]["source"], "oom_control", "{instance:#}");
        // Of a mark by pid nothing but the decision knows the sizes, if it chose the thread that died.
        if known == Known::ButForSizes && truth.tid == truth.victim.pid {
            let memory = &instance["kills"][0]["memory"];
            assert!(memory["total_vm_bytes"].is_u64(), "{instance:#}");
        }
    }
    let finished = agent.stop(Signal::TERM)?;
    finished.says(&["tier: ", "by kprobe"])?;
    finished.says(&[not_better, "a kprobe is there instead"])?;
    let summary = finished.summary()?;
    assert_eq!(summary.get("unexplained")?, 0, "{summary:?}");
    assert_eq!(summary.get("ring_dropped")?, 0, "{summary:?}");
    assert_eq!(summary.get("malformed")?, 0, "{summary:?}");
    Ok(())
}

#[test]
fn hostile_process_names() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    for args in [["--source", "bpf"], ["--source", "kmsg"]] {
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
            compare(&agent, &truth)?;
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
