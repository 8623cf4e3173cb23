//! Files that go away, disks that refuse, writers that meet.

use std::fs;
use std::process::Command;

use super::*;

const HERE: &str = "audit::tests::trouble";
const CHILD: &str = "AUDIT_TEST_FOLDER";

/// Runs one test again in a mount namespace of its own with a small file system at `folder`.
fn on_small_disk(test: &str, folder: &Path) {
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c"])
        .arg(format!(
            "mount -t tmpfs -o size=256k tmpfs \"${CHILD}\" && exec \"$@\""
        ))
        .arg("sh")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{HERE}::{test}"), "--nocapture"])
        .env(CHILD, folder)
        .output()
        .expect("unshare (util-linux) is needed");
    assert!(
        output.status.success(),
        "needs root, or a kernel that allows user namespaces, to mount a tmpfs:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

fn mount(arguments: &[&str], folder: &Path) {
    let status = Command::new("mount").args(arguments).arg(folder).status();
    assert!(status.unwrap().success(), "{arguments:?}");
}

fn trouble(audit: &Audit) -> Option<String> {
    audit.status().unwrap().trouble
}

/// Looks every now and then, as the checks of readiness do, for as long as the writer may take.
fn until(what: &str, seen: impl Fn() -> bool) {
    let began = Instant::now();
    while !seen() {
        assert!(began.elapsed() < Duration::from_secs(10), "never {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn breaks(file: &Path) -> Vec<String> {
    let all = proven(file).breaks;
    all.into_iter().map(|(_, reason)| reason).collect()
}

fn begin(audit: &Audit, action: Action) -> Result<Act, Unaudited> {
    audit.begin(event(action, "t"), Details::None {})
}

/// Whether this process's only writer wants to run (proc(5)).
fn writer_runs() -> bool {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let mut stats =
        tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat")).unwrap());
    stats.any(|stat| stat.contains(" (audit) R "))
}

#[test]
fn a_full_disk_refuses_acts_until_there_is_space() {
    let Some(folder) = std::env::var_os(CHILD) else {
        let scratch = Scratch::new();
        return on_small_disk(
            "a_full_disk_refuses_acts_until_there_is_space",
            scratch.folder(),
        );
    };
    let folder = PathBuf::from(folder);
    let file = folder.join("audit.log");
    let metrics = Arc::new(Metrics::default());
    let audit = Audit::open(AuditOptions {
        metrics: Arc::clone(&metrics),
        ..options(config(&file))
    })
    .unwrap();
    note(&audit, "before").unwrap();
    let act = begin(&audit, Action::ToolDelete).unwrap();
    let _ = fs::write(folder.join("ballast"), vec![1; 1 << 20]);
    // Until not a byte is left, whatever the file's last block holds.
    let mut written = 0;
    while note(&audit, "filling").is_ok() {
        written += 1;
        assert!(written < 1000);
    }
    assert_eq!(note(&audit, "full"), Err(Unaudited));
    assert!(begin(&audit, Action::ToolCreate).is_err());
    assert!(begin(&audit, Action::Exec).is_err());
    let done = act.finish(ActResult::Success, Details::None {});
    assert_eq!(
        done,
        Err(Unaudited),
        "what was done meanwhile is not said to be done"
    );
    assert_eq!(trouble(&audit).unwrap(), "the disk is full");
    audit.deny(&event(Action::GuardReject, "t"), "rate_limited", None);

    // The fsync that is due can wait; the writer once spun for it.
    let mut seen = 0;
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(5));
        seen += u32::from(writer_runs());
    }
    assert!(seen < 25, "it ran {seen} times of 50 with nothing to do");

    fs::remove_file(folder.join("ballast")).unwrap();
    until("well again", || trouble(&audit).is_none());
    begin(&audit, Action::ToolCreate)
        .unwrap()
        .finish(ActResult::Success, Details::None {})
        .unwrap();
    audit.stop();
    assert_eq!(breaks(&file), ["disk_full"]);
    let lines = lines(&file);
    let after = lines
        .iter()
        .find(|line| line["details"]["chainBreak"] != Value::Null);
    assert_eq!(after.unwrap()["details"]["chainBreak"]["unrecorded"], 6);
    assert_eq!(lines.len(), 1 + written + 2);
    let mut text = crate::metrics::exposition::Exposition::default();
    metrics.expose(&mut text);
    let text = text.finish();
    assert!(
        text.contains("\ndynamic_mcp_audit_failed_total 6\n"),
        "{text}"
    );
    let all = format!("\ndynamic_mcp_audit_written_total {}\n", lines.len());
    assert!(text.contains(&all), "{all} in {text}");
}

#[test]
fn a_file_system_that_becomes_read_only_refuses_acts() {
    let Some(folder) = std::env::var_os(CHILD) else {
        let scratch = Scratch::new();
        return on_small_disk(
            "a_file_system_that_becomes_read_only_refuses_acts",
            scratch.folder(),
        );
    };
    let folder = PathBuf::from(folder);
    let file = folder.join("audit.log");
    let audit = open(&file);
    note(&audit, "before").unwrap();
    // A mount on top: the open handle could still write, the names cannot be changed any more.
    mount(&["--bind", folder.to_str().unwrap()], &folder);
    mount(&["-o", "remount,bind,ro"], &folder);
    assert!(begin(&audit, Action::ToolCreate).is_err());
    assert_eq!(trouble(&audit).unwrap(), "the file system is read-only");
    assert!(begin(&audit, Action::Exec).is_err());
    assert!(matches!(
        Audit::open(options(config(&folder.join("other.log")))),
        Err(OpenError::Io(_, error)) if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem
    ));
    assert!(
        Command::new("umount")
            .arg(&folder)
            .status()
            .unwrap()
            .success()
    );
    drop(begin(&audit, Action::ToolCreate).unwrap());
    audit.stop();
    assert_eq!(breaks(&file), ["read_only"]);
}

#[test]
fn a_removed_file_is_written_back() {
    let scratch = Scratch::new();
    let file = scratch.log();
    let audit = open(&file);
    (0..5).for_each(|n| note(&audit, &format!("t{n}")).unwrap());
    fs::remove_file(&file).unwrap();
    // The act that finds out is refused, unless the look of every second was first.
    let _ = note(&audit, "refused");
    note(&audit, "after").unwrap();
    audit.stop();
    assert_eq!(breaks(&file), ["file_removed"]);
    let targets: Vec<_> = lines(&file)
        .into_iter()
        .map(|line| line["target"].clone())
        .collect();
    assert_eq!(
        targets[..5],
        ["t0", "t1", "t2", "t3", "t4"].map(Value::from)
    );
    assert!(targets.contains(&json!("after")));
}

#[test]
fn a_moved_file_is_left_where_it_is() {
    let scratch = Scratch::new();
    let file = scratch.log();
    let audit = open(&file);
    note(&audit, "t").unwrap();
    fs::rename(&file, scratch.folder().join("audit.log.old")).unwrap();
    let _ = note(&audit, "refused");
    note(&audit, "after").unwrap();
    audit.stop();
    let report = proven(&file);
    assert_eq!((report.files, report.first_seq), (2, 1));
    assert_eq!(breaks(&file), ["file_moved"]);
}

#[test]
fn another_file_in_its_place_is_not_touched() {
    let scratch = Scratch::new();
    let file = scratch.log();
    let audit = open(&file);
    note(&audit, "t").unwrap();
    let aside = scratch.folder().join("aside");
    fs::rename(&file, &aside).unwrap();
    fs::write(&file, "somebody's").unwrap();
    assert_eq!(note(&audit, "refused"), Err(Unaudited));
    assert!(begin(&audit, Action::ToolCreate).is_err());
    assert_eq!(
        trouble(&audit).unwrap(),
        "another file is in its place: move it away"
    );
    assert_eq!(fs::read(&file).unwrap(), b"somebody's");
    fs::rename(&aside, &file).unwrap();
    note(&audit, "after").unwrap();
    audit.stop();
    assert_eq!(proven(&file).lines, 3);
    assert_eq!(breaks(&file), ["file_replaced"]);
}

#[test]
fn bytes_of_others_are_found_by_the_proof_and_do_not_stop_the_log() {
    let scratch = Scratch::new();
    let file = scratch.log();
    let audit = open(&file);
    note(&audit, "t").unwrap();
    let mut stranger = fs::OpenOptions::new().append(true).open(&file).unwrap();
    std::io::Write::write_all(&mut stranger, b"hello").unwrap();
    let _ = note(&audit, "refused");
    note(&audit, "after").unwrap();
    audit.stop();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("}\nhello\n{\"seq\":2"), "{text}");
    assert!(text.contains(r#""reason":"foreign_bytes""#));
    let error = verify(&[file], None).unwrap_err().to_string();
    assert!(
        error.ends_with("line 2 is no line of an audit log"),
        "{error}"
    );
}

#[test]
fn a_cut_file_is_found_by_the_proof_and_does_not_stop_the_log() {
    let scratch = Scratch::new();
    let file = scratch.log();
    let audit = open(&file);
    (0..5).for_each(|n| note(&audit, &format!("t{n}")).unwrap());
    fs::write(&file, "").unwrap();
    let _ = note(&audit, "refused");
    note(&audit, "after").unwrap();
    audit.stop();
    let lines = lines(&file);
    assert!(lines[0]["seq"].as_u64() > Some(5));
    assert_eq!(
        lines[0]["details"]["chainBreak"]["reason"],
        "file_shortened"
    );
    assert_eq!(lines[0]["details"]["chainBreak"]["afterSeq"], 5);
}

#[test]
fn one_file_has_one_writer() {
    let scratch = Scratch::new();
    let audit = open(&scratch.log());
    let second = Audit::open(options(config(&scratch.log())));
    assert!(matches!(second, Err(OpenError::Held(_))));
    drop(audit);
    drop(open(&scratch.log()));
}

#[test]
fn a_log_that_fails_open_goes_on_and_tells_how_much_is_missing() {
    let scratch = Scratch::new();
    let file = scratch.log();
    let mut open = config(&file);
    open.on_failure = AuditFailure::GoOn;
    let audit = Audit::open(options(open)).unwrap();
    let aside = scratch.folder().join("aside");
    fs::rename(&file, &aside).unwrap();
    fs::write(&file, "somebody's").unwrap();
    for _ in 0..3 {
        note(&audit, "lost").unwrap();
    }
    fs::rename(&aside, &file).unwrap();
    note(&audit, "kept").unwrap();
    audit.stop();
    let lines = lines(&file);
    assert_eq!(lines[0]["details"]["chainBreak"]["unrecorded"], 3);
    assert_eq!(lines.len(), 2);
}

/// What the next start makes of a file that ends in `end`.
fn reopened_after(end: &[u8]) -> Result<Vec<Value>, OpenError> {
    let scratch = Scratch::new();
    let audit = open(&scratch.log());
    (0..3).for_each(|n| note(&audit, &format!("t{n}")).unwrap());
    audit.stop();
    drop(audit);
    let mut bytes = fs::read(scratch.log()).unwrap();
    bytes.extend_from_slice(end);
    fs::write(scratch.log(), &bytes).unwrap();
    let again = Audit::open(options(config(&scratch.log())))?;
    note(&again, "again").unwrap();
    again.stop();
    drop(again);
    proven(&scratch.log());
    Ok(lines(&scratch.log()))
}

#[test]
fn a_torn_line_is_taken_out_and_recorded() {
    assert_eq!(reopened_after(b"").unwrap()[4]["details"], json!({}));
    let torn = br#"{"seq":5,"ts":"2026"#;
    let lines = reopened_after(torn).unwrap();
    let found = &lines[4]["details"]["chainBreak"];
    assert_eq!(found["reason"], "torn_line");
    assert_eq!(
        (&found["afterSeq"], &found["tornBytes"]),
        (&json!(4), &json!(torn.len()))
    );
    assert_eq!(found["tornText"], r#"{"seq":5,"ts":"2026"#);
    let zeros = reopened_after(&[0; 5000]).unwrap();
    assert_eq!(zeros[4]["details"]["chainBreak"]["tornBytes"], 5000);
    assert!(matches!(
        reopened_after(&vec![b'x'; 5 << 20]),
        Err(OpenError::Foreign(_))
    ));
}

#[test]
fn a_file_of_others_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    let check = |text: &[u8], opens: bool| {
        fs::write(scratch.log(), text).unwrap();
        let opened = Audit::open(options(config(&scratch.log())));
        assert_eq!(opened.is_ok(), opens, "{:?}", String::from_utf8_lossy(text));
        if !opens {
            assert_eq!(fs::read(scratch.log()).unwrap(), text);
        }
    };
    check(b"127.0.0.1 - - GET /\n", false);
    check(b"not a log", false);
    check(br#"{"seq":1,"ts""#, true);
    check(br#"{"s"#, true);
    check(&[0; 100], true);
    fs::remove_file(scratch.log()).unwrap();
    fs::create_dir(scratch.log()).unwrap();
    assert!(Audit::open(options(config(&scratch.log()))).is_err());
}

#[test]
fn a_log_whose_newest_file_is_gone_goes_on_from_the_older_one() {
    let scratch = Scratch::new();
    let mut small = config(&scratch.log());
    small.max_file_bytes = 2000;
    let audit = Audit::open(options(small)).unwrap();
    (0..10).for_each(|n| note(&audit, &format!("t{n}")).unwrap());
    drop(audit);
    // As a crash between the two renames of a rotation leaves it.
    fs::rename(scratch.log(), scratch.folder().join("audit.log.1")).unwrap();
    let packed = scratch.folder().join("audit.log.1.gz");
    fs::rename(&packed, scratch.folder().join("audit.log.2.gz")).unwrap();
    let audit = open(&scratch.log());
    note(&audit, "again").unwrap();
    audit.stop();
    assert_eq!(lines(&scratch.log()).last().unwrap()["seq"], 12);
    assert!(packed.exists());
    assert_eq!(breaks(&scratch.log()), ["not_stopped"]);
}
