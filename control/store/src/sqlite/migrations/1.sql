CREATE TABLE kv (
    key      BLOB PRIMARY KEY,
    value    BLOB NOT NULL,
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What each commit wrote, as far back as it is kept; the value is NULL when the key was deleted.
CREATE TABLE changes (
    revision INTEGER NOT NULL,
    key      BLOB NOT NULL,
    value    BLOB,
    PRIMARY KEY (revision, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    only_row  INTEGER PRIMARY KEY CHECK (only_row = 1),
    revision  INTEGER NOT NULL,
    term      INTEGER NOT NULL,
    holder    TEXT,
    compacted INTEGER NOT NULL
) STRICT;

INSERT INTO meta (only_row, revision, term, holder, compacted) VALUES (1, 0, 0, NULL, 0);
