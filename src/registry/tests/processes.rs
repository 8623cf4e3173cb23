//! Several processes on one file, and their sudden deaths.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};

use super::*;

const HERE: &str = "registry::tests::processes";

/// The line break ends what the test harness has written without one.
fn acknowledge(tool: &Tool) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nack {} {}", tool.name, tool.revision).unwrap();
}

#[test]
fn processes_writing_at_once_lose_nothing() {
    const CHILDREN: usize = 3;
    const WRITES: usize = 40;
    if let Some(path) = std::env::var_os(CHILD) {
        let store = open(Path::new(&path)).unwrap();
        let mut same = |tool: &Tool| Ok(tool.definition.clone());
        for index in 0..WRITES {
            let unique = format!("p{}.{index}", std::process::id());
            store.create(name(&unique), definition("1")).unwrap();
            store.update(&name("shared"), None, &mut same).unwrap();
        }
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.path("tools.json");
    let store = open(&path).unwrap();
    store.create(name("shared"), definition("1")).unwrap();
    let test = format!("{HERE}::processes_writing_at_once_lose_nothing");
    let children: Vec<_> = (0..CHILDREN)
        .map(|_| child(&test, &path).spawn().unwrap())
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let seen = open(&path).unwrap().snapshot();
    assert_eq!(seen.tools().len(), CHILDREN * WRITES + 1);
    assert_eq!(
        seen.tool("shared").unwrap().revision,
        (CHILDREN * WRITES + 1) as u64
    );
}

#[test]
fn a_killed_writer_loses_nothing_acknowledged_and_tears_nothing() {
    const WRITES: usize = 1000;
    if let Some(path) = std::env::var_os(CHILD) {
        let store = open(Path::new(&path)).unwrap();
        // So that writing takes long enough to be killed in.
        let bulky = definition(&"x".repeat(1000));
        let mut same = |tool: &Tool| Ok(tool.definition.clone());
        for index in 0..WRITES {
            let unique = name(&format!("p{}.{index}", std::process::id()));
            acknowledge(&store.create(unique.clone(), bulky.clone()).unwrap());
            acknowledge(&store.update(&unique, Some(1), &mut same).unwrap());
        }
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.path("tools.json");
    let test = format!("{HERE}::a_killed_writer_loses_nothing_acknowledged_and_tears_nothing");
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    let (mut writes, mut rounds) = (0, 0);
    while writes < WRITES {
        rounds += 1;
        let mut child = child(&test, &path).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acks = lines.map_while(Result::ok).filter_map(|line| {
            let (name, revision) = line.strip_prefix("ack ")?.split_once(' ')?;
            Some((name.to_owned(), revision.parse::<u64>().unwrap()))
        });
        let random = || usize::from(ids::random_bytes::<1>()[0]);
        let survives = 1 + random() % 64;
        let mut started = None;
        for (name, revision) in acks.by_ref().take(survives) {
            started.get_or_insert_with(Instant::now);
            acknowledged.insert(name, revision);
            writes += 1;
        }
        // Anywhere within the next write or two, by how long these took.
        let elapsed = started.map(|at| at.elapsed()).unwrap_or_default();
        let one_write = elapsed / u32::try_from(survives).unwrap();
        std::thread::sleep(one_write.mul_f64(random() as f64 / 128.0));
        child.kill().unwrap();
        for (name, revision) in acks {
            acknowledged.insert(name, revision);
            writes += 1;
        }
        assert!(!child.wait().unwrap().success());
        let found = open(&path).unwrap().snapshot();
        for (name, revision) in &acknowledged {
            let stored = found.tool(name).map(|tool| tool.revision).unwrap_or(0);
            assert!(
                stored >= *revision,
                "{name}: {stored} of {revision} in round {rounds}"
            );
        }
        let unanswered = found.tools().len() - acknowledged.len();
        assert!(
            unanswered <= rounds,
            "{unanswered} tools nobody was told of in {rounds} rounds"
        );
    }
    assert!(rounds > 3, "{rounds} kills are too few to mean anything");
}

#[test]
fn instances_are_dead_once_their_process_is() {
    use instance::{InstanceLock, Liveness, forget_dead, known, liveness};
    if let Some(folder) = std::env::var_os(CHILD) {
        let lock = InstanceLock::acquire(Path::new(&folder)).unwrap();
        writeln!(std::io::stdout(), "\nid {}", lock.id()).unwrap();
        // Until it is killed, or the parent is gone.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        return;
    }
    let scratch = Scratch::new();
    let folder = scratch.path("instances");
    assert_eq!(known(&folder).unwrap(), Vec::<String>::new());
    let mine = InstanceLock::acquire(&folder).unwrap();
    let test = format!("{HERE}::instances_are_dead_once_their_process_is");
    let mut child = child(&test, &folder).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let theirs = lines
        .find_map(|line| line.strip_prefix("id ").map(str::to_owned))
        .unwrap();

    assert_eq!(liveness(&folder, mine.id()), Liveness::Alive);
    assert_eq!(liveness(&folder, &theirs), Liveness::Alive);
    assert!(
        !forget_dead(&folder, &theirs).unwrap(),
        "the living are not forgotten"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(liveness(&folder, &theirs), Liveness::Dead);
    assert_eq!(known(&folder).unwrap().len(), 2);
    assert!(forget_dead(&folder, &theirs).unwrap());
    assert_eq!(liveness(&folder, &theirs), Liveness::Unknown);
    assert!(!forget_dead(&folder, &theirs).unwrap());

    // Dropped without having retired: dead, to be cleared up after.
    let id = mine.id().to_owned();
    drop(mine);
    assert_eq!(liveness(&folder, &id), Liveness::Dead);
    let other = InstanceLock::acquire(&folder).unwrap();
    let id = other.id().to_owned();
    other.retire().unwrap();
    assert_eq!(liveness(&folder, &id), Liveness::Unknown);
}
