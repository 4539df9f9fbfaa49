//! A store and pins of a test's own, and what stands in that store.
//!
//! Reads the database as any tool for `SQLite` would, not through the agent's code. The pins are removed
//! when dropped.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tempfile::TempDir;

use crate::{agent::DEADLINE, machine};

/// Where BPF objects are pinned.
const BPFFS: &str = "/sys/fs/bpf";

/// Between two looks at the store.
const LOOK: Duration = Duration::from_millis(50);

/// What an agent leaves to the next.
#[derive(Debug)]
pub struct Kept {
    dir: TempDir,
    pins: Option<PathBuf>,
}

/// What is in the store.
#[derive(Debug, Default)]
pub struct Content {
    /// Every `OomKill`, oldest first.
    pub kills: Vec<Value>,
    /// Every `OomInstance`.
    pub instances: Vec<Value>,
}

impl Kept {
    /// With pins, where this machine can have any.
    pub fn with_pins() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("oom-agent-test-{}-{number}", std::process::id());
        let mut kept = Self::without_pins()?;
        kept.pins = Some(Path::new(BPFFS).join(name));
        Ok(kept)
    }

    /// A store alone.
    pub fn without_pins() -> Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
            pins: None,
        })
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("events.db")
    }

    /// Where the pins are.
    #[must_use]
    pub fn pins(&self) -> Option<&Path> {
        self.pins.as_deref()
    }

    /// The agent's arguments for both.
    #[must_use]
    pub fn args(&self) -> Vec<String> {
        let pins = self
            .pins
            .as_ref()
            .map_or("none".into(), |pins| pins.to_string_lossy().into_owned());
        let store = self.store().to_string_lossy().into_owned();
        vec!["--store".into(), store, "--pin-path".into(), pins]
    }

    fn open(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = Connection::open_with_flags(self.store(), flags)?;
        db.busy_timeout(Duration::from_secs(5))?;
        Ok(db)
    }

    /// All kills and reports that are stored now. Fails on an id that is there twice.
    pub fn content(&self) -> Result<Content> {
        let db = self.open()?;
        let mut statement = db.prepare("SELECT kind, id, body FROM event ORDER BY seq")?;
        let mut rows = statement.query([])?;
        let (mut content, mut ids) = (Content::default(), BTreeSet::new());
        while let Some(row) = rows.next()? {
            let kind: String = row.get(0)?;
            let id: String = row.get(1)?;
            ensure!(ids.insert((kind.clone(), id.clone())), "{kind} {id} twice");
            let body: Value = serde_json::from_str(&row.get::<_, String>(2)?)?;
            match kind.as_str() {
                "OomKill" => content.kills.push(body),
                "OomInstance" => content.instances.push(body),
                _ => {}
            }
        }
        Ok(content)
    }

    /// Waits until what is stored satisfies.
    pub fn wait_for(&self, what: &str, found: impl Fn(&Content) -> bool) -> Result<Content> {
        let end = Instant::now() + DEADLINE;
        loop {
            let content = self.content();
            match content {
                Ok(content) if found(&content) => return Ok(content),
                Ok(content) if Instant::now() > end => bail!(
                    "no {what} in the store: {} kills, {} reports",
                    content.kills.len(),
                    content.instances.len()
                ),
                Err(error) if Instant::now() > end => {
                    return Err(error.context(format!("no {what}")));
                }
                _ => thread::sleep(LOOK),
            }
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let (Some(pins), Ok(agent)) = (&self.pins, machine::agent_binary()) else {
            return;
        };
        let _ = Command::new(agent)
            .args(["cleanup", "--pin-path"])
            .arg(pins)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
