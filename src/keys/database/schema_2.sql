-- Version 2: logins of users and sessions of customers. Readers hear of users, too.

-- Every user there is was last changed no later than now.
ALTER TABLE users ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;
UPDATE users SET revision = (SELECT revision FROM counter);
CREATE INDEX users_by_revision ON users (revision);

-- A login that was ended is no longer here. `refresh` is the SHA-256 of the one refresh token that is good now.
CREATE TABLE logins (
    sequence     INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    user         TEXT NOT NULL REFERENCES users (id),
    refresh      BLOB NOT NULL CHECK (length(refresh) = 32),
    created_us   INTEGER NOT NULL,
    refreshed_us INTEGER,
    expires_us   INTEGER NOT NULL,
    revision     INTEGER NOT NULL
) STRICT;
CREATE INDEX logins_by_user ON logins (user);
CREATE INDEX logins_by_revision ON logins (revision);
CREATE INDEX logins_by_expiry ON logins (expires_us);

-- A session that was revoked is no longer here. The customer is none of ours: the API keeps them.
CREATE TABLE sessions (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    digest      BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    tenant      TEXT,
    environment TEXT,
    customer    TEXT NOT NULL,
    created_us  INTEGER NOT NULL,
    expires_us  INTEGER NOT NULL,
    revision    INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_by_revision ON sessions (revision);
CREATE INDEX sessions_by_expiry ON sessions (expires_us);

-- What was taken away before its time, for readers that have it still: users and logins by id, sessions by digest.
CREATE TABLE gone (
    kind     TEXT NOT NULL CHECK (kind IN ('user', 'login', 'session')),
    name     BLOB NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX gone_by_revision ON gone (revision);
