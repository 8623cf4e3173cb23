-- What replicas share besides the tools: who lives, and what they sign with.

-- One row a running server, renewed every few seconds. A server whose row was not renewed for long
-- is dead, and its containers may be removed.
CREATE TABLE dynamic_instances (
    id         text PRIMARY KEY CHECK (id ~ '^[0-9a-f]{32}$'),
    started_at timestamptz NOT NULL,
    renewed_at timestamptz NOT NULL
);

-- Secrets that any replica must know to honour what another signed.
CREATE TABLE dynamic_signing_keys (
    name       text PRIMARY KEY,
    key        bytea NOT NULL CHECK (octet_length(key) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);
