//! What writes do, alone and at once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::thread;

use super::*;
use crate::domain::json::JsonText;

#[test]
fn a_tool_s_life_survives_reopening() {
    let scratch = Scratch::new();
    let path = scratch.path("deep/er/tools.json");
    let store = open(&path).unwrap();
    assert!(!path.exists(), "opening writes nothing");
    assert_eq!(store.health(), Ok(()));

    let schema = JsonText::parse("{\"z\" : 1.50,\n \"a\":[1e3]}".to_owned()).unwrap();
    let mut first = definition("return 1");
    first.input_schema = Some(schema.clone());
    let created = store.create(name("math.add"), first).unwrap();
    assert_eq!(
        (created.revision, &created.created_at),
        (1, &created.updated_at)
    );

    let mut rename = |tool: &Tool| {
        Ok(Definition {
            title: Some("T".into()),
            ..tool.definition.clone()
        })
    };
    let updated = store
        .update(&name("math.add"), Some(1), &mut rename)
        .unwrap();
    assert_eq!(
        (updated.revision, &updated.created_at),
        (2, &created.created_at)
    );
    store.create(name("other"), definition("return 2")).unwrap();
    assert_eq!(
        store
            .delete::<Definition>(&name("other"), Some(1))
            .unwrap()
            .revision,
        1
    );

    let again = open(&path).unwrap();
    assert_eq!(again.snapshot().tools(), store.snapshot().tools());
    assert_eq!(
        again
            .snapshot()
            .tool("math.add")
            .unwrap()
            .definition
            .input_schema,
        Some(schema)
    );

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&scratch.path("deep/er")), 0o700);
    assert_eq!(mode(&scratch.path("deep")), 0o700);
}

#[test]
fn refusals_and_their_texts() {
    let scratch = Scratch::new();
    let store = open_limited(&scratch.path("tools.json"), 2).unwrap();
    let mut same = |tool: &Tool| Ok(tool.definition.clone());
    store.create(name("a.b"), definition("1")).unwrap();
    for _ in 0..3 {
        store.update(&name("a.b"), None, &mut same).unwrap();
    }
    let before = fs::read(scratch.path("tools.json")).unwrap();
    let check = |outcome: Result<Arc<Tool>, StoreError>, expected: &str| {
        assert_eq!(outcome.unwrap_err().to_string(), expected);
    };
    let lost = "Revision conflict for dynamic tool \"a.b\": expected 3, current 4.";
    check(store.update(&name("a.b"), Some(3), &mut same), lost);
    check(store.delete::<Definition>(&name("a.b"), Some(3)), lost);
    check(
        store.create(name("a.b"), definition("1")),
        "dynamic tool \"a.b\" already exists; update it instead",
    );
    check(
        store.create(name("a_b"), definition("1")),
        "dynamic tool \"a_b\" would be listed under the same name as \"a.b\" by clients that read \
         dots and colons as underscores; choose another name",
    );
    let gone = "dynamic tool \"xyz\" does not exist";
    check(store.update(&name("xyz"), Some(1), &mut same), gone);
    check(store.delete::<Definition>(&name("xyz"), None), gone);
    check(
        store.create(name("xyz"), definition("")),
        "code must be 1 to 200000 characters",
    );
    check(
        store.update(&name("a.b"), None, &mut |_| Ok(definition(""))),
        "code must be 1 to 200000 characters",
    );
    check(
        store.update(&name("a.b"), None, &mut |_| Err(StoreError::ReadOnly)),
        "the registry is read-only (MCP_DYNAMIC_READ_ONLY)",
    );
    assert_eq!(
        fs::read(scratch.path("tools.json")).unwrap(),
        before,
        "refusals write nothing"
    );
    store.create(name("second"), definition("1")).unwrap();
    check(
        store.create(name("third"), definition("1")),
        "the registry holds its 2 tools (MCP_DYNAMIC_MAX_TOOLS); delete one first",
    );
}

#[test]
fn a_read_only_store_serves_and_makes_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path("folder/tools.json");
    let options = FileStoreOptions {
        path: path.clone(),
        max_tools: 10,
        read_only: true,
    };
    let store = FileStore::open(options).unwrap();
    assert_eq!(
        store.create(name("abc"), definition("1")),
        Err(StoreError::ReadOnly)
    );
    assert_eq!(store.health(), Ok(()));
    assert!(!scratch.path("folder").exists());
    // It still follows what others write.
    open(&path)
        .unwrap()
        .create(name("abc"), definition("1"))
        .unwrap();
    assert!(
        store
            .wait_newer(0, Duration::from_secs(10))
            .tool("abc")
            .is_some()
    );
}

/// Each in a store of its own, as each session of the original had: eleven of twelve were lost.
#[test]
fn twelve_creates_at_once_all_survive() {
    let scratch = Scratch::new();
    let path = scratch.path("tools.json");
    let stores: Vec<FileStore> = (0..12).map(|_| open(&path).unwrap()).collect();
    thread::scope(|scope| {
        for (index, store) in stores.iter().enumerate() {
            scope.spawn(move || {
                store
                    .create(name(&format!("tool{index}")), definition("1"))
                    .unwrap();
            });
        }
    });
    assert_eq!(names(&open(&path).unwrap()).len(), 12);
    for store in &stores {
        let mut snapshot = store.snapshot();
        while snapshot.tools().len() < 12 {
            let newer = store.wait_newer(snapshot.generation(), Duration::from_secs(10));
            assert!(
                newer.generation() > snapshot.generation(),
                "every store learns of all"
            );
            snapshot = newer;
        }
    }
}

#[test]
fn the_limit_holds_exactly_under_a_hundred_creates() {
    let scratch = Scratch::new();
    let path = scratch.path("tools.json");
    let stores: Vec<FileStore> = (0..4).map(|_| open_limited(&path, 50).unwrap()).collect();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let create = |index: usize| {
            let store = &stores[index % stores.len()];
            scope.spawn(move || store.create(name(&format!("tool{index}")), definition("1")))
        };
        let threads: Vec<_> = (0..100).map(create).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let full = Err(StoreError::Full {
        kind: Kind::Tool,
        limit: 50,
    });
    assert_eq!(
        outcomes.iter().filter(|outcome| **outcome == full).count(),
        50
    );
    let created: BTreeSet<String> = outcomes
        .iter()
        .flatten()
        .map(|tool| tool.name.to_string())
        .collect();
    assert_eq!(created, names(&open(&path).unwrap()).into_iter().collect());
    assert_eq!(created.len(), 50);
}

#[test]
fn of_two_spellings_at_once_one_wins() {
    for _ in 0..10 {
        let scratch = Scratch::new();
        let path = scratch.path("tools.json");
        let (one, two) = (open(&path).unwrap(), open(&path).unwrap());
        let created = thread::scope(|scope| {
            let first = scope.spawn(|| one.create(name("a.b"), definition("1")).is_ok());
            let second = scope.spawn(|| two.create(name("a_b"), definition("1")).is_ok());
            (first.join().unwrap(), second.join().unwrap())
        });
        assert!(created.0 != created.1, "{created:?}");
    }
}

#[test]
fn of_two_updates_from_one_revision_one_loses_and_learns_it() {
    let scratch = Scratch::new();
    let path = scratch.path("tools.json");
    let (one, two) = (open(&path).unwrap(), open(&path).unwrap());
    one.create(name("abc"), definition("0")).unwrap();
    let to = |code: &'static str| move |_: &Tool| Ok(definition(code));
    one.update(&name("abc"), Some(1), &mut to("1")).unwrap();
    // The second store need not have seen any of it yet.
    let lost = two.update(&name("abc"), Some(1), &mut to("2"));
    let expected = StoreError::Conflict {
        kind: Kind::Tool,
        name: name("abc"),
        expected: 1,
        current: 2,
    };
    assert_eq!(lost, Err(expected));
    assert_eq!(&*two.snapshot().tool("abc").unwrap().definition.code, "1");
}

#[test]
fn an_edit_by_hand_shows_up_and_leaves_other_tools_the_same_value() {
    let scratch = Scratch::new();
    let path = scratch.path("tools.json");
    let store = open(&path).unwrap();
    store.create(name("one"), definition("return 1")).unwrap();
    store.create(name("two"), definition("return 2")).unwrap();
    let before = store.snapshot();
    let edited = fs::read_to_string(&path)
        .unwrap()
        .replace("return 2", "return 3");
    // In place, keeping the inode and the length.
    fs::write(&path, &edited).unwrap();
    let after = store.wait_newer(before.generation(), Duration::from_secs(10));
    assert_eq!(&*after.tool("two").unwrap().definition.code, "return 3");
    assert!(Arc::ptr_eq(
        before.tool("one").unwrap(),
        after.tool("one").unwrap()
    ));
    // By another file under the same name.
    fs::write(scratch.path("next"), edited.replace("return 3", "return 4")).unwrap();
    fs::rename(scratch.path("next"), &path).unwrap();
    let last = store.wait_newer(after.generation(), Duration::from_secs(10));
    assert_eq!(&*last.tool("two").unwrap().definition.code, "return 4");
}

#[test]
fn a_link_stays_a_link_and_its_target_is_what_others_share() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("data")).unwrap();
    symlink("data/real.json", scratch.path("link.json")).unwrap();
    let by_link = open(&scratch.path("link.json")).unwrap();
    by_link.create(name("one"), definition("1")).unwrap();
    let direct = open(&scratch.path("data/real.json")).unwrap();
    direct.create(name("two"), definition("1")).unwrap();
    by_link.create(name("three"), definition("1")).unwrap();
    assert!(
        fs::symlink_metadata(scratch.path("link.json"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(names(&by_link), ["one", "three", "two"]);
    assert_eq!(
        by_link.instances_folder().unwrap(),
        direct.instances_folder().unwrap()
    );
}

#[test]
fn what_a_crashed_writer_left_is_gone_after_the_next_write() {
    let scratch = Scratch::new();
    let store = open(&scratch.path("tools.json")).unwrap();
    fs::write(scratch.path("tools.json.tmp"), "{\"version\":1,\"to").unwrap();
    store.create(name("one"), definition("1")).unwrap();
    let mut left: Vec<_> = fs::read_dir(scratch.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["tools.json", "tools.json.lock"]);
}

#[test]
fn dropping_the_store_ends_its_thread() {
    let scratch = Scratch::new();
    let store = open(&scratch.path("tools.json")).unwrap();
    let shared = store.shared_for_tests();
    drop(store);
    assert!(
        shared.upgrade().is_none(),
        "the thread still holds the store"
    );
}
