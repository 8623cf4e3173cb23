//! Severities of log messages (MCP, `LoggingLevel`; RFC 5424, section 6.2.1).

/// From chatter to catastrophe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Level(usize);

const NAMES: [&str; 8] = [
    "debug",
    "info",
    "notice",
    "warning",
    "error",
    "critical",
    "alert",
    "emergency",
];

impl Level {
    /// By its name.
    pub(super) fn parse(name: &str) -> Option<Self> {
        NAMES.iter().position(|known| *known == name).map(Self)
    }

    pub(super) fn as_str(self) -> &'static str {
        NAMES.get(self.0).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_an_order() {
        let check = |one, other| assert!(Level::parse(one) < Level::parse(other), "{one} {other}");
        check("debug", "info");
        check("warning", "error");
        check("alert", "emergency");
        assert_eq!(Level::parse("Info"), None);
        assert_eq!(Level::parse("notice").map(Level::as_str), Some("notice"));
    }
}
