//! Reads the logs of real kernels in `tests/kmsg/*.kmsg`; emits their records as `/dev/kmsg` returns
//! them, what they tell, and what the agent makes of that. Refuses a file that cannot be read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use oom_agent::{
    clock::Now,
    correlate::{Correlator, Host, Timing},
    event::Event,
    evidence::{Evidence, Feed, KmsgEvidence},
    source::kmsg::Decoder,
};

const SECOND: u64 = 1_000_000_000;

/// One log: its file and its records.
pub(crate) type Log = (PathBuf, Vec<Vec<u8>>);

/// All logs, by name.
pub(crate) fn all() -> io::Result<Vec<Log>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kmsg");
    let mut logs = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "kmsg")
        {
            let records = records(&fs::read(&path)?);
            logs.push((path, records));
        }
    }
    logs.sort();
    Ok(logs)
}

/// Records begin at the margin; the lines of a dictionary do not.
fn records(log: &[u8]) -> Vec<Vec<u8>> {
    let mut records: Vec<Vec<u8>> = Vec::new();
    for line in log.split_inclusive(|&b| b == b'\n') {
        match records.last_mut() {
            Some(record) if line.starts_with(b" ") => record.extend_from_slice(line),
            _ => records.push(line.to_vec()),
        }
    }
    records
}

/// What a log tells.
pub(crate) fn evidence(records: &[Vec<u8>]) -> Vec<KmsgEvidence> {
    let mut decoder = Decoder::new(4096, false);
    let mut evidence = Vec::new();
    for record in records {
        decoder.push(record, u64::MAX, &mut evidence);
    }
    let reports = decoder.abandoned_reports();
    if reports > 0 {
        evidence.push(KmsgEvidence::Abandoned { reports });
    }
    evidence
}

/// What the agent makes of it.
pub(crate) fn events(bpf: Vec<Evidence>, log: Vec<KmsgEvidence>) -> Vec<Event> {
    let host = Host::new("6b1f0c2e-7d3a-4f55-9a61-0b7f4c1de911", "node");
    let mut correlator = Correlator::new(host, Timing::default());
    let mut now = Now {
        monotonic_ns: SECOND,
        wall_offset_ns: 1_795_298_463_123_456_789,
        boot_offset_ns: 0,
    };
    let mut out = Vec::new();
    let sources = [(Feed::Bpf, !bpf.is_empty()), (Feed::Kmsg, true)];
    let states = sources.map(|(source, up)| Evidence::SourceState { source, up });
    let log = log.into_iter().map(Evidence::Kmsg);
    for evidence in states.into_iter().chain(bpf).chain(log) {
        correlator.observe(evidence, now, &mut out);
    }
    while let Some(deadline) = correlator.next_deadline() {
        now.monotonic_ns = deadline.max(now.monotonic_ns + 1);
        correlator.tick(now, &mut out);
    }
    out
}
