//! Where events go: rendered for people. Refuses to change what an event says.

mod escape;
mod flow;
mod report;
pub mod text;
pub mod units;
mod words;
