//! Files that cannot be used, disks that refuse, processes that hang.

use std::fs::{self, File};
use std::io::Write as _;

use super::*;

const HERE: &str = "registry::tests::trouble";

/// Runs one test again in a mount namespace of its own with a small file system at `folder`.
fn on_small_disk(test: &str, folder: &Path) {
    let mut inner = child(&format!("{HERE}::{test}"), folder);
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c"]);
    command.arg("mount -t tmpfs -o size=512k tmpfs \"$REGISTRY_TEST_CHILD\" && exec \"$@\"");
    command
        .arg("sh")
        .arg(inner.get_program())
        .args(inner.get_args())
        .env(CHILD, folder);
    inner.env_clear();
    let output = command.output().expect("unshare (util-linux) is needed");
    assert!(
        output.status.success(),
        "needs root, or a kernel that allows user namespaces, to mount a tmpfs:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}

fn remount(folder: &Path, how: &str) {
    let options = format!("remount,{how}");
    let status = Command::new("mount")
        .args(["-o", &options])
        .arg(folder)
        .status()
        .unwrap();
    assert!(status.success(), "{options}");
}

fn reason(outcome: Result<Arc<Tool>, StoreError>) -> String {
    match outcome {
        Err(StoreError::Unwritable { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_disk_refuses_a_write_and_the_next_one_works() {
    let Some(folder) = std::env::var_os(CHILD) else {
        let scratch = Scratch::new();
        on_small_disk(
            "a_full_disk_refuses_a_write_and_the_next_one_works",
            &scratch.path(""),
        );
        return;
    };
    let folder = Path::new(&folder);
    let path = folder.join("tools.json");
    let store = open(&path).unwrap();
    let big = definition(&"x".repeat(50_000));
    let mut created = 0;
    let refused = loop {
        match store.create(name(&format!("tool{created}")), big.clone()) {
            Ok(_) => created += 1,
            refused => break reason(refused),
        }
    };
    assert_eq!(refused, "the disk is full");
    assert!(created > 2, "{created}");
    assert_eq!(
        store.snapshot().tools().len(),
        created,
        "memory is not ahead of the disk"
    );
    assert_eq!(names(&open(&path).unwrap()).len(), created);
    assert!(!folder.join("tools.json.tmp").exists());
    store.delete::<Definition>(&name("tool0"), None).unwrap();
    store.create(name("small"), definition("1")).unwrap();

    let mut filler = File::create(folder.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    assert_eq!(
        store.health().unwrap_err().to_string(),
        "the registry cannot be written: the disk is full"
    );
    assert_eq!(
        reason(store.create(name("more"), definition("1"))),
        "the disk is full"
    );
    fs::remove_file(folder.join("filler")).unwrap();
    drop(filler);
    assert_eq!(store.health(), Ok(()));
    store.create(name("more"), definition("1")).unwrap();
    assert_eq!(
        open(&path).unwrap().snapshot().tools(),
        store.snapshot().tools()
    );
}

#[test]
fn a_read_only_file_system_serves_and_recovers() {
    let Some(folder) = std::env::var_os(CHILD) else {
        let scratch = Scratch::new();
        on_small_disk(
            "a_read_only_file_system_serves_and_recovers",
            &scratch.path(""),
        );
        return;
    };
    let folder = Path::new(&folder);
    let path = folder.join("tools.json");
    {
        let store = open(&path).unwrap();
        store.create(name("one"), definition("1")).unwrap();
    }
    remount(folder, "ro");
    let store = open(&path).unwrap();
    assert_eq!(names(&store), ["one"]);
    assert!(matches!(store.health(), Err(StoreError::Unwritable { .. })));
    let refused = reason(store.create(name("two"), definition("1")));
    assert!(refused.contains("read-only"), "{refused}");
    assert_eq!(names(&store), ["one"]);
    remount(folder, "rw");
    store.create(name("two"), definition("1")).unwrap();
    assert_eq!(store.health(), Ok(()));
}

#[test]
fn a_process_that_hangs_with_the_lock_delays_writes_and_then_refuses_them() {
    let scratch = Scratch::new();
    let store = open(&scratch.path("tools.json")).unwrap();
    store.create(name("one"), definition("1")).unwrap();
    let held = File::open(scratch.path("tools.json.lock")).unwrap();
    held.lock().unwrap();
    // All wait together, not one after the other.
    let started = Instant::now();
    std::thread::scope(|scope| {
        let store = &store;
        let create = |n: usize| {
            scope.spawn(move || store.create(name(&format!("tool{n}")), definition("1")))
        };
        let threads: Vec<_> = (0..6).map(create).collect();
        for thread in threads {
            assert!(matches!(
                thread.join().unwrap(),
                Err(StoreError::Busy { .. })
            ));
        }
    });
    assert!(started.elapsed() < Duration::from_secs(25));
    assert_eq!(names(&store), ["one"], "reads go on");
    drop(held);
    store.create(name("two"), definition("1")).unwrap();
}

#[test]
fn a_removed_lock_file_locks_nobody_out() {
    let scratch = Scratch::new();
    let store = open(&scratch.path("tools.json")).unwrap();
    store.create(name("one"), definition("1")).unwrap();
    let stale = File::open(scratch.path("tools.json.lock")).unwrap();
    stale.lock().unwrap();
    fs::remove_file(scratch.path("tools.json.lock")).unwrap();
    store.create(name("two"), definition("1")).unwrap();
}

#[test]
fn unusable_files_refuse_the_start_and_stay_as_they_are() {
    let scratch = Scratch::new();
    let path = scratch.path("tools.json");
    let check = |text: &[u8], expected: &str| {
        fs::write(&path, text).unwrap();
        match open(&path).map(|_| ()) {
            Err(StoreError::Corrupt {
                path: named,
                reason,
            }) => {
                assert!(reason.contains(expected), "{reason}");
                assert_eq!(named, path);
            }
            other => panic!("{expected}: {other:?}"),
        }
        assert_eq!(fs::read(&path).unwrap(), text);
        assert!(!scratch.path("tools.json.lock").exists());
    };
    check(b"", "it is no JSON: EOF");
    check(b"{\"version\":1,\"tools\":[", "it is no JSON: EOF");
    check(b"\xff\xfe", "it is not UTF-8");
    check(b"{\"version\":2,\"tools\":[]}", "version is 2");
    fs::remove_file(&path).unwrap();
    let sparse = File::create(&path).unwrap();
    sparse.set_len(document::MAX_FILE_BYTES + 1).unwrap();
    let error = open(&path).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.ends_with("it is longer than 268435456 bytes"),
        "{error}"
    );
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let error = open(&path).map(|_| ()).unwrap_err().to_string();
    assert!(error.ends_with("it is not a regular file"), "{error}");
    fs::remove_dir(&path).unwrap();
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let error = open(&path).map(|_| ()).unwrap_err().to_string();
    assert!(error.ends_with("it is not a regular file"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_said_at_the_start() {
    let scratch = Scratch::new();
    fs::write(scratch.path("file"), "").unwrap();
    assert!(open(&scratch.path("file/tools.json")).is_err());
    std::os::unix::fs::symlink("loop", scratch.path("loop")).unwrap();
    assert!(matches!(
        open(&scratch.path("loop")),
        Err(StoreError::Corrupt { .. })
    ));
}

#[test]
fn a_file_spoilt_or_removed_at_run_time_stops_writes_but_not_reads() {
    let scratch = Scratch::new();
    let path = scratch.path("tools.json");
    let store = open(&path).unwrap();
    store.create(name("one"), definition("1")).unwrap();
    let good = fs::read(&path).unwrap();
    let check = |expected: &str| {
        for _ in 0..2 {
            let refused = store.create(name("two"), definition("1")).unwrap_err();
            assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
            assert!(refused.to_string().contains(expected), "{refused}");
        }
        assert!(store.health().is_err());
        assert_eq!(names(&store), ["one"]);
    };
    fs::write(&path, "{").unwrap();
    check("it is no JSON");
    assert_eq!(fs::read(&path).unwrap(), b"{");
    fs::remove_file(&path).unwrap();
    check("it is gone");
    assert!(!path.exists());
    fs::write(&path, &good).unwrap();
    store.create(name("two"), definition("1")).unwrap();
    assert_eq!(store.health(), Ok(()));
    assert_eq!(names(&store), ["one", "two"]);
}
