//! The `oom-agent` binary.

fn main() {}
