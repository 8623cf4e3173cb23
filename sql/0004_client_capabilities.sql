-- What a client must have declared to be able to call a tool: a JSON array of names.
--
-- Servers that know nothing of it leave it as it is, and call the tool for every client.

ALTER TABLE dynamic_tools
    ADD COLUMN requires_client_capabilities jsonb NOT NULL DEFAULT '[]';
