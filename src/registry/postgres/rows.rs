//! Rows of `dynamic_tools` ⇄ tools. The only SQL that names the columns; decisions never stand
//! here.

use std::sync::Arc;

use postgres::types::{ToSql, Type};
use postgres::{GenericClient, Row};

use super::fault::Fault;
use crate::domain::entry::{Authored as _, EntryName, Kind};
use crate::domain::json::JsonText;
use crate::domain::tool::{Definition, Tool};
use crate::registry::StoreError;
use crate::registry::decide::MAX_REVISION;
use crate::registry::document::is_rfc3339;
use crate::registry::record::Record;

/// Most tools that one statement carries.
pub(super) const CHUNK: usize = 200;
/// Longest record that is read, in bytes: more than any that we write.
const MAX_RECORD_BYTES: i32 = 4 << 20;

/// A parameter and its type, as statements that are not prepared need it.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// A row that was found: which version of it, and the record, unless it breaks a rule.
pub(super) struct Found {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) record: Result<Record, String>,
}

/// SQL for the version of a row. Transactions are numbered alike again after a database went back
/// in time, so their number alone does not name one.
pub(super) const VERSION: &str =
    "concat_ws('/', xmin, revision, encode(timestamptz_send(updated_at), 'hex'))";

pub(super) const TIME: &str = r#"'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"#;

/// The rows of these names, as far as they are there and of a size that can be.
pub(super) fn select(
    client: &mut impl GenericClient,
    table: &str,
    names: &[&str],
) -> Result<Vec<Found>, Fault> {
    let query = format!(
        "SELECT name, {VERSION}, title, description, image, timeout_ms::bigint, \
         dependencies::text, input_schema, output_schema, annotations, code, enabled, \
         to_char(created_at AT TIME ZONE 'UTC', {TIME}), \
         to_char(updated_at AT TIME ZONE 'UTC', {TIME}), revision::bigint, \
         requires_client_capabilities::text \
         FROM {table} WHERE name = ANY($1) AND octet_length(code) + octet_length(description) + \
         octet_length(coalesce(input_schema, '')) + octet_length(coalesce(output_schema, '')) + \
         octet_length(coalesce(annotations, '')) + octet_length(dependencies::text) <= $2"
    );
    let mut found = Vec::with_capacity(names.len());
    for names in names.chunks(CHUNK) {
        let parameters: [Parameter<'_>; 2] =
            [(&names, Type::TEXT_ARRAY), (&MAX_RECORD_BYTES, Type::INT4)];
        for row in client.query_typed(&query, &parameters)? {
            found.push(Found {
                kind: Kind::Tool,
                name: row.try_get(0)?,
                version: row.try_get(1)?,
                record: decode(&row)?.map(|tool| Record::Tool(Arc::new(tool))),
            });
        }
    }
    Ok(found)
}

fn decode(row: &Row) -> Result<Result<Tool, String>, Fault> {
    let text = |index: usize| row.try_get::<_, Option<String>>(index);
    let json = |index: usize, field: &str| -> Result<Result<Option<JsonText>, String>, Fault> {
        let parsed = text(index)?.map(JsonText::parse).transpose();
        Ok(parsed.map_err(|_| format!("{field} is not JSON")))
    };
    let schemas = [json(7, "input_schema")?, json(8, "output_schema")?];
    let (annotations, timeout_ms) = (json(9, "annotations")?, row.try_get::<_, i64>(5)?);
    let (dependencies, code) = (text(6)?.unwrap_or_default(), text(10)?.unwrap_or_default());
    let (title, image, enabled) = (text(2)?, text(4)?, row.try_get(11)?);
    let (name, description) = (text(0)?.unwrap_or_default(), text(3)?.unwrap_or_default());
    let times = read_times(row, [12, 13])?;
    let revision: i64 = row.try_get(14)?;
    let capabilities = text(15)?.unwrap_or_default();
    let build = || {
        let [input_schema, output_schema] = schemas;
        let definition = Definition {
            title,
            description,
            image,
            timeout_ms: u64::try_from(timeout_ms).unwrap_or(0),
            dependencies: serde_json::from_str(&dependencies)
                .map_err(|_| "dependencies are not names and versions".to_owned())?,
            input_schema: input_schema?,
            output_schema: output_schema?,
            annotations: annotations?,
            requires_client_capabilities: serde_json::from_str(&capabilities)
                .map_err(|_| "requires_client_capabilities are not known ones".to_owned())?,
            code: code.into(),
            enabled,
        };
        definition.check_sizes().map_err(|broken| {
            let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
            broken.join("; ")
        })?;
        let [Some(created_at), Some(updated_at)] = times else {
            return Err("its times are out of range".to_owned());
        };
        let revision = u64::try_from(revision).unwrap_or(0);
        if !(1..=MAX_REVISION).contains(&revision) {
            return Err(format!("revision must be 1 to {MAX_REVISION}"));
        }
        Ok(Tool {
            name: EntryName::parse(&name).map_err(|error| error.to_string())?,
            definition,
            created_at,
            updated_at,
            revision,
        })
    };
    Ok(build())
}

/// The times in two columns, where they can be told.
pub(super) fn read_times(row: &Row, columns: [usize; 2]) -> Result<[Option<String>; 2], Fault> {
    let [one, other] = columns.map(|column| row.try_get::<_, Option<String>>(column));
    Ok([one?, other?].map(|time| time.as_deref().and_then(read_time)))
}

/// The server's microseconds; milliseconds where they say no more, as we write them.
fn read_time(text: &str) -> Option<String> {
    let text = match text.strip_suffix("000Z") {
        Some(short) => format!("{short}Z"),
        None => text.to_owned(),
    };
    is_rfc3339(&text).then_some(text)
}

/// Adds tools that are not there; the version of each by its name.
pub(super) fn insert(
    client: &mut impl GenericClient,
    table: &str,
    tools: &[Arc<Tool>],
) -> Result<Vec<(String, String)>, Fault> {
    let query = format!(
        "INSERT INTO {table} (name, title, description, image, timeout_ms, dependencies, \
         input_schema, output_schema, annotations, code, enabled, created_at, updated_at, \
         revision, requires_client_capabilities) \
         SELECT name, title, description, image, timeout_ms, dependencies::jsonb, input_schema, \
         output_schema, annotations, code, enabled, created_at::timestamptz, \
         updated_at::timestamptz, revision, capabilities::jsonb \
         FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         AS given (name, title, description, image, timeout_ms, dependencies, input_schema, \
         output_schema, annotations, code, enabled, created_at, updated_at, revision, \
         capabilities) \
         RETURNING name, {VERSION}"
    );
    let mut versions = Vec::with_capacity(tools.len());
    for tools in tools.chunks(CHUNK) {
        let columns = Columns::of(tools)?;
        for row in client.query_typed(&query, &columns.parameters())? {
            versions.push((row.try_get(0)?, row.try_get(1)?));
        }
    }
    Ok(versions)
}

/// Replaces the row of `tool` that has revision `stored`; its version now.
pub(super) fn update(
    client: &mut impl GenericClient,
    table: &str,
    tool: &Arc<Tool>,
    stored: u64,
) -> Result<Option<String>, Fault> {
    let query = format!(
        "UPDATE {table} SET title = $2[1], description = $3[1], image = $4[1], \
         timeout_ms = $5[1], dependencies = $6[1]::jsonb, input_schema = $7[1], \
         output_schema = $8[1], annotations = $9[1], code = $10[1], enabled = $11[1], \
         created_at = $12[1]::timestamptz, updated_at = $13[1]::timestamptz, revision = $14[1], \
         requires_client_capabilities = $15[1]::jsonb \
         WHERE name = $1[1] AND revision = $16 RETURNING {VERSION}"
    );
    let columns = Columns::of(std::slice::from_ref(tool))?;
    let stored = i64::try_from(stored).map_err(|_| Fault::Unexpected)?;
    let mut parameters = columns.parameters();
    parameters.push((&stored, Type::INT8));
    let row = client.query_typed_opt(&query, &parameters)?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Removes rows by name; how many were there.
pub(super) fn delete(
    client: &mut impl GenericClient,
    table: &str,
    names: &[&str],
) -> Result<u64, Fault> {
    let query = format!("DELETE FROM {table} WHERE name = ANY($1)");
    Ok(client.execute_typed(&query, &[(&names, Type::TEXT_ARRAY)])?)
}

/// Refuses what the database cannot hold though a file can: the character U+0000.
pub(super) fn check_storable(tool: &Tool) -> Result<(), StoreError> {
    let definition = &tool.definition;
    let mut fields: Vec<(String, &str)> = vec![
        ("description".to_owned(), &definition.description),
        ("code".to_owned(), &definition.code),
        (
            "title".to_owned(),
            definition.title.as_deref().unwrap_or_default(),
        ),
        (
            "image".to_owned(),
            definition.image.as_deref().unwrap_or_default(),
        ),
    ];
    for (index, dependency) in definition.dependencies.iter().enumerate() {
        fields.push((format!("dependencies[{index}].name"), &dependency.name));
        fields.push((
            format!("dependencies[{index}].version"),
            &dependency.version,
        ));
    }
    let broken: Vec<_> = fields
        .into_iter()
        .filter(|(_, text)| text.contains('\0'))
        .map(|(path, _)| crate::domain::entry::InvalidField {
            path,
            rule: "must not contain U+0000, which the database cannot hold".to_owned(),
        })
        .collect();
    if broken.is_empty() {
        Ok(())
    } else {
        Err(StoreError::Invalid(broken))
    }
}

/// Tools column by column: one statement carries any number of them.
#[derive(Default)]
struct Columns<'a> {
    names: Vec<&'a str>,
    titles: Vec<Option<&'a str>>,
    descriptions: Vec<&'a str>,
    images: Vec<Option<&'a str>>,
    timeouts: Vec<i32>,
    dependencies: Vec<String>,
    input_schemas: Vec<Option<&'a str>>,
    output_schemas: Vec<Option<&'a str>>,
    annotations: Vec<Option<&'a str>>,
    codes: Vec<&'a str>,
    enabled: Vec<bool>,
    created: Vec<&'a str>,
    updated: Vec<&'a str>,
    revisions: Vec<i64>,
    capabilities: Vec<String>,
}

impl<'a> Columns<'a> {
    fn of(tools: &'a [Arc<Tool>]) -> Result<Self, Fault> {
        fn text(json: Option<&JsonText>) -> Option<&str> {
            json.map(JsonText::text)
        }
        let mut columns = Self::default();
        for tool in tools {
            let definition = &tool.definition;
            let dependencies = serde_json::to_string(&definition.dependencies);
            columns.names.push(tool.name.as_str());
            columns.titles.push(definition.title.as_deref());
            columns.descriptions.push(&definition.description);
            columns.images.push(definition.image.as_deref());
            columns
                .timeouts
                .push(i32::try_from(definition.timeout_ms).map_err(|_| Fault::Unexpected)?);
            columns
                .dependencies
                .push(dependencies.map_err(|_| Fault::Unexpected)?);
            columns
                .input_schemas
                .push(text(definition.input_schema.as_ref()));
            columns
                .output_schemas
                .push(text(definition.output_schema.as_ref()));
            columns
                .annotations
                .push(text(definition.annotations.as_ref()));
            columns.codes.push(&definition.code);
            columns.enabled.push(definition.enabled);
            columns.created.push(&tool.created_at);
            columns.updated.push(&tool.updated_at);
            columns
                .revisions
                .push(i64::try_from(tool.revision).map_err(|_| Fault::Unexpected)?);
            let capabilities = serde_json::to_string(&definition.requires_client_capabilities);
            columns
                .capabilities
                .push(capabilities.map_err(|_| Fault::Unexpected)?);
        }
        Ok(columns)
    }

    fn parameters(&self) -> Vec<Parameter<'_>> {
        vec![
            (&self.names, Type::TEXT_ARRAY),
            (&self.titles, Type::TEXT_ARRAY),
            (&self.descriptions, Type::TEXT_ARRAY),
            (&self.images, Type::TEXT_ARRAY),
            (&self.timeouts, Type::INT4_ARRAY),
            (&self.dependencies, Type::TEXT_ARRAY),
            (&self.input_schemas, Type::TEXT_ARRAY),
            (&self.output_schemas, Type::TEXT_ARRAY),
            (&self.annotations, Type::TEXT_ARRAY),
            (&self.codes, Type::TEXT_ARRAY),
            (&self.enabled, Type::BOOL_ARRAY),
            (&self.created, Type::TEXT_ARRAY),
            (&self.updated, Type::TEXT_ARRAY),
            (&self.revisions, Type::INT8_ARRAY),
            (&self.capabilities, Type::TEXT_ARRAY),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_what_they_say() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(read_time(text).as_deref(), expected, "{text}");
        };
        check(
            "2026-02-13T09:30:00.123000Z",
            Some("2026-02-13T09:30:00.123Z"),
        );
        check(
            "2026-02-13T09:30:00.123456Z",
            Some("2026-02-13T09:30:00.123456Z"),
        );
        check(
            "2026-02-13T09:30:00.000000Z",
            Some("2026-02-13T09:30:00.000Z"),
        );
        check("12026-02-13T09:30:00.000000Z", None);
        check("", None);
    }
}
