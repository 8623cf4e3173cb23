//! The names of our tables, quoted, in the schema that MCP_DYNAMIC_PG_SCHEMA names, and the state
//! of the registry that one of them keeps.

use postgres::GenericClient;

use super::fault::Fault;
use super::mirror::Marker;

#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) schema: String,
    pub(super) tools: String,
    pub(super) state: String,
    pub(super) instances: String,
    pub(super) keys: String,
}

impl Tables {
    /// `schema` is an SQL identifier by the settings' rule: letters, digits, underscores.
    pub(super) fn of(schema: &str) -> Self {
        let table = |name: &str| format!("\"{schema}\".dynamic_{name}");
        Self {
            schema: schema.to_owned(),
            tools: table("tools"),
            state: table("registry_state"),
            instances: table("instances"),
            keys: table("signing_keys"),
        }
    }

    /// The state of the registry.
    pub(super) fn marker(&self, client: &mut impl GenericClient) -> Result<Marker, Fault> {
        let query = format!("SELECT epoch, generation FROM {}", self.state);
        let row = client
            .query_typed_opt(&query, &[])?
            .ok_or(Fault::NoTables)?;
        Ok(Marker {
            epoch: row.try_get(0)?,
            generation: row.try_get(1)?,
        })
    }

    /// Locks the registry against every other writer up to the end of the transaction; its state,
    /// and the database's time.
    pub(super) fn lock(
        &self,
        transaction: &mut impl GenericClient,
    ) -> Result<(Marker, String), Fault> {
        let query = format!(
            "SELECT epoch, generation, to_char(clock_timestamp() AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM {} FOR UPDATE",
            self.state
        );
        let row = transaction
            .query_typed_opt(&query, &[])?
            .ok_or(Fault::NoTables)?;
        let marker = Marker {
            epoch: row.try_get(0)?,
            generation: row.try_get(1)?,
        };
        Ok((marker, row.try_get(2)?))
    }
}
