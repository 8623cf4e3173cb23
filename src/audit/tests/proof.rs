//! What `audit verify` finds, and that it finds nothing in a whole log.

use super::*;
use crate::audit::verify::VerifyError;

/// A log of 20 lines in one file, as bytes of lines.
fn written(scratch: &Scratch) -> Vec<Vec<u8>> {
    let audit = open(&scratch.log());
    (0..19).for_each(|n| note(&audit, &format!("t{n}")).unwrap());
    audit.stop();
    let bytes = std::fs::read(scratch.log()).unwrap();
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

/// The number of the first broken line once `change` was done to the log.
fn broken_by(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Option<u64> {
    let scratch = Scratch::new();
    let mut lines = written(&scratch);
    change(&mut lines);
    std::fs::write(scratch.log(), lines.concat()).unwrap();
    match verify(&[scratch.log()], None) {
        Ok(_) => None,
        Err(VerifyError::Broken { line, .. }) => Some(line),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn any_change_is_found_where_it_was_made() {
    assert_eq!(broken_by(|_| ()), None);
    assert_eq!(broken_by(|lines| lines.swap(4, 5)), Some(5));
    assert_eq!(broken_by(|lines| drop(lines.remove(4))), Some(5));
    assert_eq!(
        broken_by(|lines| lines.insert(4, lines[3].clone())),
        Some(5)
    );
    assert_eq!(broken_by(|lines| lines.insert(4, b"\n".to_vec())), Some(5));
    assert_eq!(
        broken_by(|lines| lines[19].retain(|byte| *byte != b'\n')),
        Some(20)
    );
    assert_eq!(broken_by(|lines| lines[19].truncate(30)), Some(20));
    // Cut at the end, the rest is whole: that takes a head noted elsewhere.
    assert_eq!(broken_by(|lines| lines.truncate(10)), None);
}

#[test]
fn every_single_byte_counts() {
    let scratch = Scratch::new();
    let lines = written(&scratch);
    let (second, file) = (lines[1].clone(), scratch.folder().join("changed"));
    for at in 0..second.len() {
        let mut changed = lines[..3].to_vec();
        changed[1][at] ^= if at % 2 == 0 { 1 } else { 32 };
        std::fs::write(&file, changed.concat()).unwrap();
        let error = verify(std::slice::from_ref(&file), None).unwrap_err();
        let VerifyError::Broken { line, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(line, 2, "byte {at}");
    }
}

#[test]
fn a_rewritten_line_with_a_hash_of_its_own_breaks_the_next_one() {
    let forged = broken_by(|lines| {
        let text = String::from_utf8(lines[4].clone()).unwrap();
        let (body, _) = text.split_once(",\"hash\":\"").unwrap();
        let body = body.replace("ann", "bob");
        let hash = ids::hex(&sha2_digest(body.as_bytes()));
        lines[4] = format!("{body},\"hash\":\"{hash}\"}}\n").into_bytes();
    });
    assert_eq!(forged, Some(6));
}

fn sha2_digest(bytes: &[u8]) -> Vec<u8> {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).to_vec()
}

#[test]
fn a_cut_tail_is_found_by_the_head() {
    let scratch = Scratch::new();
    let lines = written(&scratch);
    let file = [scratch.log()];
    let whole = verify(&file, None).unwrap();
    assert_eq!(
        verify(&file, Some(&whole.head)).unwrap().after_head,
        Some(0)
    );
    std::fs::write(scratch.log(), lines[..10].concat()).unwrap();
    let error = verify(&file, Some(&whole.head)).unwrap_err();
    assert!(
        matches!(error, VerifyError::HeadMissing { last_seq: 10 }),
        "{error}"
    );
    let earlier = verify(&file, None).unwrap().head;
    std::fs::write(scratch.log(), lines.concat()).unwrap();
    let grown = verify(&file, Some(&earlier.to_uppercase())).unwrap();
    assert_eq!(
        grown.after_head,
        Some(10),
        "a log that has grown since is whole"
    );
    assert!(matches!(
        verify(&file, Some("12")),
        Err(VerifyError::BadHead)
    ));
    std::fs::write(scratch.log(), "").unwrap();
    assert!(matches!(verify(&file, None), Err(VerifyError::Empty)));
}

#[test]
fn files_that_are_no_logs() {
    let scratch = Scratch::new();
    let check = |bytes: &[u8], expected: &str| {
        std::fs::write(scratch.log(), bytes).unwrap();
        let error = verify(&[scratch.log()], None).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    };
    check(b"hello\n", "line 1 is no line of an audit log");
    check(b"hello", "line 1 was never finished");
    check(&[b'x'; 3 << 20], "line 1 is longer than any line");
    check(&[0x1f, 0x8b, 8, 0, 0], "unexpected end of file");
    check(
        b"{\"seq\":18446744073709551615}\n",
        "line 1 is no line of an audit log",
    );
    let missing = verify(&[scratch.folder().join("none")], None).unwrap_err();
    assert!(matches!(missing, VerifyError::Unreadable(..)));
}

#[test]
fn the_chain_crosses_files_and_old_ones_go() {
    let scratch = Scratch::new();
    let mut small = config(&scratch.log());
    (small.max_file_bytes, small.max_files) = (3000, 3);
    let audit = Audit::open(options(small.clone())).unwrap();
    (0..40).for_each(|n| note(&audit, &format!("t{n}")).unwrap());
    drop(audit);
    let audit = Audit::open(options(small)).unwrap();
    (0..40).for_each(|n| note(&audit, &format!("u{n}")).unwrap());
    audit.stop();
    drop(audit);
    let names: Vec<_> = set(&scratch.log())
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let expected = [
        "audit.log",
        "audit.log.1.gz",
        "audit.log.2.gz",
        "audit.log.3.gz",
        "audit.log.lock",
    ];
    assert_eq!(names, expected);
    assert!(scratch.log().metadata().unwrap().len() <= 3000);
    let report = proven(&scratch.log());
    assert_eq!((report.files, report.last_seq), (4, 81));
    assert!(report.first_seq > 1 && report.lines == 82 - report.first_seq);
    // Any file but the outer ones leaves a gap.
    std::fs::remove_file(scratch.folder().join("audit.log.2.gz")).unwrap();
    let error = verify(&set(&scratch.log()), None).unwrap_err().to_string();
    assert!(error.contains("audit.log.1.gz line 1 has seq"), "{error}");
}

#[test]
fn nothing_is_lost_while_files_change_under_many_writers() {
    const THREADS: usize = 8;
    const EACH: usize = 200;
    let scratch = Scratch::new();
    let mut small = config(&scratch.log());
    (small.max_file_bytes, small.max_files) = (20_000, 100);
    let audit = Audit::open(options(small)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let audit = &audit;
            scope.spawn(move || {
                (0..EACH).for_each(|n| note(audit, &format!("{thread}.{n}")).unwrap());
            });
        }
    });
    audit.stop();
    drop(audit);
    let report = proven(&scratch.log());
    assert_eq!(report.lines, (THREADS * EACH + 1) as u64);
    assert!(report.files > 10, "{report:?}");
    let targets: std::collections::BTreeSet<_> = lines(&scratch.log())
        .iter()
        .map(|line| line["target"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(targets.len(), THREADS * EACH + 1);
}
