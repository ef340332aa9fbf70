-- The tables, for SQLite and PostgreSQL.

-- Read before anybody is known, so not part of what row-level security holds apart.
CREATE TABLE IF NOT EXISTS accounts (
    id text PRIMARY KEY,
    password text NOT NULL -- as a salted hash
);
CREATE TABLE IF NOT EXISTS api_keys (
    id text PRIMARY KEY,
    owner text NOT NULL,
    hash text NOT NULL
);
CREATE INDEX IF NOT EXISTS api_keys_of ON api_keys (owner);

-- What belongs to users.
CREATE TABLE IF NOT EXISTS threads (
    id text PRIMARY KEY,
    owner text NOT NULL,
    title text NOT NULL
);
CREATE INDEX IF NOT EXISTS threads_of ON threads (owner);
CREATE TABLE IF NOT EXISTS runs (
    id text PRIMARY KEY,
    thread text NOT NULL REFERENCES threads (id),
    owner text NOT NULL,
    agent text NOT NULL,
    input text NOT NULL,
    state text NOT NULL,
    output text NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS runs_of ON runs (owner, thread);
