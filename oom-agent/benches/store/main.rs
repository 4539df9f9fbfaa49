//! What the store and those who watch cost: pages of a big store by each kind of filter, storing, and a
//! storm with many subscribers. Run by `cargo xtask bench --store`.
//!
//! Makes the store once and keeps it; emits a table, and the same as JSON. A page that takes
//! longer than the goal makes it fail, at the end, and so does a wrong answer. All that is random comes from one seed.

mod ask;
mod figures;
mod make;
mod put;
mod random;
mod storm;

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

struct Args {
    /// Where stores are kept.
    dir: PathBuf,
    events: usize,
    seed: u64,
}

fn main() -> Result<()> {
    let args = args()?;
    println!("seed {}", args.seed);
    let world = make::World::new(args.seed)?;
    let path = world.store(&args.dir, args.events)?;
    let mut report = figures::Report::new(args.events, args.seed);
    ask::measure(&world, &path, &mut report)?;
    storm::measure(&world, &mut report)?;
    put::measure(&world, &args.dir, &mut report)?;
    let json = args.dir.join("bench-store.json");
    std::fs::write(&json, report.json()?)?;
    println!("{report}\nas JSON: {}", json.display());
    ensure!(report.is_good(), "pages are too slow");
    Ok(())
}

/// `--dir DIR`, `--events N`, `--seed N`; cargo adds `--bench`.
fn args() -> Result<Args> {
    let mut args = Args {
        dir: PathBuf::from("target"),
        events: 1_000_000,
        seed: 1,
    };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            "--bench" => {}
            "--dir" => args.dir = value()?.into(),
            "--events" => args.events = value()?.parse()?,
            "--seed" => args.seed = value()?.parse()?,
            _ => bail!("unknown: {word}"),
        }
    }
    Ok(args)
}
