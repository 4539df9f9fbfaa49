//! The store thread on a disk that is full, on one that is read-only, and for long. The whole agent: `disk.rs`.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::store::{Counts, Offer, Options, Retention, Store, Storing, start};
use oom_tests::{
    agent::DEADLINE,
    machine,
    small_disk::SmallDisk,
    told::{BOOT, Kills, host, run},
};
use rustix::mount::MountFlags;
use tempfile::TempDir;

/// The store thread, and how far the ring has been let go.
struct Running {
    path: PathBuf,
    kills: Kills,
    offer: Offer,
    storing: Storing,
    released: Arc<AtomicU64>,
}

impl Running {
    fn start(path: PathBuf) -> Result<Self> {
        let released = Arc::<AtomicU64>::default();
        let to = released.clone();
        let options = Options {
            path: path.clone(),
            host: host(),
            keep_ns: 10,
            timing: oom_agent::correlate::Timing::default(),
            retention: Retention::default(),
            run: run(),
            ring_room: u64::MAX,
        };
        let release = Box::new(move |end| {
            to.fetch_max(end, Ordering::Relaxed);
        });
        let (offer, storing) = start(None, options, release)?;
        Ok(Self {
            path,
            kills: Kills::new()?,
            offer,
            storing,
            released,
        })
    }

    fn kill(&self, n: u64) {
        for entry in self.kills.entries(n) {
            self.offer.offer(entry);
        }
        self.offer.wake();
    }

    fn wait(&self, what: &str, mut until: impl FnMut(Counts) -> bool) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while !until(self.storing.counts()) {
            let counts = self.storing.counts();
            ensure!(Instant::now() < deadline, "not {what}: {counts:?}");
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends it; gives what it counted, and the ids that are stored.
    fn end(self) -> Result<(Counts, u64)> {
        drop(self.offer);
        let counts = self.storing.finish(DEADLINE);
        let store = Store::open(&self.path, BOOT, 10)?;
        ensure!(store.recovery()?.had_clean_end, "no clean end");
        drop(store);
        let db = rusqlite::Connection::open(&self.path)?;
        let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        ensure!(verdict == "ok", "{verdict}");
        let sql = "SELECT count(DISTINCT id) FROM event";
        let stored: i64 = db.query_row(sql, [], |row| row.get(0))?;
        Ok((counts, stored.unsigned_abs()))
    }
}

#[test]
fn a_full_disk_costs_no_event_once_there_is_room() -> Result<()> {
    const SMALL: u64 = 1 << 20;
    let Some(disk) = SmallDisk::of(SMALL, MountFlags::empty())? else {
        return Ok(());
    };
    let running = Running::start(disk.path().join("events.db"))?;
    let mut n = 0;
    running.wait("full", |counts| {
        if counts.events + counts.waiting >= 2 * n {
            n += 1;
            running.kill(n);
        }
        counts.failed_commits > 0
    })?;
    // Told while it is full: detection goes on, and the ring keeps what is not stored.
    for _ in 0..500 {
        n += 1;
        running.kill(n);
    }
    running.wait("held", |counts| counts.events + counts.waiting == 2 * n)?;
    ensure!(running.released.load(Ordering::Relaxed) < n);
    disk.make_writable(64 << 20)?;
    running.wait("stored", |counts| counts.events == 2 * n)?;
    running.wait("released", |_| {
        running.released.load(Ordering::Relaxed) == n
    })?;
    running.kill(n + 1);
    running.wait("journaled", |counts| counts.journaled == n + 1)?;
    let (counts, stored) = running.end()?;
    ensure!(stored == 2 * (n + 1), "{stored} of {}", 2 * (n + 1));
    ensure!(
        counts.unstored_kills == 0 && counts.moved_aside == 0,
        "{counts:?}"
    );
    Ok(())
}

#[test]
fn a_read_only_disk_costs_no_event_once_it_is_writable() -> Result<()> {
    const SIZE: u64 = 16 << 20;
    let Some(disk) = SmallDisk::of(SIZE, MountFlags::RDONLY)? else {
        return Ok(());
    };
    let running = Running::start(disk.path().join("state/events.db"))?;
    for n in 1..=10 {
        running.kill(n);
    }
    running.wait("held", |counts| counts.waiting == 20)?;
    ensure!(
        running.storing.counts().failed_commits > 0,
        "it was written"
    );
    disk.make_writable(SIZE)?;
    running.wait("stored", |counts| counts.events == 20)?;
    let (counts, stored) = running.end()?;
    ensure!(
        stored == 20 && counts.unstored_kills == 0,
        "{stored}: {counts:?}"
    );
    Ok(())
}

/// 100,000 events in all. With tables of 2,000 events a kind, a batch and what is on its way, nothing
/// grows: what is resident at the end is what was when a tenth had gone through, and some.
#[test]
fn memory_does_not_grow_with_what_goes_through() -> Result<()> {
    const KILLS: u64 = 50_000;
    const GROWTH_KIB: u64 = 4096;
    let dir = TempDir::new_in("/dev/shm")?;
    let mut writer = Command::new(machine::build_dir()?.join("store-writer"))
        .arg("soak")
        .arg(dir.path().join("events.db"))
        .arg(KILLS.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    // The end of its stdin is a line as well.
    drop(writer.stdin.take());
    let output = writer.wait_with_output()?;
    ensure!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    println!("{text}");
    let number = |name: &str| -> Result<u64> {
        let words = text.split_whitespace();
        let mut values = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        Ok(values.next().context(name.to_owned())?.parse()?)
    };
    ensure!(
        number("events")? == 2 * KILLS && number("unstored")? == 0,
        "{text}"
    );
    ensure!(number("removed")? >= 2 * KILLS - 8000, "{text}");
    ensure!(
        number("late_kib")? < number("early_kib")? + GROWTH_KIB,
        "{text}"
    );
    Ok(())
}
