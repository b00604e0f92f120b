-- Version 1. Times are whole microseconds since the Unix epoch unless their name says otherwise; lists and maps are JSON.

-- One row: the number of the last write that changed a key or a user, and the last removal that was forgotten.
CREATE TABLE counter (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    revision  INTEGER NOT NULL,
    forgotten INTEGER NOT NULL
) STRICT;
INSERT INTO counter VALUES (1, 0, 0);

CREATE TABLE users (
    sequence      INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    login         TEXT NOT NULL UNIQUE COLLATE NOCASE,
    name          TEXT,
    tenant        TEXT,
    permissions   TEXT NOT NULL CHECK (json_type(permissions) = 'array'),
    roles         TEXT NOT NULL CHECK (json_type(roles) = 'array'),
    metadata      TEXT NOT NULL CHECK (json_type(metadata) = 'object'),
    enabled       INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    password_hash TEXT,
    created_us    INTEGER NOT NULL,
    updated_us    INTEGER NOT NULL
) STRICT;

-- `user` need not be in `users`: an API may keep its users elsewhere.
CREATE TABLE keys (
    sequence         INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT NOT NULL UNIQUE,
    digest           BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    name             TEXT,
    prefix           TEXT,
    tenant           TEXT,
    user             TEXT,
    environment      TEXT,
    permissions      TEXT NOT NULL CHECK (json_type(permissions) = 'array'),
    roles            TEXT NOT NULL CHECK (json_type(roles) = 'array'),
    state            TEXT NOT NULL CHECK (state IN ('active', 'inactive', 'revoked')),
    created_us       INTEGER NOT NULL,
    updated_us       INTEGER NOT NULL,
    expires_us       INTEGER,
    not_before_us    INTEGER,
    lineage          TEXT NOT NULL,
    rate_limit       INTEGER CHECK (rate_limit > 0),
    allowed_networks TEXT NOT NULL CHECK (json_type(allowed_networks) = 'array'),
    metadata         TEXT NOT NULL CHECK (json_type(metadata) = 'object'),
    retires_us       INTEGER,
    successor        TEXT REFERENCES keys (id) ON DELETE SET NULL,
    revision         INTEGER NOT NULL
) STRICT;
CREATE INDEX keys_by_revision ON keys (revision);
CREATE INDEX keys_by_user ON keys (user);
CREATE INDEX keys_by_successor ON keys (successor);

-- The final state, also for whoever writes with other tools.
CREATE TRIGGER revoked_is_final BEFORE UPDATE OF state ON keys
WHEN OLD.state = 'revoked' AND NEW.state <> 'revoked'
BEGIN SELECT RAISE(ABORT, 'a revoked key stays revoked'); END;

-- Digests of deleted keys, for readers that have them still.
CREATE TABLE removed (
    digest   BLOB PRIMARY KEY CHECK (length(digest) = 32),
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX removed_by_revision ON removed (revision);

CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at_us    INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    channel  TEXT NOT NULL,
    action   TEXT NOT NULL,
    kind     TEXT NOT NULL,
    subject  TEXT NOT NULL,
    details  TEXT NOT NULL CHECK (json_type(details) = 'object')
) STRICT;
CREATE INDEX audit_by_subject ON audit (kind, subject);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE sequence = NEW.sequence)
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;

-- Of keys from anywhere, so without a reference to `keys`.
CREATE TABLE last_used (
    key         TEXT PRIMARY KEY,
    last_used_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE usage (
    key      TEXT NOT NULL,
    day      INTEGER NOT NULL, -- Since the Unix epoch, UTC.
    requests INTEGER NOT NULL,
    PRIMARY KEY (key, day)
) STRICT, WITHOUT ROWID;
CREATE INDEX usage_by_day ON usage (day);

-- Requests that made a key. `token` and `request` are SHA-256.
CREATE TABLE idempotency (
    actor   TEXT NOT NULL,
    token   BLOB NOT NULL CHECK (length(token) = 32),
    request BLOB NOT NULL CHECK (length(request) = 32),
    key     TEXT NOT NULL,
    at_us   INTEGER NOT NULL,
    PRIMARY KEY (actor, token)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_time ON idempotency (at_us);
