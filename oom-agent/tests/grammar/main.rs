//! What a kernel prints is what is read: `parse(render(facts)) = facts`, for every version's form, with
//! hostile names of processes and cgroups.

mod facts;
mod form;

use facts::{Facts, facts};
use form::{FORMS, Form, Kill, Message, Stats, TaskIn, render};
use oom_agent::{
    event::{
        Allocation, CgroupMemory, Constraint, Counter, Memory, MemoryStat, Role, Scope,
        SystemMemory, TaskRow, Zone,
    },
    evidence::{Charge, KmsgEvidence, KmsgKill, KmsgReport},
    source::kmsg::{messages, report::Meta},
    text::printable,
};
use proptest::prelude::*;

const PAGE: u64 = 4096;
const KB: u64 = 1024;

/// Reads messages that are numbered from 1, a millisecond apart.
fn read(messages: &[Message]) -> Vec<KmsgEvidence> {
    let mut reader = messages::Messages::new(PAGE, false);
    let mut out = Vec::new();
    for (seq, (level, fragment, text)) in (1..).zip(messages) {
        let meta = Meta {
            seq,
            monotonic_ns: seq * 1_000_000,
            caller: None,
        };
        let message = messages::Message {
            meta,
            by_kernel: true,
            level: Some(*level),
            fragment: *fragment,
            text,
        };
        reader.push(message, &mut out);
    }
    out
}

fn expected(facts: &Facts, form: &Form, kill_seq: u64) -> KmsgKill {
    let scope = if facts.system {
        Scope::System
    } else {
        Scope::Memcg
    };
    let [total, anon, file, shmem] = facts.kb.map(|kb| kb * KB);
    let full = form.kill == Kill::Full;
    KmsgKill {
        decision: 1,
        seq: kill_seq,
        monotonic_ns: kill_seq * 1_000_000,
        tid: facts.victim_tid,
        comm: facts.victim,
        uid: (full || form.kill == Kill::Rhel7).then_some(facts.uid),
        oom_score_adj: full.then_some(facts.adj),
        memory: Memory {
            total_vm_bytes: Some(total),
            anon_bytes: Some(anon),
            file_bytes: Some(file),
            shmem_bytes: (form.kill != Kill::Old).then_some(shmem),
            pgtables_bytes: full.then_some(12 * KB),
            ..Memory::default()
        },
        role: Role::Chosen,
        scope: Some(scope),
        group: None,
        report: Some(expected_report(facts, form, scope).into()),
        sacrificed: false,
        reaper: None,
        reaper_left_bytes: None,
    }
}

fn expected_report(facts: &Facts, form: &Form, scope: Scope) -> KmsgReport {
    let summary = form.task_in == TaskIn::None;
    let constraint = if facts.system {
        Constraint::None
    } else {
        Constraint::Memcg
    };
    let path = |path: &str| printable(path.as_bytes()).into_owned();
    let names_victim = summary || !facts.system;
    KmsgReport {
        seq: 1,
        monotonic_ns: 1_000_000,
        complete: true,
        trigger_comm: Some(facts.asker),
        trigger_tid: Some(facts.asker_tid),
        gfp_mask: Some(facts.gfp_mask),
        gfp_flags: form.gfp_names.then(|| "GFP_KERNEL|__GFP_ZERO".to_owned()),
        order: Some(facts.order),
        trigger_oom_score_adj: Some(facts.asker_adj),
        constraint: summary.then_some(constraint),
        scope: Some(scope),
        global: summary && facts.system,
        oom_memcg: (!facts.system).then(|| path(&facts.limit)),
        task_memcg: names_victim.then(|| path(&facts.victim_path())),
        victim_comm: Some(facts.victim),
        victim_tid: Some(facts.victim_tid),
        victim_uid: summary.then_some(facts.uid),
        limit: (!facts.system).then(|| {
            let (usage, limit, failcnt) = facts.counters[0];
            Charge {
                usage_bytes: usage * KB,
                limit_bytes: Some(limit * KB),
                failcnt,
                oom_group: None,
            }
        }),
        limit_memory: (!facts.system).then(|| cgroup_memory(facts, form)),
        system_memory: facts.system.then(|| system_memory(facts)),
        trigger_cpu: (form.cpu != "Pid: ").then_some(facts.cpu),
        kernel: Some(form.kernel.to_owned()),
        call_trace: ["try_charge", "do_anonymous_page"].into_iter().collect(),
        allocation: Some(Allocation::AnonPageFault),
        tasks: facts.tasks.iter().map(|task| row(task, form)).collect(),
        tasks_dropped: 0,
    }
}

fn cgroup_memory(facts: &Facts, form: &Form) -> CgroupMemory {
    let [memory, second, third, _] = facts.counters.map(|(usage, limit, failcnt)| {
        Some(Counter {
            usage_bytes: usage * KB,
            limit_bytes: Some(limit * KB),
            failcnt: Some(failcnt),
        })
    });
    let [anon, file, shmem, swap, ..] = facts.numbers;
    let listed = MemoryStat {
        anon_bytes: Some(anon),
        file_bytes: Some(file),
        shmem_bytes: Some(shmem),
        ..MemoryStat::default()
    };
    CgroupMemory {
        memory,
        swap: second.filter(|_| form.v2),
        memsw: second.filter(|_| !form.v2),
        kmem: third.filter(|_| !form.v2),
        stat: match form.stats {
            Stats::Inline => MemoryStat {
                anon_bytes: Some((anon + file) * KB),
                file_bytes: Some(0),
                swap_bytes: Some(2 * KB),
                ..MemoryStat::default()
            },
            Stats::Block | Stats::Lines => listed,
            Stats::LinesV1 => MemoryStat {
                swap_bytes: Some(swap),
                ..listed
            },
        },
    }
}

fn system_memory(facts: &Facts) -> SystemMemory {
    let [active, inactive, free, mapped, low, managed, ram, swap] = facts.numbers;
    let zone = Zone {
        node: 0,
        name: "Normal".to_owned(),
        free_bytes: free * KB,
        min_bytes: KB,
        low_bytes: low * KB,
        high_bytes: 3 * KB,
        managed_bytes: Some(managed * KB),
        largest_free_order: Some(1),
    };
    SystemMemory {
        ram_bytes: Some(ram * PAGE),
        free_bytes: Some(free * PAGE),
        active_anon_bytes: Some(active * PAGE),
        inactive_anon_bytes: Some(inactive * PAGE),
        active_file_bytes: Some(0),
        mapped_bytes: Some(mapped * PAGE),
        swap_free_bytes: Some(swap * KB),
        swap_total_bytes: Some(KB << 32),
        zones: vec![zone],
        ..SystemMemory::default()
    }
}

fn row(&(comm, tid, rss): &(oom_agent::text::Comm, u32, u64), form: &Form) -> TaskRow {
    let levels = form.columns.matches("nr_p").count() as u64;
    TaskRow {
        pid: tid,
        tgid: tid,
        uid: 0,
        comm,
        total_vm_bytes: rss * 2 * PAGE,
        rss_bytes: rss * PAGE,
        pgtables_bytes: Some(if levels > 0 {
            4096 * PAGE * levels
        } else {
            4096
        }),
        swap_bytes: Some(0),
        oom_score_adj: 0,
    }
}

/// Names that a path imitates may be unknown, but not wrong.
fn forgive(told: &mut KmsgReport, expected: &KmsgReport) {
    for (told, expected) in [
        (&mut told.oom_memcg, &expected.oom_memcg),
        (&mut told.task_memcg, &expected.task_memcg),
    ] {
        if told.is_none() {
            told.clone_from(expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_printed_is_what_is_read(facts in facts(), form in 0..FORMS.len()) {
        let form = &FORMS[form];
        let messages = render(&facts, form);
        let expected = expected(&facts, form, messages.len() as u64);
        let mut told = read(&messages);
        if facts.is_ambiguous() {
            told.retain(|piece| !matches!(piece, KmsgEvidence::Malformed { .. }));
            if let [KmsgEvidence::Killed(kill)] = &mut told[..]
                && let Some(report) = &mut kill.report
                && let Some(expected) = &expected.report
            {
                forgive(std::sync::Arc::make_mut(report), expected);
            }
        }
        prop_assert_eq!(told, [KmsgEvidence::Killed(expected.into())], "{}", form.kernel);
    }

    /// Whatever is lost of a report, what is told of it is not wrong: it is said, or it is unknown.
    #[test]
    fn what_is_left_of_a_report_is_not_wrong(
        facts in facts(),
        form in 0..FORMS.len(),
        lost in any::<proptest::sample::Index>(),
    ) {
        // A name that imitates what was lost takes its place.
        prop_assume!(!facts.is_ambiguous());
        let form = &FORMS[form];
        let mut messages = render(&facts, form);
        let kill_seq = messages.len() as u64;
        let expected = expected(&facts, form, kill_seq).report.unwrap();
        // The lines stay numbered as they were: nobody can see that one is missing.
        let lost = lost.index(messages.len() - 1);
        messages[lost] = (6, false, b"audit: something else".to_vec());
        let kill = read(&messages).into_iter().find_map(|piece| match piece {
            KmsgEvidence::Killed(kill) => Some(kill),
            _ => None,
        });
        let kill = kill.expect("a kill line is a kill");
        prop_assert_eq!((kill.tid, kill.comm), (facts.victim_tid, facts.victim));
        let Some(report) = kill.report else { return Ok(()) };
        let right = |told: &Option<String>, expected: &Option<String>| {
            told.is_none() || told == expected
        };
        prop_assert!(right(&report.oom_memcg, &expected.oom_memcg));
        prop_assert!(right(&report.task_memcg, &expected.task_memcg));
        prop_assert!(right(&report.kernel, &expected.kernel));
        prop_assert!(report.trigger_comm.is_none_or(|comm| comm == facts.asker));
        prop_assert!(report.trigger_tid.is_none_or(|tid| tid == facts.asker_tid));
        prop_assert!(report.limit.is_none() || report.limit == expected.limit);
        prop_assert!(report.tasks.iter().all(|task| expected.tasks.contains(task)));
    }
}
