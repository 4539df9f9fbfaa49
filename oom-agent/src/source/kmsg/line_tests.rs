//! What each line of each kernel means.

use proptest::prelude::*;

use super::*;
use crate::event::Memory;

const PAGE: u64 = 4096;

fn parse(message: &(impl AsRef<[u8]> + ?Sized)) -> Line<'_> {
    Line::parse(message.as_ref(), PAGE)
}

#[test]
fn headers_of_every_kernel() {
    let cases: &[(&str, Option<&[u8]>, i32)] = &[
        // 3.10, 4.6, 4.9 and 4.18 with a list, 5.0
        ("gfp_mask=0xcc0, order=0, oom_score_adj=-17", None, 0),
        (
            "gfp_mask=0xcc0(GFP_KERNEL), order=2, oom_score_adj=-17",
            Some(b"GFP_KERNEL"),
            2,
        ),
        (
            "gfp_mask=0xcc0(GFP_KERNEL), nodemask=(null),  order=0, oom_score_adj=-17",
            Some(b"GFP_KERNEL"),
            0,
        ),
        (
            "gfp_mask=0xcc0(A|B), nodemask=0-1,4, order=0, oom_score_adj=-17",
            Some(b"A|B"),
            0,
        ),
        (
            "gfp_mask=0xcc0(GFP_KERNEL), order=-1, oom_score_adj=-17",
            Some(b"GFP_KERNEL"),
            -1,
        ),
    ];
    for (rest, gfp_flags, order) in cases {
        let message = format!("kworker/0:1 invoked oom-killer: {rest}");
        let expected = Header {
            comm: Comm::new(b"kworker/0:1"),
            gfp_mask: 0xcc0,
            gfp_flags: *gfp_flags,
            order: *order,
            oom_score_adj: -17,
        };
        assert_eq!(parse(&message), Line::Header(expected), "{rest}");
    }
}

#[test]
fn kills_of_every_kernel() {
    let memory = Memory {
        total_vm_bytes: Some(25116 * 1024),
        anon_bytes: Some(15216 * 1024),
        file_bytes: Some(3328 * 1024),
        ..Memory::default()
    };
    let old = Killed {
        prefix: b"",
        tid: 9392,
        comm: Comm::new(b"hog"),
        memory,
        uid: None,
        oom_score_adj: None,
    };
    let shmem = Killed {
        memory: Memory {
            shmem_bytes: Some(0),
            ..memory
        },
        ..old
    };
    let new = Killed {
        prefix: b"Memory cgroup out of memory: ",
        uid: Some(4_294_967_294),
        oom_score_adj: Some(-5),
        memory: Memory {
            pgtables_bytes: Some(92 * 1024),
            ..shmem.memory
        },
        ..shmem
    };
    let cases: &[(&str, Killed<'_>)] = &[
        (
            "Killed process 9392 (hog) total-vm:25116kB, anon-rss:15216kB, file-rss:3328kB",
            old,
        ),
        (
            "Killed process 9392 (hog) total-vm:25116kB, anon-rss:15216kB, file-rss:3328kB, shmem-rss:0kB",
            shmem,
        ),
        (
            "Killed process 9392 (hog), UID 1000, total-vm:25116kB, anon-rss:15216kB, file-rss:3328kB, shmem-rss:0kB",
            Killed {
                uid: Some(1000),
                ..shmem
            },
        ),
        (
            "Out of memory: Killed process 9392 (hog) total-vm:25116kB, anon-rss:15216kB, file-rss:3328kB, shmem-rss:0kB",
            Killed {
                prefix: b"Out of memory: ",
                ..shmem
            },
        ),
        (
            "Memory cgroup out of memory: Killed process 9392 (hog) total-vm:25116kB, anon-rss:15216kB, file-rss:3328kB, shmem-rss:0kB, UID:4294967294 pgtables:92kB oom_score_adj:-5",
            new,
        ),
        (
            "any policy, (even this): Killed process 9392 (hog) total-vm:25116kB, anon-rss:15216kB, file-rss:3328kB, shmem-rss:0kB, UID:4294967294 pgtables:92kB oom_score_adj:-5",
            Killed {
                prefix: b"any policy, (even this): ",
                ..new
            },
        ),
    ];
    for (message, expected) in cases {
        assert_eq!(parse(message), Line::Killed(*expected), "{message}");
    }
}

/// 5.4.0 prints bytes as kB. 94208 kB of page tables cannot be in 25116 kB of address space.
#[test]
fn page_tables_said_in_the_wrong_unit_are_righted_or_unknown() {
    let cases = [
        (25116, 94208, Some(94208)),
        (25116, 92, Some(92 * 1024)),
        (25116, 0, Some(0)),
        (104_857_600, 307_200, None),
        (104_857_600, 307_204, Some(307_204 * 1024)),
    ];
    for (total_vm, said, expected) in cases {
        let message = format!(
            "Killed process 1 (x) total-vm:{total_vm}kB, anon-rss:1kB, file-rss:1kB, shmem-rss:1kB, UID:0 pgtables:{said}kB oom_score_adj:0"
        );
        let Line::Killed(killed) = parse(&message) else {
            panic!("{message}")
        };
        assert_eq!(killed.memory.pgtables_bytes, expected, "{message}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn everything_else_that_the_oom_killer_prints() {
    let comm = Comm::new(b"hog");
    let counter = |counted| {
        let counter = Counter {
            usage_bytes: 1024,
            limit_bytes: Some(2048),
            failcnt: Some(7),
        };
        Line::Counter(counted, counter)
    };
    let choice = |scope| Line::Choice {
        tid: 5,
        comm,
        scope,
    };
    let cases: &[(&str, Line<'_>)] = &[
        (
            "CPU: 1 UID: 0 PID: 9392 Comm: hog Not tainted 6.18",
            Line::Cpu(Cpu {
                cpu: Some(1),
                tid: 9392,
                comm_and_rest: b"hog Not tainted 6.18",
            }),
        ),
        (
            "CPU: 3 PID: 9392 Comm: hog Not tainted 4.19",
            Line::Cpu(Cpu {
                cpu: Some(3),
                tid: 9392,
                comm_and_rest: b"hog Not tainted 4.19",
            }),
        ),
        ("CPU: hog", Line::Other),
        ("CPU    0: hi:    0, btch:   1 usd:   0", Line::Other),
        ("Call Trace:", Line::TraceBegin),
        (" dump_header+0x43/0x1c0", Line::Frame(b"dump_header")),
        (
            "[<ffffffff9a9c2a8e>] dump_header+0x43/0x1c0",
            Line::Frame(b"dump_header"),
        ),
        (" ? dump_header+0x43/0x1c0", Line::Other),
        (" </TASK>", Line::TraceEnd),
        ("RIP: 0033:0x7fd102d8c0ba", Line::TraceEnd),
        (
            "memory: usage 1kB, limit 2kB, failcnt 7",
            counter(Counted::Memory),
        ),
        (
            "swap: usage 1kB, limit 2kB, failcnt 7",
            counter(Counted::Swap),
        ),
        (
            "memory+swap: usage 1kB, limit 2kB, failcnt 7",
            counter(Counted::Memsw),
        ),
        (
            "kmem: usage 1kB, limit 2kB, failcnt 7",
            counter(Counted::Kmem),
        ),
        ("memory: usage many", Line::Malformed),
        (
            "Memory cgroup stats for /a:",
            Line::StatsFor {
                path: b"/a",
                inline: b"",
            },
        ),
        (
            "Memory cgroup stats for /a: cache:0KB",
            Line::StatsFor {
                path: b"/a",
                inline: b" cache:0KB",
            },
        ),
        ("Memory cgroup stats for ", Line::Fragment),
        ("anon 4096", Line::Listed(b"anon 4096")),
        ("anon 4096\nfile 0", Line::Listed(b"anon 4096\nfile 0")),
        ("Mem-Info:", Line::MemInfo(b"Mem-Info:")),
        (
            "Normal free:1kB min:1kB",
            Line::MemInfo(b"Normal free:1kB min:1kB"),
        ),
        (" mapped:1 shmem:2", Line::MemInfo(b" mapped:1 shmem:2")),
        ("Total swap = 0kB", Line::MemInfo(b"Total swap = 0kB")),
        ("17 pages RAM", Line::MemInfo(b"17 pages RAM")),
        (
            "[   9394]     0  9394 hog",
            Line::TableRow(b"[   9394]     0  9394 hog"),
        ),
        ("[drm] ready", Line::Other),
        (
            "Task in /a/b killed as a result of limit of /a",
            Line::LegacyMemcg {
                task_memcg: Some(b"/a/b"),
                oom_memcg: Some(b"/a"),
            },
        ),
        (
            "Task in /a killed as a result of limit of host",
            Line::LegacyMemcg {
                task_memcg: Some(b"/a"),
                oom_memcg: None,
            },
        ),
        (
            "Memory limit reached of cgroup /a",
            Line::LegacyMemcg {
                task_memcg: None,
                oom_memcg: Some(b"/a"),
            },
        ),
        ("Task in /a", Line::Fragment),
        ("Task in /a killed as a result of limit of ", Line::Fragment),
        (
            "hog invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), nodemask=",
            Line::Fragment,
        ),
        (
            "Task in /a/b killed as a result of limit of /c",
            Line::Malformed,
        ),
        (
            "Memory cgroup out of memory: Kill process 5 (hog) score 1 or sacrifice child",
            choice(Some(Scope::Memcg)),
        ),
        (
            "Out of memory (oom_kill_allocating_task): Kill process 5 (hog) score 0 or sacrifice child",
            choice(Some(Scope::System)),
        ),
        (
            "A policy: Kill process 5 (hog) score 0 or sacrifice child",
            choice(None),
        ),
        (
            "Tasks in /a set are going to be killed due to memory.oom.group set",
            Line::GroupKill { cgroup: b"/a set" },
        ),
        (
            "Memory cgroup out of memory: OOM victim 5 (hog) is already exiting. Skip killing the task",
            Line::AlreadyExiting { tid: 5, comm },
        ),
        (
            "oom_reaper: reaped process 5 (hog), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
            Line::Reaped {
                tid: 5,
                reaped: true,
                left_bytes: Some(0),
            },
        ),
        (
            "oom_reaper: unable to reap pid:5 (hog)",
            Line::Reaped {
                tid: 5,
                reaped: false,
                left_bytes: None,
            },
        ),
        ("oom_reaper: something new", Line::Malformed),
        ("Out of memory and no killable processes...", Line::NoVictim),
        (
            "Kernel panic - not syncing: Out of memory and no killable processes...",
            Line::Panic,
        ),
        (
            "Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled",
            Line::Panic,
        ),
        (
            "Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled",
            Line::Panic,
        ),
        (
            "Kernel panic - not syncing: System is deadlocked on memory",
            Line::Panic,
        ),
        (
            "Kernel panic - not syncing: VFS: Unable to mount root fs",
            Line::Other,
        ),
        ("sysrq: Manual OOM execution", Line::SysrqRequested),
        ("SysRq : Manual OOM execution", Line::SysrqRequested),
        ("sysrq: SysRq : Manual OOM execution", Line::SysrqRequested),
        ("Manual OOM execution", Line::Other),
        (
            "OOM request ignored because killer is disabled",
            Line::SysrqIgnored,
        ),
        (
            "sysrq: OOM request ignored. No task eligible",
            Line::SysrqIgnored,
        ),
        ("sysrq: Show Memory", Line::Other),
        (
            "oom_kill_process: 30 callbacks suppressed",
            Line::Suppressed { reports: 30 },
        ),
        ("oom_kill_process: hello", Line::Malformed),
        (
            "oom_kill_process: 18446744073709551615 callbacks suppressed",
            Line::Malformed,
        ),
        (
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)",
            Line::Fragment,
        ),
        ("EXT4-fs (vda): mounted filesystem", Line::Other),
        ("swap 0", Line::Listed(b"swap 0")),
        ("systemd[1]: started", Line::Other),
        ("", Line::Other),
    ];
    for (message, expected) in cases {
        assert_eq!(parse(message), *expected, "{message}");
    }
}

/// Each has the words of an OOM line where a user can put them: a mount option, a cgroup's name.
#[test]
fn text_that_a_user_put_into_another_line_is_malformed() {
    for message in [
        "tmpfs: Unknown parameter 'Killed process 1 (init) total-vm:1kB, anon-rss:1kB, file-rss:1kB'",
        "cgroup: fork rejected by pids controller in /a/hog invoked oom-killer: gfp_mask=0xcc0, order=0, oom_score_adj=0",
        "x: Tasks in / are going to be killed due to memory.oom.group set",
        "Killed process 99999999999 (x) total-vm:1kB, anon-rss:1kB, file-rss:1kB",
    ] {
        assert_eq!(parse(message), Line::Malformed, "{message}");
    }
}

/// A name may hold the words of another line.
fn hostile_comm() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"Killed process ",
        b"Kill process 1",
        b"panic_on_oom",
        b"a) total-vm:1kB",
        b",pid=1,uid=0",
        b") score 1 or",
        b"), now anon-rss",
        b"CPU: 1 PID: 1",
    ];
    prop_oneof![
        proptest::collection::vec(1u8..=255, 1..=15),
        proptest::sample::select(words).prop_map(<[u8]>::to_vec),
    ]
}

proptest! {
    #[test]
    fn any_comm_survives_in_every_line(comm in hostile_comm(), tid: u32) {
        let line = |before: String, after: &str| [before.as_bytes(), &comm, after.as_bytes()].concat();
        let (raw, comm) = (&comm, Comm::new(&comm));

        let message = line(String::new(), " invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0");
        let Line::Header(header) = parse(&message) else { panic!("{:?}", parse(&message)) };
        prop_assert_eq!(header.comm, comm);

        let message = line(format!("Memory cgroup out of memory: Killed process {tid} ("), ") total-vm:25116kB, anon-rss:15216kB, file-rss:3328kB, shmem-rss:0kB, UID:0 pgtables:92kB oom_score_adj:0");
        let Line::Killed(killed) = parse(&message) else { panic!("{:?}", parse(&message)) };
        prop_assert_eq!((killed.tid, killed.comm, killed.uid), (tid, comm, Some(0)));
        prop_assert_eq!(killed.memory.total_vm_bytes, Some(25116 * 1024));

        let message = line(format!("Out of memory: OOM victim {tid} ("), ") is already exiting. Skip killing the task");
        prop_assert_eq!(parse(&message), Line::AlreadyExiting { tid, comm });

        let message = line(format!("Out of memory: Kill process {tid} ("), ") score 12 or sacrifice child");
        prop_assert_eq!(parse(&message), Line::Choice { tid, comm, scope: Some(Scope::System) });

        let message = line(format!("oom_reaper: reaped process {tid} ("), "), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB");
        prop_assert_eq!(parse(&message), Line::Reaped { tid, reaped: true, left_bytes: Some(0) });

        let message = line(format!("CPU: 1 UID: 0 PID: {tid} Comm: "), " Not tainted");
        let Line::Cpu(cpu) = parse(&message) else { panic!("no CPU line") };
        prop_assert_eq!(cpu.tid, tid);
        prop_assert!(cpu.comm_and_rest.starts_with(raw));
    }

    #[test]
    fn any_cgroup_survives(name: Vec<u8>) {
        let cgroup = [b"/", &name[..]].concat();
        let message = [b"Tasks in ", &cgroup[..], b" are going to be killed due to memory.oom.group set"].concat();
        prop_assert_eq!(parse(&message), Line::GroupKill { cgroup: &cgroup });
    }

    #[test]
    fn no_bytes_make_it_panic(
        head in proptest::sample::select(vec!["", "CPU: ", "memory: usage ", "Memory cgroup stats for ", " [<ff>] ", "Node 0 ", "oom_reaper: ", "Task in ", "sysrq: ", "[", "Killed process "]),
        tail: Vec<u8>,
    ) {
        let _ = parse(&[head.as_bytes(), &tail].concat());
    }
}
