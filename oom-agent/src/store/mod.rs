//! The one durable thing: events for everyone who asks later, and what detection needs to go on where it
//! was cut off.
//!
//! ```text
//!  detection ─ Entry ─▶ queue ─▶ store thread ─▶ one transaction: journal, events, positions
//!                                     │                    │ committed
//!                                     │                    ├─▶ the ring may let go of its records
//!                                     └─ retention         └─▶ readers, by cursor
//! ```
//! Reads [`Entry`]s in the order of detection; emits a SQLite database that any tool can open. Refuses
//! to hold up detection: what it cannot take is counted, and said.

mod age;
mod batch;
mod cursor;
mod entry;
mod error;
mod filter;
mod index;
mod journal;
mod lists;
mod lock;
mod open;
mod query;
mod recovery;
mod schema;
pub(crate) mod terms;
mod write;

pub use batch::{Batch, Step};
pub use cursor::{Cursor, NoCursor};
pub use entry::{Entry, RingPlace, Snapshot};
pub use error::StoreError;
pub use filter::{CgroupFilter, Filter};
pub use journal::{EncodeError, Encoder};
pub use query::{Gap, Order, Page, QueryError, Reader, Stored, Tail};
pub use recovery::{Recovery, Run};
pub use write::{Committed, Store};
