//! What is read of one cgroup, of either version, whole and damaged.

use std::fs;

use super::{MIB, Tree};
use crate::{
    event::{Cgroup, CgroupState, Counter, MemoryEvents},
    hierarchy::CgroupVersion::{V1, V2},
    source::memory::{
        files::{Buffer, Dir},
        history::Detail,
    },
};

fn state(dir: &Dir) -> Option<CgroupState> {
    let mut state = CgroupState {
        cgroup: Cgroup {
            path: None,
            id: None,
            version: None,
        },
        after_ns: 0,
        peak_bytes: None,
        events: None,
        pressure: None,
        oom_group: None,
    };
    dir.state(&mut state, &mut Buffer::default())
        .then_some(state)
}

#[test]
fn a_cgroup_of_version_1() {
    let tree = Tree::new(V1);
    tree.cgroup("/a", 8, Some(9));
    let dir = Dir::open(&tree.hierarchy(), "/a").unwrap();
    let mut buffer = Buffer::default();
    assert_eq!(dir.limit(&mut buffer), Ok(Some(9 * MIB)));
    let expected = Detail {
        limit_bytes: Some(9 * MIB),
        anon_bytes: Some(14_868_480),
        file_bytes: Some(62_205_952),
        shmem_bytes: Some(9_084_928),
        kernel_bytes: Some(348_160),
        swap_bytes: Some(4096),
        pressure_some: None,
        pressure_full: None,
    };
    assert_eq!(dir.detail(&mut buffer), expected);
    let memory = dir.memory(&mut buffer).unwrap();
    let counter = |usage_bytes, limit_bytes, failcnt| Counter {
        usage_bytes,
        limit_bytes,
        failcnt: Some(failcnt),
    };
    assert_eq!(memory.memory, Some(counter(8 * MIB, Some(9 * MIB), 23)));
    assert_eq!(memory.memsw, Some(counter(8 * MIB, None, 0)));
    assert_eq!(memory.kmem, Some(counter(348_160, None, 0)));
    assert_eq!(memory.swap, None);
    assert_eq!(memory.stat.unevictable_bytes, Some(16_183_296));
    let state = state(&dir).unwrap();
    let events = MemoryEvents {
        max: Some(23),
        oom_kill: Some(3),
        ..MemoryEvents::default()
    };
    assert_eq!(state.events, Some(events));
    assert_eq!((state.peak_bytes, state.oom_group), (Some(9 * MIB), None));
    assert_eq!(state.pressure, None);
}

#[test]
fn a_cgroup_of_version_2() {
    let tree = Tree::new(V2);
    tree.cgroup("/a", 8, Some(9));
    let dir = Dir::open(&tree.hierarchy(), "/a").unwrap();
    let mut buffer = Buffer::default();
    let expected = Detail {
        limit_bytes: Some(9 * MIB),
        anon_bytes: Some(1_171_456),
        file_bytes: Some(2_740_224),
        shmem_bytes: Some(0),
        kernel_bytes: Some(348_160),
        swap_bytes: Some(4096),
        pressure_some: Some(12.34),
        pressure_full: Some(1.2),
    };
    assert_eq!(dir.detail(&mut buffer), expected);
    let memory = dir.memory(&mut buffer).unwrap();
    let counter = |usage_bytes, limit_bytes| Counter {
        usage_bytes,
        limit_bytes,
        failcnt: None,
    };
    assert_eq!(memory.memory, Some(counter(8 * MIB, Some(9 * MIB))));
    assert_eq!(memory.swap, Some(counter(4096, None)));
    assert_eq!((memory.memsw, memory.kmem), (None, None));
    assert_eq!(memory.stat.slab_reclaimable_bytes, Some(110_728));
    let state = state(&dir).unwrap();
    let events = state.events.unwrap();
    assert_eq!((events.max, events.oom_group_kill), (Some(23), Some(1)));
    assert_eq!(
        (state.peak_bytes, state.oom_group),
        (Some(9 * MIB), Some(true))
    );
    assert_eq!(state.pressure.unwrap().full.total_ns, 7000);
}

#[test]
fn whether_all_of_a_cgroup_are_killed_together() {
    let tree = Tree::new(V2);
    tree.cgroup("/a", 8, Some(9));
    let dir = Dir::open(&tree.hierarchy(), "/a").unwrap();
    let file = tree.path().join("a/memory.oom.group");
    for (content, expected) in [
        ("0\n", Some(false)),
        ("1\n", Some(true)),
        ("2\n", None),
        ("max\n", None),
        ("", None),
    ] {
        fs::write(&file, content).unwrap();
        assert_eq!(state(&dir).unwrap().oom_group, expected, "{content:?}");
    }
    // Before Linux 4.19 there is none.
    fs::remove_file(&file).unwrap();
    assert_eq!(state(&dir).unwrap().oom_group, None);
}

#[test]
fn kernel_memory_where_the_kernel_gives_no_sum() {
    let tree = Tree::new(V2);
    tree.cgroup("/a", 8, Some(9));
    // `memory.stat` of 5.15.
    let stat = "anon 1171456\nfile 2740224\nkernel_stack 32768\npagetables 69632\npercpu 1104\n\
        sock 0\nshmem 0\nfile_mapped 1622016\nfile_dirty 0\nfile_writeback 0\nswapcached 0\n\
        anon_thp 0\nfile_thp 0\nshmem_thp 0\ninactive_anon 1130496\nactive_anon 8192\n\
        inactive_file 1449984\nactive_file 1290240\nunevictable 0\nslab_reclaimable 110728\n\
        slab_unreclaimable 95776\nslab 206504\npgfault 69000\n";
    fs::write(tree.path().join("a/memory.stat"), stat).unwrap();
    let dir = Dir::open(&tree.hierarchy(), "/a").unwrap();
    let detail = dir.detail(&mut Buffer::default());
    assert_eq!(detail.kernel_bytes, Some(32_768 + 69_632 + 206_504));
}

#[test]
fn what_is_missing_or_damaged_is_not_known() {
    for version in [V1, V2] {
        let tree = Tree::new(version);
        tree.cgroup("/a", 8, None);
        let dir = Dir::open(&tree.hierarchy(), "/a").unwrap();
        let mut buffer = Buffer::default();
        assert_eq!(dir.limit(&mut buffer), Ok(None));
        for entry in fs::read_dir(tree.path().join("a")).unwrap() {
            fs::write(entry.unwrap().path(), b"anon \xff\nnonsense").unwrap();
        }
        assert_eq!(dir.detail(&mut buffer), Detail::default());
        assert_eq!((dir.memory(&mut buffer), state(&dir)), (None, None));
        // Larger than anything that the kernel writes there.
        let endless = "anon 4096\n".repeat(10_000);
        fs::write(tree.path().join("a/memory.stat"), endless).unwrap();
        assert_eq!(dir.detail(&mut buffer), Detail::default());
        tree.remove("/a");
        assert_eq!(dir.detail(&mut buffer), Detail::default());
        assert_eq!((dir.memory(&mut buffer), state(&dir)), (None, None));
        assert!(Dir::open(&tree.hierarchy(), "/a").is_err());
    }
}
