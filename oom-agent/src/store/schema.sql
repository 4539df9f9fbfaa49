-- What was told, in the order of storing. body is the event as it is on standard output.
CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    time_ns INTEGER NOT NULL,           -- Unix time of what it tells; when it was stored if it has none
    boot_id TEXT,
    scope TEXT,
    backfill INTEGER NOT NULL,
    bytes INTEGER NOT NULL,             -- what retention counts it as
    stored_ns INTEGER NOT NULL,         -- on the store's own clock (age.rs), which never jumps
    body TEXT NOT NULL,
    UNIQUE (kind, id)
) STRICT;
CREATE INDEX event_by_kind ON event (kind); -- and by seq within it, as every index ends with the rowid

-- What there is of each kind, and what retention has removed.
CREATE TABLE usage (
    kind TEXT PRIMARY KEY,
    events INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0,
    removed_through INTEGER NOT NULL DEFAULT 0 -- the highest seq that was removed
) STRICT, WITHOUT ROWID;

-- How far this boot has been read.
CREATE TABLE boot (
    boot_id TEXT PRIMARY KEY,
    first_start_ns INTEGER NOT NULL,    -- CLOCK_MONOTONIC of the first start of an agent
    first_log INTEGER,                  -- the last record of the log of before it
    log_read INTEGER,
    ring_generation TEXT,
    ring_seq INTEGER,
    backfilled INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- What the correlator was told, and when.
CREATE TABLE journal (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    boot_id TEXT NOT NULL,
    monotonic_ns INTEGER NOT NULL,
    wall_offset_ns INTEGER NOT NULL,
    boot_offset_ns INTEGER NOT NULL,
    evidence BLOB NOT NULL
) STRICT;

-- Quiet moments: the oldest one that is kept, and the journal behind it, make the correlator's state.
CREATE TABLE snapshot (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    boot_id TEXT NOT NULL,
    journal_n INTEGER NOT NULL,         -- the last row of the journal that it contains
    event_seq INTEGER NOT NULL,         -- the last event that was stored before it
    monotonic_ns INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;

-- Every start of an agent.
CREATE TABLE run (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    boot_id TEXT NOT NULL,
    pid INTEGER NOT NULL,
    pid_start_ns INTEGER,               -- CLOCK_BOOTTIME: with the pid, which process it was
    started_ns INTEGER NOT NULL,        -- Unix time
    ended_ns INTEGER,                   -- Unix time; null of one that was killed, or runs
    version TEXT NOT NULL
) STRICT;

-- The store's own clock (age.rs): where it stood, and how the others stood then.
CREATE TABLE clock (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    store_ns INTEGER NOT NULL,
    wall_ns INTEGER NOT NULL,
    boottime_ns INTEGER NOT NULL,
    boot_id TEXT NOT NULL
) STRICT;
