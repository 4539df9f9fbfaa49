//! Memory stays the same however long the input is.

use std::{
    fs,
    io::{self, Read},
};

use super::{kernel_records, logs, options};
use crate::forms;
use oom_agent::{event::Event, offline};

/// The same text over and over, so long in all.
struct Endless {
    text: Vec<u8>,
    at: usize,
    left: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = &self.text[self.at..];
        let count = from.len().min(buffer.len()).min(self.left);
        buffer[..count].copy_from_slice(&from[..count]);
        self.at = (self.at + count) % self.text.len();
        self.left -= count;
        Ok(count)
    }
}

/// `VmRSS` of this process, in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: usize = line
        .split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kilobytes * 1024
}

#[test]
fn memory_does_not_grow_with_the_input() {
    const LENGTH: usize = 256 << 20;
    const ENOUGH: usize = 16 << 20;
    let mut text = Vec::new();
    for (_, raw) in logs::all().unwrap() {
        let records = kernel_records(&raw).unwrap_or_default();
        text.extend((forms::FORMS[1].write)(&records));
    }
    // Mostly what the log of a busy machine is.
    text.extend(
        b"[ 99999.000000] audit: type=1400 audit(1600000000.123:456): apparmor\n".repeat(200_000),
    );
    let input = Endless {
        text,
        at: 0,
        left: LENGTH,
    };
    let before = resident();
    let (mut events, mut peak) = (0, 0);
    let summary = offline::read(input, &options(), &mut |_: Event| {
        events += 1;
        peak = peak.max(resident());
    });
    assert_eq!(summary.unwrap().bytes, LENGTH as u64);
    assert!(events > 100, "{events}");
    assert!(peak - before.min(peak) < ENOUGH, "{before} {peak}");
}
