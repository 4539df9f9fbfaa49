//! Stores with a made-up past, and the API over them with nobody who watches.

use std::{future::IntoFuture as _, path::Path};

use anyhow::Result;
use oom_agent::{
    api::router,
    clock::Now,
    store::{Batch, Store},
};
use oom_tests::{
    browser::Browser,
    loopback::Loopback,
    served,
    told::{BOOT, Kills, host, kill_in_pod, run},
};
use rusqlite::Connection;
use tempfile::TempDir;

/// So many events in a store, and one in so many of them is made by the store itself.
const MANY: u64 = 100_000;
const MADE: u64 = 2_000;

/// Seconds since the epoch.
fn now() -> Result<u64> {
    let now = Now::read();
    let ns = now.wall(now.monotonic_ns).as_unix_ns();
    Ok(u64::try_from(ns / 1_000_000_000)?)
}

/// A store with many kills: some are stored, and then copied in the database, with ids and times of their own.
pub(crate) fn many(path: &Path) -> Result<()> {
    let kills = Kills::new()?;
    let mut store = Store::open(path, BOOT, 0)?;
    store.begin_run(&run(), &host(), &Now::read())?;
    let mut batch = Batch::default();
    let end = now()? - 60;
    batch.extend(
        (0..MADE).map(|n| kill_in_pod(&kills, n, &format!("web-{}", n * n % 211), end - n)),
    );
    store.commit(&batch, &Now::read())?;
    drop(store);
    let mut db = Connection::open(path)?;
    db.pragma_update(None, "synchronous", "OFF")?;
    let tx = db.transaction()?;
    for copy in 1..MANY / MADE {
        let (seq, ns) = (copy * MADE, copy * MADE * 1_000_000_000);
        tx.execute_batch(&format!(
            "INSERT INTO event (seq, id, kind, time_ns, boot_id, scope, backfill, bytes, stored_ns, body)
               SELECT seq + {seq}, id || '-{copy}', kind, time_ns - {ns}, boot_id, scope, backfill, bytes, stored_ns,
                 json_set(body, '$.id', id || '-{copy}', '$.time',
                   strftime('%Y-%m-%dT%H:%M:%SZ', (time_ns - {ns}) / 1000000000, 'unixepoch'))
               FROM event WHERE seq <= {MADE};
             INSERT INTO posting (term, time_ns, seq)
               SELECT term, time_ns - {ns}, seq + {seq} FROM posting WHERE seq <= {MADE};
             INSERT INTO indexed (seq, kind, time_ns, terms)
               SELECT seq + {seq}, kind, time_ns - {ns}, terms FROM indexed WHERE seq <= {MADE};"
        ))?;
    }
    tx.execute(
        "UPDATE usage SET events = events * ?1, bytes = bytes * ?1",
        [i64::try_from(MANY / MADE)?],
    )?;
    tx.commit()?;
    Ok(())
}

/// A day of a busy node: a few owners die often, others now and then.
pub(crate) fn busy_day(path: &Path) -> Result<()> {
    const OWNERS: [(&str, u64); 9] = [
        ("cart-7d9f", 5),
        ("search-0", 11),
        ("checkout-5c6b", 17),
        ("reports-28f", 23),
        ("images-6b8d", 37),
        ("mail-0", 53),
        ("ci-runner-4", 71),
        ("web-79c", 97),
        ("db-0", 131),
    ];
    let kills = Kills::new()?;
    let mut store = Store::open(path, BOOT, 0)?;
    store.begin_run(&run(), &host(), &Now::read())?;
    let now = now()?;
    let mut batch = Batch::default();
    let minutes = (0..1430_u64)
        .rev()
        .filter(|minute| minute * minute / 311 % 9 < 2);
    for minute in minutes {
        let dies = OWNERS
            .iter()
            .find(|(_, each)| (minute * 7 + minute / 90).is_multiple_of(*each));
        if let Some((pod, _)) = dies {
            batch.extend([kill_in_pod(&kills, minute, pod, now - minute * 60)]);
        }
    }
    store.commit(&batch, &Now::read())?;
    Ok(())
}

/// A browser, and the API over a store with nobody who watches.
pub(crate) struct Past {
    pub(crate) browser: Browser,
    server: Loopback,
    _dir: TempDir,
}

impl Past {
    /// With what this puts into the store. `None`: there is no browser, and the test is skipped.
    pub(crate) fn new(fill: impl FnOnce(&Path) -> Result<()>) -> Result<Option<Self>> {
        let Some(browser) = Browser::start()? else {
            return Ok(None);
        };
        let dir = tempfile::tempdir()?;
        let store = dir.path().join("events.db");
        fill(&store)?;
        let shared = served::shared(&store)?;
        let mut server = Loopback::new();
        server.go_on(|listener| axum::serve(listener, router(shared)).into_future())?;
        Ok(Some(Self {
            browser,
            server,
            _dir: dir,
        }))
    }

    /// Has the browser look at it.
    pub(crate) fn open(&self) -> Result<()> {
        self.browser
            .open(&format!("http://127.0.0.1:{}/", self.server.port()))
    }
}
