//! Storing: one event in a transaction, a thousand in one.

use std::{fs, path::Path, sync::Arc};

use anyhow::Result;
use oom_agent::{
    clock::Now,
    store::{Batch, Entry, Store},
};

use crate::{
    figures::{Report, Times},
    make::World,
    random::Random,
};

pub(crate) fn measure(world: &World, dir: &Path, report: &mut Report) -> Result<()> {
    let dir = dir.join("put");
    fs::create_dir_all(&dir)?;
    let path = dir.join("events.db");
    let _ = fs::remove_file(&path);
    let mut store = Store::open(&path, &world.boots[2], u64::MAX)?;
    let mut random = Random::new(3);
    let mut made = 0;
    for (what, times, events) in [
        ("a transaction of one event", 300, 1),
        ("a transaction of 1,000 events", 30, 1000),
    ] {
        let mut took = Times::default();
        for _ in 0..times {
            let mut batch = Batch::default();
            for _ in 0..events {
                made += 1;
                let event = world.event(made, made, &mut random);
                batch.push(Entry::Event(Arc::new(event)));
            }
            took.of(|| store.commit(&batch, &Now::read()))?;
        }
        report.add(what, took, "with its fsync".into());
    }
    drop(store);
    fs::remove_dir_all(dir)?;
    Ok(())
}
