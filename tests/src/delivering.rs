//! A store and one sink that is delivered to from it, as an agent has them.

use std::{
    ops::Range,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use oom_agent::{
    deliver::{Delivery, Sink, SinkStatus},
    store::{self, DeadLetters, Offer, Reader, Retention, Store, Storing},
};
use tempfile::TempDir;

use crate::{
    agent::DEADLINE,
    told::{BOOT, Kills, host, run},
};

/// Where a store is.
#[derive(Debug)]
pub struct Place {
    dir: TempDir,
    kills: Kills,
}

/// A store and a delivery.
#[derive(Debug)]
pub struct Delivering {
    path: PathBuf,
    kills: Kills,
    offer: Offer,
    storing: Storing,
    delivery: Delivery,
}

impl Place {
    /// With nothing in it.
    pub fn new() -> Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
            kills: Kills::new()?,
        })
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("events.db")
    }

    /// Writes a file beside it.
    pub fn file(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }

    /// Starts a delivery.
    pub fn deliver(&self, sink: impl Sink) -> Result<Delivering> {
        let path = self.store();
        let options = store::Options {
            path: path.clone(),
            host: host(),
            keep_ns: 1,
            timing: oom_agent::correlate::Timing::default(),
            retention: Retention::default(),
            run: run(),
            ring_room: u64::MAX,
        };
        let store = Store::open(&path, BOOT, 1)?;
        let (offer, storing) = store::start(Some(store), options, Box::new(|_| ()))?;
        let delivery = Delivery::start(sink, path.clone(), storing.deliveries())?;
        Ok(Delivering {
            path,
            kills: self.kills.clone(),
            offer,
            storing,
            delivery,
        })
    }
}

impl Delivering {
    /// One kill with its report.
    pub fn kill(&self, n: u64) {
        for entry in self.kills.entries(n) {
            self.offer.offer(entry);
        }
        self.offer.wake();
    }

    /// Kills with these numbers, each with its report.
    pub fn kills(&self, numbers: Range<u64>) {
        numbers.for_each(|n| self.kill(n));
    }

    /// Waits until the report with this number is stored.
    pub fn stored(&self, n: u64) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        while Reader::open(&self.path)?
            .get(None, &format!("oom-{n}"))?
            .is_none()
        {
            ensure!(Instant::now() < end, "kill {n} is not stored");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until it goes so.
    pub fn goes(&self, what: &str, so: impl Fn(&SinkStatus) -> bool) -> Result<SinkStatus> {
        let end = Instant::now() + DEADLINE;
        loop {
            let status = self.delivery.health().status();
            if so(&status) {
                return Ok(status);
            }
            ensure!(Instant::now() < end, "not {what}: {status:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends as an agent does; how it went, and what was given up.
    pub fn end(self) -> Result<(SinkStatus, DeadLetters)> {
        let health = self.delivery.health();
        self.delivery.stop(DEADLINE);
        drop(self.offer);
        let _ = self.storing.finish(DEADLINE);
        let dead = Reader::open(&self.path)?.dead_letters(None, usize::MAX)?;
        Ok((health.status(), dead))
    }
}
