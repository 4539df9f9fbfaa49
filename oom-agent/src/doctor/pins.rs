//! Whether the kernel side can outlive the agent, and what of it is there.
//!
//! Reads the default directory of the pins, or what is above it; changes nothing.

use std::path::Path;

use super::{Check, State};
use crate::{
    bpf::pins::{PIN_PATH, Pins, PinsError},
    error::chain,
};

const NAME: &str = "BPF pins";

/// What an agent could pin, and what one has pinned.
pub(super) fn check() -> Check {
    let dir = Path::new(PIN_PATH);
    let cost = "kills are recorded only while an agent runs; what a restart misses comes from the kernel log";
    match Pins::possible(dir).and_then(|()| generations(dir)) {
        Ok(found) => Check::ok(NAME, found),
        Err(error) => Check::new(NAME, State::Missing, chain(&error))
            .cost(cost)
            .fix("mount -t bpf bpf /sys/fs/bpf, and let the agent write there"),
    }
}

fn generations(dir: &Path) -> Result<String, PinsError> {
    let shown = dir.display();
    if !dir.exists() {
        return Ok(format!("{shown} can be made; nothing is pinned"));
    }
    let pins = Pins::look_over(dir)?;
    let names = pins.generations()?;
    if names.is_empty() {
        return Ok(format!("{shown}: nothing is pinned"));
    }
    let reader = match pins.held(None).pid {
        Some(pid) => format!("the agent with pid {pid} reads them"),
        None => "no agent that can be seen from here reads them".to_owned(),
    };
    Ok(format!("{shown}: {}; {reader}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_to_do_or_what_is_there() {
        let check = check();
        match check.state {
            State::Ok => assert!(check.found.contains(PIN_PATH), "{check:?}"),
            _ => assert!(check.cost.is_some() && check.fix.is_some(), "{check:?}"),
        }
    }
}
