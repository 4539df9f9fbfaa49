-- What events are searched by. Each word that an event can be found by (store/terms.rs) is a term, and
-- each term has the list of its events in the order of their times.

-- kind: as in event, by its place (0 OomKill, 1 OomInstance, 2 ContainerCreation, 3 ContainerDeletion).
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

-- For people. Of a report with several victims, the first; all are in body.
CREATE VIEW events AS
SELECT
    seq,
    coalesce(
        json_extract(body, '$.time'),
        strftime('%Y-%m-%dT%H:%M:%SZ', time_ns / 1000000000, 'unixepoch')
    ) AS time,
    kind,
    scope,
    json_extract(body, '$.outcome') AS outcome,
    json_array_length(body, '$.kills') AS victims,
    coalesce(
        json_extract(body, '$.victim.comm'),
        json_extract(body, '$.kills[0].victim.comm')
    ) AS comm,
    coalesce(
        json_extract(body, '$.victim.pid'),
        json_extract(body, '$.victim.tid'),
        json_extract(body, '$.kills[0].victim.pid'),
        json_extract(body, '$.kills[0].victim.tid')
    ) AS pid,
    coalesce(
        json_extract(body, '$.owner.container_name'),
        json_extract(body, '$.kills[0].owner.container_name')
    ) AS container,
    coalesce(
        json_extract(body, '$.owner.container_id'),
        json_extract(body, '$.kills[0].owner.container_id')
    ) AS container_id,
    coalesce(
        json_extract(body, '$.owner.image'),
        json_extract(body, '$.kills[0].owner.image')
    ) AS image,
    coalesce(
        json_extract(body, '$.owner.pod.namespace'),
        json_extract(body, '$.kills[0].owner.pod.namespace')
    ) AS namespace,
    coalesce(
        json_extract(body, '$.owner.pod.name'),
        json_extract(body, '$.kills[0].owner.pod.name')
    ) AS pod,
    coalesce(
        json_extract(body, '$.owner.unit'),
        json_extract(body, '$.kills[0].owner.unit')
    ) AS unit,
    coalesce(
        json_extract(body, '$.cgroup.path'),
        json_extract(body, '$.kills[0].cgroup.path')
    ) AS cgroup,
    json_extract(body, '$.limit.cgroup.path') AS limit_cgroup,
    json_extract(body, '$.limit.limit_bytes') AS limit_bytes,
    boot_id,
    backfill,
    id,
    body
FROM event;
