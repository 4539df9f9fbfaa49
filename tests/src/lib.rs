//! Scenarios on a real kernel: real OOM kills, the real agent, and what it says about them.
//!
//! [`scene`] makes the kills with the actors of `bin/scenario` and returns the truth; [`agent`] runs
//! the agent and collects its events; [`check`] compares the two; [`klog`] and [`machine`] ask the
//! kernel itself. Refuses to report success where the machine does not allow a scenario: it says
//! `skipped`, and with `OOM_TESTS_REQUIRE_PRIVILEGED=1` it fails.

pub mod agent;
#[cfg(not(target_env = "musl"))]
mod answering;
#[cfg(not(target_env = "musl"))]
pub mod api_server;
pub mod bpffs;
#[cfg(not(target_env = "musl"))]
pub mod browser;
pub mod catalogue;
#[cfg(not(target_env = "musl"))]
pub mod certificate;
pub mod check;
#[cfg(not(target_env = "musl"))]
pub mod collector;
pub mod cpus;
#[cfg(not(target_env = "musl"))]
pub mod delivering;
pub mod dist;
pub mod http;
pub mod kept;
pub mod klog;
#[cfg(not(target_env = "musl"))]
pub mod loopback;
pub mod machine;
#[cfg(not(target_env = "musl"))]
pub mod nats;
pub mod outbox;
pub mod power;
#[cfg(not(target_env = "musl"))]
pub mod receiver;
pub mod relay;
#[cfg(not(target_env = "musl"))]
pub mod runtime;
pub mod scene;
#[cfg(not(target_env = "musl"))]
pub mod served;
pub mod small_disk;
pub mod told;
pub mod watch;
mod watched;
pub mod way;
