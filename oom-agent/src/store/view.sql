-- For people. Of a report with several victims, the first; all are in body. Of an end, and of a victim that does
-- not end, its kill.
DROP VIEW IF EXISTS events;
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
        json_extract(body, '$.kill.victim.comm'),
        json_extract(body, '$.kills[0].victim.comm')
    ) AS comm,
    coalesce(
        json_extract(body, '$.victim.pid'),
        json_extract(body, '$.victim.tid'),
        json_extract(body, '$.kill.victim.pid'),
        json_extract(body, '$.kills[0].victim.pid'),
        json_extract(body, '$.kill.victim.tid'),
        json_extract(body, '$.kills[0].victim.tid')
    ) AS pid,
    coalesce(
        json_extract(body, '$.owner.container_name'),
        json_extract(body, '$.kill.owner.container_name'),
        json_extract(body, '$.kills[0].owner.container_name')
    ) AS container,
    coalesce(
        json_extract(body, '$.owner.container_id'),
        json_extract(body, '$.kill.owner.container_id'),
        json_extract(body, '$.kills[0].owner.container_id')
    ) AS container_id,
    coalesce(
        json_extract(body, '$.owner.image'),
        json_extract(body, '$.kill.owner.image'),
        json_extract(body, '$.kills[0].owner.image')
    ) AS image,
    coalesce(
        json_extract(body, '$.owner.pod.namespace'),
        json_extract(body, '$.kill.owner.pod.namespace'),
        json_extract(body, '$.kills[0].owner.pod.namespace')
    ) AS namespace,
    coalesce(
        json_extract(body, '$.owner.pod.name'),
        json_extract(body, '$.kill.owner.pod.name'),
        json_extract(body, '$.kills[0].owner.pod.name')
    ) AS pod,
    coalesce(
        json_extract(body, '$.owner.unit'),
        json_extract(body, '$.kill.owner.unit'),
        json_extract(body, '$.kills[0].owner.unit')
    ) AS unit,
    coalesce(
        json_extract(body, '$.cgroup.path'),
        json_extract(body, '$.kill.cgroup.path'),
        json_extract(body, '$.kills[0].cgroup.path')
    ) AS cgroup,
    json_extract(body, '$.limit.cgroup.path') AS limit_cgroup,
    json_extract(body, '$.limit.limit_bytes') AS limit_bytes,
    boot_id,
    backfill,
    id,
    body
FROM event;
