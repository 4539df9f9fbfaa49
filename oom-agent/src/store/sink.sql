-- How far each durable sink has delivered (deliver/): everything up to seq, once and for all.
CREATE TABLE sink (
    name TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    state TEXT NOT NULL                 -- the sink's own, of what it has told behind that; JSON
) STRICT, WITHOUT ROWID;
