//! The `tools export` and `tools import` commands: the configured registry to and from a file,
//! which any backend, another server and the original read and write alike.

use std::path::Path;
use std::process::ExitCode;

use super::{fail, print};
use crate::app::{import_tools, open_store};
use crate::base::text::counted;
use crate::config::{Access, Config};
use crate::registry::OnCollision;
use crate::registry::transfer::{read_file, write_file, write_to};

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
        Some(path) => write_file(Path::new(path), snapshot.tools()),
        None => write_to(&mut std::io::stdout().lock(), snapshot.tools()),
    };
    match (written, path) {
        (Err(error), _) => fail(1, &format!("the export cannot be written: {error}")),
        (Ok(()), None) => ExitCode::SUCCESS,
        (Ok(()), Some(_)) => print(&format!(
            "{} exported",
            counted(snapshot.tools().len(), "tool")
        )),
    }
}

/// Takes a file's tools in, all or none.
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
    let imported = import_tools(config, &export.tools, on_collision);
    let unknown = match export.has_unknown_fields {
        true => "; fields that this version does not know were left out",
        false => "",
    };
    match imported {
        Ok(done) => print(&format!(
            "{} added, {} replaced, {} unchanged{unknown}",
            counted(done.added, "tool"),
            done.replaced,
            done.unchanged
        )),
        Err(error) => fail(1, &error),
    }
}
