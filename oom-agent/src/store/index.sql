-- What events are searched by. Each word that an event can be found by (store/terms.rs) is a term, and
-- each term has the list of its events in the order of their times.

-- kind: as in event, by its place (0 OomKill, 1 OomInstance, 2 ContainerCreation, 3 ContainerDeletion,
-- 4 VictimEnd, 5 OomStuck).
-- field: 0 every event, 1 cgroup, 2 cgroup or one above it, 3 container id, 4 container name, 5 pod,
-- 6 pod uid, 7 namespace, 8 unit, 9 comm, 10 pid or tid, 11 scope, 12 boot id, 13 backfill, 14 cluster,
-- 15 node, 16 image, 17 workload.
CREATE TABLE term (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    field INTEGER NOT NULL,
    word TEXT NOT NULL,
    UNIQUE (kind, field, word)
) STRICT;

CREATE TABLE posting (
    term INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (term, time_ns, seq)
) STRICT, WITHOUT ROWID;

-- The way back: the terms of an event, a JSON array, to take them out again.
CREATE TABLE indexed (
    seq INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    terms TEXT NOT NULL
) STRICT;
