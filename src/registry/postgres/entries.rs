//! Rows of `dynamic_entries` ⇄ prompts and resources. The only SQL that names its columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use postgres::types::{ToSql, Type};
use postgres::{GenericClient, Row};
use serde::Serialize;

use super::fault::Fault;
use super::rows::{CHUNK, Found, Parameter, TIME, VERSION, read_times};
use crate::domain::entry::{Entry, EntryName, Kind};
use crate::domain::prompt::PromptDefinition;
use crate::domain::resource::ResourceDefinition;
use crate::registry::decide::MAX_REVISION;
use crate::registry::document::decode_definition;
use crate::registry::members::{Fields, Members};
use crate::registry::record::{Record, Stored};

/// Longest record that is read, in bytes: more than any that we write.
const MAX_RECORD_BYTES: i32 = 16 << 20;

/// A row's kind and name, and which version of it there is.
pub(super) type Versioned = ((Kind, String), String);

/// What rows have that this version does not know, by their kind and name.
pub(super) type Unknown = BTreeMap<(Kind, String), Fields>;

/// The kind that a row says it is.
pub(super) fn kind_of(text: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind.as_str() == text)
}

/// The rows of these kinds and names, as far as they are there and of a size that can be.
pub(super) fn select(
    client: &mut impl GenericClient,
    table: &str,
    wanted: &[(Kind, &str)],
) -> Result<Vec<Found>, Fault> {
    let query = format!(
        "SELECT kind, name, {VERSION}, definition, \
         to_char(created_at AT TIME ZONE 'UTC', {TIME}), \
         to_char(updated_at AT TIME ZONE 'UTC', {TIME}), revision::bigint \
         FROM {table} WHERE (kind, name) IN (SELECT * FROM unnest($1, $2)) \
         AND octet_length(definition) <= $3"
    );
    let mut found = Vec::with_capacity(wanted.len());
    for wanted in wanted.chunks(CHUNK) {
        let (kinds, names) = columns(wanted.iter().copied());
        let parameters: [Parameter<'_>; 3] = [
            (&kinds, Type::TEXT_ARRAY),
            (&names, Type::TEXT_ARRAY),
            (&MAX_RECORD_BYTES, Type::INT4),
        ];
        for row in client.query_typed(&query, &parameters)? {
            let (kind, name): (&str, String) = (row.try_get(0)?, row.try_get(1)?);
            let kind = kind_of(kind).ok_or(Fault::Unexpected)?;
            let record = match kind {
                Kind::Prompt => decode::<PromptDefinition>(&row, &name)?,
                Kind::Resource => decode::<ResourceDefinition>(&row, &name)?,
                Kind::Tool => Err("it stands in the wrong table".to_owned()),
            };
            found.push(Found {
                kind,
                name,
                version: row.try_get(2)?,
                record,
            });
        }
    }
    Ok(found)
}

fn decode<D: Stored>(row: &Row, name: &str) -> Result<Result<Record, String>, Fault> {
    let (text, times) = (row.try_get::<_, &str>(3)?, read_times(row, [4, 5])?);
    let revision = u64::try_from(row.try_get::<_, i64>(6)?).unwrap_or(0);
    let build = || {
        let definition: D = decode_definition(&mut Members::parse(text)?)?;
        let [Some(created_at), Some(updated_at)] = times else {
            return Err("its times are out of range".to_owned());
        };
        if !(1..=MAX_REVISION).contains(&revision) {
            return Err(format!("revision must be 1 to {MAX_REVISION}"));
        }
        Ok(D::record(Arc::new(Entry {
            name: EntryName::parse(name).map_err(|error| error.to_string())?,
            definition,
            created_at,
            updated_at,
            revision,
        })))
    };
    Ok(build())
}

fn columns<'a>(keys: impl Iterator<Item = (Kind, &'a str)>) -> (Vec<&'static str>, Vec<&'a str>) {
    keys.map(|(kind, name)| (kind.as_str(), name)).unzip()
}

/// What rows have in their definitions that this version does not know; a row without such a
/// thing, or that cannot be read, is left out.
pub(super) fn unknown_fields(
    client: &mut impl GenericClient,
    table: &str,
    wanted: &[(Kind, &str)],
) -> Result<Unknown, Fault> {
    fn of<D: Stored>(text: &str) -> Result<Fields, String> {
        let mut members = Members::parse(text)?;
        D::decode(&mut members)?;
        members.rest()
    }
    let query = format!(
        "SELECT kind, name, definition FROM {table} \
         WHERE (kind, name) IN (SELECT * FROM unnest($1, $2)) AND octet_length(definition) <= $3"
    );
    let mut unknown = Unknown::new();
    for wanted in wanted.chunks(CHUNK) {
        let (kinds, names) = columns(wanted.iter().copied());
        let parameters: [Parameter<'_>; 3] = [
            (&kinds, Type::TEXT_ARRAY),
            (&names, Type::TEXT_ARRAY),
            (&MAX_RECORD_BYTES, Type::INT4),
        ];
        for row in client.query_typed(&query, &parameters)? {
            let kind = kind_of(row.try_get(0)?).ok_or(Fault::Unexpected)?;
            let fields = match kind {
                Kind::Prompt => of::<PromptDefinition>(row.try_get(2)?),
                Kind::Resource => of::<ResourceDefinition>(row.try_get(2)?),
                Kind::Tool => continue,
            };
            let fields = fields.unwrap_or_default();
            if !fields.is_empty() {
                unknown.insert((kind, row.try_get(1)?), fields);
            }
        }
    }
    Ok(unknown)
}

/// A record as a row has it.
struct Columns<'a> {
    name: &'a str,
    definition: String,
    created_at: &'a str,
    updated_at: &'a str,
    revision: i64,
}

/// A definition, with what a newer version put into it.
#[derive(Serialize)]
struct Whole<'a, D> {
    #[serde(flatten)]
    definition: &'a D,
    #[serde(flatten)]
    unknown: Option<&'a Fields>,
}

/// Nothing for a tool, which stands in a table of its own.
fn columns_of<'a>(record: &'a Record, unknown: &Unknown) -> Result<Option<Columns<'a>>, Fault> {
    fn of<'a, D: Stored>(
        entry: &'a Entry<D>,
        unknown: &Unknown,
    ) -> Result<Option<Columns<'a>>, Fault> {
        let definition = serde_json::to_string(&Whole {
            definition: &entry.definition,
            unknown: unknown.get(&(D::KIND, entry.name.to_string())),
        });
        Ok(Some(Columns {
            name: entry.name.as_str(),
            definition: definition.map_err(|_| Fault::Unexpected)?,
            created_at: &entry.created_at,
            updated_at: &entry.updated_at,
            revision: i64::try_from(entry.revision).map_err(|_| Fault::Unexpected)?,
        }))
    }
    match record {
        Record::Tool(_) => Ok(None),
        Record::Prompt(entry) => of(entry, unknown),
        Record::Resource(entry) => of(entry, unknown),
    }
}

/// Adds records that are not there; the version of each.
pub(super) fn insert(
    client: &mut impl GenericClient,
    table: &str,
    records: &[&Record],
    unknown: &Unknown,
) -> Result<Vec<Versioned>, Fault> {
    let query = format!(
        "INSERT INTO {table} (kind, name, definition, created_at, updated_at, revision) \
         SELECT kind, name, definition, created_at::timestamptz, updated_at::timestamptz, revision \
         FROM unnest($1, $2, $3, $4, $5, $6) \
         AS given (kind, name, definition, created_at, updated_at, revision) \
         RETURNING kind, name, {VERSION}"
    );
    let mut versions = Vec::with_capacity(records.len());
    for records in records.chunks(CHUNK) {
        let mut rows = Vec::with_capacity(records.len());
        let mut kinds = Vec::with_capacity(records.len());
        for record in records {
            rows.extend(columns_of(record, unknown)?);
            kinds.push(record.kind().as_str());
        }
        fn column<'a, T>(rows: &'a [Columns<'a>], get: impl Fn(&'a Columns<'a>) -> T) -> Vec<T> {
            rows.iter().map(get).collect()
        }
        let names = column(&rows, |row| row.name);
        let definitions = column(&rows, |row| row.definition.as_str());
        let created = column(&rows, |row| row.created_at);
        let updated = column(&rows, |row| row.updated_at);
        let revisions = column(&rows, |row| row.revision);
        let parameters: [Parameter<'_>; 6] = [
            (&kinds, Type::TEXT_ARRAY),
            (&names, Type::TEXT_ARRAY),
            (&definitions, Type::TEXT_ARRAY),
            (&created, Type::TEXT_ARRAY),
            (&updated, Type::TEXT_ARRAY),
            (&revisions, Type::INT8_ARRAY),
        ];
        for row in client.query_typed(&query, &parameters)? {
            let kind = kind_of(row.try_get(0)?).ok_or(Fault::Unexpected)?;
            versions.push(((kind, row.try_get(1)?), row.try_get(2)?));
        }
    }
    Ok(versions)
}

/// Replaces the row of a record's kind and name that has the revision before; its version now.
pub(super) fn update(
    client: &mut impl GenericClient,
    table: &str,
    record: &Record,
    unknown: &Unknown,
) -> Result<Option<String>, Fault> {
    let query = format!(
        "UPDATE {table} SET definition = $3, updated_at = $4::text::timestamptz, revision = $5 \
         WHERE kind = $1 AND name = $2 AND revision = $5 - 1 RETURNING {VERSION}"
    );
    let row = columns_of(record, unknown)?.ok_or(Fault::Unexpected)?;
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (&record.kind().as_str(), Type::TEXT),
        (&row.name, Type::TEXT),
        (&row.definition, Type::TEXT),
        (&row.updated_at, Type::TEXT),
        (&row.revision, Type::INT8),
    ];
    let row = client.query_typed_opt(&query, &parameters)?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Removes rows by kind and name; how many were there.
pub(super) fn delete(
    client: &mut impl GenericClient,
    table: &str,
    gone: &[(Kind, &str)],
) -> Result<u64, Fault> {
    let query = format!(
        "DELETE FROM {table} AS entries USING unnest($1, $2) AS gone (kind, name) \
         WHERE entries.kind = gone.kind AND entries.name = gone.name"
    );
    let (kinds, names) = columns(gone.iter().copied());
    let parameters: [Parameter<'_>; 2] = [(&kinds, Type::TEXT_ARRAY), (&names, Type::TEXT_ARRAY)];
    Ok(client.execute_typed(&query, &parameters)?)
}
