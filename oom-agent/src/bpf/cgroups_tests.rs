//! One event of the ring, good and bad.

use proptest::prelude::*;

use super::*;

/// An event as the kernel side writes it.
fn event(version: u16, kind: u16, path: &[u8]) -> Vec<u8> {
    let mut event = vec![0; CgroupEvent::FIXED_LEN];
    let mut put = |at: usize, bytes: &[u8]| event[at..at + bytes.len()].copy_from_slice(bytes);
    put(offset_of!(CgroupEvent, version), &version.to_ne_bytes());
    put(offset_of!(CgroupEvent, kind), &kind.to_ne_bytes());
    put(offset_of!(CgroupEvent, seq), &7u64.to_ne_bytes());
    put(offset_of!(CgroupEvent, time_ns), &8u64.to_ne_bytes());
    put(offset_of!(CgroupEvent, id), &9u64.to_ne_bytes());
    let len = u32::try_from(path.len()).unwrap();
    put(offset_of!(CgroupEvent, path_len), &len.to_ne_bytes());
    event.extend(path);
    event
}

#[test]
fn each_kind_is_a_change() {
    let path = || "/a/b".into();
    let (id, monotonic_ns) = (9, 8);
    let rows = [
        (
            cgroup_kind::MADE,
            Change::Made {
                path: path(),
                id,
                monotonic_ns,
            },
        ),
        (
            cgroup_kind::REMOVED,
            Change::Removed {
                path: path(),
                id,
                monotonic_ns,
            },
        ),
        (
            cgroup_kind::RENAMED,
            Change::Renamed {
                from: None,
                path: path(),
                id,
                monotonic_ns,
            },
        ),
    ];
    for (kind, change) in rows {
        let decoded = decode(&event(WIRE_VERSION, kind, b"/a/b\0"));
        assert_eq!(decoded, Ok((7, Some(change))));
    }
}

#[test]
fn names_are_written_as_marks_write_them() {
    let decoded = decode(&event(WIRE_VERSION, cgroup_kind::MADE, b"/a\xffb\0")).unwrap();
    let Some(Change::Made { path, .. }) = decoded.1 else {
        panic!("{decoded:?}");
    };
    assert_eq!(*path, *r"/a\xffb");
}

#[test]
fn a_path_that_is_missing_or_may_be_cut_is_none() {
    let long = [b"/".repeat(CGROUP_PATH_LEN - 1), vec![0]].concat();
    for path in [&b""[..], b"\0", b"a\0", b"/a", &long] {
        let decoded = decode(&event(WIRE_VERSION, cgroup_kind::MADE, path));
        assert_eq!(decoded, Ok((7, None)), "{path:?}");
    }
}

#[test]
fn what_nobody_writes_is_refused() {
    let good = event(WIRE_VERSION, cgroup_kind::MADE, b"/a\0");
    for len in 0..good.len() {
        assert_eq!(decode(&good[..len]), Err(DecodeError::Short { len }));
    }
    let future = event(WIRE_VERSION + 1, cgroup_kind::MADE, b"/a\0");
    let (found, wanted) = (WIRE_VERSION + 1, WIRE_VERSION);
    assert_eq!(decode(&future), Err(DecodeError::Version { found, wanted }));
    let unknown = event(WIRE_VERSION, 9, b"/a\0");
    assert_eq!(decode(&unknown), Err(DecodeError::Kind(9)));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }
}

#[test]
fn the_hierarchy_is_that_of_the_memory_line() {
    let text = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t2\t1\t1\nmemory\t4\t13\t1\n";
    assert_eq!(memory_hierarchy(text).unwrap(), 4);
    for text in ["", "cpu\t2\t1\t1\n", "memory\n", "memory\tx\t1\t1\n"] {
        assert!(memory_hierarchy(text).is_err(), "{text:?}");
    }
}
