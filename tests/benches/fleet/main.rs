//! What a fleet's stream costs: many agents as tasks, each with a connection of its own, real events, and three
//! real servers on loopback, each of which keeps every event. Run by `cargo xtask bench --fleet`.
//!
//! First all agents at once publish as fast as they can; then storms: each second a tenth of all nodes, as a rack
//! or a bad release would, with some kills each. One reader follows. Emits a table, and the same as JSON. Refuses to
//! judge, but an event that is missing or twice is an error.

mod agents;
mod figures;
mod reader;

use std::{
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use oom_tests::nats::Cluster;

use self::{agents::Agents, figures::Figures, reader::Reader};

/// Servers, and copies of each event.
const SERVERS: usize = 3;

/// Kills of each agent, as fast as they can be published.
const AT_ONCE: usize = 20;

/// Storms, and kills of each node in one.
const STORMS: usize = 20;
const KILLS: usize = 5;

/// Of all nodes, one in so many is in a storm.
const SHARE: usize = 10;

fn main() -> Result<()> {
    let (count, json) = args()?;
    let cluster = Cluster::start(SERVERS)?;
    cluster.init(Duration::from_mins(2))?;
    let mut figures = Figures::new(count, SERVERS);
    let pids = cluster.pids();
    figures.idle(&pids)?;

    let mut agents = Agents::new(&cluster, count)?;
    let reader = Reader::start(&cluster)?;
    let connecting = Instant::now();
    agents.publish(&cluster, 0..count, 1)?;
    figures.connected_s = connecting.elapsed().as_secs_f64();
    reader.wait(agents.published())?;
    figures.connected(&pids)?;

    let before = figures::cpu(&pids)?;
    let own = figures::cpu(&[std::process::id()])?;
    let begun = Instant::now();
    agents.publish(&cluster, 0..count, AT_ONCE)?;
    figures.published(2 * count * AT_ONCE, begun.elapsed());
    reader.wait(agents.published())?;
    figures.read(2 * count * AT_ONCE, begun.elapsed());
    figures.cpu(
        figures::cpu(&pids)? - before,
        figures::cpu(&[std::process::id()])? - own,
        2 * count * AT_ONCE,
    );

    reader.forget();
    let rack = count.div_ceil(SHARE);
    for storm in 0..STORMS {
        let second = Instant::now();
        let first = storm % SHARE * rack;
        let nodes = first..(first + rack).min(count);
        agents.publish(&cluster, nodes, KILLS)?;
        let left = Duration::from_secs(1).saturating_sub(second.elapsed());
        let wait = async { tokio::time::sleep(left).await };
        cluster.runtime().block_on(wait);
    }
    reader.wait(agents.published())?;
    figures.lags(&reader.lags());
    figures.end(&pids, &cluster, agents.published())?;
    reader.exactly(agents.published())?;
    if let Some(json) = json {
        std::fs::write(&json, figures.json()?)?;
    }
    println!("{figures}");
    Ok(())
}

/// `--agents N`, `--json FILE`; cargo adds `--bench`.
fn args() -> Result<(usize, Option<PathBuf>)> {
    let (mut agents, mut json) = (1000, None);
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            "--bench" => {}
            "--agents" => agents = value()?.parse()?,
            "--json" => json = Some(value()?.into()),
            _ => bail!("unknown: {word}"),
        }
    }
    Ok((agents, json))
}
