//! Files that the agent may not touch (landlock(7)): nothing is written, made, removed or executed, but
//! below the directories that it is told. Reading stays, and so does what is open already.
//!
//! Best effort: what an older kernel does not know it does not refuse. A domain also keeps the agent from
//! what `ptrace(2)` would allow (`/proc/PID/maps`, `environ`, `root`, …), of which it reads nothing; where
//! `/proc` is mounted with `hidepid`, other processes vanish for it.

use std::path::Path;

use landlock::{
    ABI, AccessFs, LandlockStatus, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus,
};

use super::State;

/// The newest whose rights are asked for: devices' own calls (`ioctl(2)`) are of it.
const NEWEST: ABI = ABI::V5;

/// Restricts the calling thread, and those that it starts.
pub(super) fn restrict(writable: &[&Path]) -> State {
    // A directory that cannot be opened is one that cannot be written to: said, and no reason to leave
    // all others open.
    let mut refused = Vec::new();
    let mut open = Vec::new();
    for &path in writable {
        match PathFd::new(path) {
            Ok(fd) => open.push(fd),
            Err(error) => refused.push(format!(
                "nothing can be written below {}: {}",
                path.display(),
                crate::error::chain(&error)
            )),
        }
    }
    match enforce(open) {
        Err(error) => State::Off(crate::error::chain(&error)),
        Ok((RulesetStatus::NotEnforced, _)) => State::Off(
            "this kernel has none: it takes 5.13+, CONFIG_SECURITY_LANDLOCK and `landlock` in lsm="
                .to_owned(),
        ),
        Ok((RulesetStatus::PartiallyEnforced, status)) => {
            refused.push(format!("this kernel knows a part of it ({status:?})"));
            State::Partly(refused.join("; "))
        }
        Ok((RulesetStatus::FullyEnforced, _)) if refused.is_empty() => State::On,
        Ok((RulesetStatus::FullyEnforced, _)) => State::Partly(refused.join("; ")),
    }
}

fn enforce(writable: Vec<PathFd>) -> Result<(RulesetStatus, LandlockStatus), RulesetError> {
    let write = AccessFs::from_write(NEWEST);
    let mut rules = Ruleset::default()
        .handle_access(write | AccessFs::Execute)?
        .create()?;
    for directory in writable {
        rules = rules.add_rule(PathBeneath::new(directory, write))?;
    }
    let status = rules.restrict_self()?;
    Ok((status.ruleset, status.landlock))
}
