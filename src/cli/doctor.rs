//! The `doctor` command: whether everything is there that a server with these settings needs.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use super::client::{exchange, reachable};
use super::{fail, print};
use crate::app::{Finding, Surroundings, Verdict, examine};
use crate::base::text::counted;
use crate::config::{HttpConfig, Loaded, Transport};
use crate::http::listen;

/// What a server that is there already may take to say so.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(super) fn doctor(loaded: &Loaded, surroundings: &Surroundings) -> ExitCode {
    let mut found = examine(loaded, surroundings);
    if loaded.config.transport == Transport::Http {
        found.push(ports(&loaded.config.http));
    }
    let printed = print(&report_text(&found));
    match count(&found, Verdict::Fails) {
        0 => printed,
        failed => fail(1, &format!("{} to mend", counted(failed, "thing"))),
    }
}

/// Whether a server could listen; one of ours that does so already is no obstacle to this command.
fn ports(http: &HttpConfig) -> Finding {
    let refused = match listen(http) {
        Ok(_) => {
            let detail = format!("{} is free", http.bind);
            return Finding::new("port", Verdict::Ok, detail);
        }
        Err(error) => error,
    };
    let ops = http.ops.unwrap_or(http.bind);
    let answer = exchange(reachable(ops), "GET", "/livez", &[], b"", TIMEOUT);
    match answer {
        Ok((200, body)) if body == br#"{"status":"ok"}"# => {
            let detail = format!("a server answers at {ops} already");
            Finding::new("port", Verdict::Ok, detail)
        }
        _ => Finding::new("port", Verdict::Fails, refused.to_string()),
    }
}

fn count(found: &[Finding], verdict: Verdict) -> usize {
    found.iter().filter(|one| one.verdict == verdict).count()
}

/// One line a finding: verdict, area, detail, each in its column.
fn report_text(found: &[Finding]) -> String {
    let mut text = String::new();
    for finding in found {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Fails => "FAILS",
        };
        // What others wrote must not start a new line.
        let detail: String = finding
            .detail
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let _ = writeln!(text, "{verdict:<8} {:<9} {detail}", finding.area);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_finding() {
        let found = [
            Finding::new("engine", Verdict::Ok, "docker 1, API 1.41"),
            Finding::new("image", Verdict::Warning, "a\nb\u{1b}[1m"),
            Finding::new("registry", Verdict::Fails, "gone"),
        ];
        let expected = "ok       engine    docker 1, API 1.41\n\
                        warning  image     a b [1m\n\
                        FAILS    registry  gone\n";
        assert_eq!(report_text(&found), expected);
        assert_eq!(count(&found, Verdict::Fails), 1);
    }
}
