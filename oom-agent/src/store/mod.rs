//! The one durable thing: events for everyone who asks later, and what detection needs to go on where it
//! was cut off.
//!
//! ```text
//!  detection ─ Entry ─▶ queue ─▶ store thread ─▶ one transaction: journal, events, positions
//!                                     │                    │ committed
//!                                     │                    ├─▶ the ring may let go of its records
//!                                     └─ retention         └─▶ readers, by cursor
//! ```
//! Reads [`Entry`]s in the order of detection; emits a database that any tool for SQLite can open. Refuses
//! to hold up detection: what it cannot take is counted, and said.

mod age;
mod batch;
mod counts;
mod cursor;
mod dead_letters;
mod deliveries;
mod ended;
mod entry;
mod error;
mod filter;
mod generation;
mod index;
pub mod journal;
mod kills;
mod lane;
mod lanes;
mod lists;
mod lock;
mod open;
mod query;
#[cfg(test)]
mod query_model;
mod queue;
mod recovery;
mod retain;
mod rows;
mod schema;
pub(crate) mod terms;
#[cfg(test)]
mod testing;
mod thread;
mod timeline;
mod told;
mod write;

pub use crate::evidence::RingPlace;
pub use batch::{Batch, Step};
pub use counts::Counts;
pub use cursor::{Cursor, NoCursor};
pub use dead_letters::{DeadLetter, DeadLetters, Given};
pub use deliveries::Deliveries;
pub use entry::{Delivered, Entry, Snapshot};
pub use error::StoreError;
pub use filter::{CgroupFilter, Filter};
pub use generation::{Generation, NoGeneration};
pub use lanes::Lost;
pub use query::{Gap, Order, Page, QueryError, Reader, Stored, Tail};
pub use queue::{Offer, Release};
pub use recovery::{Left, Recovery, Run};
pub use retain::Retention;
pub use thread::{Options, Storing, start};
pub use timeline::{By, Counted, Row, Timeline};
pub use told::ToldLately;
pub use write::{Begun, Committed, Store};
