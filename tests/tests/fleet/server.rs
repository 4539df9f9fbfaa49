//! `oom-agent fleet serve` as a child process: when it is ready, what it has, what it has counted.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Child,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_tests::{agent::DEADLINE, http::Socket, nats::Cluster};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::child::{command, ended};

/// A server of the fleet; killed when dropped.
pub(crate) struct Serving {
    child: Child,
    log: PathBuf,
    pub(crate) socket: Socket,
}

impl Serving {
    /// Starts it, with its store in this directory, and waits until it is ready.
    pub(crate) fn start(cluster: &Cluster, dir: &Path) -> Result<Self> {
        let [socket, log] = ["fleet.sock", "log"].map(|name| dir.join(name));
        let child = command(&["fleet", "serve", "--listen", "127.0.0.1:0"], cluster)?
            .arg("--store")
            .arg(store(dir))
            .arg("--socket")
            .arg(&socket)
            .stderr(fs::File::create(&log)?)
            .spawn()?;
        let serving = Self {
            child,
            log,
            socket: Socket(socket),
        };
        serving.is_ready(200)?;
        Ok(serving)
    }

    /// Where it listens, besides.
    pub(crate) fn port(&self) -> Result<u16> {
        let log = fs::read_to_string(&self.log)?;
        let (_, at) = (log.rsplit_once("127.0.0.1:")).with_context(|| log.clone())?;
        let port: String = at.chars().take_while(char::is_ascii_digit).collect();
        Ok(port.parse()?)
    }

    /// Waits until it answers so.
    pub(crate) fn is_ready(&self, status: u16) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.socket.get("/readyz") {
                Ok((found, _)) if found == status => return Ok(()),
                other => ensure!(Instant::now() < end, "not {status}: {other:?}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until it has so many events of a kind.
    pub(crate) fn has(&self, kind: &str, events: usize) -> Result<Vec<Value>> {
        let end = Instant::now() + DEADLINE;
        loop {
            let path = format!("/v1/events?kind={kind}&limit=1000");
            let page = self.socket.json(&path)?;
            let found = page["events"].as_array().context("events")?;
            if found.len() >= events {
                ensure!(found.len() == events, "{} of {events}", found.len());
                return Ok(found.clone());
            }
            ensure!(Instant::now() < end, "{} of {events}", found.len());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it has counted.
    pub(crate) fn counts(&self) -> Result<Value> {
        Ok(self.socket.json("/v1/fleet")?["counts"].clone())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Waits until it has ended; how.
    pub(crate) fn ended(&mut self) -> Result<Option<i32>> {
        ended(&mut self.child)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}

/// What a server keeps in its directory.
pub(crate) fn store(dir: &Path) -> PathBuf {
    dir.join("fleet.db")
}
