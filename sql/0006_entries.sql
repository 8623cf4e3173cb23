-- The prompts and resources that are made at run time, beside the tools: one row each, whose
-- definition is a JSON object. It is text, not jsonb: what an author wrote stays as it was written.
--
-- Whoever may read or write the tools may do so here, the owner of their table among them: another
-- role may be the one that migrates. Where the roles of 0001_tools.sql are given after this:
--
--   GRANT SELECT, INSERT, UPDATE, DELETE ON dynamic_mcp.dynamic_entries TO dynamic_mcp_server;

CREATE TABLE dynamic_entries (
    kind       text NOT NULL,
    name       text NOT NULL,
    definition text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    revision   bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (kind, name)
);

CREATE TRIGGER dynamic_entries_changed
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON dynamic_entries
FOR EACH STATEMENT EXECUTE FUNCTION dynamic_tools_changed();

DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT one.privilege_type AS privilege,
               CASE one.grantee WHEN 0 THEN 'PUBLIC' ELSE one.grantee::regrole::text END AS role
        FROM pg_class AS tools,
             aclexplode(coalesce(tools.relacl, acldefault('r', tools.relowner))) AS one
        WHERE tools.oid = 'dynamic_tools'::regclass
          AND one.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    LOOP
        EXECUTE format('GRANT %s ON dynamic_entries TO %s', granted.privilege, granted.role);
    END LOOP;
END
$$;
