//! How it is known: what each source said, where they differ, how much the log has.
//!
//! Reads [`Crosscheck`]; emits lines.

use crate::{
    event::{Crosscheck, KmsgReportState, OomInstance},
    render::{
        escape::quoted,
        flow::{Line, Lines, Tone},
        units::{count, duration},
    },
};

pub(super) fn say(lines: &mut Lines, event: &OomInstance) {
    let check = &event.crosscheck;
    let line = lines.label("checked");
    agreement(line, check, event.open_for_ns.is_some());
    match (check.kmsg_report, check.kmsg_kills) {
        (KmsgReportState::Full, _) => line.glue(";").say("the log has the kernel's full report"),
        (KmsgReportState::Partial, _) => line
            .glue(";")
            .say_in(Tone::Caution, "the log has only a part of the kernel's report"),
        (KmsgReportState::Suppressed, _) => line.glue(";").say(
            "the log has the kill alone, as where the kernel's rate limit (10 in 5 s) keeps the report back",
        ),
        (KmsgReportState::Absent, Some(_)) => line.glue(";").say("the log has no report of it"),
        (KmsgReportState::Absent, None) => line,
    };
    if check.repeats > 0 {
        let repeats = count(check.repeats.into(), "repeated kill", "repeated kills");
        lines
            .more()
            .say(&repeats)
            .say("of a process already killed, as is usual when a group dies");
    }
    for mismatch in &check.mismatches {
        let line = lines.more();
        line.say_in(Tone::Caution, "they differ:")
            .name(Tone::Plain, &mismatch.field);
        line.say("is")
            .solid(Tone::Plain, &value(&mismatch.bpf))
            .say("by BPF (kept)")
            .glue(",");
        line.solid(Tone::Plain, &value(&mismatch.kmsg))
            .say("by the log");
    }
    let line = lines.more();
    if let Some(open_for) = event.open_for_ns {
        line.say("closed")
            .solid(Tone::Plain, &duration(open_for))
            .say("after the first evidence");
    }
    if let Some(kernel) = &event.kernel {
        line.glue(";").say("kernel").name(Tone::Plain, kernel);
    }
}

/// `watched` tells that the agent was there, and no log was read afterwards.
fn agreement(line: &mut Line, check: &Crosscheck, watched: bool) {
    let kills = |number: u32| match number {
        0 => "no kill".to_owned(),
        _ => count(number.into(), "kill", "kills"),
    };
    match (check.bpf_kills, check.kmsg_kills) {
        (Some(0), Some(0)) => line.say("BPF and the kernel log agree that nothing was killed"),
        (Some(bpf), Some(log)) if bpf == log => {
            line.say(&format!("BPF and the kernel log agree on {}", kills(bpf)))
        }
        (Some(bpf), Some(log)) => line.say_in(
            Tone::Caution,
            &format!("BPF saw {}, the kernel log {}", kills(bpf), kills(log)),
        ),
        (Some(bpf), None) => line.say(&format!(
            "{} by BPF alone: the kernel log was out of reach",
            kills(bpf)
        )),
        (None, Some(log)) if watched => line.say(&format!(
            "{} by the kernel log alone: BPF was out of reach",
            kills(log)
        )),
        (None, Some(log)) => line.say(&format!("{} by a log that was read afterwards", kills(log))),
        (None, None) => line.say_in(Tone::Caution, "by no source: both were out of reach"),
    };
}

fn value(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}
