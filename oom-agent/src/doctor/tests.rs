//! What the findings add up to, and how they are written.

use super::*;
use crate::{bpf::decision::Hook, render::text::TextStyle};

fn report(usable: bool) -> Report {
    let tier = if usable { Tier::BpfStack } else { Tier::None };
    Report {
        usable,
        tier,
        verdict: verdict(tier, usable.then_some(load::Tier::Stack), true),
        not_better_because: vec!["fentry on oom_kill_process: EPERM".to_owned()],
        checks: vec![
            Check::ok("CAP_BPF", "effective"),
            Check::new("kernel log", State::Missing, "cannot open /dev/\x1bkmsg")
                .cost("no second witness")
                .fix("CAP_SYSLOG"),
        ],
    }
}

#[test]
fn the_text_is_aligned_and_escaped() {
    let mut out = String::new();
    render::text(
        &report(true),
        TextStyle {
            colour: false,
            width: 80,
        },
        &mut out,
    );
    let expected = "\
oom-agent would run at tier bpf + stack (mark_victim, decision from the kernel
  stack), cross-checked with the kernel log.
  not better because: fentry on oom_kill_process: EPERM

  ok       CAP_BPF            effective
  missing  kernel log         cannot open /dev/\\x1bkmsg
                              costs: no second witness
                              to get it: CAP_SYSLOG
";
    assert_eq!(out, expected);
}

#[test]
fn json_has_one_object_per_check() {
    let json = serde_json::to_value(report(false)).unwrap();
    assert_eq!(json["usable"], false);
    assert_eq!(json["tier"], "none");
    assert_eq!(json["checks"][1]["state"], "missing");
    assert_eq!(json["checks"][0]["cost"], serde_json::Value::Null);
}

#[test]
fn the_verdict_names_the_tier() {
    use load::Tier as Bpf;
    let by_kprobe = Some(Bpf::Full(Hook::Kprobe));
    for (tier, bpf, log, words) in [
        (
            Tier::BpfFull,
            Some(Bpf::Full(Hook::Fentry)),
            true,
            "tier bpf, full",
        ),
        (Tier::BpfFull, by_kprobe, true, "by kprobe"),
        (
            Tier::BpfPid,
            Some(Bpf::Pid(None)),
            false,
            "not cross-checked",
        ),
        (Tier::Kmsg, None, true, "tier kmsg"),
        (Tier::None, None, false, "cannot run here"),
        (Tier::None, by_kprobe, true, "cannot run here"),
    ] {
        let said = verdict(tier, bpf, log);
        assert!(said.contains(words), "{said}");
    }
}
