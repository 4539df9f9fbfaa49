//! The tree of memory cgroups: which come and go, and what their runtimes call them.

pub mod names;
