//! Every scenario by name: what it is about, what it needs, and what it expects of the agent.
//!
//! Reads nothing; the scenes make the kills and return the truth. Refuses, with a reason that begins
//! with `this kernel`, what the running kernel cannot do.

use std::path::Path;

use anyhow::Result;
use oom_agent::hierarchy::CgroupVersion;

use crate::{
    machine::{self, Machine},
    scene::{self, GroupTruth, Leaked, Marked, NoVictim, Owned, StormTruth, Truth},
};

/// What a scenario provoked: what the agent must tell, and nothing besides.
#[derive(Debug)]
pub enum Expected {
    /// One process died for each of these decisions.
    Deaths(Vec<Truth>),
    /// One process died for each of these decisions, and it is told whose it was.
    Owned(Vec<Owned>),
    /// One process died after a steady growth, and it is told how it came to that.
    Leaked(Box<Leaked>),
    /// A cgroup died as one.
    Group(GroupTruth),
    /// Nobody died.
    NoVictim(NoVictim),
    /// Somebody who was dying anyway was marked.
    Marked(Marked),
    /// Many kills, each in a cgroup of its own.
    Storm(StormTruth),
}

/// What a scenario needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A machine of its own.
    Guest,
    /// The memory controller on cgroup v2.
    CgroupV2,
    /// A second memory node.
    SecondNode,
}

impl Need {
    /// Why this machine has not got it.
    fn lacking(self, machine: &Machine) -> Option<&'static str> {
        let (there, reason) = match self {
            Self::Guest => (
                machine::is_guest(),
                "takes a machine of its own: `cargo xtask vm`",
            ),
            Self::CgroupV2 => (
                machine.hierarchy.version == CgroupVersion::V2,
                "this kernel has its memory controller on cgroup v1",
            ),
            Self::SecondNode => (
                Path::new("/sys/devices/system/node/node1").exists(),
                "this kernel has one memory node",
            ),
        };
        (!there).then_some(reason)
    }
}

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name on the command line and in tables.
    pub name: &'static str,
    /// What happens, in a few words.
    pub about: &'static str,
    /// What it needs.
    pub needs: &'static [Need],
    /// Makes it happen.
    pub play: fn(&Machine) -> Result<Expected>,
}

impl Scenario {
    /// The scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Why it cannot be played here.
    #[must_use]
    pub fn lacking(&self, machine: &Machine) -> Option<&'static str> {
        self.needs.iter().find_map(|need| need.lacking(machine))
    }
}

/// How many kills a storm makes: far more than the 10 reports in 5 seconds that the kernel prints. In a guest,
/// where emulation makes a few in a second, half as many show the same.
fn storm_kills() -> u32 {
    if machine::is_guest() { 150 } else { 300 }
}

fn death(truth: Result<Truth>) -> Result<Expected> {
    Ok(Expected::Deaths(vec![truth?]))
}

/// All of them, in the order of play: what leaves most behind comes last.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "single",
        about: "one process exceeds the limit of its own cgroup",
        needs: &[],
        play: |machine| death(scene::one_kill(&machine.hierarchy)),
    },
    Scenario {
        name: "quiet-console",
        about: "three kills; figures to compare the next with",
        needs: &[Need::Guest],
        play: |machine| Ok(Expected::Deaths(scene::some_kills(&machine.hierarchy)?)),
    },
    Scenario {
        name: "slow-console",
        about: "three kills while the kernel writes its whole log to a serial console",
        needs: &[Need::Guest],
        play: |machine| Ok(Expected::Deaths(scene::slow_console(&machine.hierarchy)?)),
    },
    Scenario {
        name: "ancestor-limit",
        about: "the limit is that of a cgroup two levels above",
        needs: &[],
        play: |machine| death(scene::ancestor_limit(&machine.hierarchy)),
    },
    Scenario {
        name: "victim-is-not-trigger",
        about: "a small process asks, a big one in another cgroup dies",
        needs: &[],
        play: |machine| {
            Ok(Expected::Deaths(scene::victim_is_not_the_trigger(
                &machine.hierarchy,
            )?))
        },
    },
    Scenario {
        name: "main-thread-gone",
        about: "the victim's main thread has exited",
        needs: &[],
        play: |machine| death(scene::leaderless(&machine.hierarchy)),
    },
    Scenario {
        name: "group",
        about: "memory.oom.group with five more members",
        needs: &[Need::CgroupV2],
        play: |machine| Ok(Expected::Group(scene::group(&machine.hierarchy, 5)?)),
    },
    Scenario {
        name: "already-exiting",
        about: "the kernel's choice is dying already: a mark, no kill",
        needs: &[],
        play: |machine| {
            Ok(Expected::Marked(scene::already_exiting(
                &machine.hierarchy,
            )?))
        },
    },
    Scenario {
        name: "shared-memory",
        about: "two processes share one memory: both die, one is named",
        needs: &[],
        play: |machine| death(scene::shared_memory(&machine.hierarchy)),
    },
    Scenario {
        name: "no-killable-process",
        about: "the limit is reached, and everybody there is exempt",
        // Below 0, `oom_score_adj` takes CAP_SYS_RESOURCE.
        needs: &[Need::Guest],
        play: |machine| {
            Ok(Expected::NoVictim(scene::no_killable_process(
                &machine.hierarchy,
            )?))
        },
    },
    Scenario {
        name: "tmpfs",
        about: "the limit is reached by writing to a tmpfs",
        needs: &[],
        play: |machine| death(scene::tmpfs(&machine.hierarchy)),
    },
    Scenario {
        name: "page-cache",
        about: "the limit is reached by pages that cannot be written back",
        needs: &[],
        play: |machine| death(scene::page_cache(&machine.hierarchy)),
    },
    Scenario {
        name: "named-alike",
        about: "two cgroups of one name; one removed and made again",
        needs: &[],
        play: |machine| {
            Ok(Expected::Deaths(scene::cgroups_named_alike(
                &machine.hierarchy,
            )?))
        },
    },
    Scenario {
        name: "owners",
        about: "cgroups as runtimes lay them out, gone right after the kill: whose was it",
        needs: &[Need::Guest],
        play: |machine| Ok(Expected::Owned(scene::owners(&machine.hierarchy)?)),
    },
    Scenario {
        name: "churn",
        about: "kills in containers of a pod while hundreds of others come and go",
        needs: &[Need::Guest],
        play: |machine| Ok(Expected::Owned(scene::churn(&machine.hierarchy)?)),
    },
    Scenario {
        name: "leak",
        about: "a process grows steadily for seconds: what memory did before the kill",
        needs: &[],
        play: |machine| Ok(Expected::Leaked(Box::new(scene::leak(&machine.hierarchy)?))),
    },
    Scenario {
        name: "sysrq",
        about: "somebody asks for a kill with sysrq-f",
        needs: &[Need::Guest],
        play: |machine| death(scene::sysrq(&machine.hierarchy)),
    },
    Scenario {
        name: "sysrq-no-victim",
        about: "the same, and everybody is exempt",
        needs: &[Need::Guest],
        play: |machine| {
            Ok(Expected::NoVictim(scene::sysrq_without_victim(
                &machine.hierarchy,
            )?))
        },
    },
    Scenario {
        name: "cpuset",
        about: "the one node that a cpuset allows is full",
        needs: &[Need::Guest, Need::SecondNode, Need::CgroupV2],
        play: |machine| death(scene::cpuset(&machine.hierarchy)),
    },
    Scenario {
        name: "memory-policy",
        about: "the one node that a memory policy allows is full",
        needs: &[Need::Guest, Need::SecondNode],
        play: |machine| death(scene::memory_policy(&machine.hierarchy)),
    },
    Scenario {
        name: "system",
        about: "the machine's memory ends",
        needs: &[Need::Guest],
        play: |machine| death(scene::system(&machine.hierarchy)),
    },
    Scenario {
        name: "kill-allocating-task",
        about: "the same with vm.oom_kill_allocating_task",
        needs: &[Need::Guest],
        play: |machine| death(scene::kill_allocating_task(&machine.hierarchy)),
    },
    Scenario {
        name: "storm",
        about: "hundreds of kills, as fast as the machine makes them",
        needs: &[],
        play: |_| Ok(Expected::Storm(scene::storm(storm_kills())?)),
    },
];
