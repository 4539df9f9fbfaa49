//! `oom-agent cleanup`: nothing of the agent stays in the kernel.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{EXIT_HELD, fail};
use crate::bpf::pins::{PIN_PATH, Pins, PinsError};

#[derive(Debug, Args)]
pub(super) struct CleanupArgs {
    /// Where the pins are.
    #[arg(long, value_name = "DIR", default_value = PIN_PATH)]
    pin_path: PathBuf,
    /// Even if an agent reads them: it sees no kills by BPF from then on.
    #[arg(long)]
    force: bool,
}

pub(super) fn main(args: &CleanupArgs) -> ExitCode {
    match clean_up(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let failed = fail(&error);
            match error {
                PinsError::Held(_) => ExitCode::from(EXIT_HELD),
                _ => failed,
            }
        }
    }
}

fn clean_up(args: &CleanupArgs) -> Result<(), PinsError> {
    let dir = args.pin_path.display();
    if !args.pin_path.exists() {
        println!("nothing is pinned in {dir}");
        return Ok(());
    }
    let mut pins = Pins::look_over(&args.pin_path)?;
    if !pins.try_lock()? && !args.force {
        return Err(pins.held(None).into());
    }
    for name in pins.names()? {
        let held = pins.content(&name)?;
        pins.remove(&name)?;
        println!("removed {dir}/{name}: {}", held.join(", "));
    }
    pins.remove_dir()?;
    println!("nothing is pinned in {dir}, and nothing is recorded");
    Ok(())
}
