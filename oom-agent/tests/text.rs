//! What people read: the text of events, compared with the files in `tests/text`, and that no name
//! can smuggle a command to the terminal.
//!
//! `INSTA_UPDATE=always cargo test -p oom-agent --test text` writes the files anew.

use oom_agent::{
    attribute::attribute,
    call_trace::CallTrace,
    event::{
        Allocation, Cgroup, CgroupLevel, CgroupMemory, CgroupState, Constraint, Counter,
        Crosscheck, GrowthOf, KmsgReportState, Limit, LimitSource, Memory, MemoryEvents,
        MemorySample, MemoryStat, MemoryTrend, Mismatch, OomInstance, OomKill, Outcome, Pressure,
        Reaper, Role, SCHEMA, Scope, Source, Stall, SystemMemory, TaskRow, TimeSource, Timestamp,
        TopCgroup, Trigger, Victim,
    },
    render::text::{self, TextStyle},
    text::Comm,
};
use proptest::prelude::*;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const NOW_NS: i128 = 1_795_298_463_123_456_789;
const POD: &str = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6b1f0c2e_7d3a_4f55_9a61_0b7f4c1de911.slice";

fn comm(name: &str) -> Comm {
    Comm::new(name.as_bytes())
}

fn cgroup(path: &str) -> Cgroup {
    Cgroup {
        path: Some(path.to_owned()),
        id: Some(15875),
        version: Some(2),
    }
}

/// As BPF sees it.
fn kill(pid: u32, name: &str, path: &str, anon_bytes: u64) -> OomKill {
    OomKill {
        schema: SCHEMA,
        id: format!("boot-{pid}").into(),
        instance_id: "oom-boot-1".into(),
        time: Some(Timestamp::from_unix_ns(NOW_NS)),
        time_source: Some(TimeSource::Kernel),
        monotonic_ns: Some(1_011_681_306_000),
        boot_id: Some("boot".into()),
        node: Some("node".into()),
        cluster: None,
        victim: Victim {
            pid: Some(pid),
            tid: pid,
            ns_pid: Some(7),
            ppid: Some(17400),
            comm: comm(name),
            parent_comm: Some(comm("sh")),
            uid: Some(0),
            start_time: Some(Timestamp::from_unix_ns(NOW_NS - 3_200_000_000)),
            threads: Some(1),
            oom_score_adj: Some(0),
            exe: None,
            cmdline: None,
        },
        memory: Memory {
            total_vm_bytes: Some(anon_bytes + 8 * MIB),
            anon_bytes: Some(anon_bytes),
            file_bytes: Some(64 * KIB),
            shmem_bytes: Some(0),
            swap_bytes: Some(0),
            pgtables_bytes: Some(48 * KIB),
            peak_rss_bytes: Some(anon_bytes + 64 * KIB),
        },
        cgroup: Some(cgroup(path)),
        owner: Some(attribute(path).owner),
        role: Role::Chosen,
        evidence: vec![Source::Bpf],
        detection_latency_ns: Some(84_000),
        reaper: None,
        end: None,
        backfill: false,
    }
}

/// As the log alone shows it.
fn kill_from_log(tid: u32, name: &str) -> OomKill {
    let mut kill = kill(tid, name, "/", 30 * MIB);
    kill.victim = Victim {
        tid,
        comm: comm(name),
        uid: Some(1000),
        oom_score_adj: Some(500),
        ..Victim::default()
    };
    kill.memory.swap_bytes = None;
    kill.memory.peak_rss_bytes = None;
    kill.cgroup = None;
    kill.owner = None;
    kill.evidence = vec![Source::Kmsg];
    kill.detection_latency_ns = Some(1_830_000);
    kill
}

fn trigger(pid: u32, name: &str, path: &str) -> Trigger {
    Trigger {
        pid: Some(pid),
        tid: Some(pid),
        comm: Some(comm(name)),
        cgroup: Some(path.to_owned()),
        gfp_mask: Some(0xcc0),
        gfp_flags: Some("GFP_KERNEL".to_owned()),
        order: Some(0),
        oom_score_adj: Some(0),
        allocation: Some(Allocation::AnonPageFault),
        cpu: None,
        call_trace: CallTrace::default(),
    }
}

fn limit(path: &str, limit_bytes: u64, source: LimitSource) -> Limit {
    Limit {
        cgroup: cgroup(path),
        level: Some(attribute(path).level),
        limit_bytes: Some(limit_bytes),
        usage_bytes: Some(limit_bytes),
        failcnt: Some(36183),
        source,
    }
}

/// A memcg kill that both sources saw.
fn report(kills: Vec<OomKill>) -> OomInstance {
    let count = u32::try_from(kills.len()).unwrap_or(u32::MAX);
    OomInstance {
        schema: SCHEMA,
        id: "oom-boot-1".into(),
        time: Some(Timestamp::from_unix_ns(NOW_NS)),
        time_source: Some(TimeSource::Kernel),
        monotonic_ns: Some(1_011_681_306_000),
        boot_id: Some("boot".into()),
        node: Some("node".into()),
        cluster: None,
        kernel: None,
        scope: Some(Scope::Memcg),
        constraint: Some(Constraint::Memcg),
        trigger: None,
        limit: None,
        outcome: Some(if kills.is_empty() {
            Outcome::NoVictim
        } else {
            Outcome::Killed
        }),
        group_kill: Some(false),
        kills,
        limit_memory: None,
        limit_memory_source: None,
        system_memory: None,
        system_memory_source: None,
        memory_history: Vec::new(),
        memory_trend: None,
        limit_state: None,
        top_cgroups: Vec::new(),
        levels: Vec::new(),
        tasks_source: None,
        tasks: Vec::new(),
        tasks_dropped: 0,
        crosscheck: Crosscheck {
            bpf_kills: Some(count),
            kmsg_kills: Some(count),
            repeats: 0,
            kmsg_report: KmsgReportState::Full,
            mismatches: Vec::new(),
        },
        open_for_ns: Some(1_200_000),
        backfill: false,
    }
}

fn task(pid: u32, name: &str, rss_bytes: u64, oom_score_adj: i16) -> TaskRow {
    TaskRow {
        pid,
        tgid: pid,
        uid: 0,
        comm: comm(name),
        total_vm_bytes: rss_bytes * 2,
        rss_bytes,
        pgtables_bytes: Some(64 * KIB),
        swap_bytes: Some(0),
        oom_score_adj,
    }
}

/// All alerts of a report and the report.
fn render(event: &OomInstance, style: TextStyle) -> String {
    let mut out = String::new();
    for kill in &event.kills {
        text::kill(kill, style, &mut out);
    }
    text::instance(event, style, &mut out);
    out
}

#[track_caller]
fn check(name: &str, event: &OomInstance) {
    check_as(name, &render(event, TextStyle::default()));
}

#[track_caller]
fn check_as(name: &str, text: &str) {
    insta::with_settings!({
        snapshot_path => "text",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, text);
    });
}

fn simple() -> OomInstance {
    let mut event = report(vec![kill(17498, "hog", "/scratch/hog", 2 * MIB)]);
    event.trigger = Some(trigger(17498, "hog", "/scratch/hog"));
    event.limit = Some(limit("/scratch/hog", 2 * MIB, LimitSource::OomControl));
    event.tasks = vec![
        task(17498, "hog", 2 * MIB, 0),
        task(17490, "sh", 900 * KIB, 0),
    ];
    event
}

#[test]
fn a_simple_memcg_kill() {
    check("memcg", &simple());
}

#[test]
fn the_same_in_colour() {
    let style = TextStyle {
        colour: true,
        width: 80,
    };
    check_as("memcg_colour", &render(&simple(), style));
}

#[test]
fn the_limit_of_an_ancestor_and_another_process_that_asked() {
    let own = format!("{POD}/cri-containerd-{}.scope", "4f1d".repeat(16));
    let mut event = report(vec![kill(2211, "java", &own, 700 * MIB)]);
    event.kills[0].victim.tid = 2219;
    event.kills[0].victim.threads = Some(48);
    let mut asker = trigger(
        2304,
        "sidecar",
        &format!("{POD}/cri-containerd-{}.scope", "99aa".repeat(16)),
    );
    asker.allocation = Some(Allocation::PageCache);
    asker.gfp_mask = Some(0x0010_1c4a);
    asker.gfp_flags = Some("GFP_NOFS|__GFP_HARDWALL|__GFP_MOVABLE|__GFP_WRITE".to_owned());
    event.trigger = Some(asker);
    event.limit = Some(limit(POD, 768 * MIB, LimitSource::Inferred));
    check("ancestor", &event);
}

#[test]
fn owners_whom_the_path_does_not_show_at_a_glance() {
    let id = "4f1d".repeat(16);
    let mut text = String::new();
    for path in [
        POD,
        &format!("/docker/{id}"),
        &format!("/system.slice/web.service/libpod-payload-{id}"),
        r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/emulator",
        "/lxc.payload.a b\u{202e}/x",
        "/slurm/uid_1000/job_42/step_0",
        "/user.slice/user-1000.slice/session-3.scope",
    ] {
        let mut event = report(vec![kill(9, "hog", path, MIB)]);
        event.limit = Some(limit(path, MIB, LimitSource::Kmsg));
        text += &render(&event, TextStyle::default());
    }
    let whose = |line: &&str| {
        let words = ["    in ", "    /", "  owner ", "            "];
        words.iter().any(|word| line.starts_with(word))
            && !["BPF", "resident", "ran for", "closed"]
                .iter()
                .any(|other| line.contains(other))
    };
    let text: Vec<&str> = text.lines().filter(whose).collect();
    check_as("owners", &text.join("\n"));
}

#[test]
fn a_whole_group() {
    let path = "/system.slice/build.service";
    let mut kills: Vec<OomKill> = (0..14)
        .map(|n| kill(4000 + n, "cc1plus", path, u64::from(n + 1) * 10 * MIB))
        .collect();
    for member in &mut kills[1..] {
        member.role = Role::GroupMember;
    }
    let mut event = report(kills);
    event.group_kill = Some(true);
    event.trigger = Some(trigger(4003, "cc1plus", path));
    event.limit = Some(limit(path, GIB, LimitSource::OomControl));
    event.limit_memory = Some(CgroupMemory {
        swap: Some(Counter {
            usage_bytes: 3 * MIB,
            limit_bytes: None,
            failcnt: Some(0),
        }),
        stat: MemoryStat {
            anon_bytes: Some(1000 * MIB),
            file_bytes: Some(0),
            shmem_bytes: Some(0),
            kernel_bytes: Some(20 * MIB),
            ..MemoryStat::default()
        },
        ..CgroupMemory::default()
    });
    event.kills[0].reaper = Some(Reaper::Unable);
    event.crosscheck.repeats = 1;
    check("group", &event);
}

const GOVERNED: &str = "/kubepods.slice/kubepods-pod6b1f0c2e_7d3a_4f55_9a61_0b7f4c1de911.slice";

/// A pod full of page cache whose container leaks.
fn recorded() -> OomInstance {
    let own = format!("{GOVERNED}/cri-containerd-{}.scope", "4f1d".repeat(16));
    let mut event = report(vec![kill(2211, "java", &own, 1800 * MIB)]);
    event.limit = Some(limit(GOVERNED, 2 * GIB, LimitSource::OomControl));
    event.memory_history = (-60..0_i64)
        .map(|t_s| {
            let at = (t_s + 60).unsigned_abs();
            MemorySample {
                limit_bytes: Some(2 * GIB),
                anon_bytes: Some(at * 30 * MIB),
                file_bytes: Some(2 * GIB - at * 30 * MIB),
                ..MemorySample::of(t_s * 1_000_000_000, (2 * GIB * at.min(5)) / 5)
            }
        })
        .collect();
    event.memory_trend = Some(MemoryTrend {
        cgroup: cgroup(GOVERNED),
        peak_bytes: 2 * GIB,
        growth_bytes_per_s: Some(30 << 20),
        growth_of: Some(GrowthOf::Anon),
        growth_over_ns: Some(55_000_000_000),
        since_80_percent_ns: Some(56_000_000_000),
        since_80_percent_at_least: false,
    });
    let stall = |avg10_percent| Stall {
        avg10_percent,
        ..Stall::default()
    };
    event.limit_state = Some(CgroupState {
        cgroup: cgroup(GOVERNED),
        after_ns: 3_000_000,
        peak_bytes: Some(2 * GIB),
        events: Some(MemoryEvents {
            max: Some(36_183),
            oom_kill: Some(2),
            ..MemoryEvents::default()
        }),
        pressure: Some(Pressure {
            some: stall(61.5),
            full: stall(40.25),
        }),
        oom_group: Some(false),
    });
    let level = |path: &str, oom_group| CgroupLevel {
        cgroup: cgroup(path),
        level: Some(attribute(path).level),
        usage_bytes: Some(2 * GIB),
        limit_bytes: None,
        failcnt: Some(0),
        oom_group: Some(oom_group),
    };
    event.group_kill = Some(true);
    event.levels = vec![
        level(&own, true),
        level(GOVERNED, false),
        // Beyond the limit nothing counts.
        level("/kubepods.slice", true),
    ];
    event
}

#[test]
fn what_the_recorder_knows_of_a_limit() {
    check("recorded", &recorded());
}

#[test]
fn a_slow_leak_that_was_above_80_percent_all_the_time() {
    let mut event = recorded();
    let trend = event.memory_trend.as_mut().unwrap();
    trend.growth_of = Some(GrowthOf::Usage);
    trend.growth_bytes_per_s = Some(64 << 10);
    trend.since_80_percent_ns = Some(119_000_000_000);
    trend.since_80_percent_at_least = true;
    event.limit_state = None;
    event.group_kill = Some(true);
    event.levels.clear();
    check("recorded_slow", &event);
}

#[test]
fn one_of_a_storm_whose_report_the_kernel_suppressed() {
    let mut event = report(vec![kill(901, "stress", "/storm/17", 4 * MIB)]);
    event.trigger = Some(Trigger {
        gfp_flags: None,
        ..trigger(901, "stress", "/storm/17")
    });
    event.limit = Some(limit("/storm/17", 4 * MIB, LimitSource::OomControl));
    event.limit.as_mut().unwrap().failcnt = Some(0);
    event.crosscheck.kmsg_report = KmsgReportState::Suppressed;
    check("suppressed", &event);
}

#[test]
fn the_whole_machine_with_a_table_and_a_small_victim() {
    let mut event = report(vec![kill(77, "batch", "/batch.slice", 200 * MIB)]);
    event.scope = Some(Scope::System);
    event.constraint = Some(Constraint::None);
    event.kills[0].victim.oom_score_adj = Some(1000);
    event.kills[0].memory.swap_bytes = Some(3 * GIB);
    event.trigger = Some(Trigger {
        order: Some(2),
        allocation: Some(Allocation::Vmalloc),
        cpu: Some(3),
        ..trigger(1, "systemd", "/init.scope")
    });
    event.kills[0].reaper = Some(Reaper::Reaped);
    event.kernel = Some("6.12.9+deb13-amd64".to_owned());
    event.system_memory = Some(SystemMemory {
        ram_bytes: Some(16 * GIB),
        free_bytes: Some(61 * MIB),
        active_anon_bytes: Some(14 * GIB),
        inactive_anon_bytes: Some(GIB),
        active_file_bytes: Some(0),
        inactive_file_bytes: Some(5 * MIB),
        shmem_bytes: Some(12 * MIB),
        slab_reclaimable_bytes: Some(90 * MIB),
        slab_unreclaimable_bytes: Some(200 * MIB),
        pagetables_bytes: Some(40 * MIB),
        swap_total_bytes: Some(4 * GIB),
        swap_free_bytes: Some(0),
        ..SystemMemory::default()
    });
    event.tasks = (0..30)
        .map(|n| task(500 + n, "worker", u64::from(n + 1) * 64 * MIB, -500))
        .chain([task(77, "batch", 200 * MIB, 1000)])
        .collect();
    event.tasks[3].swap_bytes = None;
    event.top_cgroups = [
        ("/system.slice/mysql.service", 9 * GIB, None),
        (POD, 3 * GIB, Some(4 * GIB)),
        ("/batch.slice", 200 * MIB, None),
    ]
    .into_iter()
    .map(|(path, usage_bytes, limit_bytes)| TopCgroup {
        cgroup: cgroup(path),
        owner: Some(attribute(path).owner),
        usage_bytes,
        limit_bytes,
    })
    .collect();
    check("system", &event);
}

#[test]
fn the_log_alone_with_an_unknown_cgroup() {
    let mut event = report(vec![kill_from_log(31007, "python3")]);
    event.scope = None;
    event.constraint = None;
    event.group_kill = None;
    event.crosscheck.bpf_kills = None;
    event.crosscheck.kmsg_report = KmsgReportState::Suppressed;
    check("kmsg_only", &event);
}

#[test]
fn nothing_was_killed() {
    let mut exiting = report(Vec::new());
    exiting.outcome = Some(Outcome::AlreadyExiting);
    exiting.trigger = Some(trigger(88, "hog", "/a"));
    exiting.limit = Some(limit("/a", 2 * MIB, LimitSource::OomControl));
    check("already_exiting", &exiting);

    let mut sysrq = report(Vec::new());
    sysrq.scope = Some(Scope::Sysrq);
    sysrq.constraint = None;
    sysrq.trigger = Some(Trigger {
        order: Some(-1),
        allocation: None,
        ..trigger(12, "kworker/0:1", "/")
    });
    check("no_victim_sysrq", &sysrq);

    let mut panic = report(Vec::new());
    panic.outcome = Some(Outcome::Panic);
    panic.scope = Some(Scope::System);
    panic.crosscheck.bpf_kills = None;
    check("panic", &panic);
}

#[test]
fn hostile_names_and_sources_that_disagree() {
    let name = "a\x1b[31m)\n,pid=1";
    let path = "/a, b/\u{202e}gpj=\t\"x\"";
    let mut event = report(vec![kill(5, name, path, MIB)]);
    event.trigger = Some(Trigger {
        gfp_flags: Some("GFP\x07_KERNEL\u{9b}2J".to_owned()),
        ..trigger(6, "in /x (pid 1)", path)
    });
    event.limit = Some(limit("/a, b", MIB, LimitSource::Kmsg));
    event.tasks = vec![task(5, name, MIB, 0)];
    event.crosscheck.kmsg_kills = Some(0);
    event.crosscheck.mismatches = vec![
        Mismatch {
            field: "victim.comm".to_owned(),
            bpf: name.into(),
            kmsg: "a".into(),
        },
        Mismatch {
            field: "victim.uid".to_owned(),
            bpf: 1000.into(),
            kmsg: 0.into(),
        },
    ];
    check("hostile", &event);
}

proptest! {
    #[test]
    fn no_name_reaches_the_terminal_as_a_command(
        name: [u8; 15],
        path in any::<String>(),
        raw in proptest::collection::vec(any::<char>(), 0..40),
        colour: bool,
        width in 0_usize..200,
    ) {
        let raw: String = raw.into_iter().collect();
        let mut event = simple();
        event.kills[0].victim.comm = Comm::new(&name);
        event.kills[0].victim.parent_comm = Some(Comm::new(&name));
        event.kills[0].victim.exe = Some(raw.clone());
        event.kills[0].victim.cmdline = Some(path.clone());
        event.kills[0].cgroup = Some(cgroup(&path));
        event.kills[0].owner = Some(attribute(&format!("/lxc.payload.{raw}")).owner);
        event.tasks[0].comm = Comm::new(&name);
        event.limit = Some(limit(&raw, MIB, LimitSource::Kmsg));
        event.kernel = Some(raw.clone());
        event.trigger = Some(Trigger {
            comm: Some(Comm::new(&name)),
            gfp_flags: Some(raw.clone()),
            ..trigger(1, "x", &path)
        });
        event.crosscheck.mismatches = vec![Mismatch {
            field: raw,
            bpf: path.into(),
            kmsg: serde_json::Value::Null,
        }];
        let mut out = render(&event, TextStyle { colour, width });
        if colour {
            for ours in ["0", "1", "1;31", "33", "2"] {
                out = out.replace(&format!("\x1b[{ours}m"), "");
            }
        }
        let lines = out.matches('\n').count();
        let control = out.chars().find(|c| c.is_control() && *c != '\n');
        prop_assert_eq!(control, None, "{:?}", out);
        let turns = out.contains(['\u{202e}', '\u{2066}', '\u{2028}']);
        prop_assert!(!turns, "{:?}", out);
        prop_assert!(lines < 200);
    }

    #[test]
    fn an_alert_is_a_line_and_its_cgroup(name: [u8; 15], path in any::<String>()) {
        let mut event = kill(1, "x", &path, MIB);
        event.victim.comm = Comm::new(&name);
        let mut out = String::new();
        text::kill(&event, TextStyle { colour: false, width: 200 }, &mut out);
        prop_assert_eq!(out.lines().count(), 2, "{}", out);
    }
}
