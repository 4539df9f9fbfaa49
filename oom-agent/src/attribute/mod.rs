//! Whose a cgroup is: from its path, and from what was known of it before the kill.
//!
//! Pure. [`cgroup_path`](crate::cgroup_path) reads a path alone; [`Roster`] keeps what the watch of cgroups has seen, removed
//! ones for a while too; [`Desk`] takes the correlator's events, adds the names, and passes them on.
//! The path is the truth: the roster adds names to the owner that it tells, and names an owner only where
//! the path tells none and the runtime's own file claims this very cgroup. Refuses to hold an alert for
//! longer than [`desk::NAMES_NS`].

mod claim;
mod container;
pub mod desk;
#[cfg(test)]
mod desk_tests;
mod roster;
#[cfg(test)]
mod roster_tests;

pub use crate::cgroup_path::{Place, attribute};

pub use self::{
    desk::{Ask, ContainerEvents, Desk},
    roster::Roster,
};
