//! Whose a file is.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// Whether a file is neither this process's user's nor root's, who owns the machine anyway. Where
/// the kernel does not say who we are, it is not: the mode alone must do.
pub fn is_foreign(file: &Metadata) -> bool {
    let own = std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| effective_user(&status));
    own.is_some_and(|own| file.uid() != own && file.uid() != 0)
}

/// `Uid: real effective saved filesystem` of proc_pid_status(5).
fn effective_user(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_user_of_a_status_file() {
        let status = "Name:\tx\nUid:\t1000\t1001\t1000\t1000\nGid:\t5\t5\t5\t5\n";
        assert_eq!(effective_user(status), Some(1001));
        assert_eq!(effective_user("Name:\tx\n"), None);
    }
}
