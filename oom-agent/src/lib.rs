//! The agent: every process that the kernel kills for memory, reported once, at once, and proved
//! against the kernel's own counter.
//!
//! ```text
//!  bpf ─▶ source::bpf    ─┐
//!         source::kmsg   ─┤
//!         source::audit  ─┼─ Evidence ─▶ correlate ─ Event ─▶ attribute ─▶ hub ─┬▶ stdout, watch, metrics
//!         source::memory ─┤                                                     └▶ store ─▶ api, deliver
//!         source::cgroup ─┤
//!         source::victim ─┘
//! ```
//! Data flows one way. `source` turns bytes into [`evidence`]; `correlate` decides and `attribute` says whose it was, both
//! pure; [`event`] is the public contract.

// But for `bpf`, where memory is the allocator's or shared with the kernel.
#![deny(unsafe_code)]

pub mod allocation;
pub mod api;
pub mod attribute;
pub mod bpf;
pub mod call_trace;
pub mod cgroup_path;
pub mod cli;
pub mod client;
pub mod clock;
pub mod confine;
pub mod correlate;
pub mod daemon;
pub mod deliver;
pub mod detect;
pub mod doctor;
pub mod error;
pub mod event;
pub mod evidence;
pub mod explain;
#[cfg(feature = "nats")]
pub mod fleet;
pub mod hierarchy;
pub mod host;
pub mod hub;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod machine;
pub mod metrics;
#[cfg(feature = "nats")]
pub mod nats;
pub mod notify;
pub mod offline;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(any(feature = "otlp", feature = "webhook"))]
pub mod outbound;
pub mod question;
pub mod realtime;
pub mod render;
pub mod source;
pub mod status;
pub mod stdout;
pub mod store;
pub mod text;
pub mod timestamp;
pub mod trend;
pub mod trigger;
pub mod watch;
#[cfg(feature = "webhook")]
pub mod webhook;
