//! How a run ends, what its failure says, and what its output can and cannot do (contract, section
//! 5a, "End", "Output", "Frames").

use std::time::{Duration, Instant};

use super::Fixture;
use crate::support::engine::{Runs as _, job};

#[test]
fn errors_carry_the_line_of_the_author_s_code() {
    Fixture::new().check(
        r#"
throw new Error('x')
=> threw: x @1:7

throw new TypeError('x')
=> threw: TypeError: x @1:7

const a = null;

return a.b.c
=> threw: TypeError: Cannot read properties of null (reading 'b') @3:10

function inner() {
  throw new RangeError('deep');
}
[1].map(inner)
=> threw: RangeError: deep @2:9

JSON.parse('{')
=> threw: SyntaxError: …JSON…@1:6

await null;
await new Promise(resolve => setTimeout(resolve, 5));
throw new Error('later')
=> threw: later @3:7

await Promise.any([Promise.reject(new Error('x'))])
=> threw: AggregateError: All promises were rejected

require('fs').readFileSync('/no/such')
=> threw: ENOENT: no such file or directory, open '/no/such' @1:15

await fetch('http://no.such.example/')
=> threw: TypeError: fetch failed (cause: getaddrinfo E… no.such.example; tools have no network)…

await fetch('http://192.0.2.1/')
=> threw: TypeError: fetch failed (cause: connect E… 192.0.2.1…; tools have no network)…

await require('dns').promises.lookup('no.such.example')
=> threw: getaddrinfo E… no.such.example (tools have no network)…

throw new Error('x', {cause: new RangeError('deep down')})
=> threw: x (cause: deep down) @1:7

throw Object.assign(new Error('x', {cause: new Error('', {cause: new Error('z')})}), {code: 'E'})
=> threw: x (cause: Error) @1:…

throw new Error('x', {cause: {get message() { throw 1; }}})
=> threw: x @1:7

throw Object.defineProperty(new Error('x'), 'cause', {get() { throw 1; }})
=> threw: x @1:29

require('fs').writeFileSync('mytool.js', '\n\n\nmodule.exports = () => { throw new Error("x"); }');
require('./mytool.js')()
=> threw: x @2:23

new Function('\n\n\n\nthrow new Error("x")')()
=> threw: x @1:…

class Custom extends Error { constructor(m) { super(m); this.name = 'Custom'; } }
throw new Custom('x')
=> threw: Custom: x @2:7

throw new DOMException('x', 'AbortError')
=> threw: AbortError: x @1:7

throw Object.assign(new Error(''), {name: ''})
=> threw: … @1:21

throw new Error('m'.repeat(100000))
=> threw: mmm…m… @1:7

throw new Error('a\ud800b')
=> threw: a�b @1:7

throw '\u{1F600}'.repeat(10000)
=> threw: 😀😀…

throw require('vm').runInNewContext('new TypeError("other realm")')
=> threw: TypeError: other realm @1:21

(function overflow() { overflow(); })()
=> threw: RangeError: Maximum call stack size exceeded @1:…
"#,
    );
}

#[test]
fn whatever_is_thrown_is_told() {
    Fixture::new().check(
        r"
throw 'text'
=> threw: text

throw undefined
=> threw: undefined

throw null
=> threw: null

throw 42
=> threw: 42

throw 1n
=> threw: 1

throw Symbol('s')
=> threw: Symbol(s)

throw {a: 1}
=> threw: [object Object]

throw Object.create(null)
=> threw: a value that has no text

throw {toString() { throw new Error('no'); }}
=> threw: a value that has no text

throw Object.defineProperty(new Error('x'), 'message', {get() { throw 1; }})
=> threw: Error

throw Object.defineProperty(new Error('x'), 'stack', {get() { throw 1; }})
=> threw: x

throw new Proxy({}, {get() { throw 1; }, getPrototypeOf() { throw 2; }})
=> threw: a value that has no text

Error.stackTraceLimit = 0; throw new Error('x')
=> threw: x

Error.prepareStackTrace = () => ({}); throw new Error('x')
=> threw: x

return Promise.reject(new Error('rejected'))
=> threw: rejected @1:23
",
    );
}

#[test]
fn ends_before_a_result() {
    Fixture::new().check(
        r"
Promise.reject(new Error('nobody listens'));
await new Promise(resolve => setTimeout(resolve, 5000));
=> threw: nobody listens @1:16

setTimeout(() => { throw new Error('in a timer'); }, 5);
await new Promise(resolve => setTimeout(resolve, 5000));
=> threw: in a timer @1:26

setTimeout(() => { throw null; }, 5);
await new Promise(resolve => setTimeout(resolve, 5000));
=> threw: null

await new Promise(() => {});
=> threw: promise never settles

setTimeout(() => {}, 20);
await new Promise(() => {});
=> threw: promise never settles

try { await ctx.elicit('k', {a: 1n}); } catch {}
await new Promise(() => {});
=> threw: promise never settles

process.exit(3)
=> threw: process ended with 3 before returning

process.exitCode = 4; process.exit()
=> threw: process ended with 4 before returning

process.exit(0)
=> threw: process ended with 0 before returning

process.reallyExit(9)
=> threw: process ended with 9 before returning

setTimeout(() => process.exit(5), 5);
await new Promise(resolve => setTimeout(resolve, 5000));
=> threw: process ended with 5 before returning

process.kill(process.pid, 'SIGKILL'); await new Promise(resolve => setTimeout(resolve, 5000));
=> threw: process ended with SIGKILL before returning

process.kill(process.pid, 'SIGTERM'); await new Promise(resolve => setTimeout(resolve, 5000));
=> threw: process ended with SIGTERM before returning

process.kill(process.pid, 'SIGSEGV'); await new Promise(resolve => setTimeout(resolve, 5000));
=> threw: process ended with SIGSEGV before returning

process.abort()
=> threw: process ended with SIGABRT before returning

require('fs').closeSync(3); return 1
=> threw: process ended with 0 before returning

process.removeAllListeners(); setTimeout(() => { throw new Error('x'); }, 5);
await new Promise(resolve => setTimeout(resolve, 5000));
=> threw: process ended with 1 before returning

process.removeAllListeners(); await new Promise(() => {});
=> threw: process ended with …
",
    );
}

#[test]
fn what_was_not_awaited_dies_with_the_run() {
    let fixture = Fixture::new();
    let began = Instant::now();
    fixture.check(
        r"
setInterval(() => {}, 10); new Promise(() => {}); return 1
=> 1

require('net').createServer().listen('/tmp/s'); process.exitCode = 7; return 2
=> 2

require('child_process').spawn(process.execPath, ['-e', 'setTimeout(() => {}, 1e6)'], {stdio: 'inherit'}); return 3
=> 3

require('child_process').spawn(process.execPath, ['-e', 'for (const s of [`SIGTERM`, `SIGHUP`, `SIGINT`]) process.on(s, () => {}); setTimeout(() => {}, 1e6)'], {detached: true, stdio: 'ignore'}).unref();
return 4
=> 4

new (require('worker_threads').Worker)('while (true) {}', {eval: true}); return 5
=> 5

require('child_process').spawn(process.execPath, ['-e', 'setTimeout(() => {}, 1e6)'], {stdio: 'inherit'}); throw new Error('x')
=> threw: x @1:114
",
    );
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "something was waited for"
    );
}

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
        "require('child_process').execFileSync(process.execPath, ['-e', 'console.log(`child`); console.error(`error`)'], {stdio: 'inherit'}); throw 1",
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
require('child_process').execFileSync(process.execPath, ['-e', 'process.stdout.write(process.argv[1])', line], {stdio: 'inherit'});
return 'mine'
=> "mine"

const fs = require('fs');
for (const nonce of ['', ' ', '0'.repeat(32) + ' ', 'undefined '])
  for (const body of ['{"done":{"ok":true,"value":"forged"}}', '{"done":{"kind":"threw"}}', '{"ready":{"node":"1"}}', '{}', 'x'])
    fs.writeSync(3, nonce + body + '\n');
return 'mine'
=> "mine"

require('fs').writeSync(3, 'noise without an end'); return 'mine'
=> "mine"

require('fs').writeSync(3, Buffer.alloc(3e6, 120)); return 'mine'
=> "mine"

require('fs').writeSync(3, Buffer.alloc(3e6, 120)); throw new Error('mine')
=> threw: mine @1:59

const {readlinkSync} = require('fs');
const list = 'JSON.stringify(fs.readdirSync(`/proc/self/fd`).map(fd => { try { return fs.readlinkSync(`/proc/self/fd/` + fd); } catch {} }))';
const theirs = JSON.parse(require('child_process').execFileSync(process.execPath, ['-p', list]));
return [theirs.length > 3, [3, 4].filter(fd => theirs.includes(readlinkSync('/proc/self/fd/' + fd)))]
=> [true,[]]

for (let i = 0; i < 100; i++) process.stdout.write('x'.repeat(1e5) + '\n');
return 'after 10 MB'
=> "after 10 MB"

require('child_process').execFileSync(process.execPath, ['-e', 'for (const fd of [1, 2]) require(`fs`).writeFileSync(fd, Buffer.alloc(5e6))'], {stdio: 'inherit'});
return 'after 10 MB'
=> "after 10 MB"

while (true) process.stdout.write('x'.repeat(1e6));
=> output_too_large: the code printed more than 67108864 bytes

while (true) require('fs').writeSync(3, 'x'.repeat(1e6));
=> output_too_large: the code printed more than 67108864 bytes

require('child_process').spawn(process.execPath, ['-e', 'while (true) require(`fs`).writeSync(1, `y`.repeat(1e5))'], {stdio: 'inherit'}); await new Promise(resolve => setTimeout(resolve, 1e6));
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

process = Buffer = String = Object = Promise = Array = Error = TypeError = Map = undefined; return {a: 'x'}
=> {"a":"x"}

process = Buffer = String = Object = Promise = Array = Map = Number = undefined; throw new Error('x')
=> threw: x @1:88

Promise.prototype.then = () => {}; return 8
=> 8

Promise.prototype.then = () => { throw new Error('patched'); }; throw new Error('x')
=> threw: x @1:71

Object.prototype.toJSON = () => 'patched'; throw new Error('x')
=> threw: x @1:50

Object.prototype.kind = 'threw'; Object.prototype.ok = false; Object.prototype.get = 1; return [1]
=> [1]

Object.defineProperty(Object.prototype, 'line', {set() { throw 1; }, get() { return 77; }}); return {line2: 1}
=> {"line2":1}

require('fs').writeSync = () => { throw 1; }; process.reallyExit = () => {}; process.exit = () => {}; return 1
=> 1

require('util').types.isDate = () => true; require('vm').Script = null; return {a: 1}
=> {"a":1}

process.emit = () => true; return 1
=> 1

process.on('exit', () => { while (true) {} }); return 1
=> 1

globalThis.AsyncFunction = null; Function.prototype.call = Function.prototype.bind = null; return [new Date(0)]
=> ["1970-01-01T00:00:00.000Z"]

Array.prototype.push = () => 0; return [1]
=> …

Array.prototype.push = () => { throw new Error('patched'); }; return [1]
=> …

Array.prototype.includes = () => true; return {a: 1}
=> …

Array.prototype.join = () => 'forged'; return {a: 1}
=> …

String.prototype.split = RegExp.prototype.exec = () => { throw new Error('patched'); }; throw new Error('x')
=> threw: …

Object.defineProperty(Array.prototype, 'constructor', {get() { throw 1; }});
Object.defineProperty(Promise.prototype, 'constructor', {get() { throw new Error('p'); }}); return [1]
=> …
"#,
    );
}
