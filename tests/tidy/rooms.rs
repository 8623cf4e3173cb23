//! Who may know whom: the direction of imports between the rooms of `src/`, and the crates that
//! have one room of their own.

use super::lexer::{code_only, is_tests_file, is_word, line_at, tests_start, words};
use super::{Violation, assert_none, lines_of, tree};

/// The rooms from left to right. A file imports from its own room or from one further right;
/// rooms of one row do not know each other.
const ROWS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["app"],
    &["http", "stdio"],
    &["gate"],
    &["mcp"],
    &["tools"],
    &["engine"],
    &["docker", "registry", "auth", "audit", "guard"],
    &["config", "metrics", "schema"],
    &["domain"],
    &["base"],
];

/// Rooms that know less than their row allows.
const KNOWS_ONLY: &[(&str, &[&str])] = &[
    // Bytes and HTTP heads, nothing of the product.
    ("gate", &["base"]),
];

/// A crate, or a part of std, and the files below `src/` that may name it.
struct Reserved {
    path: &'static str,
    homes: &'static [&'static str],
    /// Whether unit tests elsewhere may name it too.
    free_in_tests: bool,
}

const fn reserved(path: &'static str, homes: &'static [&'static str]) -> Reserved {
    Reserved {
        path,
        homes,
        free_in_tests: false,
    }
}

const RESERVED: &[Reserved] = &[
    // The gate's tests drive it in front of the real thing.
    reserved("tiny_http", &["http/", "gate/tests/"]),
    reserved("mio", &["gate/"]),
    reserved("socket2", &["gate/", "docker/connect"]),
    reserved("httparse", &["gate/", "base/http1"]),
    reserved("ureq", &["auth/jwks"]),
    reserved("postgres", &["registry/postgres"]),
    reserved("r2d2", &["registry/postgres"]),
    reserved("r2d2_postgres", &["registry/postgres"]),
    Reserved {
        path: "std::env",
        // The jail's launcher and first process are programs of their own.
        homes: &["config/", "cli/", "cli.rs", "main.rs", "engine/jail/"],
        free_in_tests: true,
    },
];

fn row_of(room: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&room))
}

fn may_know(room: &str, other: &str) -> bool {
    if room == other {
        return true;
    }
    if let Some((_, known)) = KNOWS_ONLY.iter().find(|(only, _)| *only == room) {
        return known.contains(&other);
    }
    row_of(room) < row_of(other)
}

/// The room of a path below `src/`: its first folder, or the file's own name.
fn room_of(path: &str) -> &str {
    let first = path.split('/').next().unwrap_or(path);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// How deep the module of a file lies: 1 for `src/a.rs` and `src/a/mod.rs`, 2 for `src/a/b.rs`.
fn depth_of(path: &str) -> usize {
    path.trim_end_matches("/mod.rs").split('/').count()
}

/// The names that follow a path prefix at the start of `rest`: one, or those of a `{…}` group.
fn heads(rest: &str) -> Vec<String> {
    let name = |text: &str| -> String { text.chars().take_while(|c| is_word(*c)).collect() };
    let rest = rest.trim_start();
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let (mut found, mut depth, mut expects) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects = true,
            _ if depth == 0 && expects && is_word(c) => {
                found.push(name(&group[at..]));
                expects = false;
            }
            _ => {}
        }
    }
    found
}

/// Every mention of a module at the crate's root in `code`: byte offset and name.
fn root_mentions(path: &str, code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for root in ["crate", "dynamic_mcp"] {
        for at in words(code, root) {
            if let Some(rest) = code[at + root.len()..].trim_start().strip_prefix("::") {
                found.extend(heads(rest).into_iter().map(|name| (at, name)));
            }
        }
    }
    let tests = tests_start(code);
    for at in words(code, "super") {
        let mut rest = &code[at..];
        let mut climbed = 0;
        while let Some(next) = rest.strip_prefix("super::") {
            (rest, climbed) = (next, climbed + 1);
        }
        let continues = code[..at].ends_with("::");
        let depth = depth_of(path) + usize::from(at >= tests);
        if climbed == depth && !continues {
            found.extend(heads(rest).into_iter().map(|name| (at, name)));
        }
    }
    found
}

/// `path` is below `src/`.
fn check_direction(path: &str, source: &str) -> Vec<Violation> {
    let room = room_of(path);
    if room == "lib" {
        return Vec::new();
    }
    let shown = format!("src/{path}");
    if row_of(room).is_none() {
        let rule = format!("{room} is no room of the house; add it to ROWS in tests/tidy/rooms.rs");
        return vec![Violation::new(&shown, 0, rule)];
    }
    // Unit tests in files of their own may look at a room from where its users stand.
    if is_tests_file(&shown) {
        return Vec::new();
    }
    let code = code_only(source);
    let wrong = |(at, name): &(usize, String)| {
        let rule = match row_of(name) {
            Some(_) if may_know(room, name) => return None,
            Some(_) => format!("{room} must not know {name}"),
            None if name.is_empty() => "importing the whole crate hides what is known".to_owned(),
            None => return None,
        };
        Some(Violation::new(&shown, line_at(&code, *at), rule))
    };
    root_mentions(path, &code)
        .iter()
        .filter_map(wrong)
        .collect()
}

/// Byte offsets where `code` names the crate or path `wanted`, not a module of the same name.
fn mentions(code: &str, wanted: &str) -> Vec<usize> {
    let (first, second) = wanted.split_once("::").unwrap_or((wanted, ""));
    let is_mention = |at: &usize| {
        let mut before = code[..*at].trim_end();
        let rest = &code[at + first.len()..];
        if let Some(outer) = before.strip_suffix("::") {
            // `a::mio` is a module; `use ::mio` is the crate.
            before = outer.trim_end();
            let global = before.len() < outer.len() || before.ends_with(['(', '<', '&']);
            if !global {
                return false;
            }
        }
        let imported = before.ends_with("use") || before.ends_with("extern crate");
        match rest.trim_start().strip_prefix("::") {
            Some(inner) => second.is_empty() || heads(inner).iter().any(|name| name == second),
            None => second.is_empty() && imported,
        }
    };
    words(code, first).filter(is_mention).collect()
}

/// `path` is below `src/`.
fn check_reserved(path: &str, source: &str) -> Vec<Violation> {
    let code = code_only(source);
    let mut found = Vec::new();
    for reserved in RESERVED {
        if reserved.homes.iter().any(|home| path.starts_with(home)) {
            continue;
        }
        let end = match (reserved.free_in_tests, is_tests_file(path)) {
            (true, true) => 0,
            (true, false) => tests_start(&code),
            (false, _) => code.len(),
        };
        for at in mentions(&code[..end], reserved.path) {
            let (name, homes) = (reserved.path, reserved.homes.join(", "));
            let rule = format!("only {homes} may name {name}");
            found.push(Violation::new(
                &format!("src/{path}"),
                line_at(&code, at),
                rule,
            ));
        }
    }
    found
}

fn check_tree(check: fn(&str, &str) -> Vec<Violation>) {
    let files = tree::files("src", ".rs");
    let found: Vec<Violation> = files
        .iter()
        .flat_map(|file| check(file.path.trim_start_matches("src/"), &file.text))
        .collect();
    assert_none(&found);
}

#[test]
fn imports_go_one_way() {
    check_tree(check_direction);
}

#[test]
fn crates_stay_in_their_rooms() {
    check_tree(check_reserved);
}

#[test]
fn a_wrong_import_is_caught() {
    let check = |path: &str, source: &str, expected: &[usize]| {
        assert_eq!(
            lines_of(&check_direction(path, source)),
            expected,
            "{path}: {source}"
        );
    };
    check("tools/call.rs", "use crate::engine::pool::Pool;\n", &[]);
    check("tools/call.rs", "\nuse crate::mcp::Reply;\n", &[2]);
    check(
        "tools/call.rs",
        "use crate::{base::ids, http::{x, y}, domain};",
        &[1],
    );
    check("tools/call.rs", "fn f() {\n crate::app::start();\n}", &[2]);
    check("docker/exec.rs", "use crate::registry::Store;", &[1]);
    check(
        "docker/exec.rs",
        "use crate::config::Config;\nuse super::connect;",
        &[],
    );
    check("docker/exec.rs", "use super::super::engine::pool;", &[1]);
    check("docker/exec.rs", "use super::engine;", &[]);
    check("docker/mod.rs", "use super::{base, audit};", &[1]);
    check("docker/a/b.rs", "use super::super::super::audit;", &[1]);
    check("guard.rs", "use super::auth::Permit;", &[1]);
    check(
        "guard.rs",
        "#[cfg(test)]\nmod tests {\nuse super::super::auth;\nuse super::*;\n}",
        &[3],
    );
    check(
        "base/ids.rs",
        "// use crate::app;\nconst A: &str = \"crate::app\";",
        &[],
    );
    check(
        "gate/mod.rs",
        "use crate::base::deadline;\nuse crate::domain::tool;",
        &[2],
    );
    check(
        "http/mod.rs",
        "use crate::stdio::x;\nuse crate::gate::Stream;",
        &[1],
    );
    check("main.rs", "use dynamic_mcp::cli;", &[]);
    check("mcp/mod.rs", "use crate::*;", &[1]);
    check("helpers/mod.rs", "", &[0]);
    check(
        "domain/a.rs",
        "pub(crate) fn f() {}\nmacro_rules! m { () => { $crate::app::x } }",
        &[2],
    );
}

#[test]
fn a_crate_outside_its_room_is_caught() {
    let check = |path: &str, source: &str, expected: &[usize]| {
        assert_eq!(
            lines_of(&check_reserved(path, source)),
            expected,
            "{path}: {source}"
        );
    };
    check("http/mod.rs", "use tiny_http::Server;", &[]);
    check("mcp/mod.rs", "use tiny_http::Server;", &[1]);
    check("mcp/mod.rs", "\nfn f(x: mio::Token) {}", &[2]);
    check("mcp/mod.rs", "use ::mio;", &[1]);
    check("mcp/mod.rs", "use mio as events;", &[1]);
    check("base/http1.rs", "use httparse::Response;", &[]);
    check("docker/http.rs", "use httparse::Response;", &[1]);
    check("auth/jwks.rs", "ureq::get(x)", &[]);
    check("auth/jwt.rs", "ureq::get(x)", &[1]);
    check(
        "registry/postgres.rs",
        "use postgres::Client;\nuse r2d2::Pool;",
        &[],
    );
    check(
        "registry/file.rs",
        "use postgres::Client;\nuse r2d2::Pool;",
        &[1, 2],
    );
    check("app.rs", "use crate::registry::postgres::Store;", &[]);
    check("registry/mod.rs", "pub mod postgres;\nlet mio = 1;", &[]);
    check("config/raw.rs", "std::env::var(x)", &[]);
    check("engine/pool.rs", "std::env::var(x)", &[1]);
    check("engine/pool.rs", "use std::{fs, env};", &[1]);
    check(
        "engine/pool.rs",
        "env!(\"CARGO_PKG_VERSION\"); std::fs::read(x)",
        &[],
    );
    check(
        "engine/pool.rs",
        "#[cfg(test)]\nmod tests { use std::env; }",
        &[],
    );
    check(
        "engine/pool.rs",
        "#[cfg(test)]\nmod tests { use mio::Poll; }",
        &[2],
    );
}

#[test]
fn the_table_names_each_room_once() {
    let mut rooms: Vec<&str> = ROWS.concat();
    let count = rooms.len();
    rooms.sort_unstable();
    rooms.dedup();
    assert_eq!(rooms.len(), count);
    for (room, known) in KNOWS_ONLY {
        assert!(known.iter().all(|other| row_of(room) < row_of(other)));
    }
}
