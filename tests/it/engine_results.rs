//! What a returned value becomes (contract, section 5a, "Return").

use super::Fixture;
use crate::support::engine::{Runs as _, job, settings};

#[test]
fn values_become_json() {
    Fixture::new().check(
        r#"
=> null

return undefined
=> null

return null
=> null

return 'é\n"'
=> "é\n\""

return NaN
=> null

return -0
=> 0

return true
=> true

return new Date(0)
=> "1970-01-01T00:00:00.000Z"

return new Date(NaN)
=> null

return {u: undefined, f() {}, s: Symbol('x'), n: null, nan: NaN, inf: -Infinity,
  a: [undefined, () => 1, Symbol('y'), NaN], d: new Date(1), b: new Boolean(false),
  big: 1e21, 'k\ud800': 'x\udc00y'}
=> {"n":null,"nan":null,"inf":null,"a":[null,null,null,null],
=> "d":"1970-01-01T00:00:00.001Z","b":false,"big":1e+21,"k�":"x�y"}

const shared = {x: 1};
return {a: shared, b: [shared, shared]}
=> {"a":{"x":1},"b":[{"x":1},{"x":1}]}

class P { constructor() { this.a = 1; this.self = this; } toJSON() { return {a: this.a}; } }
const same = {y: 2, toJSON() { return same; }};
return [new P(), new URL('http://h/p'), {gone: {toJSON() {}}}, [{toJSON() {}}],
  {d: {toJSON: () => new Date(0)}}, same]
=> [{"a":1},"http://h/p",{},[null],{"d":"1970-01-01T00:00:00.000Z"},{"y":2}]

return {toJSON() {}}
=> null

return JSON.parse('{"__proto__":{"a":1},"constructor":2}')
=> {"__proto__":{"a":1},"constructor":2}

return Object.create(null)
=> {}

return require('vm').runInNewContext('[{a: new Date(0)}]')
=> [{"a":"1970-01-01T00:00:00.000Z"}]

return Promise.resolve({a: 1})
=> {"a":1}

return {then(resolve) { resolve(7); }}
=> 7
"#,
    );
}

#[test]
fn values_that_are_no_json_are_refused_by_path() {
    Fixture::new().check(
        r"
return 1n
=> invalid_result: $ is a BigInt: use Number(…) or String(…)

return {a: [0, {'b c': 2n}]}
=> invalid_result: $.a[1].b c is a BigInt: …

const a = {}; a.b = {c: [a]}; return a
=> invalid_result: $.b.c[0] is circular: …

const a = []; a.push(a); return {a}
=> invalid_result: $.a[0] is circular: …

return () => 1
=> invalid_result: $ is a function: return a JSON value

return class A {}
=> invalid_result: $ is a function: …

return Symbol('x')
=> invalid_result: $ is a symbol: …

return {m: new Map([[1, 2]])}
=> invalid_result: $.m is a Map: …

return new WeakMap()
=> invalid_result: $ is a Map: …

return new Set([1])
=> invalid_result: $ is a Set: …

return {e: new TypeError('x')}
=> invalid_result: $.e is an Error: …

return [new (class extends Error {})('x')]
=> invalid_result: $[0] is an Error: …

return {p: Promise.resolve(1)}
=> invalid_result: $.p is a Promise: await it

return [Promise.reject(new Error('x'))]
=> invalid_result: $[0] is a Promise: await it

return Buffer.from('x')
=> invalid_result: $ is binary data: …

return {t: new Float64Array(2)}
=> invalid_result: $.t is binary data: …

return new ArrayBuffer(1)
=> invalid_result: $ is binary data: …

return {get g() { throw new Error('no'); }}
=> invalid_result: $.g could not be read: Error: no

return {g: {toJSON() { throw new Error('no'); }}}
=> invalid_result: $.g could not be read: Error: no

return {g: {toJSON() { return 1n; }}}
=> invalid_result: $.g is a BigInt: …

return {p: new Proxy({}, {ownKeys() { throw 1; }})}
=> invalid_result: $.p could not be read: 1

return {p: new Proxy({}, {getPrototypeOf() { throw 2; }})}
=> invalid_result: $.p could not be read: 2

return [new Proxy([], {get(t, k) { if (k === 'length') throw {}; return t[k]; }})]
=> invalid_result: $[0] could not be read: [object Object]

const {proxy, revoke} = Proxy.revocable({}, {}); revoke(); return {r: proxy}
=> invalid_result: $.r could not be read: TypeError: …

const boxed = Object(1); boxed.valueOf = () => boxed; return boxed
=> invalid_result: $ is circular: …

const far = {toJSON: () => ({far: {...far}})}; return far
=> invalid_result: $.far.far…is nested deeper than 128 levels

return {['k'.repeat(1e5)]: 1n}
=> invalid_result: $.kkk… is a BigInt: …
",
    );
}

#[test]
fn nesting_of_128_levels_and_not_129() {
    let code = |depth| format!("let v = 'x'; for (let i = 0; i < {depth}; i++) v = [v]; return v");
    let deepest = format!("{}\"x\"{}", "[".repeat(128), "]".repeat(128));
    let deeper = format!(
        "invalid_result: ${}…is nested deeper than 128 levels",
        "[0]".repeat(60)
    );
    Fixture::new().check_jobs(&[
        (job(&code(128), "{}"), &deepest),
        (job(&code(129), "{}"), &deeper),
    ]);
}

#[test]
fn results_at_their_limit_and_one_byte_over() {
    let mut small = settings();
    small.max_output_bytes = 1000;
    let fixture = Fixture::start(small);
    let at_limit = format!("\"{}\"", "é".repeat(499));
    assert_eq!(fixture.value("return 'é'.repeat(499)"), at_limit);
    fixture.check(
        "
return 'é'.repeat(499) + 'a'
=> output_too_large: the result is larger than 1000 bytes

return ctx.content([{type: 'text', text: 'x'.repeat(1000)}])
=> output_too_large: the result is larger than 1000 bytes

return new Array(4e9)
=> output_too_large: the result is larger than 1000 bytes

return Array(1e6).fill({a: 'b'})
=> output_too_large: the result is larger than 1000 bytes

return {a: 'x'.repeat(1e8)}
=> output_too_large: the result is larger than 1000 bytes
",
    );
}

#[test]
fn content_blocks_are_told_from_values() {
    Fixture::new().check(
        r#"
return ctx.content([{type: 'text', text: 'a'},
  {type: 'image', data: 'AA==', mimeType: 'image/png'}])
=> content [{"type":"text","text":"a"},{"type":"image","data":"AA==","mimeType":"image/png"}]

return ctx.content([])
=> content []

return {blocks: [{type: 'text', text: 'a'}]}
=> {"blocks":[{"type":"text","text":"a"}]}

return ctx.content([1n])
=> invalid_result: $[0] is a BigInt: …

return ctx.content('text')
=> threw: TypeError: ctx.content takes an array of MCP content blocks @1:12
"#,
    );
}
