//! Reads the logs of real kernels in `tests/kmsg/*.kmsg`; emits their records as `/dev/kmsg` returns
//! them. Refuses a file that cannot be read.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

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
