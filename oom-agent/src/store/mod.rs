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

mod age;
mod batch;
mod entry;
mod error;
mod index;
pub mod journal;
mod lock;
mod open;
mod recovery;
mod schema;
mod told;
mod write;

pub use batch::{Batch, Step};
pub use entry::{Entry, RingPlace, Snapshot};
pub use error::StoreError;
pub use recovery::{Recovery, Run};
pub use write::{Committed, Store};
