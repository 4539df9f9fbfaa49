//! Single kills with hostile names, and by the classic tracepoint: who died, who asked, which limit was
//! hit and whose it was, as the test set it up.

use std::path::Path;

use anyhow::Result;
use oom_tests::{
    agent::{Agent, Launch},
    check,
    machine::{self, Machine},
    scene::{self, Truth},
};
use rustix::process::Signal;

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

/// As much as its tier allows must be there, and nothing may be wrong.
fn compare(agent: &Agent, truth: &Truth) -> Result<()> {
    let tier = agent.tier()?;
    let (kill, instance) = agent.wait_for_death(truth.tid)?;
    check::death(&kill, &instance, truth, tier.known)?;
    check::limit_source(&instance, &tier)
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
