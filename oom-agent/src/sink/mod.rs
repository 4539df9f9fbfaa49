//! The outputs. Each writes what an event says and refuses to change it.

pub(crate) mod before;
pub(crate) mod container;
pub(crate) mod end;
pub(crate) mod escape;
pub(crate) mod flow;
mod held;
pub(crate) mod owner;
pub(crate) mod report;
pub mod stdout;
pub mod text;
pub mod units;
pub(crate) mod words;
