//! The `audit verify` command: proves offline that the files of an audit log are whole.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use super::{fail, print};
use crate::audit::verify;
use crate::base::text::counted;

/// Breaks that are printed one by one.
const SHOWN_BREAKS: usize = 10;

pub(super) fn verify(files: &[String], head: Option<&str>) -> ExitCode {
    let files: Vec<_> = files.iter().map(PathBuf::from).collect();
    match verify::verify(&files, head) {
        Ok(report) => print(&report_text(&report)),
        Err(error) => fail(1, &error.to_string()),
    }
}

fn report_text(report: &verify::Report) -> String {
    let mut text = format!(
        "whole: {} in {}, seq {} to {}\nhead: {}\n",
        counted(report.lines, "line"),
        counted(report.files, "file"),
        report.first_seq,
        report.last_seq,
        report.head
    );
    if report.first_seq > 1 {
        let _ = writeln!(
            text,
            "lines before seq {} are not among these files",
            report.first_seq
        );
    }
    if let Some(after) = report.after_head {
        let _ = writeln!(text, "{} after the noted head", counted(after, "line"));
    }
    for (seq, reason) in report.breaks.iter().take(SHOWN_BREAKS) {
        let reason = reason.escape_debug();
        let _ = writeln!(
            text,
            "the writer was interrupted before seq {seq}: {reason}"
        );
    }
    let more = report.breaks.len().saturating_sub(SHOWN_BREAKS);
    if more > 0 {
        let _ = writeln!(text, "and {} more", counted(more, "time"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_a_whole_log() {
        let mut report = verify::Report {
            files: 2,
            lines: 5,
            first_seq: 1,
            last_seq: 5,
            head: "ab".to_owned(),
            ..verify::Report::default()
        };
        let plain = "whole: 5 lines in 2 files, seq 1 to 5\nhead: ab\n";
        assert_eq!(report_text(&report), plain);
        report.first_seq = 3;
        report.after_head = Some(0);
        report.breaks = (0..12).map(|seq| (seq, "torn_line".to_owned())).collect();
        let text = report_text(&report);
        assert!(text.starts_with("whole: 5 lines in 2 files, seq 3 to 5\nhead: ab\n"));
        assert!(text.contains("\nlines before seq 3 are not among these files\n0 lines after"));
        assert!(text.ends_with("before seq 9: torn_line\nand 2 times more\n"));
    }
}
