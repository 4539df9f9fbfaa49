//! From raw records to evidence: numbering, forgery, split summaries.

use proptest::prelude::*;

use super::*;
use crate::evidence::KmsgReport;

fn decode(accept_forged: bool, records: &[&[u8]]) -> Vec<KmsgEvidence> {
    let mut decoder = Decoder::new(4096, accept_forged);
    let mut out = Vec::new();
    for record in records {
        decoder.push(record, LATER, &mut out);
    }
    out
}

/// A record is read long after it was written.
const LATER: u64 = u64::MAX;

const KILLED: &str = "Memory cgroup out of memory: Killed process 7 (hog) total-vm:1kB, anon-rss:1kB, file-rss:1kB, shmem-rss:0kB, UID:0 pgtables:92kB oom_score_adj:0";

fn killed(prio: u32, seq: u64) -> Vec<u8> {
    format!("{prio},{seq},5,-;{KILLED}\n").into_bytes()
}

#[test]
fn gaps_are_counted_whatever_caused_them() {
    let record = |seq: u64| format!("6,{seq},5,-;x\n").into_bytes();
    let lost = |seqs: &[u64]| {
        let records: Vec<_> = seqs.iter().map(|&seq| record(seq)).collect();
        decode(
            false,
            &records.iter().map(Vec::as_slice).collect::<Vec<_>>(),
        )
    };
    assert_eq!(lost(&[100, 101, 102]), []);
    assert_eq!(lost(&[1, 4]), [KmsgEvidence::Lost { records: 2 }]);
    assert_eq!(
        lost(&[5, 3, 5, 6, u64::MAX]),
        [KmsgEvidence::Lost {
            records: u64::MAX - 7
        }]
    );

    let unreadable = || KmsgEvidence::Malformed { seq: None };
    let (one, two, four) = (record(1), record(2), record(4));
    assert_eq!(decode(false, &[&one, b"?", &two]), [unreadable()]);
    assert_eq!(decode(false, &[&two, b"?", &four]), [unreadable()]);
    assert_eq!(
        decode(false, &[&one, b"?", &four]),
        [unreadable(), KmsgEvidence::Lost { records: 1 }]
    );
}

#[test]
fn records_that_are_known_are_skipped() {
    let mut decoder = Decoder::new(4096, false);
    let mut out = Vec::new();
    decoder.skip_through(7);
    for seq in [6, 7] {
        decoder.push(&killed(3, seq), LATER, &mut out);
    }
    assert_eq!(out, []);
    decoder.push(&killed(3, 10), LATER, &mut out);
    assert_eq!(out[0], KmsgEvidence::Lost { records: 2 });
    assert!(
        matches!(&out[1..], [KmsgEvidence::Killed(kill)] if kill.seq == 10 && kill.monotonic_ns == 5000)
    );
}

#[test]
fn a_clock_that_runs_ahead_is_set_back() {
    let mut decoder = Decoder::new(4096, false);
    let mut out = Vec::new();
    // Stamped 5 µs, read at 3 µs: two ahead, then and later, until it is seen to be more.
    for (seq, read_ns) in [(1, 9000), (2, 3000), (3, 9000), (4, 1000)] {
        decoder.push(&killed(3, seq), read_ns, &mut out);
    }
    let times: Vec<_> = out
        .iter()
        .map(|evidence| match evidence {
            KmsgEvidence::Killed(kill) => kill.monotonic_ns,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(times, [5000, 3000, 3000, 1000]);
}

#[test]
fn what_the_kernel_did_not_say_is_forged() {
    let user = killed(12, 1);
    assert_eq!(decode(false, &[&user]), [KmsgEvidence::Forged { seq: 1 }]);
    assert!(matches!(
        decode(true, &[&user])[..],
        [KmsgEvidence::Killed(_)]
    ));
    assert_eq!(
        decode(false, &[b"12,1,5,-;hello\n", b"12,2,5,-;[ 1] 2\n"]),
        []
    );

    // A cgroup's name at the end of a message of the kernel: pr_info, while kills are pr_err.
    let in_a_name = format!("6,1,5,-;cgroup: fork rejected by pids controller in /a: {KILLED}\n");
    assert_eq!(
        decode(false, &[in_a_name.as_bytes()]),
        [KmsgEvidence::Forged { seq: 1 }]
    );
}

#[test]
fn a_summary_in_pieces_is_one_summary() {
    let header =
        b"4,1,5,-;hog invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n";
    let first = b"6,2,5,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=\n";
    let kill = killed(3, 9);
    let report = |records: &[&[u8]]| -> (Option<KmsgReport>, Vec<KmsgEvidence>) {
        let mut out = decode(false, records);
        let Some(KmsgEvidence::Killed(kill)) = out.pop() else {
            panic!("{out:?}")
        };
        (kill.report.map(|report| (*report).clone()), out)
    };

    let (whole, rest) = report(&[
        header,
        first,
        b"6,3,5,-;oom_reaper: unable to reap pid:3 (hog)\n",
        b"6,4,5,c;leaf,mems_allowed=0,oom_memcg=/a,task_memcg=\n",
        b"12,5,5,c;,task=forged,pid=1,uid=0\n",
        b"6,6,5,c;not a part\n",
        b"6,7,5,c;/a/x,task=a,pid=1,uid=2\n",
        b"6,8,5,c;,task=hog,pid=7,uid=0\n",
        &kill,
    ]);
    let whole = whole.unwrap();
    assert!(whole.complete);
    assert_eq!(whole.task_memcg.as_deref(), Some("/a/x,task=a,pid=1,uid=2"));
    assert_eq!((whole.victim_tid, whole.victim_uid), (Some(7), Some(0)));
    assert!(matches!(rest[..], [KmsgEvidence::Reaped { tid: 3, .. }]));

    let part = b"6,3,5,c;leaf,mems_allowed=0\n";
    let filler: Vec<_> = (4..9)
        .map(|seq| format!("6,{seq},5,-;x\n").into_bytes())
        .collect();
    let mut records: Vec<&[u8]> = vec![header, first, part];
    records.extend(filler.iter().map(Vec::as_slice));
    records.push(&kill);
    let (partial, rest) = report(&records);
    assert!(!partial.unwrap().complete);
    assert_eq!(rest, [KmsgEvidence::Malformed { seq: Some(2) }]);
}

proptest! {
    #[test]
    fn no_records_make_it_panic(records: Vec<(u8, u8, bool, Vec<u8>)>) {
        let mut decoder = Decoder::new(4096, true);
        let mut out = Vec::new();
        for (head, seq, fragment, tail) in records {
            let heads = ["oom-kill:constraint=X,nodemask=", ",task=", "[", "memory: usage ", "Tasks in ", ""];
            let flag = if fragment { 'c' } else { '-' };
            let mut raw = format!("3,{seq},5,{flag};{}", heads[usize::from(head) % heads.len()]).into_bytes();
            raw.extend(tail);
            decoder.push(&raw, LATER, &mut out);
        }
    }
}
