//! The names of our tables, quoted, in the schema that MCP_DYNAMIC_PG_SCHEMA names, and the state
//! of the registry that one of them keeps.

use postgres::{GenericClient, Row};

use super::fault::Fault;
use super::mirror::Marker;

/// What the holder of the registry's lock knows.
pub(super) struct Locked {
    /// The state: nobody can change it but the holder.
    pub(super) marker: Marker,
    /// When the transaction began, as a marker says when the registry was changed.
    pub(super) began_at: i64,
    /// The database's time.
    pub(super) now: String,
}

#[derive(Clone, Debug)]
pub(super) struct Tables {
    pub(super) schema: String,
    pub(super) tools: String,
    pub(super) entries: String,
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
            entries: table("entries"),
            state: table("registry_state"),
            instances: table("instances"),
            keys: table("signing_keys"),
        }
    }

    /// The state of the registry.
    pub(super) fn marker(&self, client: &mut impl GenericClient) -> Result<Marker, Fault> {
        let changed_at = micros("changed_at");
        let query = format!("SELECT epoch, generation, {changed_at} FROM {}", self.state);
        let row = client.query_typed_opt(&query, &[])?;
        marker_of(&row.ok_or(Fault::NoTables)?)
    }

    /// Locks the registry against every other writer up to the end of the transaction.
    pub(super) fn lock(&self, transaction: &mut impl GenericClient) -> Result<Locked, Fault> {
        let query = format!(
            "SELECT epoch, generation, {}, {}, to_char(clock_timestamp() AT TIME ZONE 'UTC', \
             'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') FROM {} FOR UPDATE",
            micros("changed_at"),
            micros("now()"),
            self.state
        );
        let row = transaction.query_typed_opt(&query, &[])?;
        let row = row.ok_or(Fault::NoTables)?;
        Ok(Locked {
            marker: marker_of(&row)?,
            began_at: row.try_get(3)?,
            now: row.try_get(4)?,
        })
    }
}

/// SQL for that time in microseconds since the Unix epoch.
fn micros(time: &str) -> String {
    format!("(extract(epoch FROM {time}) * 1000000)::bigint")
}

fn marker_of(row: &Row) -> Result<Marker, Fault> {
    Ok(Marker {
        epoch: row.try_get(0)?,
        generation: row.try_get(1)?,
        changed_at: row.try_get(2)?,
    })
}
