//! Raw records of `/dev/kmsg`: a log as in `oom-agent/tests/kmsg`, with whatever is done to it.

#![no_main]

mod law;

use libfuzzer_sys::fuzz_target;
use oom_agent::source::kmsg::Decoder;

fuzz_target!(|log: &[u8]| {
    let mut decoder = Decoder::new(4096, true);
    let mut evidence = Vec::new();
    for record in log.split_inclusive(|&b| b == b'\n') {
        decoder.push(record, u64::MAX, &mut evidence);
    }
    law::check(evidence);
});
