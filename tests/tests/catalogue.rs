//! The scenarios of the catalogue that this machine can play, told by agents of every tier at once.
//!
//! Those that take a machine of their own are played in guests: `cargo xtask vm`.

use anyhow::{Context as _, Result};
use oom_tests::{
    catalogue::{Need, SCENARIOS},
    machine::{self, Machine},
    watch::{Watcher, Way},
};

/// Agents that any kernel allows which has BPF, and the log alone.
const WAYS: [Way; 3] = [Way::Best, Way::NoHook, Way::LogAlone];

#[test]
fn every_tier_tells_the_truth_and_the_law_holds() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let watchers = WAYS
        .into_iter()
        .map(Watcher::start)
        .collect::<Result<Vec<_>>>()?;
    let here = SCENARIOS
        .iter()
        .filter(|scenario| !scenario.needs.contains(&Need::Guest));
    for scenario in here {
        if let Some(reason) = scenario.lacking(&machine) {
            machine::say_skipped(&format!("{reason}: {}", scenario.name));
            continue;
        }
        let expected = (scenario.play)(&machine).context(scenario.name)?;
        for watcher in &watchers {
            let told = watcher.tells(&expected);
            told.with_context(|| format!("{}, {}", scenario.name, watcher.tier()))?;
        }
    }
    for watcher in watchers {
        let tier = watcher.tier().to_owned();
        watcher.law().context(tier)?;
    }
    Ok(())
}
