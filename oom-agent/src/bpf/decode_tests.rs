//! Records as the kernel side writes them, built field by field, and what is refused.

use std::mem::offset_of;

use oom_common::{
    Asker as WireAsker, Level as WireLevel, Oom, Record, Task, WIRE_VERSION, flags, kind,
    level_flags,
};
use proptest::prelude::*;

use super::*;

const PAGE: u64 = 4096;

/// A record without names, everything zero but its head.
struct Wire(Vec<u8>);

impl Wire {
    fn new(kind: u16, flags: u32) -> Self {
        let mut wire = Self(vec![0; Record::FIXED_LEN]);
        wire.put(offset_of!(Record, version), &WIRE_VERSION.to_ne_bytes());
        wire.put(offset_of!(Record, kind), &kind.to_ne_bytes());
        wire.put(offset_of!(Record, flags), &flags.to_ne_bytes());
        wire
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) -> &mut Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn names(&mut self, names: &[&str]) -> &mut Self {
        for name in names {
            self.0.extend(name.as_bytes());
            self.0.push(0);
        }
        let len = u32::try_from(self.0.len() - Record::FIXED_LEN).unwrap();
        self.put(offset_of!(Record, names_len), &len.to_ne_bytes())
    }

    fn level(&mut self, index: usize, id: u64, pages: [u64; 3], bits: u64) -> &mut Self {
        let at = offset_of!(Record, levels) + index * size_of::<WireLevel>();
        let [usage, max, failcnt] = pages;
        self.put(at + offset_of!(WireLevel, id), &id.to_ne_bytes());
        self.put(at + offset_of!(WireLevel, usage), &usage.to_ne_bytes());
        self.put(at + offset_of!(WireLevel, max), &max.to_ne_bytes());
        self.put(at + offset_of!(WireLevel, failcnt), &failcnt.to_ne_bytes());
        self.put(at + offset_of!(WireLevel, flags), &bits.to_ne_bytes());
        let count = u32::try_from(index + 1).unwrap();
        self.put(offset_of!(Record, level_count), &count.to_ne_bytes())
    }

    fn mark(&self) -> Mark {
        match decode(&self.0, PAGE, WIRE_VERSION).unwrap() {
            Decoded::Mark(mark, _) => *mark,
            other => panic!("{other:?}"),
        }
    }
}

const MEMCG: u64 = level_flags::MEMCG | level_flags::OOM_GROUP_KNOWN;

#[test]
fn a_whole_mark() {
    let known = flags::TASK | flags::MM | flags::CGROUP_V2 | flags::NS_PID | flags::ASKER_TASK;
    let task = offset_of!(Record, task);
    let asker = offset_of!(Record, asker);
    let mut wire = Wire::new(kind::MARK, known);
    wire.put(offset_of!(Record, seq), &9u64.to_ne_bytes())
        .put(task + offset_of!(Task, tid), &31u32.to_ne_bytes())
        .put(task + offset_of!(Task, tgid), &30u32.to_ne_bytes())
        .put(task + offset_of!(Task, ns_pid), &7u32.to_ne_bytes())
        .put(
            task + offset_of!(Task, oom_score_adj),
            &(-17i32).to_ne_bytes(),
        )
        .put(task + offset_of!(Task, comm), b"hog")
        // A per-CPU counter may read below zero: nothing is resident then.
        .put(task + offset_of!(Task, rss), &(-3i64).to_ne_bytes())
        .put(task + offset_of!(Task, rss) + 8, &5i64.to_ne_bytes())
        .put(asker + offset_of!(WireAsker, tid), &99u32.to_ne_bytes())
        .level(0, 12, [5, u64::MAX / 2, 3], MEMCG)
        .level(1, 11, [6, 6, 4], MEMCG | level_flags::OOM_GROUP)
        .level(2, 1, [0; 3], 0)
        .put(offset_of!(Record, asker_level_count), &2u32.to_ne_bytes())
        .names(&["leaf", "pod", "", "other", ""]);
    let mark = wire.mark();

    assert_eq!(
        (mark.seq, mark.victim.pid, mark.victim.tid),
        (9, Some(30), 31)
    );
    assert_eq!(
        (mark.victim.ns_pid, mark.victim.oom_score_adj),
        (Some(7), Some(-17))
    );
    assert_eq!(mark.victim.comm.to_string(), "hog");
    assert_eq!(
        (mark.memory.file_bytes, mark.memory.anon_bytes),
        (Some(0), Some(5 * PAGE))
    );
    assert_eq!(mark.cgroup_version, Some(2));
    let paths: Vec<_> = mark
        .levels
        .iter()
        .map(|level| level.path.as_deref())
        .collect();
    assert_eq!(paths, [Some("/pod/leaf"), Some("/pod"), Some("/")]);
    let own = mark.levels[0].charge.unwrap();
    assert_eq!(
        (own.usage_bytes, own.limit_bytes, own.failcnt),
        (5 * PAGE, None, 3)
    );
    let pod = mark.levels[1].charge.unwrap();
    assert_eq!(
        (pod.limit_bytes, pod.oom_group),
        (Some(6 * PAGE), Some(true))
    );
    assert_eq!(mark.levels[2].charge, None);
    assert_eq!(
        (mark.asker.tid, mark.asker.cgroup.as_deref()),
        (99, Some("/other"))
    );
}

#[test]
fn what_was_not_read_is_not_known() {
    let mark = Wire::new(kind::MARK, 0).mark();
    assert_eq!(
        (mark.victim.pid, mark.victim.uid, mark.start_boottime_ns),
        (None, None, None)
    );
    assert_eq!(mark.memory, Memory::default());
    assert_eq!(
        (mark.cgroup_version, mark.asker.oom_score_adj),
        (None, None)
    );
}

#[test]
fn a_path_that_is_not_whole_is_no_path() {
    for cut in [flags::LEVELS_CUT, flags::NAMES_CUT] {
        let mut wire = Wire::new(kind::MARK, flags::TASK | cut);
        wire.level(0, 12, [1; 3], MEMCG)
            .level(1, 11, [1; 3], MEMCG)
            .names(&["leaf", "pod"]);
        let mark = wire.mark();
        assert_eq!(mark.levels[0].path, None);
        assert_eq!(mark.levels[0].id, 12);
    }
}

/// A decision of a memory cgroup, with an order that only sysrq has.
fn decision() -> Wire {
    let (oom, task) = (offset_of!(Record, oom), offset_of!(Record, task));
    let mut wire = Wire::new(kind::DECISION, flags::TASK | flags::OOM | flags::OOM_MEMCG);
    wire.put(task + offset_of!(Task, tid), &8u32.to_ne_bytes())
        .put(task + offset_of!(Task, tgid), &7u32.to_ne_bytes())
        .put(oom + offset_of!(Oom, memcg_id), &11u64.to_ne_bytes())
        .put(oom + offset_of!(Oom, order), &(-1i32).to_ne_bytes())
        .put(oom + offset_of!(Oom, constraint), &3u32.to_ne_bytes());
    wire
}

#[test]
fn a_decision_that_cannot_be_is_refused() {
    let (oom, task) = (offset_of!(Record, oom), offset_of!(Record, task));
    let (order, constraint) = (offset_of!(Oom, order), offset_of!(Oom, constraint));
    for (at, value, why) in [
        (task + offset_of!(Task, tid), 0, Some("no chosen task")),
        (task + offset_of!(Task, tgid), 0, Some("no chosen task")),
        (oom + constraint, 4, Some("a constraint")),
        (oom + constraint, 0, None),
        (
            offset_of!(Record, flags),
            flags::TASK | flags::OOM,
            Some("no cgroup"),
        ),
        (oom + order, u32::MAX - 1, Some("an order")),
        (oom + order, 41, Some("an order")),
        (oom + order, 10, None),
    ] {
        let mut wire = decision();
        wire.put(at, &value.to_ne_bytes());
        let told = decode(&wire.0, PAGE, WIRE_VERSION)
            .err()
            .map(|error| error.to_string());
        let right = match why {
            None => told.is_none(),
            Some(why) => told.as_ref().is_some_and(|told| told.contains(why)),
        };
        assert!(right, "{at} {value}: {told:?}");
    }
}

#[test]
fn a_decision_names_the_limit_by_its_level() {
    let mut wire = decision();
    wire.level(0, 11, [1; 3], MEMCG)
        .level(1, 1, [0; 3], MEMCG)
        .names(&["pod", ""]);
    let Ok(Decoded::Decision(decision)) = decode(&wire.0, PAGE, WIRE_VERSION) else {
        panic!("a decision");
    };
    assert_eq!(
        (decision.order, decision.constraint),
        (-1, Some(Constraint::Memcg))
    );
    let (cgroup, _) = decision.limit.unwrap();
    assert_eq!(
        (cgroup.id, cgroup.path.as_deref()),
        (Some(11), Some("/pod"))
    );
}

#[test]
fn foreign_records_are_refused() {
    let mut other = Wire::new(kind::MARK, 0);
    other.put(offset_of!(Record, version), &77u16.to_ne_bytes());
    assert_eq!(
        decode(&other.0, PAGE, WIRE_VERSION).unwrap_err(),
        DecodeError::Version {
            wanted: WIRE_VERSION,
            found: 77
        }
    );
    assert_eq!(
        decode(&Wire::new(9, 0).0, PAGE, WIRE_VERSION).unwrap_err(),
        DecodeError::Kind(9)
    );
    assert_eq!(
        decode(&[0; 3], PAGE, WIRE_VERSION).unwrap_err(),
        DecodeError::Short { len: 3 }
    );
    let mut long = Wire::new(kind::MARK, 0);
    long.put(offset_of!(Record, names_len), &u32::MAX.to_ne_bytes());
    assert!(matches!(
        decode(&long.0, PAGE, WIRE_VERSION),
        Err(DecodeError::Short { .. })
    ));
}

proptest! {
    #[test]
    fn no_bytes_panic(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..Record::FIXED_LEN),
            prop::collection::vec(any::<u8>(), Record::FIXED_LEN..Record::FIXED_LEN + 64),
        ],
        kind in 1u16..4,
        names in 0u32..64,
    ) {
        let mut wire = Wire(bytes);
        if wire.0.len() >= Record::FIXED_LEN {
            wire.put(offset_of!(Record, version), &WIRE_VERSION.to_ne_bytes())
                .put(offset_of!(Record, kind), &kind.to_ne_bytes())
                .put(offset_of!(Record, names_len), &names.to_ne_bytes());
        }
        let _ = decode(&wire.0, PAGE, WIRE_VERSION);
    }
}
