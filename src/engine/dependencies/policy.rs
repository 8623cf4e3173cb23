//! Which packages tools may name, and how: pure rules of the operator. What a package brings along
//! is judged by the installer, once it is resolved.

use crate::domain::entry::Dependency;
use crate::domain::failure::{Failure, FailureKind};
use crate::domain::limits::is_package_name;

/// File names that npm takes for a local package instead of a version.
const FILE_ENDINGS: [&str; 3] = [".tgz", ".tar.gz", ".tar"];

/// The operator's rules for what tools may depend on.
#[derive(Clone, Debug, Default)]
pub struct PackagePolicy {
    /// Names that are refused, of whatever version.
    pub blocked: Vec<String>,
    /// Most packages of one tool.
    pub max_dependencies: usize,
}

impl PackagePolicy {
    /// Whether a set of packages may be asked for at all.
    ///
    /// # Errors
    /// Kind `policy`, naming the package and the rule.
    pub fn admit(&self, dependencies: &[Dependency]) -> Result<(), Failure> {
        if dependencies.len() > self.max_dependencies {
            let message = format!(
                "{} dependencies are more than the {} allowed here \
                 (MCP_SANDBOX_MAX_DEPENDENCIES)",
                dependencies.len(),
                self.max_dependencies
            );
            return Err(Failure::new(FailureKind::Policy, message));
        }
        dependencies.iter().try_for_each(|one| self.admit_one(one))
    }

    fn admit_one(&self, dependency: &Dependency) -> Result<(), Failure> {
        let Dependency { name, version } = dependency;
        let refuse = |why: String| Err(Failure::new(FailureKind::Policy, why));
        if !is_package_name(name) {
            return refuse(format!("{name:?} is no package name as npm allows it"));
        }
        if self.blocked.contains(name) {
            return refuse(blocked(name));
        }
        if !is_registry_version(version) {
            return refuse(format!(
                "the version {version:?} of package {name} is not allowed: give a version, a range \
                 such as ^1.2.0, or a tag such as latest; no URL, file, git address or alias"
            ));
        }
        Ok(())
    }
}

/// What is said of a blocked package, wherever it is met.
pub(super) fn blocked(name: &str) -> String {
    format!("package {name} is blocked here (MCP_SANDBOX_BLOCKED_PACKAGES)")
}

/// Whether a version leads to the package registry, under the package's own name: a semantic
/// version or range, or a tag. Everything else npm would fetch from elsewhere has a `:`, a `/` or
/// an `@`, starts with a dot, or ends as an archive does (npm-package-arg).
fn is_registry_version(version: &str) -> bool {
    let version = version.trim_matches(' ');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b" .*^~<>=|+-_".contains(&byte);
    let lower = version.to_ascii_lowercase();
    !version.is_empty()
        && version.bytes().all(allowed)
        && !version.starts_with(['.', '-', '_'])
        && !FILE_ENDINGS.iter().any(|ending| lower.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependency(name: &str, version: &str) -> Dependency {
        Dependency {
            name: name.to_owned(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn versions_that_lead_to_the_package_registry() {
        let good = [
            "1.2.3",
            "^1.2.3",
            "~1",
            "*",
            "x",
            "1.x",
            ">=1.0.0 <2 || 3.*",
            "1.0.0-beta.1+build",
            "1 - 2",
            "latest",
            "next-11",
            " 1.0.0 ",
            "=1",
            "v1",
        ];
        for version in good {
            assert!(is_registry_version(version), "{version}");
        }
        let bad = [
            "",
            " ",
            "npm:node-pty@1",
            "npm:x",
            "git+https://h/x",
            "git://h/x",
            "git@h:x/y.git",
            "https://h/x.tgz",
            "http://h/x",
            "file:../x",
            "file:x",
            "link:x",
            "workspace:*",
            "./x",
            "../x",
            ".",
            "..",
            "/x",
            "~/x",
            "user/repo",
            "user/repo#main",
            "github:user/repo",
            "gist:1",
            "x.tgz",
            "x.TAR.GZ",
            "1.tar",
            "C:x",
            "a\\b",
            "1.0.0\n",
            "1\t2",
            "é",
            "$x",
            "%2f",
            "--registry",
        ];
        for version in bad {
            assert!(!is_registry_version(version), "{version}");
        }
    }

    #[test]
    fn blocked_names_bad_names_and_too_many() {
        let policy = PackagePolicy {
            blocked: vec!["node-pty".to_owned(), "@a/b".to_owned()],
            max_dependencies: 2,
        };
        let check = |set: &[(&str, &str)], expected: Option<&str>| {
            let set: Vec<_> = set.iter().map(|(n, v)| dependency(n, v)).collect();
            match (policy.admit(&set), expected) {
                (Ok(()), None) => {}
                (Err(failure), Some(part)) => {
                    assert_eq!(failure.kind, FailureKind::Policy);
                    assert!(failure.message.contains(part), "{}", failure.message);
                }
                (answer, _) => panic!("{set:?}: {answer:?}"),
            }
        };
        check(&[], None);
        check(&[("a", "1"), ("@a/c", "latest")], None);
        check(
            &[("a", "1"), ("b", "1"), ("c", "1")],
            Some("more than the 2"),
        );
        check(&[("node-pty", "1")], Some("package node-pty is blocked"));
        check(&[("@a/b", "1")], Some("BLOCKED_PACKAGES"));
        check(&[("a", "npm:node-pty@1")], Some("no URL"));
        check(&[("../a", "1")], Some("no package name"));
        check(&[("__proto__", "1")], Some("no package name"));
    }
}
