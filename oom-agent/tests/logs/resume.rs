//! Cut off anywhere, and gone on: the logs of real kernels, read up to some record by one agent and
//! from its checkpoint by the next, tell what they tell in one go. And what the journal keeps comes back
//! as it was.

use std::collections::HashSet;

use oom_agent::{
    correlate::log_record,
    evidence::{Evidence, KmsgEvidence},
    source::kmsg::Decoder,
    store::journal,
};

use crate::logs;

/// Cuts tried in one log.
const CUTS: usize = 200;

#[test]
fn the_journal_gives_back_what_it_was_given() {
    for (path, records) in logs::all().unwrap() {
        let (mut encoder, mut decoder) = (journal::Encoder::default(), journal::Decoder::default());
        for evidence in logs::evidence(&records) {
            let evidence = Evidence::Kmsg(evidence);
            let row = encoder.encode(&evidence).unwrap();
            let back = decoder.decode(&row).unwrap();
            assert_eq!(
                format!("{back:?}"),
                format!("{evidence:?}"),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn a_log_read_in_two_goes_tells_the_same() {
    for (path, records) in logs::all().unwrap() {
        let whole = told(&logs::evidence(&records), &HashSet::new());
        let step = records.len().div_ceil(CUTS).max(1);
        for cut in (0..=records.len()).step_by(step) {
            let mut first = Decoder::new(4096, false);
            let mut before = Vec::new();
            for record in &records[..cut] {
                first.push(record, u64::MAX, &mut before);
            }
            let mut next = Decoder::new(4096, false);
            if let Some(seq) = first.read_through(0) {
                next.skip_through(seq);
            }
            let known: HashSet<u64> = before
                .iter()
                .filter_map(|evidence| log_record(&Evidence::Kmsg(evidence.clone())))
                .collect();
            let mut after = Vec::new();
            for record in &records {
                next.push(record, u64::MAX, &mut after);
            }
            let mut both = told(&before, &HashSet::new());
            both.extend(told(&after, &known));
            assert_eq!(both, whole, "{}, cut at {cut}", path.display());
        }
    }
}

/// A kill is the last word of many a log: once it has been silent for long, nothing is under way.
#[test]
fn a_silence_ends_what_is_under_way() {
    for (path, records) in logs::all().unwrap() {
        let mut decoder = Decoder::new(4096, false);
        for record in &records {
            decoder.push(record, u64::MAX, &mut Vec::new());
        }
        let later = u64::MAX / 2;
        let last = decoder.read_through(later);
        if !decoder.is_held_back(later) {
            let name = path.display();
            assert!(last >= decoder.read_through(0), "{name}");
        }
    }
}

/// What stands for one record each, and is not known yet.
fn told(evidence: &[KmsgEvidence], known: &HashSet<u64>) -> Vec<String> {
    let new = |evidence: &&KmsgEvidence| {
        log_record(&Evidence::Kmsg((*evidence).clone())).is_some_and(|seq| !known.contains(&seq))
    };
    let told = evidence.iter().filter(new);
    told.map(|evidence| format!("{evidence:?}")).collect()
}
