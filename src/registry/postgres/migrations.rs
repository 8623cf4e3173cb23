//! The schema's migrations: embedded, forward only, applied all in one transaction under an
//! advisory lock, each recorded with its checksum. What they do stands in `sql/`.

use std::time::Duration;

use postgres::types::Type;
use postgres::{Client, GenericClient};
use sha2::{Digest as _, Sha256};

use super::fault::Fault;
use crate::base::ids::hex;

/// What all migrations together may take, waiting for other replicas' included.
pub(super) const MIGRATION: Duration = Duration::from_secs(120);

struct Migration {
    name: &'static str,
    sql: &'static str,
}

macro_rules! migration {
    ($name:literal) => {
        Migration {
            name: $name,
            sql: include_str!(concat!("../../../sql/", $name, ".sql")),
        }
    };
}

/// In order; the first is version 1. Applied ones never change.
const MIGRATIONS: &[Migration] = &[
    migration!("0001_tools"),
    migration!("0002_changes"),
    migration!("0003_instances"),
    migration!("0004_client_capabilities"),
    migration!("0005_changed_at"),
    migration!("0006_entries"),
];

/// What a look at the schema, or a migration, comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The version before; 0 where there was nothing.
    pub from: i32,
    /// The version now.
    pub to: i32,
}

/// The version that this build needs.
pub(super) fn known_version() -> i32 {
    i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX)
}

/// The schema's version, if all that was applied is known to us.
///
/// # Errors
/// `NewerSchema`, `ForeignSchema`, and what keeps the database from answering.
pub(super) fn read_version(client: &mut impl GenericClient, schema: &str) -> Result<i32, Fault> {
    let table = format!("\"{schema}\".dynamic_schema_migrations");
    let is_there = "SELECT to_regclass($1) IS NOT NULL";
    let is_there: bool = client
        .query_typed_one(is_there, &[(&table, Type::TEXT)])?
        .try_get(0)?;
    if !is_there {
        return Ok(0);
    }
    let applied = format!("SELECT version, checksum FROM {table} ORDER BY version LIMIT 10000");
    let applied = client.query_typed(&applied, &[])?;
    let mut version = 0;
    for row in applied {
        let (found, checksum): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
        version = found;
        let known = usize::try_from(found - 1).ok();
        let Some(known) = known.and_then(|index| MIGRATIONS.get(index)) else {
            continue;
        };
        if checksum_of(known) != checksum {
            return Err(Fault::ForeignSchema(found));
        }
    }
    if version > known_version() {
        return Err(Fault::NewerSchema(version, known_version()));
    }
    Ok(version)
}

/// Applies what is missing. Any number of replicas may do so at once.
///
/// # Errors
/// Those of [`read_version`]; `OldSchema` where our role may not change the schema.
pub(super) fn migrate(client: &mut Client, schema: &str) -> Result<Migrated, Fault> {
    let from = read_version(client, schema)?;
    let to = known_version();
    if from == to {
        return Ok(Migrated { from, to });
    }
    // Who waited for the lock may still see the catalog as it was before: PostgreSQL looks names up
    // in a cache that it renews when a transaction starts. What another one made meanwhile then
    // collides, once, and the next transaction sees it.
    let applied = match apply_missing(client, schema) {
        Err(Fault::Duplicate) => apply_missing(client, schema),
        applied => applied,
    };
    match applied {
        Ok(from) => Ok(Migrated { from, to }),
        Err(Fault::Forbidden) => Err(Fault::OldSchema(from, to)),
        Err(fault) => Err(fault),
    }
}

/// The version before.
fn apply_missing(client: &mut Client, schema: &str) -> Result<i32, Fault> {
    let mut transaction = client.transaction()?;
    let limit = MIGRATION.as_millis();
    transaction.batch_execute(&format!(
        "SET LOCAL statement_timeout = {limit}; SET LOCAL lock_timeout = {limit}"
    ))?;
    let lock = "SELECT pg_advisory_xact_lock($1)::text, current_setting('server_encoding')";
    let locked = transaction.query_typed_one(lock, &[(&lock_key(schema), Type::INT8)])?;
    if locked.try_get::<_, &str>(1)? != "UTF8" {
        return Err(Fault::NotUtf8);
    }
    // Somebody may have applied them while we waited.
    let from = read_version(&mut transaction, schema)?;
    let exists = "SELECT to_regnamespace(quote_ident($1)) IS NOT NULL";
    let exists = transaction.query_typed_one(exists, &[(&schema, Type::TEXT)])?;
    if !exists.try_get::<_, bool>(0)? {
        // Not IF NOT EXISTS: that asks for the privilege even where there is nothing to do.
        transaction.batch_execute(&format!("CREATE SCHEMA \"{schema}\""))?;
    }
    transaction.batch_execute(&format!(
        "SET LOCAL search_path TO \"{schema}\", pg_temp;
         CREATE TABLE IF NOT EXISTS dynamic_schema_migrations (
             version    integer PRIMARY KEY,
             name       text NOT NULL,
             checksum   text NOT NULL,
             applied_at timestamptz NOT NULL DEFAULT now()
         )"
    ))?;
    for (version, migration) in (1..)
        .zip(MIGRATIONS)
        .skip_while(|(version, _)| *version <= from)
    {
        transaction.batch_execute(migration.sql)?;
        let record = "INSERT INTO dynamic_schema_migrations (version, name, checksum) \
                      VALUES ($1, $2, $3)";
        let checksum = checksum_of(migration);
        let values: [(&(dyn postgres::types::ToSql + Sync), Type); 3] = [
            (&version, Type::INT4),
            (&migration.name, Type::TEXT),
            (&checksum, Type::TEXT),
        ];
        transaction.execute_typed(record, &values)?;
    }
    transaction.commit()?;
    Ok(from)
}

fn checksum_of(migration: &Migration) -> String {
    hex(&Sha256::digest(migration.sql))
}

/// The advisory lock of this schema's migrations, unlike that of any other program.
fn lock_key(schema: &str) -> i64 {
    let digest = Sha256::digest(format!("dynamic-mcp migrations of {schema}"));
    let mut key = [0; 8];
    for (byte, hashed) in key.iter_mut().zip(digest) {
        *byte = hashed;
    }
    i64::from_be_bytes(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_a_migration_in_its_place() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sql");
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let known: Vec<String> = MIGRATIONS
            .iter()
            .map(|migration| format!("{}.sql", migration.name))
            .collect();
        assert_eq!(names, known);
        for (version, migration) in (1..).zip(MIGRATIONS) {
            assert!(migration.name.starts_with(&format!("{version:04}_")));
        }
    }
}
