//! What tests of settings share: a folder of real files, files in memory, short ways to load.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::base::ids::random_hex;
use crate::base::secret::Secret;

use super::problem::{FileFault, Problems};
use super::raw::{Environment, GivenFlag, Sources};
use super::{Files, Gate, Loaded, LoadedFile, load_through};

/// A folder of the test's own, gone at its end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("dynamic-mcp-config-{}", random_hex()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Files by path, all of them well kept.
#[derive(Default)]
pub(crate) struct Memory(pub(crate) BTreeMap<String, String>);

impl Memory {
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        Self(files.iter().map(owned).collect())
    }
}

impl Files for Memory {
    fn load(&self, path: &Path) -> Result<LoadedFile, FileFault> {
        let text = path.to_str().and_then(|path| self.0.get(path));
        Ok(LoadedFile {
            text: Secret::new(text.ok_or(FileFault::Missing)?),
            readable_by_all: false,
            writable_by_others: false,
            foreign_owner: false,
        })
    }
}

/// One start of the program.
#[derive(Default)]
pub(crate) struct Start<'a> {
    pub(crate) flags: &'a [(&'a str, Option<&'a str>)],
    pub(crate) env: &'a [(&'a str, &'a str)],
    pub(crate) files: &'a [(&'a str, &'a str)],
    pub(crate) env_file: Option<&'a str>,
}

impl Start<'_> {
    /// With every part built.
    pub(crate) fn load(&self) -> Result<Loaded, Problems> {
        self.through(Gate::Open)
    }

    /// As this build is.
    pub(crate) fn load_gated(&self) -> Result<Loaded, Problems> {
        self.through(Gate::Closed)
    }

    fn through(&self, gate: Gate) -> Result<Loaded, Problems> {
        let flag = |(name, value): &(&str, Option<&str>)| GivenFlag {
            name: (*name).to_owned(),
            value: value.map(Secret::new),
        };
        let sources = Sources {
            flags: &self.flags.iter().map(flag).collect::<Vec<_>>(),
            env_file: self.env_file,
            environment: &self.env.iter().copied().collect::<Environment>(),
            files: &Memory::with(self.files),
        };
        load_through(gate, &sources, Problems::default())
    }
}

/// Loads from variables alone, with every part built.
pub(crate) fn load_env(env: &[(&str, &str)]) -> Result<Loaded, Problems> {
    Start {
        env,
        ..Start::default()
    }
    .load()
}

/// The problems of such a load, one line each.
pub(crate) fn problems_of(env: &[(&str, &str)]) -> Vec<String> {
    match load_env(env) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}
