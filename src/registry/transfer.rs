//! Registries as files that are no store: what is exported, and what is to be imported. The format
//! stands in `document`.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::Path;

use super::atomic_file;
use super::document::{self, Extras, MAX_FILE_BYTES};
use super::record::Record;
use super::snapshot::Snapshot;

/// Writes a registry as a file of their own, readable by its owner alone; never over another.
///
/// # Errors
/// `AlreadyExists`, and what the system says.
pub fn write_file(path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    // An empty file of that name now belongs to us, and is replaced whole or removed.
    drop(atomic_file::private().create_new(true).open(path)?);
    let extras = Extras::default();
    let written = atomic_file::replace(path, |out| document::encode(snapshot, &extras, out));
    written.map(drop).inspect_err(|_| {
        let _ = std::fs::remove_file(path);
    })
}

/// Writes it in the same form to `out`.
///
/// # Errors
/// What the system says.
pub fn write_to(out: &mut dyn Write, snapshot: &Snapshot) -> io::Result<()> {
    document::encode(snapshot, &Extras::default(), out)
}

/// What a file to be imported holds.
#[derive(Debug)]
pub struct Export {
    /// Kind by kind, in the order of their names.
    pub records: Vec<Record>,
    /// Whether it has fields that this version does not know and will not import.
    pub has_unknown_fields: bool,
}

/// Reads what [`write_file`] or the original wrote, strictly.
///
/// # Errors
/// The first thing that is wrong with it; quotes no value but a name.
pub fn read_file(path: &Path) -> Result<Export, String> {
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut text = String::new();
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text);
    let bytes = read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes as u64 > MAX_FILE_BYTES {
        return Err(format!("is longer than {MAX_FILE_BYTES} bytes"));
    }
    let document = document::decode(&text)?;
    Ok(Export {
        has_unknown_fields: !document.extras.is_empty(),
        records: document.records,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::tests::{Scratch, prompt, resource, tool};

    #[test]
    fn what_is_written_is_read_and_nothing_is_written_over() {
        let scratch = Scratch::new();
        let path = scratch.path("export.json");
        let records = [
            Record::Tool(tool("abc")),
            Record::Tool(tool("def")),
            Record::Prompt(prompt("abc")),
            Record::Resource(resource("abc", "a://{b}")),
        ];
        write_file(&path, &Snapshot::of(&records)).unwrap();
        let read = read_file(&path).unwrap();
        assert_eq!(read.records, records);
        assert!(!read.has_unknown_fields);
        let again = write_file(&path, &Snapshot::default()).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_file(&path).unwrap().records, records);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen('{', "{\"later\": 1,", 1)).unwrap();
        assert!(read_file(&path).unwrap().has_unknown_fields);
    }
}
