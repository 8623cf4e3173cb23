//! Why there is no jail on this machine, in words that an operator can act on.

use std::fmt;
use std::fs;

use super::step::MARK;

/// Why the `node` engine does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JailRefusal {
    /// No usable Node.js: what is wrong with the one that was tried, or that there is none.
    Node(String),
    /// The kernel, or who confines this process, refused a step of building the jail.
    Kernel {
        /// The step and the kernel's answer.
        step: String,
        /// The switches that are off, each with its mend; empty where none is known.
        switches: Vec<String>,
    },
    /// This process got no thread, pipe or process from the operating system.
    System(String),
}

impl fmt::Display for JailRefusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(what) => write!(
                formatter,
                "the node engine needs Node.js 20 or newer: {what}"
            ),
            Self::System(what) => write!(formatter, "the node engine could not start: {what}"),
            Self::Kernel { step, switches } => {
                write!(formatter, "the kernel refuses the jail ({step})")?;
                for switch in switches {
                    write!(formatter, "; {switch}")?;
                }
                formatter.write_str(
                    "; use Docker, or MCP_NODE_UNSAFE=true to run tools without a jail on a \
                     throw-away machine",
                )
            }
        }
    }
}

impl std::error::Error for JailRefusal {}

/// The refusal behind what a launcher printed, which is all there is when no jail came to be.
pub(super) fn explain(printed: &str) -> JailRefusal {
    match printed.lines().find_map(|line| line.strip_prefix(MARK)) {
        Some(step) => JailRefusal::Kernel {
            step: step.to_owned(),
            switches: switches(&|path| fs::read_to_string(path).ok()),
        },
        None => JailRefusal::Node(format!("it did not start in its jail: {}", printed.trim())),
    }
}

/// Files that forbid what a jail needs, the value that forbids, and the mend.
const SWITCHES: [(&str, &str, &str); 4] = [
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "user namespaces are off: sysctl kernel.unprivileged_userns_clone=1",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor restricts user namespaces: allow this program in an AppArmor profile \
         (userns), or sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "user namespaces are off: sysctl user.max_user_namespaces=10000",
    ),
    (
        "/proc/sys/user/max_net_namespaces",
        "0",
        "network namespaces are off: sysctl user.max_net_namespaces=10000",
    ),
];

/// `read` gives a file's text. Switches that are off, or a guess where all are on.
fn switches(read: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let mut off: Vec<String> = SWITCHES
        .iter()
        .filter(|(path, forbids, _)| read(path).is_some_and(|text| text.trim() == *forbids))
        .map(|(_, _, mend)| (*mend).to_owned())
        .collect();
    // 0 none, 1 strict, 2 a filter: inside a container's own seccomp profile.
    let filtered = read("/proc/self/status")
        .is_some_and(|status| status.lines().any(|line| line == "Seccomp:\t2"));
    if off.is_empty() && filtered {
        off.push("this process runs under a seccomp filter, as in a container: use Docker".into());
    }
    off
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_switch_and_the_way_out() {
        let check = |path: &str, value: &str, named: &str| {
            let switches = switches(&|asked| (asked == path).then(|| value.to_owned()));
            let step = "new namespaces: Operation not permitted".to_owned();
            let text = JailRefusal::Kernel { step, switches }.to_string();
            for part in ["new namespaces", named, "MCP_NODE_UNSAFE"] {
                assert!(text.contains(part), "{text}");
            }
        };
        let clone = "/proc/sys/kernel/unprivileged_userns_clone";
        check(clone, "0\n", "kernel.unprivileged_userns_clone=1");
        let apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
        check(apparmor, "1\n", "AppArmor");
        check(
            "/proc/sys/user/max_user_namespaces",
            "0\n",
            "max_user_namespaces=",
        );
        check(
            "/proc/self/status",
            "Name:\tx\nSeccomp:\t2\n",
            "seccomp filter",
        );
        assert!(switches(&|_| Some("1000".to_owned())).is_empty());
    }

    #[test]
    fn what_a_launcher_printed() {
        let check = |printed, kernel| {
            let refusal = explain(printed);
            assert_eq!(
                matches!(refusal, JailRefusal::Kernel { .. }),
                kernel,
                "{refusal}"
            );
        };
        check("jail: pivot_root: Invalid argument (os error 22)\n", true);
        check("warning\njail: fork: x\n", true);
        check("node: cannot open shared object file\n", false);
    }
}
