//! The key that names layers of packages: made once, kept beside the registry for this user alone,
//! the same for every server on that registry.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::base::ids::{hex, random_bytes, random_hex, unhex};
use crate::engine::LayerKey;

const FILE: &str = "layers.key";
const KEY_DIGITS: u64 = 64;

/// The key beside the registry's file, made where it is missing.
pub(super) fn beside(store: &Path) -> io::Result<LayerKey> {
    // A link to the file is the way to the folder that all its servers share.
    let store = fs::canonicalize(store).or_else(|_| std::path::absolute(store))?;
    load_or_create(store.parent().unwrap_or(Path::new("/")))
}

/// Reads the key in `folder`, or makes it there.
fn load_or_create(folder: &Path) -> io::Result<LayerKey> {
    let path = folder.join(FILE);
    if let Some(key) = read(&path)? {
        return Ok(key);
    }
    create(folder, &path)?;
    read(&path)?.ok_or_else(|| io::Error::other("it was removed at once"))
}

fn read(path: &Path) -> io::Result<Option<LayerKey>> {
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::other("others can read it: chmod 600"));
    }
    let mut text = String::new();
    file.take(KEY_DIGITS + 2).read_to_string(&mut text)?;
    let bytes = unhex(text.trim_end()).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    match bytes {
        Some(bytes) => Ok(Some(LayerKey::new(bytes))),
        None => Err(io::Error::other(
            "it holds no key: remove it, and installed packages are installed again",
        )),
    }
}

/// Whole or not at all, and never over another server's.
fn create(folder: &Path, path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let unborn = folder.join(format!("{FILE}.{}.new", random_hex()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unborn)
        .and_then(|mut file| {
            writeln!(file, "{}", hex(&random_bytes::<32>()))?;
            file.sync_all()?;
            match fs::hard_link(&unborn, path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                linked => linked,
            }
        });
    let removed = fs::remove_file(&unborn);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch(std::path::PathBuf);

    impl Scratch {
        fn new() -> Self {
            let name = format!("layer-key-{}", random_hex());
            Self(std::env::temp_dir().join(name))
        }

        fn key(&self) -> String {
            fs::read_to_string(self.0.join(FILE)).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn many_servers_at_once_have_one_key() {
        let scratch = Scratch::new();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| load_or_create(&scratch.0).unwrap());
            }
        });
        let key = scratch.key();
        assert_eq!(key.trim_end().len(), 64);
        load_or_create(&scratch.0).unwrap();
        assert_eq!(scratch.key(), key);
        let names: Vec<_> = fs::read_dir(&scratch.0).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let mode = fs::metadata(scratch.0.join(FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_or_open_key_is_refused() {
        let scratch = Scratch::new();
        load_or_create(&scratch.0).unwrap();
        let path = scratch.0.join(FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = load_or_create(&scratch.0).unwrap_err();
        assert!(error.to_string().contains("chmod 600"), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "0", &"0".repeat(63), &"0".repeat(66), &"x".repeat(64)] {
            fs::write(&path, text).unwrap();
            assert!(load_or_create(&scratch.0).is_err(), "{text}");
        }
    }
}
