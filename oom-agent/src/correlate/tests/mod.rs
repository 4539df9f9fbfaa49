//! The correlator by tables and properties: evidence with its time in, events out.

mod audit;
mod bench;
mod memory;
mod orders;
mod properties;
mod report;
mod victims;
