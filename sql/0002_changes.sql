-- How every replica hears of every change, whoever made it.
--
-- The one row of dynamic_registry_state is locked by each writer before it looks at the tools, so
-- that limits and names are decided one write at a time. `generation` counts the writes; `epoch`
-- tells this registry from one that was dropped and made anew.

CREATE TABLE dynamic_registry_state (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch      text NOT NULL,
    generation bigint NOT NULL
);

INSERT INTO dynamic_registry_state (epoch, generation)
VALUES (md5(random()::text || clock_timestamp()::text), 0);

-- In the writing transaction: listeners hear of it with the commit, or not at all.
CREATE FUNCTION dynamic_tools_changed() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE dynamic_registry_state SET generation = generation + 1;
    PERFORM pg_notify('dynamic_mcp_registry', TG_TABLE_SCHEMA);
    RETURN NULL;
END
$$;

CREATE TRIGGER dynamic_tools_changed
AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON dynamic_tools
FOR EACH STATEMENT EXECUTE FUNCTION dynamic_tools_changed();
