//! The one durable thing: events for everyone who asks later, and what detection needs to go on where it
//! was cut off.
//!
//! ```text
//!  detection ─ Entry ─▶ queue ─▶ store thread ─▶ one transaction: journal, events, positions
//!                                     │                    │ committed
//!                                     │                    ├─▶ the ring may let go of its records
//!                                     └─ retention         └─▶ readers, by cursor
//! ```
//! Reads [`Entry`]s in the order of detection; emits a database that any tool for `SQLite` can open. Refuses
//! to hold up detection: what it cannot take is counted, and said.

mod entry;
pub mod journal;

pub use entry::{Entry, RingPlace, Snapshot};
