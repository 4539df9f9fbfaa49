//! The layout of real kernels: extracts of their BTF, made by `cargo xtask btf-extract`, against
//! offsets that were read from the same kernels by other tools.

use std::{fs, path::Path};

use super::*;

fn found(kernel: &str) -> Found {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/btf/{kernel}.btf"));
    let bytes = fs::read(path).unwrap();
    layout(&Btf::parse(&bytes).unwrap()).unwrap()
}

/// The fourth is built with another configuration.
const KERNELS: [&str; 5] = [
    "5.10.262",
    "6.12.117",
    "6.18.15",
    "6.18.44",
    "6.12.117-arm64",
];

type Row = (&'static str, fn(&Layout) -> u32, [u32; 5]);

#[rustfmt::skip]
const ORACLE: &[Row] = &[
    ("task_struct.pid",             |l| l.task_pid,             [2232, 2432, 2704, 1264, 1376]),
    ("task_struct.tgid",            |l| l.task_tgid,            [2236, 2436, 2708, 1268, 1380]),
    ("task_struct.comm",            |l| l.task_comm,            [2736, 2976, 3248, 1752, 1920]),
    ("task_struct.mm",              |l| l.task_mm,              [2056, 2304, 2576, 1136, 1248]),
    ("task_struct.signal",          |l| l.task_signal,          [2832, 3072, 3344, 1848, 2016]),
    ("task_struct.cgroups",         |l| l.task_cgroups,         [3328, 3584, 3880, 2376, 2376]),
    ("task_struct.real_parent",     |l| l.task_real_parent,     [2248, 2448, 2720, 1280, 1392]),
    ("task_struct.group_leader",    |l| l.task_group_leader,    [2296, 2496, 2768, 1328, 1440]),
    ("task_struct.thread_pid",      |l| l.task_thread_pid,      [2336, 2536, 2808, 1368, 1480]),
    ("task_struct.cred",            |l| l.task_cred,            [2720, 2960, 3232, 1736, 1904]),
    ("task_struct.start_boottime",  |l| l.task_start_boottime,  [2544, 2784, 3056, 1560, 1728]),
    ("signal_struct.oom_score_adj", |l| l.signal_oom_score_adj, [1010, 1018, 1066, 1058, 1018]),
    // rss_stat stands at 712, 824, 928, 960 and 792; the value of a percpu_counter 8 bytes into it.
    ("mm_struct.rss_stat",          |l| l.mm_rss_count,         [712, 832, 936, 968, 800]),
    ("mm_struct.total_vm",          |l| l.mm_total_vm,          [192, 256, 360, 360, 240]),
    ("mm_struct.hiwater_rss",       |l| l.mm_hiwater_rss,       [176, 240, 344, 344, 224]),
    ("mm_struct.pgtables_bytes",    |l| l.mm_pgtables_bytes,    [104, 152, 168, 168, 136]),
    ("css_set.dfl_cgrp",            |l| l.css_set_dfl_cgrp,     [120, 128, 128, 112, 128]),
    ("cgroup.kn",                   |l| l.cgroup_kn,            [248, 256, 256, 256, 256]),
    ("kernfs_node.id",              |l| l.kernfs_id,            [104, 96, 96, 96, 96]),
    ("kernfs_node.name",            |l| l.kernfs_name,          [16, 16, 16, 16, 16]),
    ("mem_cgroup.memory.usage",     |l| l.memcg_usage,          [208, 256, 256, 256, 256]),
    ("mem_cgroup.memory.max",       |l| l.memcg_max,            [240, 480, 416, 416, 480]),
    ("mem_cgroup.memory.failcnt",   |l| l.memcg_failcnt,        [312, 384, 264, 264, 384]),
    ("pid.level",                   |l| l.pid_level,            [4, 4, 4, 4, 4]),
    ("pid.numbers",                 |l| l.pid_numbers_nr,       [96, 112, 144, 144, 112]),
    ("oom_control.memcg",           |l| l.oc_memcg,             [16, 16, 16, 16, 16]),
    ("oom_control.gfp_mask",        |l| l.oc_gfp_mask,          [24, 24, 24, 24, 24]),
    ("oom_control.order",           |l| l.oc_order,             [28, 28, 28, 28, 28]),
    ("oom_control.totalpages",      |l| l.oc_totalpages,        [32, 32, 32, 32, 32]),
    ("oom_control.chosen",          |l| l.oc_chosen,            [40, 40, 40, 40, 40]),
    ("oom_control.chosen_points",   |l| l.oc_chosen_points,     [48, 48, 48, 48, 48]),
    ("oom_control.constraint",      |l| l.oc_constraint,        [56, 56, 56, 56, 56]),
];

#[test]
fn offsets_are_those_of_the_kernels() {
    for (column, kernel) in KERNELS.into_iter().enumerate() {
        let layout = found(kernel).layout;
        for (field, get, expected) in ORACLE {
            assert_eq!(get(&layout), expected[column], "{field} on {kernel}");
        }
    }
}

#[test]
fn every_field_is_found_on_every_kernel_but_what_btf_does_not_know() {
    let newer = ["5.10.223", "6.1.192", "7.2.13"];
    for kernel in KERNELS.into_iter().chain(newer) {
        let found = found(kernel);
        assert_eq!(found.missing, [], "{kernel}");
        assert!(
            found.oom_kill_process.is_some() && found.mark_id.is_some(),
            "{kernel}"
        );
        assert!(
            found.cgroup_tracepoints.iter().all(Option::is_some),
            "{kernel}"
        );
        // `exit_mmap` came with 6.1.
        let old = kernel.starts_with("5.");
        assert_eq!(
            found.end_tracepoints.map(|id| id.is_some()),
            [true, !old, true, true],
            "{kernel}"
        );
        for (name, word) in Layout::NAMES.iter().zip(found.layout.words()) {
            // Switches that the caller sets, and what tracefs tells of the classic tracepoint.
            let not_in_btf = [
                "probe_read",
                "self_tgid",
                "wire_version",
                "debug_log",
                "watched_hierarchy",
            ]
            .contains(name)
                || name.starts_with("classic_");
            assert_eq!(word == ABSENT, not_in_btf, "{name} on {kernel}");
        }
    }
}

#[test]
fn the_tracepoint_is_known_by_its_prototype_not_by_version() {
    for (kernel, mark) in [
        ("5.10.223", MarkPrototype::Pid),
        ("5.10.262", MarkPrototype::Task),
        ("6.1.192", MarkPrototype::Task),
        ("6.12.117", MarkPrototype::Task),
        ("7.2.13", MarkPrototype::Task),
    ] {
        let found = found(kernel);
        assert_eq!(found.mark, mark, "{kernel}");
        assert_eq!(
            found.layout.mark_has_task,
            u32::from(mark == MarkPrototype::Task)
        );
    }
}

#[test]
fn resident_sizes_are_found_before_and_after_the_percpu_counters() {
    for (kernel, stride) in [
        ("5.10.262", 8),
        ("6.1.192", 8),
        ("6.12.117", 40),
        ("7.2.13", 40),
    ] {
        assert_eq!(found(kernel).layout.mm_rss_stride, stride, "{kernel}");
    }
}

#[test]
fn the_memory_controller_is_the_fifth_of_its_arrays() {
    // css_set.subsys is the first member; memory_cgrp_id is 4 on all of them.
    for kernel in KERNELS {
        assert_eq!(found(kernel).layout.css_set_memory, 8 * 4, "{kernel}");
        assert_eq!(found(kernel).layout.upid_size, 16, "{kernel}");
    }
}

/// The 6.18.15 kernel without anything of this name.
fn without(name: &str) -> Result<Found, LayoutError> {
    let mut bytes = include_bytes!("../../../tests/btf/6.18.15.btf").to_vec();
    let name = [&[0], name.as_bytes(), &[0]].concat();
    let at = bytes.windows(name.len()).position(|found| found == name);
    bytes[at.unwrap() + 1] = b'?';
    layout(&Btf::parse(&bytes).unwrap())
}

#[test]
fn what_a_kernel_lacks_is_listed_with_what_is_lost() {
    let names = |name| -> Vec<_> {
        let missing = without(name).unwrap().missing;
        missing.into_iter().map(|missing| missing.name).collect()
    };
    assert_eq!(names("failcnt"), ["memcg_failcnt"]);
    assert_eq!(names("rss_stat"), ["mm_rss_count", "mm_rss_stride"]);
    assert_eq!(names("memory_cgrp_id"), ["css_set_memory", "cgroup_memory"]);
    assert_eq!(names("oom_kill_process"), ["oom_kill_process"]);
    let found = without("btf_trace_mark_victim").unwrap();
    assert_eq!(found.mark, MarkPrototype::Absent);
    assert_eq!(
        found.missing[0].to_string(),
        "mark_victim is not there; not known: the victim at the moment of its kill"
    );
    let found = without("failcnt").unwrap();
    assert_eq!(found.layout.memcg_failcnt, ABSENT);
    assert_eq!(found.layout.memcg_max, 416);
}

#[test]
fn a_kernel_without_what_identifies_a_victim_is_refused_by_all_that_it_lacks() {
    let lacking = |name| without(name).unwrap_err().to_string();
    assert_eq!(
        lacking("start_boottime"),
        "the kernel's BTF lacks task_struct.start_boottime"
    );
    assert_eq!(
        lacking("kernfs_node"),
        "the kernel's BTF lacks kernfs_node.id, kernfs_node.name"
    );
}

#[test]
fn the_running_kernel_can_be_read() {
    let Ok(bytes) = fs::read("/sys/kernel/btf/vmlinux") else {
        return;
    };
    let btf = Btf::parse(&bytes).unwrap();
    let found = layout(&btf).unwrap();
    assert_ne!(found.layout.task_tgid, ABSENT);
    if let Some(id) = found.oom_kill_process {
        assert_eq!(btf.get(id).unwrap().name, b"oom_kill_process");
    }
}
