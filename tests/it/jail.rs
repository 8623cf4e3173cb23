//! The jail engine around its runs: what it refuses and why, what it parks, what it leaves when the
//! server is killed, and all of it again for a user without rights.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dynamic_mcp::domain::asking::{Answer, Ask};
use dynamic_mcp::domain::entry::Dependency;
use dynamic_mcp::domain::failure::FailureKind;
use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::run::{Observer, Returned};
use dynamic_mcp::engine::Engine as _;
use dynamic_mcp::engine::jail::{JailEngine, JailRefusal};

use crate::jail_escape::{Scratch, mark, marked};
use crate::support::engine::{Runs as _, await_that, image, job, patience, settings};
use crate::support::jail::{Fixture, jail_settings, launcher};

/// What this test program does when a test starts it again; nothing otherwise.
const ROLE: &str = "DYNAMIC_MCP_TEST_ROLE";

/// This test program again, as one who does only its role.
fn again(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "jail::role", "--nocapture"]);
    command.env(ROLE, role);
    command
}

#[test]
#[allow(clippy::print_stdout)]
fn role() {
    match std::env::var(ROLE).as_deref() {
        Ok("victim") => run_for_ever(),
        Ok("without proc") => println!("{}", Fixture::new().value(WITHOUT_PROC)),
        Ok("refused") => println!("{}", refusal(|_| ())),
        _ => {}
    }
}

/// Says on stdout what code logs, for the test that reads it.
struct Shout;

impl Observer for Shout {
    #[allow(clippy::print_stdout)]
    fn log(&mut self, _: &str, data: &JsonText) {
        println!("\n{}", data.text());
    }
    fn progress(&mut self, _: f64, _: Option<f64>, _: Option<&str>) {}
    fn ask(&mut self, _: Ask) -> Answer {
        Answer::Refused(String::new())
    }
}

#[test]
fn a_jail_keeps_to_its_processors() {
    let all = std::thread::available_parallelism().unwrap().get();
    for (limit, seen) in [(1, 1), (all + 1, all)] {
        let mut settings = jail_settings(settings());
        settings.processors = limit;
        let ended =
            Fixture::with(settings).run(&job("return require('os').availableParallelism()", "{}"));
        let Ok(Returned::Value(value)) = &ended.outcome else {
            panic!("{ended:?}")
        };
        assert_eq!(value.text(), seen.to_string());
    }
}

/// A server whose tool is busy, has a child and ignores all signals, and whose pool is full.
fn run_for_ever() {
    let mut settings = jail_settings(settings());
    settings.warm_pool = 2;
    let fixture = Fixture::with(settings);
    await_that("parked", || fixture.engine.pool_counts().parked == 2);
    let code = "process.title = args.mark;
        for (const s of ['SIGTERM', 'SIGHUP', 'SIGINT']) process.on(s, () => {});
        require('child_process').spawn(process.execPath, ['-e', `process.title = '${args.mark}'; setTimeout(() => {}, 1e6)`], {detached: true});
        setTimeout(() => { ctx.log('info', args.mark); while (true) {} }, 1500);
        await new Promise(() => {})";
    let args = serde_json::json!({ "mark": mark() });
    let mut job = job(code, &args.to_string());
    job.timeout = Duration::from_secs(300);
    fixture.run_observed(&job, &mut Shout);
}

#[test]
fn nothing_survives_the_server_s_kill() {
    let mut server = again("victim");
    let server = server.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut server = server.stderr(Stdio::null()).spawn().unwrap();
    let lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let mark = lines.find(|line| line.starts_with('"')).unwrap();
    let mark = mark.trim_matches('"');
    assert_eq!(marked(mark).len(), 2, "the tool and its child");
    let launchers = children(server.id());
    assert!(launchers.len() >= 3, "one busy, two parked: {launchers:?}");
    server.kill().unwrap();
    server.wait().unwrap();
    await_that("all processes end", || {
        let left = launchers.iter().filter(|pid| is_alive(**pid)).count();
        left == 0 && marked(mark).is_empty()
    });
}

/// Processes started by all threads of a process, and by those in turn.
fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let lists = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let direct: Vec<u32> = lists
        .flat_map(|list| {
            list.split_whitespace()
                .map(|pid| pid.parse().unwrap())
                .collect::<Vec<_>>()
        })
        .collect();
    let indirect: Vec<u32> = direct.iter().flat_map(|pid| children(*pid)).collect();
    [direct, indirect].concat()
}

fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

/// Whatever holds for root holds for a user without rights, by another way of building the jail.
#[test]
fn all_of_it_again_without_rights() {
    let is_root = std::fs::metadata("/proc/self").unwrap();
    if std::os::unix::fs::MetadataExt::uid(&is_root) != 0 {
        return; // All of it has just run without rights.
    }
    let scratch = Scratch::new();
    let copy = |from: &Path, name: &str| -> PathBuf {
        let to = scratch.0.join(name);
        std::fs::copy(from, &to).unwrap();
        to
    };
    let tests = copy(&std::env::current_exe().unwrap(), "it");
    let launcher = copy(&launcher(), "dynamic-mcp");
    let output = Command::new(tests)
        .args(["jail::", "jail_escape::", "jail_suite::"])
        .args(["--test-threads", "2"])
        .env("DYNAMIC_MCP_TEST_LAUNCHER", launcher)
        .uid(65_534)
        .gid(65_534)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("jail_escape::") && text.contains("jail_suite::"),
        "{text}"
    );
}

fn refusal(change: impl FnOnce(&mut dynamic_mcp::engine::jail::JailSettings)) -> JailRefusal {
    let mut settings = jail_settings(settings());
    change(&mut settings);
    JailEngine::start(settings).expect_err("it must be refused")
}

#[test]
fn where_the_kernel_refuses_so_does_the_engine_and_names_the_switch() {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c"])
        .arg("echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" --exact jail::role --nocapture")
        .arg(std::env::current_exe().unwrap())
        .env(ROLE, "refused")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for part in [
        "the kernel refuses the jail (new namespaces: ",
        "sysctl user.max_user_namespaces=",
        "MCP_NODE_UNSAFE=true",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

const WITHOUT_PROC: &str = "const fs = require('fs'), {execFileSync} = require('child_process');
    return [fs.readdirSync('/proc'), execFileSync(process.execPath, ['-p', '1 + 1']).toString()]";

/// As in a container that masks parts of its /proc: there the kernel grants no other one.
#[test]
fn where_there_is_no_proc_tools_still_run() {
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs none /proc/sys && exec \"$0\" --exact jail::role --nocapture")
        .arg(std::env::current_exe().unwrap())
        .env(ROLE, "without proc")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(r#"[[],"2\n"]"#), "{text}");
}

#[test]
fn a_missing_or_old_node_is_refused_by_name() {
    let scratch = Scratch::new();
    let shim = scratch.0.join("node");
    let says = |script: &str| {
        std::fs::write(&shim, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).unwrap();
        refusal(|settings| settings.node = Some(shim.clone())).to_string()
    };
    let check = |text: String, part: &str| assert!(text.contains(part), "{text}");
    check(
        refusal(|settings| settings.node = None).to_string(),
        "no node on PATH",
    );
    let old = r#"echo '{"version":"18.20.1","binary":"/bin/sh","modules":[]}'"#;
    check(says(old), "is 18.20.1");
    check(says("echo hello"), "does not answer as Node.js");
    check(says("exit 3"), "exit status: 3");
    let shell = r#"echo '{"version":"22.1.0","binary":"/bin/sh","modules":[]}'"#;
    check(says(shell), "did not start in its jail");
    let nowhere = |settings: &mut dynamic_mcp::engine::jail::JailSettings| {
        settings.launcher = scratch.0.join("nothing");
    };
    check(refusal(nowhere).to_string(), "No such file");
}

#[test]
fn images_and_dependencies_are_refused_with_the_reason() {
    let fixture = Fixture::new();
    let dependency = Dependency {
        name: "left-pad".to_owned(),
        version: "1".to_owned(),
    };
    fixture
        .engine
        .admit(Some(&image("node:lts-slim")), &[])
        .unwrap();
    let check = |refused: Result<(), dynamic_mcp::domain::failure::Failure>, part: &str| {
        let failure = refused.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Policy);
        assert!(failure.message.contains(part), "{failure:?}");
    };
    check(
        fixture
            .engine
            .admit(None, std::slice::from_ref(&dependency)),
        "no network",
    );
    check(
        fixture.engine.admit(Some(&image("busybox:1")), &[]),
        "no images",
    );
    let mut other = job("return 1", "{}");
    other.dependencies = vec![dependency];
    assert_eq!(fixture.failure_of(&other).kind, FailureKind::Policy);
}

fn parked_fixture(size: usize) -> Fixture {
    let mut settings = jail_settings(settings());
    settings.warm_pool = size;
    let fixture = Fixture::with(settings);
    await_that("the pool is full", || {
        fixture.engine.pool_counts().parked == size as u64
    });
    fixture
}

#[test]
fn parked_jails_are_used_once_and_replaced() {
    let fixture = parked_fixture(2);
    let leave = "globalThis.left = (globalThis.left ?? 0) + 1; require('fs').writeFileSync('/tmp/left', '1'); return left";
    for hits in 1..=4 {
        await_that("the pool is full", || {
            fixture.engine.pool_counts().parked == 2
        });
        assert_eq!(fixture.value(leave), "1");
        assert_eq!(fixture.engine.pool_counts().hits, hits);
    }
    assert_eq!(fixture.engine.pool_counts().misses, 0);
    assert_eq!(
        fixture.value("return require('fs').existsSync('/tmp/left')"),
        "false"
    );
}

#[test]
fn a_pool_run_dry_makes_jails_on_the_spot() {
    let fixture = parked_fixture(1);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert_eq!(fixture.value("return 1"), "1"));
        }
    });
    let counts = fixture.engine.pool_counts();
    assert_eq!(counts.hits + counts.misses, 6);
    assert!(counts.misses >= 1, "{counts:?}");
}

#[test]
fn parked_jails_that_died_are_noticed() {
    let fixture = parked_fixture(2);
    let killed = fixture.containers();
    for pid in &killed {
        let kill = Command::new("kill")
            .arg("-KILL")
            .arg(pid.to_string())
            .output();
        kill.unwrap();
    }
    await_that("they end", || killed.iter().all(|pid| !is_alive(*pid)));
    assert_eq!(fixture.value("return 1"), "1");
    fixture.engine.tidy(patience());
    await_that("the pool is full", || {
        fixture.engine.pool_counts().parked == 2
    });
    let began = Instant::now();
    assert_eq!(fixture.value("return 1"), "1");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn without_its_jail_node_still_has_its_limits_and_its_end() {
    let mut settings = jail_settings(settings());
    settings.unsafe_without_jail = true;
    let fixture = Fixture::with(settings);
    assert_eq!(
        fixture.value("return process.getuid()"),
        own_uid().to_string()
    );
    let hog = "const a = []; while (true) a.push(Buffer.alloc(1 << 24, 1));";
    assert_eq!(fixture.failure(hog).kind, FailureKind::OutOfMemory);
    let mark = mark();
    let child = format!(
        "require('child_process').spawn(process.execPath, ['-e', `process.title = '{mark}'; setTimeout(() => {{}}, 1e6)`]); \
         while (true) {{}}"
    );
    let mut busy = job(&child, "{}");
    busy.timeout = Duration::from_secs(2);
    assert_eq!(fixture.failure_of(&busy).kind, FailureKind::Timeout);
    await_that("its child ends", || marked(&mark).is_empty());
    assert!(fixture.engine.probe(patience()).detail.contains("WITHOUT"));
}

fn own_uid() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap())
}
