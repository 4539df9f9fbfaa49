-- What sinks will never deliver (deliver/), the newest of it: once for each thing of an event.
CREATE TABLE dead_letter (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    sink TEXT NOT NULL,
    seq INTEGER NOT NULL,               -- of the event, which may be gone
    thing TEXT NOT NULL,                -- the sink's own word for it
    kind TEXT,                          -- of the event, if it was still there
    id TEXT,                            -- likewise
    count INTEGER NOT NULL,             -- how much it is, in the sink's own units
    tries INTEGER NOT NULL,
    why TEXT NOT NULL,
    at_ns INTEGER NOT NULL,             -- Unix time when it was given up
    stored_ns INTEGER NOT NULL,         -- the same on the store's own clock (age.rs)
    UNIQUE (sink, seq, thing)
) STRICT;
