//! The store's file format: JSON text ⇄ entries. The fields of each kind stand in `fields`; no I/O.
//!
//! ```json
//! {"version": 1, "tools": [{"name": "…", "description": "…", "code": "…", "…": "…"}],
//!  "prompts": [{"name": "…", "…": "…"}], "resources": [{"name": "…", "…": "…"}]}
//! ```
//! It is the original's format with four more optional fields of a tool (`inputSchema`,
//! `outputSchema`, `annotations`, `requiresClientCapabilities`), and with `prompts` and
//! `resources`, which are left out where there are none. Fields that this version does not know, of
//! an entry or at the top, are kept as they are through every rewrite, so that a newer version's
//! file survives an older server.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::decide::MAX_REVISION;
use super::members::{Fields, Members};
use super::record::{Key, Record, Stored};
use super::snapshot::Snapshot;
use crate::domain::entry::{Entry, EntryName};
use crate::domain::prompt::PromptDefinition;
use crate::domain::resource::ResourceDefinition;
use crate::domain::tool::Definition;

/// Longest file, in bytes.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
/// Most entries of one kind in one file, whatever the server's own limit.
pub const MAX_ENTRIES: usize = 10_000;

const VERSION: u64 = 1;

/// What a file holds.
#[derive(Debug)]
pub struct Document {
    /// Kind by kind, sorted by name; no name of a kind twice.
    pub records: Vec<Record>,
    /// What is not ours.
    pub extras: Extras,
}

/// Fields that this version does not know, kept for the next rewrite.
#[derive(Debug, Default, Clone)]
pub struct Extras {
    top: Fields,
    by_entry: BTreeMap<Key, Fields>,
}

static NO_FIELDS: Fields = Fields::new();

impl Extras {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.top.is_empty() && self.by_entry.is_empty()
    }

    /// Keeps only what belongs to an entry of `snapshot`, or to none.
    pub fn retain(&mut self, snapshot: &Snapshot) {
        self.by_entry
            .retain(|key, _| snapshot.record(key).is_some());
    }
}

/// Reads a file's text, strictly: one record that breaks a rule fails it all, since dropping it
/// would lose it with the next write.
///
/// # Errors
/// The entry, the field and the rule; quotes no value but a name.
pub fn decode(text: &str) -> Result<Document, String> {
    let mut top = Members::parse(text)?;
    let version: u64 = top.required("version", "must be a number")?;
    if version != VERSION {
        return Err(format!(
            "version is {version}, and this server reads only version {VERSION}"
        ));
    }
    let tools: Vec<&RawValue> = top.required("tools", ARRAY)?;
    let prompts = top.take("prompts", ARRAY)?.unwrap_or_default();
    let resources = top.take("resources", ARRAY)?.unwrap_or_default();
    let mut document = Document {
        records: Vec::new(),
        extras: Extras {
            top: top.rest()?,
            by_entry: BTreeMap::new(),
        },
    };
    document.take_in::<Definition>(tools)?;
    document.take_in::<PromptDefinition>(prompts)?;
    document.take_in::<ResourceDefinition>(resources)?;
    Ok(document)
}

const ARRAY: &str = "must be an array";

impl Document {
    fn take_in<D: Stored>(&mut self, records: Vec<&RawValue>) -> Result<(), String> {
        let (kind, many) = (D::KIND, D::KIND.plural());
        if records.len() > MAX_ENTRIES {
            let count = records.len();
            return Err(format!("it holds {count} {many}, more than {MAX_ENTRIES}"));
        }
        let mut entries = BTreeMap::new();
        for (index, record) in records.into_iter().enumerate() {
            let at = |error: String| format!("{many}[{index}]: {error}");
            let mut members = Members::parse(record.get()).map_err(at)?;
            let name: String = members.required("name", "must be a string").map_err(at)?;
            let name = EntryName::parse(&name).map_err(|error| at(error.to_string()))?;
            let entry = decode_entry::<D>(name.clone(), &mut members)
                .map_err(|error| format!("{kind} \"{name}\": {error}"))?;
            let rest = members.rest()?;
            if !rest.is_empty() {
                self.extras.by_entry.insert((kind, name.clone()), rest);
            }
            if entries
                .insert(name.clone(), D::record(Arc::new(entry)))
                .is_some()
            {
                return Err(format!("{kind} \"{name}\" is there twice"));
            }
        }
        self.records.extend(entries.into_values());
        Ok(())
    }
}

/// Writes a file's text.
///
/// # Errors
/// What `out` says, and `FileTooLarge` beyond [`MAX_FILE_BYTES`], which could not be read again.
pub fn encode(snapshot: &Snapshot, extras: &Extras, out: &mut dyn Write) -> io::Result<()> {
    let file = WireFile {
        version: VERSION,
        tools: wire(snapshot, extras),
        prompts: wire(snapshot, extras),
        resources: wire(snapshot, extras),
        extras: &extras.top,
    };
    let mut capped = Capped {
        out,
        left: MAX_FILE_BYTES,
    };
    serde_json::to_writer_pretty(&mut capped, &file)?;
    capped.write_all(b"\n")
}

#[derive(Serialize)]
struct WireFile<'a> {
    version: u64,
    tools: Vec<WireEntry<'a, Definition>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prompts: Vec<WireEntry<'a, PromptDefinition>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<WireEntry<'a, ResourceDefinition>>,
    #[serde(flatten)]
    extras: &'a Fields,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireEntry<'a, D> {
    name: &'a str,
    #[serde(flatten)]
    definition: &'a D,
    created_at: &'a str,
    updated_at: &'a str,
    revision: u64,
    #[serde(flatten)]
    extras: &'a Fields,
}

fn wire<'a, D: Stored>(snapshot: &'a Snapshot, extras: &'a Extras) -> Vec<WireEntry<'a, D>> {
    let entries = snapshot.shelf::<D>().entries().iter();
    let wire = entries.map(|entry| WireEntry {
        name: entry.name.as_str(),
        definition: &entry.definition,
        created_at: &entry.created_at,
        updated_at: &entry.updated_at,
        revision: entry.revision,
        extras: match extras.by_entry.is_empty() {
            true => &NO_FIELDS,
            false => extras
                .by_entry
                .get(&(D::KIND, entry.name.clone()))
                .unwrap_or(&NO_FIELDS),
        },
    });
    wire.collect()
}

fn decode_entry<D: Stored>(name: EntryName, members: &mut Members<'_>) -> Result<Entry<D>, String> {
    let definition = decode_definition(members)?;
    let revision = members.required("revision", "must be a whole number")?;
    if !(1..=MAX_REVISION).contains(&revision) {
        return Err(format!("revision must be 1 to {MAX_REVISION}"));
    }
    let created_at = decode_time("createdAt", members)?;
    let updated_at = decode_time("updatedAt", members)?;
    Ok(Entry {
        name,
        definition,
        created_at,
        updated_at,
        revision,
    })
}

/// Takes a definition out of a stored record.
///
/// # Errors
/// The fields and their rules; quotes no value.
pub(super) fn decode_definition<D: Stored>(members: &mut Members<'_>) -> Result<D, String> {
    let definition = D::decode(members)?;
    definition.check_sizes().map_err(|broken| {
        let broken: Vec<String> = broken.iter().map(ToString::to_string).collect();
        broken.join("; ")
    })?;
    Ok(definition)
}

fn decode_time(key: &str, members: &mut Members<'_>) -> Result<String, String> {
    const RULE: &str = "must be a time such as 2026-07-28T09:30:00.123Z";
    let text: String = members.required(key, RULE)?;
    if is_rfc3339(&text) {
        Ok(text)
    } else {
        Err(format!("{key} {RULE}"))
    }
}

/// RFC 3339 §5.6 by its shape, and by the ranges of its numbers.
pub(super) fn is_rfc3339(text: &str) -> bool {
    let number = |from: usize, to: usize| {
        let digits = text
            .get(from..to)
            .filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()));
        digits
            .and_then(|digits| digits.parse::<u32>().ok())
            .unwrap_or(u32::MAX)
    };
    let marks: Vec<u8> = [4, 7, 10, 13, 16]
        .into_iter()
        .filter_map(|index| text.as_bytes().get(index).copied())
        .collect();
    let zone = text.get(19..).unwrap_or_default();
    let zone = match zone.strip_prefix('.') {
        Some(fraction) => {
            let rest = fraction.trim_start_matches(|it: char| it.is_ascii_digit());
            if rest.len() == fraction.len() {
                ""
            } else {
                rest
            }
        }
        None => zone,
    };
    let offset = text.len().saturating_sub(6);
    let is_offset = zone.len() == 6
        && zone.starts_with(['+', '-'])
        && zone.get(3..4) == Some(":")
        && number(offset + 1, offset + 3) < 24
        && number(offset + 4, offset + 6) < 60;
    text.len() <= 64
        && marks == b"--T::"
        && number(0, 4) <= 9999
        && (1..=12).contains(&number(5, 7))
        && (1..=31).contains(&number(8, 10))
        && number(11, 13) < 24
        && number(14, 16) < 60
        && number(17, 19) <= 60
        && (zone == "Z" || is_offset)
}

/// Refuses to write beyond a number of bytes.
struct Capped<'a> {
    out: &'a mut dyn Write,
    left: u64,
}

impl Write for Capped<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self
            .left
            .checked_sub(bytes.len() as u64)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        self.out.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tool::Tool;

    fn tool(document: &Document, index: usize) -> &Tool {
        Definition::of(&document.records[index]).unwrap()
    }

    /// As the original writes it.
    const ORIGINAL: &str = r#"{
  "version": 1,
  "tools": [
    {
      "name": "math.add",
      "title": "Add",
      "description": "Adds two numbers",
      "image": "node:lts-slim",
      "timeoutMs": 30000,
      "dependencies": [
        {
          "name": "lodash",
          "version": "^4.17.21"
        }
      ],
      "code": "return { sum: args.a + args.b }; // \"ü\"\n",
      "enabled": true,
      "createdAt": "2026-02-13T09:30:00.123Z",
      "updatedAt": "2026-02-14T10:00:00.000Z",
      "revision": 3
    },
    {
      "name": "old:name",
      "description": "No title, nothing to import",
      "image": "Registry.local/Node",
      "timeoutMs": 120000,
      "dependencies": [],
      "code": "return 1",
      "enabled": false,
      "createdAt": "2026-02-13T09:30:00.123Z",
      "updatedAt": "2026-02-13T09:30:00.123Z",
      "revision": 1
    }
  ]
}
"#;

    fn encoded(document: &Document) -> String {
        let mut bytes = Vec::new();
        let snapshot = Snapshot::of(&document.records);
        encode(&snapshot, &document.extras, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_original_s_file_comes_back_byte_for_byte() {
        let document = decode(ORIGINAL).unwrap();
        let first = tool(&document, 0);
        assert_eq!(first.name.as_str(), "math.add");
        assert_eq!(first.definition.image.as_deref(), Some("node:lts-slim"));
        assert_eq!(first.definition.input_schema, None);
        assert_eq!(
            (first.revision, first.definition.dependencies.len()),
            (3, 1)
        );
        assert!(!tool(&document, 1).definition.enabled);
        assert_eq!(encoded(&document), ORIGINAL);
    }

    #[test]
    fn what_a_client_must_declare() {
        let field = "\"requiresClientCapabilities\": [\"roots\", \"elicitation\"],";
        let with =
            |field: &str| ORIGINAL.replacen("\"code\"", &format!("{field}\n      \"code\""), 1);
        let document = decode(&with(field)).unwrap();
        let written = encoded(&document);
        let first: serde_json::Value = serde_json::from_str(&written).unwrap();
        let first = &first["tools"][0]["requiresClientCapabilities"];
        assert_eq!(*first, serde_json::json!(["elicitation", "roots"]));
        assert_eq!(encoded(&decode(&written).unwrap()), written);
        for wrong in ["\"sampling\"", "[\"tasks\"]", "[\"Roots\"]", "{}"] {
            let field = format!("\"requiresClientCapabilities\": {wrong},");
            let error = decode(&with(&field)).unwrap_err();
            let rule = "must be an array of \"elicitation\", \"sampling\" and \"roots\"";
            let expected = format!("tool \"math.add\": requiresClientCapabilities {rule}");
            assert_eq!(error, expected, "{wrong}");
        }
    }

    #[test]
    fn fields_of_a_later_version_and_the_text_of_schemas_are_kept() {
        let text = r#"{"skills": [ {"b":1,"a":1e400} ], "version": 1, "tools": [{"name": "abc",
            "owner": {"z" : 0.10}, "description": "d", "code": "1", "revision": 1,
            "inputSchema": {"type" : "object", "properties":{"b":{"maximum":1.0}, "a":true}},
            "createdAt": "2026-02-13T09:30:00Z", "updatedAt": "2026-02-13T09:30:00+01:00"}]}"#;
        let mut document = decode(text).unwrap();
        let definition = &tool(&document, 0).definition;
        assert_eq!(
            (definition.timeout_ms, definition.enabled, &definition.image),
            (30_000, true, &None)
        );
        let written = encoded(&document);
        let kept = [
            r#""skills": [ {"b":1,"a":1e400} ]"#,
            r#""owner": {"z" : 0.10}"#,
            r#""inputSchema": {"type" : "object", "properties":{"b":{"maximum":1.0}, "a":true}}"#,
        ];
        for kept in kept {
            assert!(written.contains(kept), "{kept} in {written}");
        }
        assert_eq!(encoded(&decode(&written).unwrap()), written);
        document.records.clear();
        document.extras.retain(&Snapshot::default());
        let emptied = encoded(&document);
        assert!(
            emptied.contains("skills") && !emptied.contains("owner"),
            "{emptied}"
        );
    }

    #[test]
    fn arguments_of_a_later_version_s_prompt_are_kept() {
        let text = r#"{"version": 1, "tools": [], "prompts": [{"name": "abc", "messages": [],
            "arguments": [{"name": "who", "kind": {"of": "person"}}], "revision": 1,
            "createdAt": "2026-02-13T09:30:00Z", "updatedAt": "2026-02-13T09:30:00Z"}]}"#;
        let written: serde_json::Value =
            serde_json::from_str(&encoded(&decode(text).unwrap())).unwrap();
        let expected = serde_json::json!([{ "name": "who", "kind": { "of": "person" } }]);
        assert_eq!(written["prompts"][0]["arguments"], expected);
    }

    #[test]
    fn prompts_and_resources_stand_beside_the_tools() {
        let times = r#""createdAt": "2026-02-13T09:30:00Z", "updatedAt": "2026-02-13T09:30:00Z""#;
        let text = format!(
            r#"{{"version": 1, "tools": [], "prompts": [{{"name": "greet", "revision": 2, {times},
            "arguments": [{{"name": "who", "required": true, "complete": ["Ada"]}}], "later": 1,
            "messages": [ {{"role":"user","content":"hello {{{{who}}}}"}} ]}}], "resources": [
            {{"name": "note", "uri": "notes://a", "text": "", "revision": 1, {times}}}, {{"name":
            "notes", "uriTemplate": "notes://{{day}}/x", "code": "return 1", "timeoutMs": 5000,
            "complete": {{"day": ["monday"]}}, "revision": 1, {times}}}]}}"#
        );
        let document = decode(&text).unwrap();
        let keys: Vec<_> = document
            .records
            .iter()
            .map(|one| one.name().as_str())
            .collect();
        assert_eq!(keys, ["greet", "note", "notes"]);
        let written = encoded(&document);
        let kept = r#""messages": [ {"role":"user","content":"hello {{who}}"} ]"#;
        assert!(
            written.contains(kept) && written.contains("\"later\": 1"),
            "{written}"
        );
        assert_eq!(encoded(&decode(&written).unwrap()), written);
        let check = |from: &str, to: &str, expected: &str| {
            assert!(text.contains(from), "{from}");
            let error = decode(&text.replacen(from, to, 1)).unwrap_err();
            assert!(error.starts_with(expected), "{from} → {to}: {error}");
        };
        check(
            "\"who\"",
            "7",
            "prompt \"greet\": arguments must be an array of objects",
        );
        check(
            "\"text\": \"\",",
            "",
            "resource \"note\": text needs a decision: give exactly one",
        );
        check(
            "{day}/x",
            "{?day}",
            "resource \"notes\": uriTemplate has an expression",
        );
        check("\"notes\"", "\"note\"", "resource \"note\" is there twice");
        check("\"greet\"", "\"g\"", "prompts[0]: name must be 3 to 64");
        check(
            "\"resources\": [",
            "\"resources\": [7,",
            "resources[0]: must be a JSON object",
        );
    }

    #[test]
    fn broken_records_are_named_and_never_quoted() {
        let check = |from: &str, to: &str, expected: &str| {
            assert!(ORIGINAL.contains(from), "{from}");
            let error = decode(&ORIGINAL.replacen(from, to, 1)).unwrap_err();
            assert_eq!(error, expected, "{from} → {to}");
        };
        check("\"version\": 1,", "", "version is missing");
        check(
            "\"version\": 1,",
            "\"version\": \"1\",",
            "version must be a number",
        );
        let newer = "version is 2, and this server reads only version 1";
        check("\"version\": 1,", "\"version\": 2,", newer);
        check(
            "\"version\": 1,",
            "\"version\": 1, \"version\": 1,",
            "a field is there twice",
        );
        let name = "tools[0]: name must be 3 to 64 characters: \
                    a letter, then letters, digits, '.', '_', ':' or '-'";
        check("math.add", "../secret", name);
        check("\"math.add\"", "7", "tools[0]: name must be a string");
        check("\"name\": \"math.add\",", "", "tools[0]: name is missing");
        check("old:name", "math.add", "tool \"math.add\" is there twice");
        let check = |from: &str, to: &str, expected: &str| {
            check(from, to, &format!("tool \"math.add\": {expected}"));
        };
        check(
            "30000",
            "300001",
            "timeoutMs must be 1000 to 300000 milliseconds",
        );
        check("30000", "\"secret\"", "timeoutMs must be a whole number");
        check("30000", "3e4", "timeoutMs must be a whole number");
        check("\"Add\"", "null", "title must be a string of valid Unicode");
        check(
            "\"Add\"",
            "\"\\ud800\"",
            "title must be a string of valid Unicode",
        );
        check(
            "\"Adds two numbers\"",
            "\"\"",
            "description must be 1 to 4000 characters",
        );
        check(
            "^4.17.21",
            "",
            "dependencies[0].version must be 1 to 128 characters",
        );
        let dependencies = "dependencies must be an array of objects of a name and a version";
        check(
            "\"name\": \"lodash\",",
            "\"name\": \"lodash\", \"x\": 1,",
            dependencies,
        );
        check(
            "\"revision\": 3",
            "\"revision\": 0",
            "revision must be 1 to 9007199254740991",
        );
        check(
            "\"revision\": 3",
            "\"revision\": -1",
            "revision must be a whole number",
        );
        check("\"revision\": 3", "\"x\": 3", "revision is missing");
        let time = "createdAt must be a time such as 2026-07-28T09:30:00.123Z";
        check("2026-02-13T09:30:00.123Z", "yesterday", time);
        let schema = "inputSchema must be a JSON object of valid Unicode, at most 128 levels deep";
        check("\"enabled\": true", "\"inputSchema\": [1]", schema);
    }

    #[test]
    fn every_truncation_is_refused() {
        let end = ORIGINAL.trim_end().len();
        for cut in (0..end).filter(|cut| ORIGINAL.is_char_boundary(*cut)) {
            assert!(decode(&ORIGINAL[..cut]).is_err(), "{cut}");
        }
        for text in [
            "[]",
            "null",
            "{}",
            "{\"version\":1}",
            "{\"version\":1,\"tools\":{}}",
        ] {
            assert!(decode(text).is_err(), "{text}");
        }
        assert!(decode(&"[".repeat(1_000_000)).is_err());
        let deep = format!(
            "{{\"version\":1,\"tools\":[],\"x\":{}1{}}}",
            "[".repeat(1_000_000),
            "]".repeat(1_000_000)
        );
        let kept = decode(&deep).unwrap();
        assert!(encoded(&kept).len() > 2_000_000);
    }

    #[test]
    fn times_by_their_shape() {
        for good in [
            "2026-02-13T09:30:00Z",
            "2026-02-13T09:30:60.1Z",
            "2026-12-31T23:59:59.123456789-23:59",
        ] {
            assert!(is_rfc3339(good), "{good}");
        }
        let bad = [
            "",
            "2026-02-13",
            "2026-02-13T09:30:00",
            "2026-02-13 09:30:00Z",
            "2026-13-13T09:30:00Z",
            "2026-02-13T24:30:00Z",
            "2026-02-13T09:30:00.Z",
            "2026-02-13T09:30:00.1",
            "2026-02-13T09:30:00+0100",
            "2026-02-13T09:30:00+01:60",
            "2026-02-13T09:30:00Zé",
            "202é-02-13T09:30:0Z",
            "2026-02-13T09:30:00Z ",
            "+026-02-13T09:30:00Z",
        ];
        for bad in bad {
            assert!(!is_rfc3339(bad), "{bad}");
        }
    }

    #[test]
    fn a_file_that_could_not_be_read_again_is_not_written() {
        let mut sink = io::sink();
        let mut capped = Capped {
            out: &mut sink,
            left: 4,
        };
        assert!(capped.write_all(b"1234").is_ok());
        let error = capped.write_all(b"5").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
