-- Which store this is: numbers of events are of this one, and mean nothing in one that is begun anew.
CREATE TABLE generation (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    number INTEGER NOT NULL             -- 32 bits, by chance
) STRICT;
INSERT INTO generation VALUES (1, random() & 0xffffffff);
