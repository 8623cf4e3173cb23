//! Reads the checkout. The only place here that touches the disk.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Relative to the checkout, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Folders that git ignores, beside hidden ones.
const SKIPPED: &[&str] = &["target", "vendor", "node_modules", "__pycache__"];

fn checkout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file at the top of the checkout, which must exist.
pub(crate) fn read(name: &str) -> String {
    fs::read_to_string(checkout().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Every text file below `folder` ("" for the whole checkout) whose name ends with `suffix`.
pub(crate) fn files(folder: &str, suffix: &str) -> Vec<SourceFile> {
    let mut found = Vec::new();
    collect(&checkout().join(folder), suffix, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no *{suffix} below {folder:?}");
    found
}

/// The Rust files of the crate and of its tests.
pub(crate) fn rust_files() -> Vec<SourceFile> {
    let mut all = files("src", ".rs");
    all.extend(files("tests", ".rs"));
    all
}

fn collect(folder: &Path, suffix: &str, found: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            let hidden = name.starts_with('.') && name != ".ci";
            if !hidden && !SKIPPED.contains(&&*name) {
                collect(&path, suffix, found);
            }
        } else if kind.is_file() && name.ends_with(suffix) {
            // What is not UTF-8 is no text.
            if let Ok(text) = fs::read_to_string(&path) {
                let relative = path.strip_prefix(checkout()).unwrap();
                let path = relative.to_string_lossy().into_owned();
                found.push(SourceFile { path, text });
            }
        }
    }
}

#[test]
fn the_tree_is_found() {
    let paths: Vec<String> = files("", "").into_iter().map(|f| f.path).collect();
    for known in [
        "src/lib.rs",
        "tests/tidy/tree.rs",
        ".ci/run",
        "audit.md",
        ".gitignore",
    ] {
        assert!(paths.iter().any(|p| p == known), "{known} not found");
    }
    let strange = |p: &&String| p.starts_with("target/") || p.starts_with(".git/");
    assert_eq!(paths.iter().find(strange), None);
}
