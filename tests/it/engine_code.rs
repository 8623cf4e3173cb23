//! How code is compiled and what it finds around itself (contract, section 5a, "Compile",
//! "Modules", "args").

use dynamic_mcp::engine::Engine;

use super::Fixture;
use crate::support::engine::{Runs as _, failure_text, job, matches, patience, table};

/// Code that does not compile, or does though it looks otherwise.
const SYNTAX: &str = r#"
return 1
=> compiles

=> compiles

await null; return await (async () => 1)()
=> compiles

// a comment at the end
=> compiles

return 1 <!-- two
=> compiles

const args2 = args, ctx2 = ctx, r = require; var runJob, fs, check, first, parse;
=> compiles

return {
  a: 1,
  b 2
}
=> threw: SyntaxError: Unexpected number @3:5

let a = 1;
let a = 2;
=> threw: SyntaxError: Identifier 'a' has already been declared @2:5

const x = ;
=> threw: SyntaxError: Unexpected token ';' @1:11

let é = '日本'; let é;
=> threw: SyntaxError: Identifier 'é' has already been declared @1:19

    	var 1x
=> threw: SyntaxError: Invalid or unexpected token @1:10

if (true) {
  return 1
=> threw: SyntaxError: …@2

return (
=> threw: SyntaxError: …@1

return `
a
=> threw: SyntaxError: the code ends too early: an expression, a bracket or a block is not finished @2

/* never closed
=> threw: SyntaxError: Invalid or unexpected token @1

}); evil(); (
=> threw: SyntaxError: the code ends too early: an expression, a bracket or a block is not finished @1

async (args) => args.a;
=> threw: SyntaxError: this only makes a function, …

// The whole tool
function run(args) { return args.a }
=> threw: SyntaxError: this only makes a function, …

(async () => { return 1 })()
=> compiles

}, function () {
=> threw: SyntaxError: Single function literal required

} async function second() {
=> threw: SyntaxError: Unexpected token …

import fs from 'fs';
=> threw: SyntaxError: Cannot use import statement outside a module; …"await import(…)"… @1:1

'x';
import 'fs';
=> threw: SyntaxError: Cannot use import statement outside a module; …"await import(…)"… @2:1

import { readFile } from 'fs'
=> threw: SyntaxError: Cannot use import statement outside a module; …"await import(…)"… @1:1

export const a = 1;
=> threw: SyntaxError: Unexpected token 'export'; …"return" @1:1

export default async function run() {}
=> threw: SyntaxError: Unexpected token 'export'; …"return" @1:1

return import.meta.url
=> threw: SyntaxError: Cannot use 'import.meta' outside a module; …"await import(…)"… @1:15

for await (const x of []) { yield x }
=> threw: SyntaxError: Unexpected identifier 'x' @1:35

return /(/
=> threw: SyntaxError: Invalid regular expression: /(/: Unterminated group @1:8

return 'a
b'
=> threw: SyntaxError: Invalid or unexpected token @1:8

const a = "x";
const b = a ? 1 : ;
=> threw: SyntaxError: Unexpected token ';' @2:19
"#;

#[test]
fn syntax_errors_are_found_before_anything_runs() {
    let fixture = Fixture::new();
    let mut wrong = String::new();
    for (code, expected) in table(SYNTAX) {
        let checked = fixture.engine.check(None, &code, patience());
        let got = checked.map_or_else(|failure| failure_text(&failure), |()| "compiles".to_owned());
        if !matches(&expected, &got) {
            wrong += &format!("{code}\n  want {expected}\n  got  {got}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn a_run_reports_syntax_errors_like_the_checker() {
    let refused = table(SYNTAX).filter(|(_, expected)| *expected != "compiles");
    let cases: Vec<_> = refused
        .step_by(4)
        .map(|(code, expected)| (job(&code, "{}"), expected))
        .collect();
    Fixture::new().check_jobs(&cases);
}

#[test]
fn line_ends_of_every_kind_count() {
    let fixture = Fixture::new();
    for end in ["\n", "\r\n", "\r", "\u{2028}", "\u{2029}"] {
        let code = format!("let a;{end}{end}let a;{end}return 1");
        let failure = fixture.engine.check(None, &code, patience()).unwrap_err();
        assert_eq!(
            (failure.line, failure.column),
            (Some(3), Some(5)),
            "{end:?}"
        );
    }
}

#[test]
fn code_sees_node_s_modules_and_nothing_of_the_runner() {
    Fixture::new().check(
        r#"
const {createHash} = await import('node:crypto');
return [createHash('sha256').update('').digest('hex').slice(0, 8), require('os').EOL,
  typeof require('node:fs').readFileSync, (await import('path')).posix.sep]
=> ["e3b0c442","\n","function","/"]

const fs = require('fs');
fs.writeFileSync('/workspace/lib.js', 'exports.x = 1');
fs.writeFileSync('/workspace/tool.js', 'module.exports = 5');
fs.writeFileSync('esm.mjs', 'export const y = 2; export default import.meta.url;');
fs.mkdirSync('node_modules/pkg', {recursive: true});
fs.writeFileSync('node_modules/pkg/index.js', 'module.exports = __filename');
const esm = await import('./esm.mjs');
return [require('./lib').x, require('./tool.js'), esm.y, esm.default, require('pkg'),
  (await import('/workspace/lib.js')).default]
=> [1,5,2,"file:///workspace/esm.mjs","/workspace/node_modules/pkg/index.js",{"x":1}]

require('no-such-package')
=> threw: Cannot find module 'no-such-package'…@1:1

await import('no-such-package')
=> threw: Cannot find package 'no-such-package'…

require('fs').writeFileSync('/workspace/bad.js', 'let a;\nlet a;');
require('./bad.js')
=> threw: SyntaxError: Identifier 'a' has already been declared @2:1

return [process.cwd(), Object.keys(process.env).sort(), process.env.HOME, process.env.TMPDIR,
  process.env.TZ, new Date(0).getTimezoneOffset(), process.env.PATH.includes('/bin')]
=> ["/workspace",["HOME","PATH","TMPDIR","TZ"],"/workspace","/tmp","UTC",0,true]

const {execFileSync} = require('child_process');
return JSON.parse(execFileSync(process.execPath, ['-p', 'JSON.stringify(Object.keys(process.env).sort())']))
=> ["HOME","PATH","TMPDIR","TZ"]

let read = '';
for await (const chunk of process.stdin) read += chunk;
return [read, require('fs').readFileSync(0, 'utf8'), require('child_process').execFileSync(process.execPath, ['-p', 'require(`fs`).readFileSync(0, `utf8`).length'], {stdio: ['inherit', 'pipe']}).toString()]
=> ["","","0\n"]

return ['runJob', 'writeLine', 'listener', 'reallyExit', 'toJson', 'stringify', 'exports',
  '__filename', '__dirname', 'AsyncFunction', 'MAX_DEPTH', 'kept'].filter(name => eval('typeof ' + name) !== 'undefined')
=> []

first = 1; check = 2; compile = 3; writeLine = 4; kept = 5; guarded = 6; runJob = 7; toJson = 8;
throw new Error('implicit globals are the author\'s own')
=> threw: implicit globals are the author's own @2:7

return [typeof arguments, arguments.length, this === globalThis, args, typeof ctx.signal, Object.isFrozen(ctx)]
=> ["object",3,true,{},"object",true]

return new Error('x').stack.split('\n')[1].trim()
=> "at …tool.js:3:8…"

const {fork} = require('child_process');
require('fs').writeFileSync('child.js', 'process.send([process.argv.length, process.execArgv])');
return await new Promise(resolve => fork('./child.js').on('message', resolve))
=> [2,[]]
"#,
    );
}

#[test]
fn arguments_are_what_json_parse_makes_of_the_text() {
    let show = "return [Object.keys(args), Object.values(args).map(String), \
                Object.getPrototypeOf(args) === Object.prototype]";
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    Fixture::new().check_jobs(&[
        (job("return args", "{}"), "{}"),
        (job(show, r#"{"a":1e400,"b":-1e-400,"c":12345678901234567890,"d":0.1,"e":-0}"#),
         r#"[["a","b","c","d","e"],["Infinity","0","12345678901234567000","0.1","0"],true]"#),
        (job(show, r#"{"x":1,"__proto__":{"y":2},"x":3,"constructor":4,"1":5}"#),
         r#"[["1","x","__proto__","constructor"],["5","3","[object Object]","4"],true]"#),
        (job("return args.map(text => [...text].map(c => c.codePointAt(0)))",
             "[\"\\ud800\", \"\\u0000\\n\", \"é\u{2028}\u{1F600}\", \"\\ud83d\\ude00\"]"),
         "[[55296],[0,10],[233,8232,128512],[128512]]"),
        (job("return args", " [ 1 ,\t{\"a\" :\r\n null} ]\n"), r#"[1,{"a":null}]"#),
        (job("return args", "null"), "null"),
        (job("return args", "\"text\""), "\"text\""),
        (job("let depth = 0; for (let v = args; Array.isArray(v); v = v[0]) depth++; return depth", &deep),
         "5000"),
    ]);
}

#[test]
fn the_largest_code_and_a_megabyte_of_arguments() {
    let fixture = Fixture::new();
    let mut code = String::from("const t = [];\n");
    while code.len() < 199_900 {
        code += "t.push('éééééééééé');\n";
    }
    code.truncate(code.rfind("t.push").unwrap());
    code += "return [t.length, args.text.length, args.text.at(-1)]";
    let args = format!("{{\"text\":\"{}b\"}}", "a\\n".repeat(349_000));
    let pushes = code.matches("t.push").count();
    assert!(code.chars().count() <= 200_000 && args.len() > 1_000_000);
    let expected = format!("[{pushes},698001,\"b\"]");
    assert_eq!(fixture.value_of(&job(&code, &args)), expected);

    let code = format!("{}let a; let a;", "x;".repeat(99_900));
    let failure = fixture.engine.check(None, &code, patience()).unwrap_err();
    assert_eq!(failure.line, Some(1), "{failure:?}");
    let code = format!("{}\nlet a; let a;", "x;".repeat(99_900));
    let failure = fixture.engine.check(None, &code, patience()).unwrap_err();
    assert_eq!((failure.line, failure.column), (Some(2), Some(12)));
}
