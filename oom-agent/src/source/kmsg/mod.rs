//! The kernel log as evidence: works on every kernel, with or without BPF.
//!
//! Reads `/dev/kmsg`; emits [`KmsgEvidence`](crate::evidence::KmsgEvidence); refuses records that
//! the kernel did not write (counted as forged) and text that does not parse (counted as malformed).
//!
//! ```text
//!  reader ── raw record ─▶ decode ── message ─▶ messages ─┬─ join     a summary that was split
//!  (I/O)                  (record)              (pure)    ├─ line     what one message says
//!                                                         └─ report   which lines are one report,
//!                                                                     and whose kill it is
//! ```

pub mod cpu;
pub mod decode;
mod join;
pub mod kill;
pub mod line;
pub mod mem_info;
pub mod messages;
mod open;
pub mod reader;
pub mod record;
pub mod report;
pub mod stats;
pub mod summary;
pub mod table;
pub mod thread;
pub mod trace;

pub use decode::Decoder;
pub use reader::{Batch, KmsgError, KmsgReader, Options, Position, RecordSource};
pub use thread::{KMSG, KmsgThread};

use super::scan;
