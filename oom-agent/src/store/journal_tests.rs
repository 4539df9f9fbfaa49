//! What the journal must not change.

use super::*;
use crate::{
    correlate::{Correlator, Host, Timing},
    event::{Memory, Role},
    evidence::{KmsgKill, Mark},
    text::Comm,
};

fn killed(seq: u64, report: Option<Arc<KmsgReport>>) -> Evidence {
    Evidence::Kmsg(KmsgEvidence::Killed(Box::new(KmsgKill {
        decision: 1,
        seq,
        monotonic_ns: 5,
        tid: 7,
        comm: Comm::new(b"a\xff\\xffb"),
        uid: None,
        oom_score_adj: None,
        memory: Memory::default(),
        role: Role::Chosen,
        scope: None,
        group: None,
        report,
        sacrificed: false,
        reaper: None,
        reaper_left_bytes: None,
    })))
}

fn there_and_back(rows: &[Evidence]) -> Vec<Vec<u8>> {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    rows.iter()
        .map(|evidence| {
            let row = encoder.encode(evidence).unwrap();
            let back = decoder.decode(&row).unwrap();
            assert_eq!(format!("{back:?}"), format!("{evidence:?}"));
            row
        })
        .collect()
}

#[test]
fn names_come_back_byte_by_byte() {
    let mut mark = Mark::default();
    mark.victim.comm = Comm::new(b"\xfe\\xfe\n\"");
    mark.victim.start_time = Some(crate::event::Timestamp::from_unix_ns(
        1_795_298_463_123_456_789,
    ));
    let row = Encoder::default()
        .encode(&Evidence::Mark(Box::new(mark.clone())))
        .unwrap();
    let Evidence::Mark(back) = Decoder::default().decode(&row).unwrap() else {
        panic!("another kind");
    };
    assert_eq!(back.victim, mark.victim);
    assert_eq!(back.victim.comm.as_bytes(), b"\xfe\\xfe\n\"");
}

#[test]
fn the_lines_of_a_group_share_one_report() {
    let report = Arc::new(KmsgReport {
        seq: 3,
        gfp_flags: Some("GFP_KERNEL".repeat(100)),
        ..KmsgReport::default()
    });
    let rows: Vec<Evidence> = (10..20)
        .map(|seq| killed(seq, Some(report.clone())))
        .collect();
    let rows = there_and_back(&rows);
    assert!(rows[0].len() > 1000);
    assert!(rows[1..].iter().all(|row| row.len() < 500));
}

#[test]
fn what_is_no_row_is_refused() {
    assert!(Decoder::default().decode(b"").is_err());
    assert!(Decoder::default().decode(b"\xc1garbage").is_err());
}

#[test]
fn a_quiet_moment() {
    let mut correlator = Correlator::new(Host::new("b-o", "n"), Timing::default());
    let counter = Evidence::Counter {
        oom_kill: 5,
        read_ns: 3,
    };
    correlator.observe(counter, crate::clock::Now::default(), &mut Vec::new());
    let bytes = encode_snapshot(&correlator.snapshot()).unwrap();
    assert_eq!(decode_snapshot(&bytes).unwrap(), correlator.snapshot());
}
