//! Scenarios on a real kernel: real OOM kills, the real agent, and what it says about them.
//!
//! [`scene`] makes the kills with the actors of `bin/scenario` and returns the truth; [`agent`] runs
//! the agent and collects its events; [`check`] compares the two; [`klog`] and [`machine`] ask the
//! kernel itself. Refuses to report success where the machine does not allow a scenario: it says
//! `skipped`, and with `OOM_TESTS_REQUIRE_PRIVILEGED=1` it fails.

pub mod agent;
#[cfg(not(target_env = "musl"))]
pub mod api_server;
pub mod bpffs;
pub mod catalogue;
pub mod check;
pub mod dist;
pub mod http;
pub mod kept;
pub mod klog;
pub mod machine;
pub mod outbox;
pub mod power;
pub mod relay;
#[cfg(not(target_env = "musl"))]
pub mod runtime;
pub mod scene;
pub mod told;
pub mod watch;
