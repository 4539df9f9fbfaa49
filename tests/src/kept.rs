//! A store and pins of a test's own, and what stands in that store.
//!
//! Reads the database as any tool for SQLite would, not through the agent's code.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tempfile::TempDir;

use crate::{agent::DEADLINE, bpffs::Bpffs};

/// Between two looks at the store.
const LOOK: Duration = Duration::from_millis(50);

/// What an agent leaves to the next.
#[derive(Debug)]
pub struct Kept {
    dir: TempDir,
    bpffs: Option<Bpffs>,
}

/// What is in the store.
#[derive(Debug, Default)]
pub struct Content {
    /// Every `OomKill` that is no history, oldest first.
    pub kills: Vec<Value>,
    /// Every `OomInstance` that is none.
    pub instances: Vec<Value>,
    /// Every `OomKill` that is history.
    pub history: Vec<Value>,
}

impl Kept {
    /// With pins.
    pub fn with_pins() -> Result<Self> {
        let mut kept = Self::without_pins()?;
        kept.bpffs = Some(Bpffs::mount()?);
        Ok(kept)
    }

    /// A store alone.
    pub fn without_pins() -> Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
            bpffs: None,
        })
    }

    /// The database.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("events.db")
    }

    /// Where the pins are.
    #[must_use]
    pub fn pins(&self) -> Option<PathBuf> {
        Some(self.bpffs.as_ref()?.pins())
    }

    /// The agent's arguments for both.
    #[must_use]
    pub fn args(&self) -> Vec<String> {
        let pins = self
            .pins()
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
        let mut statement =
            db.prepare("SELECT kind, id, body, backfill FROM event ORDER BY seq")?;
        let mut rows = statement.query([])?;
        let (mut content, mut ids) = (Content::default(), BTreeSet::new());
        while let Some(row) = rows.next()? {
            let kind: String = row.get(0)?;
            let id: String = row.get(1)?;
            ensure!(ids.insert((kind.clone(), id.clone())), "{kind} {id} twice");
            let is_history: bool = row.get(3)?;
            let body: Value = serde_json::from_str(&row.get::<_, String>(2)?)?;
            match kind.as_str() {
                "OomKill" if is_history => content.history.push(body),
                "OomKill" => content.kills.push(body),
                "OomInstance" if !is_history => content.instances.push(body),
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
