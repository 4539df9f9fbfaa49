//! The outputs.

pub mod stdout;
