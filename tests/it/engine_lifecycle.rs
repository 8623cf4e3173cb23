//! What is left when things end: by the reaper's rule, when a server is killed, when a daemon goes
//! and comes back, and after many runs.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use dynamic_mcp::base::clock::unix_millis;
use dynamic_mcp::base::ids::random_hex;
use dynamic_mcp::docker::State;
use dynamic_mcp::domain::asking::{Answer, Ask};
use dynamic_mcp::domain::failure::FailureKind;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::run::{Ended, Observer};
use dynamic_mcp::engine::container_spec::{User, Variables, container_spec};
use dynamic_mcp::engine::{Engine, Owners};
use serde_json::json;

use crate::support::daemon;
use crate::support::daemons::{OwnDaemon, another_process, plays_a_part, request_shared};
use crate::support::engine::{
    Fixture, Runs as _, await_that, create, failure_text, image, job, kind_of, owned_by, patience,
    settings, start_engine,
};

/// Says when code makes progress.
struct Began(Sender<()>);

impl Observer for Began {
    fn log(&mut self, _: &str, _: &JsonText) {}
    fn progress(&mut self, _: f64, _: Option<f64>, _: Option<&str>) {
        self.0.send(()).unwrap();
    }
    fn ask(&mut self, _: Ask) -> Answer {
        Answer::Refused("no client".to_owned())
    }
}

const ENDLESS: &str = "ctx.progress(1); while (true) {}";

fn leave_container(owner: &str, expires_in: i64, running: bool) -> String {
    leave_labelled(owner, 0, expires_in, running)
}

/// Its labels say that it was made `age` seconds ago.
fn leave_labelled(owner: &str, age: i64, expires_in: i64, running: bool) -> String {
    let seconds = i64::try_from(unix_millis(SystemTime::now()) / 1000).unwrap();
    let labels = BTreeMap::from([
        ("dynamic-mcp.owner", owner.to_owned()),
        ("dynamic-mcp.created", (seconds - age).to_string()),
        ("dynamic-mcp.expires", (seconds + expires_in).to_string()),
    ]);
    let command = ["node", "-e", "setInterval(() => {}, 1000)"];
    let spec = json!({"Image": "node:lts-slim", "Cmd": command, "Labels": labels,
        "HostConfig": {"NetworkMode": "none"}});
    let daemon = daemon();
    let id = create(&daemon, &spec);
    if running {
        daemon.start_container(&id, patience()).unwrap();
    }
    id
}

#[test]
fn the_reaper_removes_the_dead_s_and_the_expired_and_nothing_else() {
    let fixture = Fixture::new();
    let [dead, sibling, unknown] =
        ["dead", "sibling", "unknown"].map(|kind| format!("{kind}-{}", random_hex()));
    fixture.owners.dead.lock().unwrap().push(dead.clone());
    let doomed = [
        leave_container(&dead, 1000, true),
        leave_container(&dead, 1000, false),
        leave_container(&sibling, -10, true),
        leave_container(&unknown, -10, false),
        leave_container(&fixture.owners.own, -10, true),
    ];
    let kept = [
        leave_container(&sibling, 1000, true),
        leave_container(&unknown, 1000, false),
        leave_container(&fixture.owners.own, 1000, false),
        // One of ours was made into an image, which has its labels, and so has what is made of it.
        leave_labelled(&dead, 4000, -10, false),
    ];
    // Another reaper on this daemon may have taken the expired ones already.
    let reaped = fixture.engine.tidy(patience());
    assert!((2..=5).contains(&reaped), "{reaped}");
    let state = |id: &str| daemon().container_state(id, patience());
    for id in &doomed {
        assert!(
            state(id).is_err_and(|error| error.is_not_found()),
            "{id} is left"
        );
    }
    assert_eq!(state(&kept[0]), Ok(State::Running));
    assert_eq!(
        fixture.owners.dead(),
        [""; 0],
        "nothing of the dead is left: forgotten"
    );
    for id in &kept {
        assert!(state(id).is_ok(), "{id} is gone");
        daemon().remove_container(id, patience()).unwrap();
    }
}

#[test]
fn what_still_runs_of_an_instance_that_may_live_is_left_to_end() {
    let fixture = Fixture::new();
    fixture.owners.may_err.store(true, Ordering::Relaxed);
    let lost = format!("lost-{}", random_hex());
    fixture.owners.dead.lock().unwrap().push(lost.clone());
    let [runs, starts, ended] =
        [true, false, true].map(|running| leave_container(&lost, 1000, running));
    let daemon = daemon();
    let end = |id: &str| {
        request_shared("POST", &format!("/containers/{id}/kill"), b"");
        daemon.await_exit(id, patience()).unwrap();
    };
    end(&ended);
    let left = || {
        fixture.engine.tidy(patience());
        let mut left: Vec<_> = owned_by(&daemon, &lost)
            .into_iter()
            .map(|one| one.id)
            .collect();
        left.sort();
        left
    };
    let mut expected = [runs.clone(), starts.clone()];
    expected.sort();
    assert_eq!(left(), expected);
    end(&runs);
    assert_eq!(left(), [starts.as_str()]);
    assert_eq!(
        fixture.owners.dead(),
        [lost.as_str()],
        "something of it is left"
    );
    daemon.remove_container(&starts, patience()).unwrap();
    assert_eq!(left(), [""; 0]);
    assert_eq!(fixture.owners.dead(), [""; 0]);
}

/// Nobody is there any more to kill it.
#[test]
fn a_runner_whose_server_is_gone_ends_itself() {
    let daemon = daemon();
    let node = daemon
        .image(&image("node:lts-slim"), patience())
        .unwrap()
        .unwrap();
    let spec = container_spec(&Variables {
        image_id: node.id,
        user: User::DEFAULT,
        volumes: Vec::new(),
        memory_bytes: 256 << 20,
        nano_cpus: 1_000_000_000,
        is_podman: false,
        labels: BTreeMap::new(),
        layers_volume: "dynamic-mcp-layers".to_owned(),
        runtime: None,
    });
    for code in [
        None,
        Some("while (true) {}"),
        Some(
            "for (const s of ['SIGHUP', 'SIGTERM']) process.on(s, () => {});
             await new Promise(() => setInterval(() => {}, 9))",
        ),
    ] {
        let id = create(&daemon, &spec);
        let mut streams = daemon.attach(&id, patience()).unwrap();
        daemon.start_container(&id, patience()).unwrap();
        let mut said = 0;
        while said == 0 {
            assert!(streams.read(patience(), &mut |_| said += 1).unwrap());
        }
        if let Some(code) = code {
            let job =
                json!({"job": {"nonce": "n", "code": code, "args": "{}", "resultLimit": 100}});
            streams
                .write(format!("{job}\n").as_bytes(), patience())
                .unwrap();
        }
        drop(streams);
        daemon.await_exit(&id, patience()).unwrap();
        let State::Exited(exit) = daemon.container_state(&id, patience()).unwrap() else {
            panic!("{code:?}: it still runs")
        };
        assert_eq!((exit.code, exit.oom_killed), (137, false), "{code:?}");
        daemon.remove_container(&id, patience()).unwrap();
    }
}

/// The killed server is this binary once more, in the middle of a run and with a checker.
#[test]
fn a_killed_server_leaves_nothing_to_its_successor() {
    if plays_a_part() {
        let fixture = Fixture::new();
        fixture.engine.check(None, "return 1", patience()).unwrap();
        let (began, begins) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| fixture.run_observed(&job(ENDLESS, "{}"), &mut Began(began)));
            begins.recv().unwrap();
            eprintln!("running as {}", fixture.owners.own);
        });
        return;
    }
    let name = "engine_lifecycle::a_killed_server_leaves_nothing_to_its_successor";
    let mut server = another_process(&std::env::current_exe().unwrap(), name)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let owner = lines
        .find_map(|line| line.unwrap().strip_prefix("running as ").map(str::to_owned))
        .expect("the other process ended too early");
    let daemon = daemon();
    assert_eq!(owned_by(&daemon, &owner).len(), 2);
    server.kill().unwrap();
    server.wait().unwrap();
    await_that("its containers end by themselves", || {
        owned_by(&daemon, &owner).iter().all(|one| {
            matches!(
                daemon.container_state(&one.id, patience()),
                Ok(State::Exited(_))
            )
        })
    });
    let successor = Fixture::new();
    successor.engine.tidy(patience());
    assert_eq!(
        owned_by(&daemon, &owner).len(),
        2,
        "not known to be dead: not ours to remove"
    );
    successor.owners.dead.lock().unwrap().push(owner.clone());
    successor.engine.tidy(patience());
    assert_eq!(owned_by(&daemon, &owner), []);
}

/// A run that was under way when its daemon went, by `action`.
fn run_while_the_daemon_goes(
    own: &OwnDaemon,
    fixture: &Fixture,
    action: &str,
) -> (Ended, Duration) {
    let (began, begins) = channel();
    std::thread::scope(|scope| {
        let mut job = job(ENDLESS, "{}");
        job.timeout = Duration::from_secs(120);
        let run = scope.spawn(move || fixture.run_observed(&job, &mut Began(began)));
        begins.recv().unwrap();
        own.act(action);
        let gone = Instant::now();
        (run.join().unwrap(), gone.elapsed())
    })
}

#[test]
fn a_daemon_that_stops_or_crashes_and_comes_back() {
    let own = OwnDaemon::start("lifecycle");
    let client = own.client();
    let fixture = Fixture::on(Arc::clone(&client), settings());
    assert_eq!(fixture.value("return 1"), "1");
    fixture.engine.check(None, "return 1", patience()).unwrap();
    for action in ["stop", "kill"] {
        let (ended, took) = run_while_the_daemon_goes(&own, &fixture, action);
        let kind = kind_of(&ended);
        assert_eq!(
            kind,
            Some(FailureKind::EngineUnavailable),
            "{action}: {ended:?}"
        );
        assert!(took < Duration::from_secs(20), "{action}: {took:?}");

        let failures = [
            fixture.failure("return 1"),
            fixture
                .engine
                .check(None, "return 1", patience())
                .unwrap_err(),
        ];
        for failure in failures {
            let text = failure_text(&failure);
            assert_eq!(
                failure.kind,
                FailureKind::EngineUnavailable,
                "{action}: {text}"
            );
            assert!(
                text.contains("docker.sock") && text.contains("start Docker"),
                "{action}: {text}"
            );
        }
        assert!(!fixture.engine.probe(patience()).ready);

        own.act("start");
        assert!(fixture.engine.probe(patience()).ready, "{action}");
        assert_eq!(
            fixture.value("return 2"),
            "2",
            "{action}: the first call afterwards"
        );
        fixture.engine.check(None, "return 1", patience()).unwrap();
        fixture.engine.tidy(patience());
        await_that(
            "what the daemon kept of the earlier runs is removed",
            || {
                let kinds: Vec<_> = fixture.containers();
                kinds
                    .iter()
                    .all(|one| one.labels["dynamic-mcp.kind"] == "checker")
                    && kinds.len() == 1
            },
        );
    }
}

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

/// Code that ends in all ways there are, and a time limit.
const MIXED: [(&str, u64); 12] = [
    ("return args", 30_000),
    ("return 'x'.repeat(1e5)", 30_000),
    (
        "console.log('y'); return (await import('node:os')).hostname()",
        30_000,
    ),
    ("throw new Error('x')", 30_000),
    ("syntax error", 30_000),
    ("return 1n", 30_000),
    ("while (true) {}", 300),
    ("process.exit(1)", 30_000),
    ("while (true) process.stdout.write('x'.repeat(1e6))", 30_000),
    ("await ctx.elicit('a')", 30_000),
    ("await new Promise(() => {})", 30_000),
    (
        "const a = []; while (true) a.push(Buffer.alloc(1 << 24, 1))",
        30_000,
    ),
];

/// Numbers that look random and are the same each time (Knuth's MMIX).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        let next = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = next.wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// After so long without a run that succeeds, none will any more: daemons of 20.10 lock themselves
/// up, once in some thousand starts and kills (two locks of its network library).
const HANG: Duration = Duration::from_secs(90);

/// All containers and volumes of a daemon, as its API lists them.
fn all_of(own: &OwnDaemon) -> [usize; 2] {
    let count = |path, what: &str| {
        let answer = own.request("GET", path);
        answer.matches(what).count()
    };
    [
        count("/containers/json?all=1", "\"Id\":"),
        count("/volumes", "\"Mountpoint\":"),
    ]
}

/// Somebody stops containers in the middle of what they do, and the daemon stops and crashes.
/// In a process of its own, for other tests have threads and files.
#[test]
fn many_runs_through_kills_and_restarts_leave_no_container_volume_thread_or_file() {
    if !plays_a_part() {
        let name = "engine_lifecycle::\
                    many_runs_through_kills_and_restarts_leave_no_container_volume_thread_or_file";
        let output = another_process(&std::env::current_exe().unwrap(), name).output();
        crate::support::daemons::succeeded(name, &output.unwrap());
        return;
    }
    let long = std::env::var_os("DYNAMIC_MCP_TEST_LONG").is_some();
    let runs = if long { 10_000 } else { 200 };
    let own = OwnDaemon::start("soak");
    let daemon = own.client();
    // The volume of layers is made with the first container, and stays.
    Fixture::on(Arc::clone(&daemon), settings()).value("return 1");
    await_that("its threads have ended", || count("/proc/self/task") <= 2);
    let (threads, files) = (count("/proc/self/task"), count("/proc/self/fd"));
    let kept = all_of(&own);
    assert_eq!(kept, [0, 1]);

    let mut chosen = settings();
    chosen.warm_pool = 2;
    let fixture = Fixture::on(Arc::clone(&daemon), chosen);
    let next = AtomicUsize::new(0);
    let succeeded = AtomicUsize::new(0);
    let work = |seed: u64| {
        let mut dice = Dice(seed);
        while next.fetch_add(1, Ordering::Relaxed) < runs {
            // Most calls are quick; every third is one of all.
            let (code, millis) = match dice.roll(3) {
                0 => MIXED[dice.roll(MIXED.len())],
                _ => MIXED[dice.roll(3)],
            };
            let mut job = job(code, "{}");
            let millis = if dice.roll(10) == 0 { 50 } else { millis };
            job.timeout = Duration::from_millis(millis);
            match fixture.run(&job).outcome {
                Ok(_) => {
                    succeeded.fetch_add(1, Ordering::Relaxed);
                }
                Err(failure) if failure.kind == FailureKind::EngineUnavailable => {
                    std::thread::sleep(Duration::from_millis(500));
                }
                Err(_) => {}
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..=4)
            .map(|seed| scope.spawn(move || work(seed)))
            .collect();
        let mut dice = Dice(99);
        let mut restarts = ["stop", "kill"].into_iter().cycle();
        let mut due = runs / 3;
        let (mut hangs, mut latest) = (0, (0, Instant::now()));
        while workers.iter().any(|worker| !worker.is_finished()) {
            let so_far = succeeded.load(Ordering::Relaxed);
            if so_far != latest.0 {
                latest = (so_far, Instant::now());
            }
            if latest.1.elapsed() > HANG {
                hangs += 1;
                assert!(hangs <= 5, "the daemon hangs again after {so_far} runs");
                eprintln!("the daemon hangs after {so_far} runs: it is made to crash");
                own.act("kill");
                own.act("start");
                latest.1 = Instant::now();
            }
            if next.load(Ordering::Relaxed) >= due {
                own.act(restarts.next().unwrap());
                own.act("start");
                due += if long { 1000 } else { runs / 3 };
            }
            let found = fixture.containers();
            if let Some(one) = found.get(dice.roll(found.len().max(1))) {
                own.request("POST", &format!("/containers/{}/kill", one.id));
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    let succeeded = succeeded.into_inner();
    assert!(succeeded > runs / 3, "{succeeded} of {runs} runs succeeded");
    assert_eq!(fixture.value("return 1"), "1");
    drop(fixture);
    assert_eq!(all_of(&own), kept);
    await_that("threads and files are as before", || {
        count("/proc/self/task") <= threads && count("/proc/self/fd") <= files
    });
    let engines: Vec<_> = (0..5).map(|_| start_engine(&daemon, settings())).collect();
    assert!(count("/proc/self/task") > threads);
    drop(engines);
    await_that("threads end with their engine", || {
        count("/proc/self/task") <= threads
    });
}
