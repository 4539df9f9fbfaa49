//! What one report says, whatever kernel prints it. Emits strategies that make such facts, with names that
//! imitate what the kernel prints around them.

use oom_agent::text::Comm;
use proptest::{collection::vec, prelude::*, sample::select};

/// Who asked, who died, what was full.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) asker: Comm,
    pub(crate) asker_tid: u32,
    pub(crate) asker_adj: i16,
    pub(crate) cpu: u32,
    pub(crate) gfp_mask: u32,
    pub(crate) order: i32,
    pub(crate) victim: Comm,
    pub(crate) victim_tid: u32,
    pub(crate) uid: u32,
    pub(crate) adj: i16,
    /// `total-vm`, `anon-rss`, `file-rss`, `shmem-rss`, in kB.
    pub(crate) kb: [u64; 4],
    /// Kilobytes, or pages, or whatever a line has of small numbers.
    pub(crate) numbers: [u64; 8],
    /// Usage, limit and failcnt of four counters, in kB.
    pub(crate) counters: [(u64, u64, u64); 4],
    /// The cgroup whose limit was hit, and what follows it in the victim's.
    pub(crate) limit: String,
    pub(crate) below: String,
    /// Names and resident pages of the table's rows.
    pub(crate) tasks: Vec<(Comm, u32, u64)>,
    /// Whether the machine ran out, not a cgroup.
    pub(crate) system: bool,
}

impl Facts {
    pub(crate) fn victim_path(&self) -> String {
        format!("{}{}", self.limit, self.below)
    }

    /// Whether a path imitates what stands between the names: then they may be unknown.
    pub(crate) fn is_ambiguous(&self) -> bool {
        let path = self.victim_path();
        let victim = String::from_utf8_lossy(self.victim.as_bytes()).into_owned();
        [
            ",task_memcg=/",
            ",task=",
            " killed as a result of limit of ",
        ]
        .iter()
        .any(|marker| path.contains(marker) || victim.contains(marker))
    }
}

/// A name of a process: any bytes but NUL, or words of the kernel's own lines.
fn comm() -> impl Strategy<Value = Comm> {
    let words: Vec<&[u8]> = vec![
        b"Killed process ",
        b"Kill process 1",
        b"panic_on_oom",
        b"a) total-vm:1kB",
        b",task=x,pid=1",
        b") score 1 or",
        b"CPU: 1 PID: 1",
        b"hog Not tainted",
        b"Tainted: G",
        b"\n[ 1] 2",
        b"",
    ];
    prop_oneof![
        vec(1u8..=255, 0..=15).prop_map(|bytes| Comm::new(&bytes)),
        select(words).prop_map(Comm::new),
    ]
}

fn component() -> impl Strategy<Value = String> {
    let hostile = select(vec![
        ": cache:7KB",
        "x,task=y",
        "x,task_memcg=",
        ",pid=1,uid=0",
        "a: rss:1KB:",
        " killed as a result of limit of ",
        " as a result of limit of x",
        "anon 4096",
        "global_oom",
    ]);
    prop_oneof![4 => "[a-z0-9:=,. ()-]{1,12}", 1 => hostile.prop_map(str::to_owned)]
}

prop_compose! {
    pub(crate) fn facts()(
        (asker, asker_tid, asker_adj, cpu) in (comm(), 1u32..1 << 22, -1000i16..=1000, 0u32..512),
        (gfp_mask, order, system) in (any::<u32>(), 0i32..11, any::<bool>()),
        (victim, victim_tid, uid, adj) in (comm(), 1u32..1 << 22, any::<u32>(), -1000i16..=1000),
        kb in any::<[u32; 4]>().prop_map(|kb| kb.map(u64::from)),
        numbers in any::<[u32; 8]>().prop_map(|numbers| numbers.map(u64::from)),
        counters in any::<[(u32, u32, u32); 4]>()
            .prop_map(|all| all.map(|(a, b, c)| (a.into(), b.into(), c.into()))),
        limit in component(),
        below in proptest::option::of(component()),
        tasks in vec((comm(), 1u32..1 << 22, any::<u32>()), 0..4),
    ) -> Facts {
        Facts {
            asker, asker_tid, asker_adj, cpu, gfp_mask, order, victim, victim_tid, uid, adj, kb, numbers,
            counters,
            limit: format!("/{limit}"),
            below: below.map_or(String::new(), |below| format!("/{below}")),
            tasks: tasks.into_iter().map(|(comm, tid, rss)| (comm, tid, rss.into())).collect(),
            system,
        }
    }
}
