//! Limits on time, memory, processes and disk, and what a run that breaks them leaves: nothing.

use std::time::{Duration, Instant};

use dynamic_mcp::domain::failure::FailureKind;
use dynamic_mcp::domain::run::Job;

use super::Fixture;
use crate::support::engine::{Runs as _, job, kind_of, outcome_text, settings};

fn limited(code: &str, millis: u64) -> Job {
    let mut job = job(code, "{}");
    job.timeout = Duration::from_millis(millis);
    job
}

#[test]
fn code_that_does_not_end_is_stopped_and_gone() {
    let fixture = Fixture::new();
    for code in [
        "while (true) {}",
        "await new Promise(resolve => setTimeout(resolve, 1e6))",
        "for (const s of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(s, () => {}); while (true) await null",
        "require('child_process').execFileSync(process.execPath, ['-e', 'for (const s of [`SIGTERM`, `SIGINT`, `SIGHUP`]) process.on(s, () => {}); while (true) {}'])",
        "Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)",
        "require('child_process').spawnSync(process.execPath, ['-e', 'setTimeout(() => {}, 1e6)'], {stdio: 'inherit'})",
        "process.on('exit', () => { while (true) {} }); process.exit(1)",
        "process.kill(process.pid, 'SIGSTOP'); return 1",
        "return {get a() { while (true) {} }}",
        "/(a+)+$/.test('a'.repeat(50) + 'b')",
        "process.stdout.write = () => true; setInterval(() => console.log('x'), 1); await new Promise(() => {})",
    ] {
        let began = Instant::now();
        let ended = fixture.run(&limited(code, 700));
        let expected = "timeout: the code did not finish within timeoutMs (700 ms)";
        assert_eq!(outcome_text(&ended.outcome), expected, "{code}");
        assert!(ended.duration >= Duration::from_millis(700), "{code}");
        assert!(
            ended.duration < Duration::from_millis(3500),
            "{code}: {:?}",
            ended.duration
        );
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "{code}: slow to end"
        );
        fixture.assert_gone(code);
    }
}

#[test]
fn output_without_end_is_stopped_and_gone() {
    let fixture = Fixture::new();
    for code in [
        "while (true) process.stdout.write('x'.repeat(1e6));",
        "while (true) require('fs').writeSync(3, 'x'.repeat(1e6));",
        "require('child_process').spawn(process.execPath, ['-e', 'while (true) require(`fs`).writeSync(1, `y`.repeat(1e5))'], {stdio: 'inherit'}); await new Promise(resolve => setTimeout(resolve, 1e6));",
        "while (true) ctx.log('info', 'x'.repeat(60000));",
    ] {
        let began = Instant::now();
        let failure = fixture.failure(code);
        let expected = "the code printed more than 67108864 bytes";
        assert_eq!(
            (failure.kind, failure.message.as_str()),
            (FailureKind::OutputTooLarge, expected)
        );
        assert!(failure.stderr.len() <= 4096);
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{code}: {:?}",
            began.elapsed()
        );
        fixture.assert_gone(code);
    }
}

#[test]
fn eight_busy_loops_at_once_all_end_and_vanish() {
    let fixture = Fixture::new();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let ended = fixture.run(&limited("while (true) {}", 1500));
                assert_eq!(kind_of(&ended), Some(FailureKind::Timeout), "{ended:?}");
                assert!(
                    ended.duration < Duration::from_secs(8),
                    "{:?}",
                    ended.duration
                );
            });
        }
    });
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    fixture.assert_gone("eight busy loops");
}

#[test]
fn memory_on_the_heap_beside_it_and_in_files() {
    // With half a gigabyte V8's own limit is below the sandbox's.
    let mut roomy = settings();
    roomy.memory_bytes = 512 << 20;
    let heap = job(
        "const a = []; while (true) a.push(new Array(1000).fill({x: a.length}));",
        "{}",
    );
    Fixture::start(roomy).check_jobs(&[(
        heap.clone(),
        "out_of_memory: the code ran out of memory (the JavaScript heap): keep less data at once",
    )]);
    let fixture = Fixture::new();
    assert_eq!(fixture.failure_of(&heap).kind, FailureKind::OutOfMemory);
    let sandbox = "=> out_of_memory: the code ran out of memory (the sandbox's memory): keep less data at once";
    fixture.check(&format!(
        "
const a = []; while (true) a.push(Buffer.alloc(1 << 24, 1));
{sandbox}

const a = []; while (true) {{ a.push(Buffer.alloc(1 << 22, 1)); await null; }}
{sandbox}

const fs = require('fs');
for (let i = 0; ; i++) fs.writeFileSync('/workspace/' + i, Buffer.alloc(1 << 20, 1));
{sandbox}

throw new (require('worker_threads').Worker)('const a = []; while (true) a.push(Buffer.alloc(1 << 24, 1))', {{eval: true}}) && await new Promise(() => {{}})
{sandbox}
"
    ));
}

#[test]
fn a_result_wins_over_a_child_that_ran_out_of_memory() {
    let hog = "const {spawnSync} = require('child_process');
        const hog = spawnSync(process.execPath, ['-e', 'const a = []; while (true) a.push(Buffer.alloc(1 << 24, 1))']);";
    let cases = [
        ("return [hog.signal, hog.status]", "[\"SIGKILL\",null]"),
        (
            "throw new Error('the child was killed')",
            "threw: the child was killed @3:7",
        ),
        (
            "process.exit(3)",
            "threw: process ended with 3 before returning",
        ),
        (
            "process.kill(process.pid, 'SIGKILL'); while (true) {}",
            "out_of_memory: …",
        ),
    ];
    let cases = cases.map(|(end, expected)| (job(&format!("{hog}\n{end}"), "{}"), expected));
    Fixture::new().check_jobs(&cases);
}

#[test]
fn disks_are_small_and_full_is_an_error() {
    let mut roomy = settings();
    roomy.memory_bytes = 512 << 20;
    let fill = "const fs = require('fs'); const block = Buffer.alloc(1 << 20, 1);
        const fill = dir => { let n = 0; try { while (true) { fs.appendFileSync(dir + '/f', block); n++; } }
          catch (error) { return [n, error.code]; } };";
    let fixture = Fixture::start(roomy);
    let code = format!("{fill} return [fill('/tmp'), fill('/workspace')]");
    assert_eq!(fixture.value(&code), "[[64,\"ENOSPC\"],[256,\"ENOSPC\"]]");
    let files = "const fs = require('fs'); let n = 0;
        try { while (true) fs.writeFileSync('/tmp/' + n, ''), n++; } catch (error) { return [n > 1000, error.code]; }";
    let ended = fixture.run(&limited(files, 10_000));
    let text = outcome_text(&ended.outcome);
    assert!(
        text == "[true,\"ENOSPC\"]"
            || text.starts_with("timeout")
            || text.starts_with("out_of_memory"),
        "{text}"
    );
}
