//! Every scenario under one kernel, in a test guest.
//!
//! Plays the scenarios of [`catalogue`]. Sends one JSON line for each through the [`Outbox`], and with
//! `--capture` what the kernel log said meanwhile. Refuses to run anywhere else.

use std::{fs, time::Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use oom_tests::{
    catalogue::{SCENARIOS, Scenario},
    klog::KernelLog,
    machine::{self, Machine},
    outbox::Outbox,
};

/// Plays the scenarios of the matrix.
#[derive(Parser)]
struct Args {
    /// Only these.
    #[arg(long)]
    scenario: Vec<String>,
    /// Send the records that the kernel logs during each.
    #[arg(long)]
    capture: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    machine::only_in_a_guest()?;
    // Whatever is started from here may not be killed for memory, unless it asks for it.
    fs::write("/proc/self/oom_score_adj", "-1000")?;
    let machine = Machine::alone()?.context("no machine")?;
    let outbox = Outbox::open()?;
    if args.capture {
        fs::write("/sys/module/printk/parameters/ignore_loglevel", "Y")?;
    }
    let wanted = |scenario: &&Scenario| {
        args.scenario.is_empty() || args.scenario.iter().any(|name| name == scenario.name)
    };
    for scenario in SCENARIOS.iter().filter(wanted) {
        if let Some(reason) = scenario.lacking(&machine) {
            println!("{}: skipped: {reason}", scenario.name);
            continue;
        }
        let mut log = KernelLog::from_now()?;
        let start = Instant::now();
        let expected = (scenario.play)(&machine);
        println!("{}: {:?} {}", scenario.name, start.elapsed(), match &expected {
            Ok(_) => "ok".to_owned(),
            Err(error) => format!("{error:#}"),
        });
        if args.capture {
            let records = log.records()?.concat();
            outbox.put(&format!("{}.kmsg", scenario.name), &records)?;
        }
    }
    Ok(())
}
