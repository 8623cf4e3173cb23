//! The `tools export` and `tools import` commands: the configured registry to and from a file,
//! which any backend, another server and the original read and write alike.

use std::path::Path;
use std::process::ExitCode;

use super::{fail, print};
use crate::app::{import_records, open_store};
use crate::base::text::counted;
use crate::config::{Access, Config};
use crate::domain::entry::Kind;
use crate::registry::transfer::{read_file, write_file, write_to};
use crate::registry::{OnCollision, Record};

/// Writes the registry to a new file, or to stdout.
pub(super) fn export(mut config: Config, path: Option<&str>) -> ExitCode {
    // Looking changes nothing.
    config.store.access = Access::ReadOnly;
    let store = match open_store(&config.store) {
        Ok(store) => store,
        Err(error) => return fail(1, &error.to_string()),
    };
    let snapshot = store.snapshot();
    let written = match path {
        Some(path) => write_file(Path::new(path), &snapshot),
        None => write_to(&mut std::io::stdout().lock(), &snapshot),
    };
    match (written, path) {
        (Err(error), _) => fail(1, &format!("the export cannot be written: {error}")),
        (Ok(()), None) => ExitCode::SUCCESS,
        (Ok(()), Some(_)) => {
            let counts = [
                (snapshot.tools().len(), "tool"),
                (snapshot.prompts().len(), "prompt"),
                (snapshot.resources().len(), "resource"),
            ];
            let (tools, others) = counts.split_at(1);
            let others = others.iter().filter(|(count, _)| *count > 0);
            let counts = tools.iter().chain(others);
            let counts: Vec<_> = counts.map(|(count, what)| counted(*count, what)).collect();
            print(&format!("{} exported", counts.join(", ")))
        }
    }
}

/// Takes a file's entries in, all or none.
pub(super) fn import(config: &Config, path: &str, word: Option<&str>) -> ExitCode {
    let on_collision = match word {
        None => OnCollision::Refuse,
        Some("replace") => OnCollision::Replace,
        Some(_) => return fail(2, "usage: dynamic-mcp tools import FILE [replace]"),
    };
    let export = match read_file(Path::new(path)) {
        Ok(export) => export,
        Err(reason) => return fail(1, &format!("{path} {reason}")),
    };
    let imported = import_records(config, &export.records, on_collision);
    let unknown = match export.has_unknown_fields {
        true => "; fields that this version does not know were left out",
        false => "",
    };
    match imported {
        Ok(done) => print(&format!(
            "{} added, {} replaced, {} unchanged{unknown}",
            what(done.added, &export.records),
            done.replaced,
            done.unchanged
        )),
        Err(error) => fail(1, &error),
    }
}

/// A number of what is imported, by its name where it is all of one kind.
fn what(count: usize, records: &[Record]) -> String {
    let mut kinds = records.iter().map(Record::kind);
    let first = kinds.next().unwrap_or(Kind::Tool);
    match kinds.all(|kind| kind == first) {
        true => counted(count, first.as_str()),
        false if count == 1 => "1 entry".to_owned(),
        false => format!("{count} entries"),
    }
}
