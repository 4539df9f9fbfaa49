//! The API's routes over a store, without an agent that watches: streams end at once, as those of an agent that
//! stops do.
//!
//! Emits what the routes share. Refuses nothing.

use std::path::Path;

use anyhow::{Result, ensure};
use oom_agent::{
    api::{Parts, Shared},
    correlate::Host,
    metrics,
    status::{Board, Facts, Summary},
    watch::Watchers,
};

/// What the routes share.
pub fn shared(store: &Path) -> Result<Shared> {
    let (watchers, intake, thread) = Watchers::start()?;
    drop(intake);
    ensure!(thread.join().is_ok(), "the thread of watchers");
    let facts = Facts {
        tier: "none".into(),
        ..Facts::default()
    };
    let board = Board::new(
        facts,
        Box::new(|| Some(Summary::default())),
        Box::new(|| 0),
        Box::new(Vec::new),
    );
    board.set_ready(true);
    Ok(Shared::new(Parts {
        metrics: metrics::start(&metrics::Options::default(), None)?.0,
        board,
        store: Some(store.to_owned()),
        watchers,
        host: Host {
            boot_id: None,
            boot: "boot".into(),
            node: None,
            cluster: None,
        },
        host_root: "/".into(),
    }))
}
