//! Finds Node.js on this machine, and the files that it consists of: the binary, its interpreter,
//! its shared libraries, and modules that a distribution took out of the binary.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use super::refusal::JailRefusal;
use crate::base::deadline::Deadline;
use crate::base::text::clip;

/// Node.js as it is installed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) binary: String,
    /// Absolute paths.
    pub(super) files: Vec<String>,
    /// Such as `20.11.1`.
    pub(super) version: String,
}

/// Oldest major version that the runner works with.
const OLDEST: u32 = 20;
/// Bound on one question to a program.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);
/// Most of an answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
/// More files than any node has.
const MAX_FILES: usize = 64;

/// The first executable `node` in a search path (as in `$PATH`).
pub fn find_node(search_path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(search_path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("node"))
        .find(|path| {
            let metadata = path.metadata();
            metadata.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
}

#[derive(Deserialize)]
struct Answer {
    version: String,
    binary: String,
    modules: Vec<String>,
}

/// Behind a version manager's shim stands another binary; what the process itself says, is.
const QUESTION: &str = "JSON.stringify({ version: process.versions.node, binary: process.execPath, \
     modules: process.config.variables.node_builtin_shareable_builtins || [] })";

/// Asks the binary what it is, and the loader what belongs to it.
pub(super) fn inspect(node: &Path) -> Result<Node, JailRefusal> {
    let shown = node.display();
    let answer = ask(Command::new(node)
        .env_remove("NODE_OPTIONS")
        .arg("-p")
        .arg(QUESTION));
    let answer = answer.map_err(|error| JailRefusal::Node(format!("{shown}: {error}")))?;
    let answer: Answer = serde_json::from_str(&answer)
        .map_err(|_| JailRefusal::Node(format!("{shown} does not answer as Node.js")))?;
    let major = answer
        .version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    if major.is_none_or(|major: u32| major < OLDEST) {
        let version = clip(&answer.version, 40);
        return Err(JailRefusal::Node(format!("{shown} is {version}")));
    }
    let mut files = libraries(&answer.binary)
        .map_err(|error| JailRefusal::Node(format!("{}: {error}", answer.binary)))?;
    // Relative ones are inside the binary.
    let outside = answer
        .modules
        .into_iter()
        .filter(|path| Path::new(path).is_absolute());
    files.extend(outside.filter(|path| Path::new(path).is_file()));
    if files.len() > MAX_FILES {
        let count = files.len();
        return Err(JailRefusal::Node(format!(
            "{shown} consists of {count} files"
        )));
    }
    Ok(Node {
        binary: answer.binary,
        files: files.into_iter().collect(),
        version: answer.version,
    })
}

/// The interpreter and what it would load, by asking it (as `ldd` does); none for a static binary.
fn libraries(binary: &str) -> Result<BTreeSet<String>, String> {
    let file = File::open(binary).map_err(|error| error.to_string())?;
    let Some(interpreter) = interpreter(&file) else {
        return Ok(BTreeSet::new());
    };
    let listed = ask(Command::new(&interpreter)
        .env_clear()
        .arg("--list")
        .arg(binary))?;
    let mut files = parse_list(&listed)?;
    files.insert(interpreter);
    Ok(files)
}

/// Lines such as `libm.so.6 => /lib/libm.so.6 (0x…)`, `/lib/ld.so (0x…)`, `linux-vdso.so.1 (0x…)`.
fn parse_list(listed: &str) -> Result<BTreeSet<String>, String> {
    let mut files = BTreeSet::new();
    for line in listed.lines() {
        let found = line
            .split_once(" => ")
            .map_or(line, |(_, found)| found)
            .trim();
        if found.starts_with("not found") {
            return Err(format!("a library is missing: {}", clip(line.trim(), 200)));
        }
        let path = found.rsplit_once(" (").map_or(found, |(path, _)| path);
        if path.starts_with('/') {
            files.insert(path.to_owned());
        }
    }
    Ok(files)
}

/// `PT_INTERP` of a 64-bit little-endian ELF file (System V ABI, chapter 5).
fn interpreter(file: &File) -> Option<String> {
    const MAX_PATH: usize = 4096;
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).ok()?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = number(&header, 32, 8)?;
    let (entry_bytes, entries) = (number(&header, 54, 2)?, number(&header, 56, 2)?);
    for index in 0..entries {
        let mut entry = [0; 56];
        let at = table.checked_add(index * entry_bytes)?;
        file.read_exact_at(&mut entry, at).ok()?;
        if number(&entry, 0, 4)? == 3 {
            let length = usize::try_from(number(&entry, 32, 8)?).ok()?;
            let mut path = vec![0; length.min(MAX_PATH)];
            file.read_exact_at(&mut path, number(&entry, 8, 8)?).ok()?;
            let path = path.split(|byte| *byte == 0).next()?.to_vec();
            return String::from_utf8(path)
                .ok()
                .filter(|path| path.starts_with('/'));
        }
    }
    None
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(length)?)?;
    Some(
        field
            .iter()
            .rev()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)),
    )
}

/// What a program prints, within bounds.
fn ask(command: &mut Command) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(text)?;
    let deadline = Deadline::after(ASK_TIMEOUT);
    let status = loop {
        match child.try_wait().map_err(text)? {
            Some(status) => break status,
            None if deadline.remaining().is_some() => {
                std::thread::sleep(Duration::from_millis(2));
            }
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err("it did not answer in time".to_owned());
            }
        }
    };
    let mut answer = String::new();
    if let Some(output) = child.stdout.take() {
        output
            .take(MAX_ANSWER_BYTES)
            .read_to_string(&mut answer)
            .map_err(text)?;
    }
    if status.success() {
        Ok(answer)
    } else {
        Err(format!("it ended with {status}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_loaders() {
        let glibc = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibm.so.6 => /lib/a/libm.so.6 (0x00007f)\n\
                     \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/a/libm.so.6", "/lib64/ld-linux-x86-64.so.2"];
        let found: Vec<String> = parse_list(glibc).unwrap().into_iter().collect();
        assert_eq!(found, expected);
        assert!(
            parse_list("\tlibx.so.1 => not found\n")
                .unwrap_err()
                .contains("libx.so.1")
        );
        assert!(parse_list("\tstatically linked\n").unwrap().is_empty());
    }

    #[test]
    fn the_interpreter_of_this_test_is_a_file() {
        let own = File::open(std::env::current_exe().unwrap()).unwrap();
        assert!(Path::new(&interpreter(&own).unwrap()).is_file());
        assert_eq!(interpreter(&File::open("/etc/passwd").unwrap()), None);
    }

    #[test]
    fn only_absolute_folders_are_searched() {
        assert_eq!(find_node(OsStr::new("bin:.::/nonexistent")), None);
    }
}
