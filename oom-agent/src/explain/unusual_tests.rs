//! Each finding from the smallest event that shows it, and none from an event that shows nothing.

use super::*;
use crate::event::{
    Cgroup, CgroupMemory, Limit, LimitSource, MemoryStat, OomKill, SystemMemory, Trigger, Zone,
};

const MIB: u64 = 1 << 20;

/// One victim of 60 MiB under a limit of 100 MiB.
fn memcg() -> OomInstance {
    let mut kill = OomKill::for_tests();
    kill.victim.pid = Some(7);
    kill.victim.tid = 7;
    let mut event = OomInstance::for_tests(vec![kill]);
    event.scope = Some(Scope::Memcg);
    event.limit = Some(Limit {
        cgroup: Cgroup {
            path: Some("/a".to_owned()),
            id: None,
            version: None,
        },
        level: None,
        limit_bytes: Some(100 * MIB),
        usage_bytes: Some(100 * MIB),
        failcnt: Some(9),
        source: LimitSource::Kmsg,
    });
    event.tasks = vec![row(7, 60 * MIB, 0)];
    event
}

/// The machine of 1000 MiB ran out.
fn system(memory: SystemMemory) -> OomInstance {
    let mut event = memcg();
    event.scope = Some(Scope::System);
    event.limit = None;
    event.system_memory = Some(SystemMemory {
        ram_bytes: Some(1000 * MIB),
        ..memory
    });
    event
}

fn row(pid: u32, rss_bytes: u64, oom_score_adj: i16) -> TaskRow {
    TaskRow {
        pid,
        tgid: pid,
        uid: 0,
        comm: crate::text::Comm::new(b"task"),
        total_vm_bytes: rss_bytes,
        rss_bytes,
        pgtables_bytes: None,
        swap_bytes: None,
        oom_score_adj,
    }
}

fn with_stat(stat: &MemoryStat) -> OomInstance {
    let mut event = memcg();
    event.limit_memory = Some(CgroupMemory {
        stat: *stat,
        ..CgroupMemory::default()
    });
    event
}

fn with_order(mut event: OomInstance, order: i32) -> OomInstance {
    event.trigger = Some(Trigger {
        order: Some(order),
        ..Trigger::default()
    });
    event
}

fn zone(largest_free_order: u32) -> SystemMemory {
    SystemMemory {
        zones: vec![Zone {
            node: 0,
            name: "Normal".to_owned(),
            free_bytes: 50 * MIB,
            min_bytes: 10 * MIB,
            low_bytes: 12 * MIB,
            high_bytes: 14 * MIB,
            managed_bytes: None,
            largest_free_order: Some(largest_free_order),
        }],
        ..SystemMemory::default()
    }
}

#[test]
fn an_ordinary_kill_has_nothing_unusual() {
    assert_eq!(findings(&memcg()), []);
    assert_eq!(findings(&system(SystemMemory::default())), []);
    assert_eq!(findings(&with_order(memcg(), 0)), []);
    assert_eq!(findings(&OomInstance::for_tests(Vec::new())), []);
}

#[test]
fn kinds_of_memory_are_told_from_their_share_on() {
    let found = |stat| findings(&with_stat(&stat));
    let much = |part: fn(&mut MemoryStat, u64), bytes| {
        let mut stat = MemoryStat::default();
        part(&mut stat, bytes);
        found(stat)
    };
    assert_eq!(
        much(|stat, bytes| stat.kernel_bytes = Some(bytes), 29 * MIB),
        []
    );
    assert_eq!(
        much(|stat, bytes| stat.kernel_bytes = Some(bytes), 30 * MIB),
        [Finding::Kernel {
            bytes: 30 * MIB,
            percent: 30
        }]
    );
    assert_eq!(
        much(|stat, bytes| stat.pagetables_bytes = Some(bytes), 12 * MIB),
        [Finding::PageTables {
            bytes: 12 * MIB,
            percent: 12
        }]
    );
    assert_eq!(
        much(|stat, bytes| stat.file_dirty_bytes = Some(bytes), 15 * MIB),
        [Finding::Dirty {
            bytes: 15 * MIB,
            percent: 15
        }]
    );
    assert_eq!(
        much(|stat, bytes| stat.unevictable_bytes = Some(bytes), 70 * MIB),
        [Finding::Locked {
            bytes: 70 * MIB,
            percent: 70
        }]
    );
    // tmpfs is part of the page cache, and is told once.
    let stat = MemoryStat {
        file_bytes: Some(60 * MIB),
        shmem_bytes: Some(50 * MIB),
        ..MemoryStat::default()
    };
    assert_eq!(
        found(stat),
        [Finding::Shmem {
            bytes: 50 * MIB,
            percent: 50
        }]
    );
}

#[test]
fn memory_of_the_machine_is_measured_against_the_machine() {
    let slab = SystemMemory {
        slab_unreclaimable_bytes: Some(400 * MIB),
        swap_total_bytes: Some(100 * MIB),
        swap_free_bytes: Some(MIB),
        ..SystemMemory::default()
    };
    assert_eq!(
        findings(&system(slab)),
        [
            Finding::SwapFull { bytes: 100 * MIB },
            Finding::Unreclaimable {
                bytes: 400 * MIB,
                percent: 40
            },
        ]
    );
}

#[test]
fn a_block_that_was_not_to_be_had_is_fragmentation_only_if_there_was_room() {
    assert_eq!(
        findings(&with_order(system(zone(1)), 3)),
        [Finding::Fragmented { order: 3 }]
    );
    assert_eq!(
        findings(&with_order(system(zone(3)), 3)),
        [Finding::HighOrder { order: 3 }]
    );
    let mut tight = zone(1);
    tight.zones[0].free_bytes = MIB;
    assert_eq!(
        findings(&with_order(system(tight), 3)),
        [Finding::HighOrder { order: 3 }]
    );
    // Within a cgroup it is the charge that fails, whatever blocks are free.
    assert_eq!(
        findings(&with_order(memcg(), 2)),
        [Finding::HighOrder { order: 2 }]
    );
}

#[test]
fn limits_beside_that_of_memory() {
    let counter = |usage_bytes, limit_bytes| {
        Some(Counter {
            usage_bytes,
            limit_bytes,
            failcnt: None,
        })
    };
    let mut event = memcg();
    event.limit_memory = Some(CgroupMemory {
        memory: counter(90, Some(100)),
        swap: None,
        memsw: counter(120, Some(120)),
        kmem: counter(5, None),
        stat: MemoryStat::default(),
    });
    let memsw = Finding::AtLimit {
        what: "memory and swap together (memsw)",
        bytes: 120,
    };
    assert_eq!(findings(&event), [memsw]);
    event.limit_memory = Some(CgroupMemory {
        swap: counter(64, Some(64)),
        ..CgroupMemory::default()
    });
    assert_eq!(findings(&event), [Finding::SwapFull { bytes: 64 }]);
}

#[test]
fn a_bigger_process_that_lives_is_named_unless_the_group_died() {
    let mut event = memcg();
    event.tasks.push(row(8, 119 * MIB, -999));
    assert_eq!(findings(&event), []);
    event.tasks.push(row(9, 130 * MIB, -999));
    let bigger = Finding::BiggerSurvived {
        pid: 9,
        comm: "task".to_owned(),
        bytes: 130 * MIB,
        adj: -999,
    };
    assert_eq!(findings(&event), [bigger]);
    event.group_kill = Some(true);
    assert_eq!(findings(&event), [Finding::Group { killed: 1 }]);
}

#[test]
fn many_small_processes() {
    let mut event = memcg();
    event.tasks = (0..50).map(|pid| row(pid, 2 * MIB, 0)).collect();
    assert_eq!(findings(&event), [Finding::ManySmall { processes: 50 }]);
    event.tasks[3].rss_bytes = 10 * MIB;
    assert!(!findings(&event).contains(&Finding::ManySmall { processes: 50 }));
}

#[test]
fn facts_that_speak_for_themselves() {
    let mut event = with_order(memcg(), -1);
    event.scope = Some(Scope::Sysrq);
    event.limit = None;
    assert_eq!(findings(&event), [Finding::Sysrq]);

    let mut event = memcg();
    event.trigger = Some(Trigger {
        allocation: Some(Allocation::LimitWrite),
        ..Trigger::default()
    });
    event.limit.as_mut().unwrap().failcnt = Some(36_183);
    event.kills[0].reaper = Some(Reaper::Unable);
    event.crosscheck.kmsg_report = KmsgReportState::Suppressed;
    assert_eq!(
        findings(&event),
        [
            Finding::LimitLowered,
            Finding::HitOften { times: 36_183 },
            Finding::ReaperUnable,
            Finding::Suppressed,
        ]
    );
}
