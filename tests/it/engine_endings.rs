//! How a run ends, and what its failure says (contract, section 5a, "End").

use std::time::{Duration, Instant};

use crate::support::engine::Fixture;

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

process.kill(1, 'SIGTERM'); await new Promise(resolve => setTimeout(resolve, 5000));
=> threw: process ended with SIGTERM before returning

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

require('child_process').spawn('sleep', ['1000'], {stdio: 'inherit'}); return 3
=> 3

const stubborn = 'trap : TERM HUP INT; sleep 1000 & wait; sleep 1000';
require('child_process').spawn('sh', ['-c', stubborn], {detached: true, stdio: 'ignore'}).unref();
return 4
=> 4

new (require('worker_threads').Worker)('while (true) {}', {eval: true}); return 5
=> 5

require('child_process').spawn('sleep', ['1000'], {stdio: 'inherit'}); throw new Error('x')
=> threw: x @1:78
",
    );
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "something was waited for"
    );
}
