//! The contract of the events: the committed JSON Schema is that of the types, and what the agent
//! makes of real evidence fits it.
//!
//! `UPDATE_EXPECTED=1 cargo test -p oom-agent --test schema` writes the schema anew. Within a schema
//! version its diff may only add.

mod logs;
mod validate;

use std::{fs, path::Path};

use oom_agent::{
    event::{Allocation, Cgroup, Constraint, Memory, Role, Scope, Victim, json_schema},
    evidence::{Asker, Charge, Decision, Evidence, KmsgEvidence, Level, Mark, Verdict},
    text::Comm,
};
use serde_json::json;
use validate::validate;

#[test]
fn the_committed_schema_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/events.schema.json");
    let schema = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, &schema).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    assert!(committed == schema, "{} is out of date", path.display());
}

#[test]
fn every_event_fits_the_schema() {
    let schema = json_schema().to_value();
    let mut kinds = [0, 0];
    for (path, records) in logs::all().unwrap() {
        let log = logs::evidence(&records);
        for bpf in [Vec::new(), seen_by_bpf(&log)] {
            for event in logs::events(bpf, log.clone()) {
                let event = serde_json::to_value(event).unwrap();
                let fits = validate(&schema, &event);
                assert!(fits.is_ok(), "{}: {fits:?}\n{event:#}", path.display());
                kinds[usize::from(event["kind"] == "OomInstance")] += 1;
            }
        }
    }
    assert!(kinds.iter().all(|&count| count > 10), "{kinds:?}");
}

#[test]
fn what_breaks_the_contract_does_not_fit() {
    let schema = json_schema().to_value();
    let mut logs = logs::all().unwrap().into_iter();
    let (_, records) = logs
        .find(|(path, _)| path.ends_with("6.18-single.kmsg"))
        .unwrap();
    let log = logs::evidence(&records);
    let event = logs::events(seen_by_bpf(&log), log).pop().unwrap();
    let event = serde_json::to_value(event).unwrap();
    validate(&schema, &event).unwrap();
    for (pointer, broken) in [
        ("/kind", json!("OomOther")),
        ("/schema", json!(2)),
        ("/time", json!("yesterday")),
        ("/outcome", json!("eaten")),
        ("/scope", json!("Memcg")),
        ("/monotonic_ns", json!(-1)),
        ("/open_for_ns", json!(1.5)),
        ("/crosscheck", json!({})),
        ("/kills", json!({})),
        ("/limit/usage_bytes", json!("1 MiB")),
        ("/trigger", json!({ "nobody": "told us" })),
    ] {
        let mut event = event.clone();
        *event.pointer_mut(pointer).unwrap() = broken;
        assert!(validate(&schema, &event).is_err(), "{pointer}\n{event:#}");
    }
}

/// The kills of a log as BPF would have seen them, every field filled in, by another name.
fn seen_by_bpf(log: &[KmsgEvidence]) -> Vec<Evidence> {
    let kills = log.iter().filter_map(|evidence| match evidence {
        KmsgEvidence::Killed(kill) => Some((kill.tid, kill.monotonic_ns)),
        _ => None,
    });
    let both = kills.flat_map(|(tid, at)| {
        let mark = mark(tid, at);
        let decision = decision(mark.clone());
        [
            Evidence::Decision(Box::new(decision)),
            Evidence::Mark(Box::new(mark)),
        ]
    });
    both.collect()
}

fn mark(tid: u32, monotonic_ns: u64) -> Mark {
    let charge = Charge {
        usage_bytes: 1_998_848,
        limit_bytes: Some(1_998_848),
        failcnt: 36183,
        oom_group: Some(false),
    };
    Mark {
        seq: u64::from(tid),
        monotonic_ns,
        victim: Victim {
            pid: Some(tid),
            tid,
            ns_pid: Some(7),
            ppid: Some(17400),
            comm: Comm::new(b"n\xffme \"),\n"),
            parent_comm: Some(Comm::new(b"sh")),
            uid: Some(u32::MAX),
            start_time: None,
            threads: Some(1),
            oom_score_adj: Some(-1000),
            exe: Some("/usr/bin/hog".to_owned()),
            cmdline: Some("hog --of memory".to_owned()),
        },
        start_boottime_ns: Some(monotonic_ns / 2),
        memory: Memory {
            total_vm_bytes: Some(u64::MAX),
            anon_bytes: Some(15_581_184),
            file_bytes: Some(3_407_872),
            shmem_bytes: Some(0),
            swap_bytes: Some(0),
            pgtables_bytes: Some(94_208),
            peak_rss_bytes: Some(18_989_056),
        },
        levels: vec![Level {
            id: 15875,
            path: Some("/shop, cart=\u{fc}/x".to_owned()),
            memcg: true,
            charge: Some(charge),
        }],
        levels_cut: false,
        cgroup_version: Some(2),
        asker: Asker {
            pid: tid,
            tid,
            comm: Comm::new(b"asker"),
            oom_score_adj: Some(1000),
            cgroup: Some("/shop".to_owned()),
        },
        verdict: Verdict::Kill,
        scope: Some(Scope::Memcg),
        role: Some(Role::Chosen),
        allocation: Some(Allocation::AnonPageFault),
    }
}

fn decision(chosen: Mark) -> Decision {
    let cgroup = Cgroup {
        path: Some("/shop, cart=\u{fc}".to_owned()),
        id: Some(15874),
        version: Some(2),
    };
    let charge = chosen.memcg().and_then(|level| level.charge);
    Decision {
        seq: chosen.seq,
        monotonic_ns: chosen.monotonic_ns - 1,
        asker: chosen.asker.clone(),
        constraint: Some(Constraint::Memcg),
        gfp_mask: 0xcc0,
        order: 0,
        total_bytes: 1_998_848,
        points: 488,
        limit: charge.map(|charge| (cgroup, charge)),
        chosen: (chosen.victim.tid, chosen.victim.tid),
        chosen_task: Some(Box::new(chosen)),
    }
}
