-- When the registry was last changed: servers tell by it that the database went back in time. After
-- a failover to a standby that lacked the last changes, or the return of a backup, `generation`
-- counts the same numbers again, for other changes.

ALTER TABLE dynamic_registry_state ADD COLUMN changed_at timestamptz NOT NULL DEFAULT now();

CREATE OR REPLACE FUNCTION dynamic_tools_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE dynamic_registry_state SET generation = generation + 1, changed_at = now();
    PERFORM pg_notify('dynamic_mcp_registry', TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;
