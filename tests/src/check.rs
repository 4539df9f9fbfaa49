//! Compares what the agent said with the truth.
//!
//! Reads two JSON events and a [`Truth`]; emits every difference at once. What a source cannot know
//! may be null, but nothing may be wrong.

use std::{collections::HashMap, fmt, ops::RangeInclusive};

use anyhow::{Context as _, Result, bail, ensure};
use oom_agent::{text::Comm, trigger::TriggerReport};
use serde_json::{Value, json};

use crate::{
    agent::{Tier, is_instance, is_kill},
    scene::{GroupTruth, Leaked, Owned, Place, StormTruth, Truth},
};

/// How much the evidence lets the agent know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// BPF read it from the kernel: every value must be there.
    Everything,
    /// All but what the victim held, and the name of a thread that is not the main one: the tracepoint carries only a pid, and the decision's task may have
    /// no memory of its own any more.
    ButForSizes,
    /// Lockdown: all but sizes and the trigger's cgroup, which would have to be copied from kernel
    /// memory.
    ButForNamesAndCounters,
    /// Only the log spoke: a value may be null.
    WhatTheLogHolds,
}

/// Who reads the kernel's decision has the limit from there.
pub fn limit_source(instance: &Value, tier: &Tier) -> Result<()> {
    let source = &instance["limit"]["source"];
    if tier.decides && !instance["limit"].is_null() && source != "oom_control" {
        bail!(
            "limit.source: found {source}, but the tier is {}",
            tier.name
        );
    }
    Ok(())
}

/// The kill and its instance against the truth.
pub fn death(kill: &Value, instance: &Value, truth: &Truth, known: Known) -> Result<()> {
    let mut differences = Differences {
        known,
        list: Vec::new(),
    };
    differences.kill(kill, truth);
    // The report's copy is the final one; it may know more, and nothing else.
    match instance["kills"].as_array().map(Vec::as_slice) {
        Some([last]) => {
            differences.kill(last, truth);
            let end = &last["end"];
            if !end["exit_after_ns"].is_u64() && end["still_alive"] != true {
                differences.add("end", end, "an end, or still alive");
            }
        }
        other => differences.add("kills", &json!(other), "one kill"),
    }
    differences.instance(instance, truth);
    if differences.list.is_empty() {
        return Ok(());
    }
    bail!("{differences}\nkill: {kill:#}\ninstance: {instance:#}\ntruth: {truth:#?}")
}

/// A report is open for milliseconds, or for its window.
const SLOW_NS: u64 = 1_000_000_000;

/// Whose it was, in the alert and in the report; who does not know the cgroup cannot know the owner.
pub fn owner(kill: &Value, instance: &Value, owned: &Owned, known: Known) -> Result<()> {
    let last = &instance["kills"][0];
    for (what, event) in [("alert", kill), ("report", last)] {
        if known == Known::WhatTheLogHolds && event["cgroup"].is_null() {
            continue;
        }
        let found = &event["owner"];
        let fields = owned.owner.as_object().context("owner")?;
        for (field, truth) in fields {
            ensure!(
                agrees(&found[field], truth, owned.stalled),
                "owner.{field} of the {what}: found {}, truth {truth}\n{event:#}",
                found[field]
            );
        }
    }
    let level = &instance["limit"]["level"];
    let may_be_null = known != Known::Everything && instance["limit"].is_null();
    ensure!(
        *level == owned.level || may_be_null,
        "limit.level: found {level}, truth {}\n{instance:#}",
        owned.level
    );
    Ok(())
}

/// Whether they are the same, but for what is unknown where that may be.
fn agrees(found: &Value, truth: &Value, may_lack: bool) -> bool {
    let parts = found.as_object().zip(truth.as_object());
    found == truth
        || may_lack
            && (found.is_null()
                || parts.is_some_and(|(found, truth)| {
                    let mut fields = truth.iter();
                    fields.all(|(name, truth)| {
                        found
                            .get(name)
                            .is_some_and(|it| it.is_null() || it == truth)
                    })
                }))
}

/// The report shows what the machine held, and who held the most: the glutton among them.
pub fn machine(instance: &Value, truth: &Truth, known: Known) -> Result<()> {
    // The window closed the report before the log was read, or what is read instead: the machine ran nobody in time.
    let is_cut_short = instance["open_for_ns"].as_u64() > Some(SLOW_NS);
    let by_window = is_cut_short && instance["crosscheck"]["kmsg_report"] == "absent";
    let memory = &instance["system_memory"];
    let is_told = memory["free_bytes"].is_u64();
    ensure!(is_told || by_window, "{instance:#}");
    // What else can only be read when the glutton's memory is free again.
    if known == Known::Everything && !is_cut_short {
        let path = &truth.victim.cgroup.path;
        let mut top = instance["top_cgroups"].as_array().into_iter().flatten();
        let found = top.find(|top| top["cgroup"]["path"] == *path);
        let held = found.and_then(|top| top["usage_bytes"].as_u64());
        ensure!(
            held >= Some(*truth.anon_bytes.start()),
            "{truth:?} is not among the top: {instance:#}"
        );
    }
    Ok(())
}

/// The report shows how memory grew up to the kill, and what its cgroup counted.
pub fn history(instance: &Value, leaked: &Leaked) -> Result<()> {
    let samples = instance["memory_history"].as_array().context("history")?;
    let numbers = |field: &str| -> Vec<i64> {
        let number = |sample: &Value| sample[field].as_i64();
        samples.iter().filter_map(number).collect()
    };
    let (times, usage) = (numbers("t_ns"), numbers("usage_bytes"));
    ensure!(
        times.len() == samples.len() && times.len() >= 3,
        "too few readings: {samples:#?}"
    );
    ensure!(times.is_sorted() && times.last() <= Some(&0), "{times:?}");
    ensure!(usage.is_sorted(), "it never shrank: {usage:?}");
    let trend = &instance["memory_trend"];
    let place = &leaked.death.victim.cgroup.path;
    ensure!(trend["cgroup"]["path"] == *place, "{trend:#}");
    // Steps are taken one after the other, and a busy machine is late: slower than asked for, not faster.
    let rate = trend["growth_bytes_per_s"].as_u64().unwrap_or(0);
    let range = leaked.bytes_per_s / 4..=leaked.bytes_per_s * 2;
    ensure!(
        range.contains(&rate),
        "grew by {rate}, truth {leaked:?}: {trend:#}"
    );
    ensure!(trend["since_80_percent_ns"].is_u64(), "{trend:#}");
    let state = &instance["limit_state"];
    ensure!(state["events"]["oom_kill"] == 1, "{state:#}");
    ensure!(!instance["limit_memory_source"].is_null(), "{instance:#}");
    ensure!(!instance["tasks_source"].is_null(), "{instance:#}");
    Ok(())
}

/// Every member of a group was told once, with its role, in one report.
pub fn group(events: &[Value], instance: &Value, truth: &GroupTruth) -> Result<()> {
    ensure!(instance["group_kill"] == true, "{instance:#}");
    let in_report = instance["kills"].as_array().context("kills")?;
    ensure!(in_report.len() == truth.members.len() + 1, "{instance:#}");
    for process in truth.all() {
        let is_it = |kill: &&Value| kill["victim"]["tid"] == process.pid;
        let is_chosen = process.pid == truth.chosen.pid;
        let role = if is_chosen { "chosen" } else { "group_member" };
        let kills: Vec<_> = in_report.iter().filter(is_it).collect();
        ensure!(
            kills.len() == 1 && kills[0]["role"] == role,
            "{process:?}: {instance:#}"
        );
        let alerts = events.iter().filter(|event| is_kill(event));
        ensure!(
            alerts.filter(is_it).count() == 1,
            "{process:?}: {events:#?}"
        );
    }
    let path = &instance["limit"]["cgroup"]["path"];
    ensure!(path.is_null() || *path == truth.cgroup.path, "{instance:#}");
    Ok(())
}

/// Every kill of a storm that was told has its own cgroup, and its report the limit of that.
pub fn storm(events: &[Value], truth: &StormTruth, known: Known) -> Result<()> {
    let by_tid: HashMap<u64, &TriggerReport> = truth
        .report
        .kills
        .iter()
        .map(|kill| (kill.pid.into(), kill))
        .collect();
    let instances = events.iter().filter(|event| is_instance(event));
    for instance in instances {
        for kill in instance["kills"].as_array().into_iter().flatten() {
            let tid = kill["victim"]["tid"].as_u64().context("no tid")?;
            let Some(truth) = by_tid.get(&tid) else {
                continue;
            };
            let mut differences = Differences {
                known,
                list: Vec::new(),
            };
            let place = Place {
                path: truth.cgroup_path.clone().unwrap_or_default(),
                id: truth.cgroup_id,
                version: truth.cgroup_version,
            };
            let limit = &instance["limit"];
            differences.place("cgroup", &kill["cgroup"], &place);
            differences.place("limit.cgroup", &limit["cgroup"], &place);
            let bytes = json!(truth.limit_bytes);
            differences.same("limit.limit_bytes", &limit["limit_bytes"], &bytes);
            let none = json!([]);
            let mismatches = &instance["crosscheck"]["mismatches"];
            differences.must("crosscheck.mismatches", mismatches, &none);
            ensure!(differences.list.is_empty(), "{differences}\n{instance:#}");
        }
    }
    Ok(())
}

/// Everything that was found to differ.
#[derive(Debug)]
struct Differences {
    known: Known,
    list: Vec<String>,
}

impl Differences {
    fn kill(&mut self, kill: &Value, truth: &Truth) {
        let (victim, memory) = (&kill["victim"], &kill["memory"]);
        let pid = truth.victim.pid;
        self.must("schema", &kill["schema"], &json!(1));
        self.must("victim.tid", &victim["tid"], &json!(truth.tid));
        self.same("victim.pid", &victim["pid"], &json!(pid));
        self.same("victim.ppid", &victim["ppid"], &json!(truth.victim.parent));
        let comm = json!(Comm::new(&truth.victim.comm));
        // By pid, only the decision's own thread is sure to be named.
        let by_pid = self.known == Known::ButForSizes && truth.tid != pid;
        if !by_pid || !victim["comm"].is_null() {
            self.same("victim.comm", &victim["comm"], &comm);
        }
        self.same("victim.uid", &victim["uid"], &json!(0));
        let score = json!(truth.victim.oom_score_adj);
        self.same("victim.oom_score_adj", &victim["oom_score_adj"], &score);
        self.within("victim.threads", &victim["threads"], &(1..=2));
        self.lived("victim.start_time", &victim["start_time"], truth);
        self.lived("time", &kill["time"], truth);
        let mapped = *truth.anon_bytes.start()..=1 << 40;
        for (name, range) in [
            ("anon_bytes", &truth.anon_bytes),
            ("total_vm_bytes", &mapped),
            ("pgtables_bytes", &(4096..=16 << 20)),
            ("swap_bytes", &(0..=0)),
        ] {
            if !memory[name].is_null() || self.known == Known::Everything {
                self.within(&format!("memory.{name}"), &memory[name], range);
            }
        }
        self.place("cgroup", &kill["cgroup"], &truth.victim.cgroup);
        self.must("role", &kill["role"], &json!("chosen"));
    }

    fn instance(&mut self, instance: &Value, truth: &Truth) {
        self.must("outcome", &instance["outcome"], &json!("killed"));
        self.same("scope", &instance["scope"], &json!(truth.scope));
        let constraint = json!(match truth.scope {
            "memcg" => "CONSTRAINT_MEMCG",
            "cpuset" => "CONSTRAINT_CPUSET",
            "mempolicy" => "CONSTRAINT_MEMORY_POLICY",
            _ => "CONSTRAINT_NONE",
        });
        self.log_or_decision("constraint", &instance["constraint"], &constraint);
        self.trigger(&instance["trigger"], truth);
        let suppressed = instance["crosscheck"]["kmsg_report"] == "suppressed";
        self.limit(&instance["limit"], truth, suppressed);
        self.must(
            "crosscheck.mismatches",
            &instance["crosscheck"]["mismatches"],
            &json!([]),
        );
    }

    fn trigger(&mut self, found: &Value, truth: &Truth) {
        // `moom_callback` asks for -1, a fault for one page.
        let order = if truth.scope == "sysrq" { -1 } else { 0 };
        self.log_or_decision("trigger.order", &found["order"], &json!(order));
        if let Some(allocation) = truth.allocation {
            self.log_or_decision(
                "trigger.allocation",
                &found["allocation"],
                &json!(allocation),
            );
        }
        let Some(trigger) = &truth.trigger else {
            return;
        };
        let asker = if trigger.pid == truth.victim.pid {
            truth.tid
        } else {
            trigger.pid
        };
        self.same("trigger.tid", &found["tid"], &json!(asker));
        // The log names the thread only.
        self.same("trigger.pid", &found["pid"], &json!(trigger.pid));
        let comm = json!(Comm::new(&trigger.comm));
        self.same("trigger.comm", &found["comm"], &comm);
        let path = json!(trigger.cgroup.path);
        if !found["cgroup"].is_null() || self.known != Known::ButForNamesAndCounters {
            self.same("trigger.cgroup", &found["cgroup"], &path);
        }
    }

    fn limit(&mut self, found: &Value, truth: &Truth, suppressed: bool) {
        let Some(limit) = &truth.limit else {
            self.must("limit", found, &Value::Null);
            return;
        };
        // Under lockdown there are no counters to infer it from, and the kernel prints few reports.
        if self.known == Known::ButForNamesAndCounters && suppressed && found.is_null() {
            return;
        }
        // Under lockdown the log may know the limit's name, and nobody its id.
        let by_name =
            self.known == Known::ButForNamesAndCounters && found["cgroup"]["id"].is_null();
        if by_name {
            let path = json!(limit.cgroup.path);
            self.must("limit.cgroup.path", &found["cgroup"]["path"], &path);
        } else {
            self.place("limit.cgroup", &found["cgroup"], &limit.cgroup);
        }
        let bytes = limit.bytes;
        self.same("limit.limit_bytes", &found["limit_bytes"], &json!(bytes));
        // Charges are batched per CPU, so the usage may stand a little below the limit.
        let least = if limit.full { bytes - bytes / 4 } else { 0 };
        let usage = &found["usage_bytes"];
        self.within("limit.usage_bytes", usage, &(least..=bytes));
    }

    /// A cgroup: each of its fields right, or null where that is allowed.
    fn place(&mut self, name: &str, found: &Value, truth: &Place) {
        self.same(&format!("{name}.path"), &found["path"], &json!(truth.path));
        self.same(&format!("{name}.id"), &found["id"], &json!(truth.id));
        self.same(
            &format!("{name}.version"),
            &found["version"],
            &json!(truth.version),
        );
    }

    fn must(&mut self, name: &str, found: &Value, truth: &Value) {
        if found != truth {
            self.add(name, found, truth);
        }
    }

    fn same(&mut self, name: &str, found: &Value, truth: &Value) {
        if !self.may_be_null(found) {
            self.must(name, found, truth);
        }
    }

    /// Known from the log's report or from `oom_control`; the kernel may have suppressed the one and
    /// refused the other.
    fn log_or_decision(&mut self, name: &str, found: &Value, truth: &Value) {
        if !found.is_null() {
            self.must(name, found, truth);
        }
    }

    fn within(&mut self, name: &str, found: &Value, range: &RangeInclusive<u64>) {
        if !self.may_be_null(found) && !found.as_u64().is_some_and(|n| range.contains(&n)) {
            self.add(name, found, format!("{range:?}"));
        }
    }

    /// Within the victim's life.
    fn lived(&mut self, name: &str, found: &Value, truth: &Truth) {
        // RFC 3339 in UTC with nine digits sorts as text.
        let within =
            |time: &str| (truth.lived.start().as_str()..=truth.lived.end()).contains(&time);
        if !self.may_be_null(found) && !found.as_str().is_some_and(within) {
            self.add(name, found, format!("{:?}", truth.lived));
        }
    }

    fn may_be_null(&self, found: &Value) -> bool {
        self.known == Known::WhatTheLogHolds && found.is_null()
    }

    fn add(&mut self, name: &str, found: &Value, truth: impl fmt::Display) {
        self.list
            .push(format!("{name}: found {found}, truth {truth}"));
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.list.join("\n"))
    }
}
