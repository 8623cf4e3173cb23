-- The tools. Applied by `dynamic-mcp migrate`, or at the start of a server whose role may do so, in
-- one transaction with every other migration, with the registry's schema first in search_path.
--
-- A table that the Node.js program of the same name made is adopted as it stands: its rows, its
-- columns and what hangs on it stay. Only what we could not store in it is widened.
--
-- Two roles are enough. The owner runs `dynamic-mcp migrate`; the server's own needs no DDL:
--
--   CREATE ROLE dynamic_mcp_owner LOGIN PASSWORD '…';
--   CREATE ROLE dynamic_mcp_server LOGIN PASSWORD '…';
--   CREATE SCHEMA dynamic_mcp AUTHORIZATION dynamic_mcp_owner;
--   -- after `dynamic-mcp migrate` as dynamic_mcp_owner:
--   GRANT USAGE ON SCHEMA dynamic_mcp TO dynamic_mcp_server;
--   GRANT SELECT, INSERT, UPDATE, DELETE
--     ON dynamic_mcp.dynamic_tools, dynamic_mcp.dynamic_instances TO dynamic_mcp_server;
--   GRANT SELECT, UPDATE ON dynamic_mcp.dynamic_registry_state TO dynamic_mcp_server;
--   GRANT SELECT, INSERT ON dynamic_mcp.dynamic_signing_keys TO dynamic_mcp_server;
--   GRANT SELECT ON dynamic_mcp.dynamic_schema_migrations TO dynamic_mcp_server;
--
-- With MCP_DYNAMIC_READ_ONLY=true, SELECT on dynamic_tools and dynamic_registry_state is enough;
-- the instances are written all the same.

CREATE TABLE IF NOT EXISTS dynamic_tools (
    name         text PRIMARY KEY,
    title        text,
    description  text NOT NULL,
    image        text,
    timeout_ms   integer NOT NULL,
    dependencies jsonb NOT NULL DEFAULT '[]',
    code         text NOT NULL,
    enabled      boolean NOT NULL DEFAULT true,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    revision     bigint NOT NULL DEFAULT 1
);

-- Schemas and annotations are text, not jsonb: clients see them byte for byte as they were given.
ALTER TABLE dynamic_tools
    ALTER COLUMN title DROP NOT NULL,
    ALTER COLUMN image DROP NOT NULL,
    ALTER COLUMN revision TYPE bigint,
    ALTER COLUMN created_at TYPE timestamptz,
    ALTER COLUMN updated_at TYPE timestamptz,
    ADD COLUMN IF NOT EXISTS input_schema text,
    ADD COLUMN IF NOT EXISTS output_schema text,
    ADD COLUMN IF NOT EXISTS annotations text;
