//! What code that prints, forges frames or patches built-ins can do to its result: nothing, or end
//! it cleanly (contract, section 5a, "Output", "Frames").

use std::time::Duration;

use crate::support::engine::{Fixture, job};

#[test]
fn failures_show_the_last_4_kb_that_were_printed() {
    let fixture = Fixture::new();
    let check = |code: &str, expected: &str| {
        let failure = fixture.failure(code);
        assert_eq!(failure.stderr, expected, "{code}: {failure:?}");
    };
    check(
        "console.log('out'); console.error('err'); throw 1",
        "out\nerr\n",
    );
    let tail = format!("{}\nlast\n", "x".repeat(4096 - 6));
    check(
        "console.log('x'.repeat(1e6)); console.error('last'); throw 1",
        &tail,
    );
    check(
        "for (let i = 0; i < 1e5; i++) console.log('x'.repeat(9)); console.log('x'.repeat(4090)); \
           console.log('last'); process.exit(1)",
        &tail,
    );
    let noise = "console.error('first'); console.error('x'.repeat(5000)); console.error('last');";
    check(&format!("{noise} throw 1"), &tail);
    check(&format!("{noise} process.exit(1)"), &tail);
    check(
        &format!("{noise} process.kill(process.pid, 'SIGKILL'); while (true) {{}}"),
        &tail,
    );
    check(
        "process.stdout.write('no line end'); return 1n",
        "no line end",
    );
    check(
        "const {execSync} = require('child_process');
         execSync('echo child; echo error >&2', {stdio: 'inherit'}); throw 1",
        "child\nerror\n",
    );
    let mut slow = job("console.log('so far'); while (true) {}", "{}");
    slow.timeout = Duration::from_secs(1);
    assert_eq!(fixture.failure_of(&slow).stderr, "so far\n");
    let broken = fixture.failure("process.stderr.write(Buffer.alloc(9000, 0xff)); throw 1");
    assert!(broken.stderr.len() <= 4096, "{}", broken.stderr.len());
}

/// The daemon brings output and frames by different ways.
#[test]
fn what_was_printed_last_is_not_overtaken_by_the_failure() {
    let fixture = Fixture::new();
    let code = "console.error('x'.repeat(30000)); console.error('end'); throw 1";
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..6 {
                    let failure = fixture.failure(code);
                    assert!(failure.stderr.ends_with("x\nend\n"), "{failure:?}");
                }
            });
        }
    });
}

#[test]
fn output_neither_destroys_nor_becomes_a_result() {
    Fixture::new().check(
        r#"
const line = '{"done":{"ok":true,"value":"forged"}}\n';
process.stdout.write(line); process.stderr.write(line);
require('child_process').execSync(`printf '%s' '${line}'`, {stdio: 'inherit'});
return 'mine'
=> "mine"

const fs = require('fs');
for (const nonce of ['', ' ', '0'.repeat(32) + ' ', 'undefined '])
  for (const body of ['{"done":{"ok":true,"value":"forged"}}', '{"done":{"kind":"threw"}}',
      '{"ready":{"node":"1"}}', '{}', 'x'])
    fs.writeSync(3, nonce + body + '\n');
return 'mine'
=> "mine"

require('fs').writeSync(3, 'noise without an end'); return 'mine'
=> "mine"

require('fs').writeSync(3, Buffer.alloc(3e6, 120)); return 'mine'
=> "mine"

require('fs').writeSync(3, Buffer.alloc(3e6, 120)); throw new Error('mine')
=> threw: mine @1:59

const {spawnSync} = require('child_process');
const noise = 'echo noise >&3; echo noise >&4; cat <&4';
return spawnSync('sh', ['-c', noise], {stdio: ['ignore', 'pipe', 'pipe']}).stderr.toString()
=> "…3…ad file descriptor…4…ad file descriptor…"

for (let i = 0; i < 100; i++) process.stdout.write('x'.repeat(1e5) + '\n');
return 'after 10 MB'
=> "after 10 MB"

const heads = 'head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2';
require('child_process').execSync(heads, {stdio: 'inherit'});
return 'after 10 MB'
=> "after 10 MB"

while (true) process.stdout.write('x'.repeat(1e6));
=> output_too_large: the code printed more than 67108864 bytes

while (true) require('fs').writeSync(3, 'x'.repeat(1e6));
=> output_too_large: the code printed more than 67108864 bytes

require('child_process').spawn('yes', {stdio: 'inherit'});
await new Promise(resolve => setTimeout(resolve, 1e6));
=> output_too_large: the code printed more than 67108864 bytes

while (true) ctx.log('info', 'x'.repeat(60000));
=> output_too_large: the code printed more than 67108864 bytes
"#,
    );
}

/// The runner takes what it needs before the code runs; where it could not, it ends cleanly.
#[test]
fn patched_built_ins_give_the_right_result_or_a_clean_failure() {
    Fixture::new().check(
        r#"
JSON.stringify = () => '"patched"'; JSON.parse = () => 'patched'; JSON = null; return {a: 'x'}
=> {"a":"x"}

Object.keys = () => ['p']; Array.isArray = () => true; Number.isFinite = () => false;
Date.prototype.toISOString = () => 'p'; String.prototype.toWellFormed = () => 'p';
Buffer.from = () => { throw 1; }; Buffer.byteLength = () => 1e9;
return {a: [1.5], d: new Date(0), s: 't'}
=> {"a":[1.5],"d":"1970-01-01T00:00:00.000Z","s":"t"}

process = Buffer = String = Object = Promise = Array = Error = TypeError = Map = undefined;
return {a: 'x'}
=> {"a":"x"}

process = Buffer = String = Object = Promise = Array = Map = Number = undefined;
throw new Error('x')
=> threw: x @2:7

Promise.prototype.then = () => {}; return 8
=> 8

Promise.prototype.then = () => { throw new Error('patched'); }; throw new Error('x')
=> threw: x @1:71

Object.prototype.toJSON = () => 'patched'; throw new Error('x')
=> threw: x @1:50

Object.prototype.kind = 'threw'; Object.prototype.ok = false; Object.prototype.get = 1; return [1]
=> [1]

Object.defineProperty(Object.prototype, 'line', {set() { throw 1; }, get() { return 77; }});
return {line2: 1}
=> {"line2":1}

require('fs').writeSync = () => { throw 1; }; process.reallyExit = process.exit = () => {};
return 1
=> 1

require('util').types.isDate = () => true; require('vm').Script = null; return {a: 1}
=> {"a":1}

process.emit = () => true; return 1
=> 1

process.on('exit', () => { while (true) {} }); return 1
=> 1

globalThis.AsyncFunction = null; Function.prototype.call = Function.prototype.bind = null;
return [new Date(0)]
=> ["1970-01-01T00:00:00.000Z"]

Array.prototype.push = () => 0; return [1]
=> …

Array.prototype.push = () => { throw new Error('patched'); }; return [1]
=> …

Array.prototype.includes = () => true; return {a: 1}
=> …

Array.prototype.join = () => 'forged'; return {a: 1}
=> …

String.prototype.split = RegExp.prototype.exec = () => { throw new Error('patched'); };
throw new Error('x')
=> threw: …

Object.defineProperty(Array.prototype, 'constructor', {get() { throw 1; }});
Object.defineProperty(Promise.prototype, 'constructor', {get() { throw new Error('p'); }});
return [1]
=> …
"#,
    );
}
