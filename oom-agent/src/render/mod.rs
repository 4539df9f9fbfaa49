//! Events in words, for whoever shows them: standard output, the command line, the API, a note of Kubernetes.
//!
//! Reads events; emits text. Refuses to change what an event says.

pub(crate) mod before;
pub(crate) mod container;
pub(crate) mod end;
pub(crate) mod escape;
pub(crate) mod flow;
mod held;
pub(crate) mod owner;
pub(crate) mod report;
pub mod text;
pub mod units;
pub(crate) mod words;
