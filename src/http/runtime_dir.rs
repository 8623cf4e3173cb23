//! The private folder that the sockets between gate and workers lie in until the gate has hold of
//! them. Then it goes: a server that is killed later leaves nothing.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::base::ids::random_hex;
use crate::base::text::clip;

/// A folder of mode 0700, removed with this value.
#[derive(Debug)]
pub(super) struct RuntimeDir(PathBuf);

impl RuntimeDir {
    /// Makes a new folder below `parent`, which is made where missing.
    pub(super) fn make(parent: &Path) -> io::Result<Self> {
        if !parent.exists() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)?;
        }
        // Six digits keep the path short; a taken name is tried again.
        for _ in 0..16 {
            let folder = parent.join(format!("dmcp-{}", clip(&random_hex(), 6)));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => return Ok(Self(folder)),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    pub(super) fn socket(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
