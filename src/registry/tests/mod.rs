//! The file backend against real files, real processes and real mounts.

mod processes;
mod trouble;
mod writes;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use super::file::{FileStore, FileStoreOptions};
use super::*;
use crate::base::ids;
use crate::domain::entry::Entry;
use crate::domain::json::JsonText;
use crate::domain::prompt::{Prompt, PromptDefinition};
use crate::domain::resource::{Resource, ResourceDefinition};
use crate::domain::tool::{DEFAULT_TIMEOUT_MS, Definition, Tool};

/// A small valid definition.
pub(super) fn definition(code: &str) -> Definition {
    Definition {
        title: None,
        description: "d".to_owned(),
        image: None,
        timeout_ms: DEFAULT_TIMEOUT_MS,
        dependencies: Vec::new(),
        input_schema: None,
        output_schema: None,
        annotations: None,
        requires_client_capabilities: BTreeSet::new(),
        code: code.into(),
        enabled: true,
    }
}

/// A stored tool of that name.
pub(super) fn tool(text: &str) -> Arc<Tool> {
    entry(text, definition("return 1"))
}

/// A stored prompt of that name.
pub(super) fn prompt(text: &str) -> Arc<Prompt> {
    let messages = r#"[{"role" : "user", "content" : "hello {{who}}"}]"#;
    entry(
        text,
        PromptDefinition {
            messages: Some(JsonText::parse(messages.to_owned()).unwrap()),
            ..PromptDefinition::default()
        },
    )
}

/// A stored resource of that name and URI or template.
pub(super) fn resource(text: &str, address: &str) -> Arc<Resource> {
    let address = Some(address.to_owned());
    let is_template = address.as_ref().is_some_and(|text| text.contains('{'));
    let (uri, uri_template) = if is_template {
        (None, address)
    } else {
        (address, None)
    };
    entry(
        text,
        ResourceDefinition {
            uri,
            uri_template,
            text: Some("text".to_owned()),
            ..ResourceDefinition::default()
        },
    )
}

pub(super) fn entry<D>(text: &str, definition: D) -> Arc<Entry<D>> {
    Arc::new(Entry {
        name: name(text),
        definition,
        created_at: "2026-01-01T00:00:00.000Z".to_owned(),
        updated_at: "2026-01-01T00:00:00.000Z".to_owned(),
        revision: 1,
    })
}

pub(super) fn name(text: &str) -> EntryName {
    EntryName::parse(text).unwrap()
}

/// A folder of its own for one test, gone with it.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("registry-{}", ids::random_hex()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    pub(super) fn path(&self, inner: &str) -> PathBuf {
        self.0.join(inner)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn open(path: &Path) -> Result<FileStore, StoreError> {
    open_limited(path, 10_000)
}

pub(super) fn open_limited(path: &Path, max_tools: usize) -> Result<FileStore, StoreError> {
    FileStore::open(FileStoreOptions {
        path: path.to_owned(),
        max_tools,
        read_only: false,
    })
}

pub(super) fn names(store: &FileStore) -> Vec<String> {
    store
        .snapshot()
        .tools()
        .iter()
        .map(|tool| tool.name.to_string())
        .collect()
}

/// This test binary again, running one test alone, which sees `CHILD` and plays the other part.
pub(super) fn child(test: &str, argument: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command
        .env(CHILD, argument)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

pub(super) const CHILD: &str = "REGISTRY_TEST_CHILD";
