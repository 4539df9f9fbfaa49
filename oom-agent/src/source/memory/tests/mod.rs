//! The recorder over directories that hold what the kernel's files hold.

mod answers;
mod files;
mod recording;
mod roster;

use std::{cell::Cell, fs, path::Path};

use tempfile::TempDir;

use super::recording::Recording;
use crate::{
    evidence::{CgroupEvidence, Found, KnownCgroup, Lookup},
    hierarchy::{CgroupVersion, Hierarchy},
};

const S: u64 = 1_000_000_000;
const MIB: u64 = 1 << 20;

const STAT_V1: &str = "cache 0\nrss 0\nrss_huge 0\nshmem 0\nmapped_file 0\ndirty 0\nwriteback 0\n\
    workingset_refault_anon 0\nswap 0\npgpgin 120119\ninactive_anon 0\nactive_anon 1531904\n\
    hierarchical_memory_limit 9223372036854771712\ntotal_cache 62205952\ntotal_rss 14868480\n\
    total_rss_huge 0\ntotal_shmem 9084928\ntotal_mapped_file 11112448\ntotal_dirty 585728\n\
    total_writeback 0\ntotal_swap 4096\ntotal_inactive_anon 6164480\ntotal_active_anon 1581056\n\
    total_inactive_file 17580032\ntotal_active_file 35491840\ntotal_unevictable 16183296\n";

const STAT_V2: &str = "anon 1171456\nfile 2740224\nkernel 348160\nkernel_stack 32768\n\
    pagetables 69632\nsec_pagetables 0\npercpu 1104\nsock 0\nvmalloc 0\nshmem 0\nzswap 0\n\
    file_mapped 1622016\nfile_dirty 0\nfile_writeback 0\nswapcached 0\nanon_thp 0\nfile_thp 0\n\
    inactive_anon 1130496\nactive_anon 8192\ninactive_file 1449984\nactive_file 1290240\n\
    unevictable 0\nslab_reclaimable 110728\nslab_unreclaimable 95776\nslab 206504\n\
    workingset_refault_anon 0\npgfault 69000\nthp_fault_alloc 0\n";

const PRESSURE: &str = "some avg10=12.34 avg60=3.00 avg300=0.50 total=1234567\n\
    full avg10=1.20 avg60=0.00 avg300=0.00 total=7\n";

/// A hierarchy in a directory.
struct Tree {
    dir: TempDir,
    version: CgroupVersion,
}

impl Tree {
    fn new(version: CgroupVersion) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            version,
        }
    }

    fn hierarchy(&self) -> Hierarchy {
        Hierarchy {
            version: self.version,
            mount: self.dir.path().to_owned(),
            root: "/".into(),
            initial_namespace: true,
        }
    }

    fn recording(&self) -> Recording {
        Recording {
            clock: now,
            ..Recording::new(self.hierarchy())
        }
    }

    /// A cgroup with this usage and, in MiB, limit.
    fn cgroup(&self, path: &str, usage_mib: u64, limit_mib: Option<u64>) {
        let dir = self.dir.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(&dir).unwrap();
        let usage = format!("{}\n", usage_mib * MIB);
        let limit = limit_mib.map(|limit| format!("{}\n", limit * MIB));
        let files: &[(&str, &str)] = match self.version {
            CgroupVersion::V1 => &[
                ("memory.usage_in_bytes", &usage),
                (
                    "memory.limit_in_bytes",
                    limit.as_deref().unwrap_or("9223372036854771712\n"),
                ),
                ("memory.max_usage_in_bytes", "9437184\n"),
                ("memory.failcnt", "23\n"),
                ("memory.kmem.usage_in_bytes", "348160\n"),
                ("memory.kmem.limit_in_bytes", "9223372036854771712\n"),
                ("memory.kmem.failcnt", "0\n"),
                ("memory.memsw.usage_in_bytes", &usage),
                ("memory.memsw.limit_in_bytes", "9223372036854771712\n"),
                ("memory.memsw.failcnt", "0\n"),
                (
                    "memory.oom_control",
                    "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
                ),
                ("memory.stat", STAT_V1),
            ],
            CgroupVersion::V2 => &[
                ("memory.current", &usage),
                ("memory.max", limit.as_deref().unwrap_or("max\n")),
                ("memory.peak", "9437184\n"),
                ("memory.swap.current", "4096\n"),
                ("memory.swap.max", "max\n"),
                (
                    "memory.events",
                    "low 0\nhigh 0\nmax 23\noom 3\noom_kill 3\noom_group_kill 1\n",
                ),
                ("memory.oom.group", "1\n"),
                ("memory.pressure", PRESSURE),
                ("memory.stat", STAT_V2),
            ],
        };
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
    }

    /// Another usage of a cgroup of version 2.
    fn usage(&self, path: &str, bytes: u64) {
        let dir = self.dir.path().join(path.trim_start_matches('/'));
        fs::write(dir.join("memory.current"), format!("{bytes}\n")).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_dir_all(self.dir.path().join(path.trim_start_matches('/'))).unwrap();
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
}

fn now() -> u64 {
    NOW.get()
}

/// One turn at that moment.
fn turn(recording: &mut Recording, now_ns: u64) {
    NOW.set(now_ns);
    recording.turn(now_ns);
}

fn known(path: &str, id: Option<u64>, monotonic_ns: u64) -> CgroupEvidence {
    CgroupEvidence::Known(KnownCgroup {
        path: path.into(),
        id,
        version: 2,
        monotonic_ns,
        found: Found::Created,
        lookup: Lookup::NotNeeded,
    })
}

fn removed(path: &str, id: Option<u64>, monotonic_ns: u64) -> CgroupEvidence {
    CgroupEvidence::Removed {
        path: path.into(),
        id,
        monotonic_ns,
        exit_code: None,
    }
}

/// The path of a container of docker's.
fn docker(number: usize) -> String {
    format!("/docker/{number:064x}")
}
