//! What this machine allows: each capability, feature and permission by itself, and what they add up
//! to.
//!
//! Reads `/proc`, `/sys`, `/dev/kmsg`, what runtimes leave on disk, and tries the programs themselves, which
//! are dropped at once; emits a [`Report`]. Refuses to conclude from versions and configurations what can be tried.

mod capabilities;
mod cgroups;
mod log;
mod machine;
mod memory;
mod pins;
mod programs;
mod protections;
pub mod render;
mod runtimes;
mod speed;

use std::path::Path;

use serde::Serialize;

use crate::{bpf::load, hierarchy::Hierarchy};

/// Everything that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether BPF or the kernel log can deliver kills.
    pub usable: bool,
    /// What the agent would run at.
    pub tier: Tier,
    /// The same in one sentence.
    pub verdict: String,
    /// Why it is not a better tier, one reason each.
    pub not_better_because: Vec<String>,
    /// One entry for each thing, grouped by topic.
    pub checks: Vec<Check>,
}

/// What the agent would run at; the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The mark with its task, and the kernel's decision.
    BpfFull,
    /// The mark with its task; the decision from the kernel stack.
    BpfStack,
    /// The mark with only a pid.
    BpfPid,
    /// The classic tracepoint, by its format.
    BpfFormat,
    /// The kernel log alone.
    Kmsg,
    /// Nothing can deliver kills.
    None,
}

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is there.
    Ok,
    /// It is there, but not as it should be.
    Degraded,
    /// It is not there.
    Missing,
    /// It could not be found out.
    Unknown,
}

/// One capability, feature or permission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it stands.
    pub state: State,
    /// What is there.
    pub found: String,
    /// What is lost for it; null where nothing is.
    pub cost: Option<String>,
    /// How to get it; null where there is nothing to do.
    pub fix: Option<String>,
}

impl Check {
    fn new(name: &'static str, state: State, found: impl Into<String>) -> Self {
        Self {
            name,
            state,
            found: found.into(),
            cost: None,
            fix: None,
        }
    }

    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Ok, found)
    }

    fn cost(mut self, cost: impl Into<String>) -> Self {
        self.cost = Some(cost.into());
        self
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// Looks at everything; the host's files are below `host_root`. Takes as long as loading the programs
/// takes: well below a second.
#[must_use]
pub fn run(host_root: &Path) -> Report {
    let mut programs = programs::try_load();
    let watch = programs.as_mut().ok().and_then(|it| it.cgroups.take());
    let (kmsg, boot_id) = (log::kmsg(), machine::boot_id());
    let log_readable = kmsg.state == State::Ok;
    let (mut tier, mut not_better_because) = match &programs {
        Ok(reached) => (reached.tier.into(), reached.notes.clone()),
        Err(error) if log_readable => (Tier::Kmsg, vec![error.reason.clone()]),
        Err(error) => (Tier::None, vec![error.reason.clone(), kmsg.found.clone()]),
    };
    let bpf = programs.as_ref().ok().map(|reached| reached.tier);
    if boot_id.state != State::Ok {
        tier = Tier::None;
        not_better_because.push(boot_id.found.clone());
    }
    let programs_checks = programs::checks(&programs);
    // What BPF can do without, but not without a loss.
    let also = [
        programs_checks
            .iter()
            .find(|it| it.name == programs::SYMBOLS),
        Some(&kmsg),
    ];
    if programs.is_ok() {
        let lost = also
            .into_iter()
            .flatten()
            .filter(|it| it.state != State::Ok);
        not_better_because.extend(lost.map(|it| it.found.clone()));
    }
    let held = capabilities::Held::read();
    let mut checks = capabilities::checks(&held, programs.is_ok());
    checks.push(machine::pid_namespace());
    checks.extend(programs_checks);
    checks.push(pins::check());
    checks.push(kmsg);
    checks.push(log::console());
    let hierarchy = Hierarchy::find();
    checks.extend(machine::checks(hierarchy.as_ref()));
    if let Ok(hierarchy) = &hierarchy {
        checks.extend(cgroups::checks(watch, programs.is_ok(), hierarchy));
        checks.extend(memory::checks(hierarchy));
    }
    checks.extend(runtimes::checks(host_root));
    checks.push(boot_id);
    checks.extend(speed::checks());
    checks.extend(protections::checks(held.effective));
    Report {
        usable: tier != Tier::None,
        tier,
        verdict: verdict(tier, bpf, log_readable),
        not_better_because,
        checks,
    }
}

fn verdict(tier: Tier, bpf: Option<load::Tier>, log_readable: bool) -> String {
    match (tier, bpf) {
        (Tier::None, _) => "oom-agent cannot run here".to_owned(),
        (_, None) => "oom-agent would run at tier kmsg (the kernel log alone)".to_owned(),
        (_, Some(bpf)) => format!(
            "oom-agent would run at tier {}, {}cross-checked with the kernel log",
            bpf.describe(),
            if log_readable { "" } else { "not " }
        ),
    }
}

impl From<load::Tier> for Tier {
    fn from(tier: load::Tier) -> Self {
        match tier {
            load::Tier::Full(_) => Self::BpfFull,
            load::Tier::Stack => Self::BpfStack,
            load::Tier::Pid(_) => Self::BpfPid,
            load::Tier::Format => Self::BpfFormat,
        }
    }
}

/// The content of a small file, trimmed; `None` if it cannot be read.
fn setting(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests;
