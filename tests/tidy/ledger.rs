//! `audit.md` has exactly one row for each package of `Cargo.lock` but ours, and each says why.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use super::{Violation, assert_none, lines_of, tree};

/// Crates compiled into a Linux build, ours not counted.
const MOST_BUILT: usize = 115;
const MEND: &str = "run tests/env/ledger";

type Package = (String, String);

/// A row of the ledger table.
#[derive(Debug)]
struct Row {
    line: usize,
    package: Package,
    licence: String,
    why: String,
    notable: String,
}

impl Row {
    fn is_built(&self) -> bool {
        !self.notable.starts_with("not built")
    }
}

/// The packages of a `Cargo.lock` that come from elsewhere, sorted.
fn locked_packages(lock: &str) -> BTreeSet<Package> {
    let value = |block: &str, key: &str| {
        let quoted = |line: &str| Some(line.strip_prefix(key)?.trim_matches('"').to_owned());
        block.lines().find_map(quoted)
    };
    lock.split("[[package]]")
        .skip(1)
        .filter(|block| value(block, "source = ").is_some())
        .map(|block| {
            let field = |key| value(block, key).unwrap_or_else(|| panic!("no {key} in {block}"));
            (field("name = "), field("version = "))
        })
        .collect()
}

fn ledger_rows(audit: &str) -> Vec<Row> {
    let lines = audit.lines().enumerate();
    let table = lines
        .skip_while(|(_, line)| !line.starts_with("| crate | version |"))
        .take_while(|(_, line)| line.starts_with('|'))
        .skip(2);
    table
        .map(|(index, line)| {
            let mut cells = line
                .trim_matches('|')
                .split('|')
                .map(|c| c.trim().to_owned());
            let mut next = || cells.next().unwrap_or_default();
            let package = (next(), next());
            let (licence, why, _pulled_in_by, notable) = (next(), next(), next(), next());
            Row {
                line: index + 1,
                package,
                licence,
                why,
                notable,
            }
        })
        .collect()
}

fn check_ledger(lock: &str, audit: &str) -> Vec<Violation> {
    let locked = locked_packages(lock);
    let rows = ledger_rows(audit);
    let mut found = Vec::new();
    let mut at = |line, rule: String| found.push(Violation::new("audit.md", line, rule));
    let mut seen = BTreeSet::new();
    for row in &rows {
        let (name, version) = &row.package;
        if !locked.contains(&row.package) {
            at(
                row.line,
                format!("{name} {version} is not in Cargo.lock: {MEND}"),
            );
        }
        if !seen.insert(row.package.clone()) {
            at(row.line, format!("{name} {version} has a row already"));
        }
        if row.why.len() < 5 {
            at(row.line, format!("{name} {version}: say why we ship it"));
        }
        if row.licence.is_empty() {
            at(row.line, format!("{name} {version} has no licence: {MEND}"));
        }
    }
    for (name, version) in locked.difference(&seen) {
        at(
            0,
            format!("{name} {version} of Cargo.lock has no row: {MEND}"),
        );
    }
    let built = rows.iter().filter(|row| row.is_built()).count();
    if built > MOST_BUILT {
        at(
            0,
            format!("{built} crates in a Linux build, at most {MOST_BUILT}"),
        );
    }
    found
}

/// The rows marked *not built* against what cargo says a Linux build compiles.
fn check_built(rows: &[Row], built: &BTreeSet<Package>) -> Vec<Violation> {
    let differs = |row: &&Row| row.is_built() != built.contains(&row.package);
    let report = |row: &Row| {
        let (name, version) = &row.package;
        let rule = format!("{name} {version} is marked wrongly as built or not built: {MEND}");
        Violation::new("audit.md", row.line, rule)
    };
    rows.iter().filter(differs).map(report).collect()
}

/// What `cargo tree --prefix none --format {p}` prints.
fn listed_packages(listing: &str) -> BTreeSet<Package> {
    let package = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        let version = words.next()?.strip_prefix('v')?.to_owned();
        Some((name, version))
    };
    listing.lines().filter_map(package).collect()
}

#[test]
fn the_ledger_is_the_lock() {
    assert_none(&check_ledger(
        &tree::read("Cargo.lock"),
        &tree::read("audit.md"),
    ));
}

#[test]
fn what_is_marked_as_not_built_is_not_built() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build"])
        .args(["--prefix", "none", "--format", "{p}"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .args(["--target", "aarch64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree: {told}");
    let built = listed_packages(&String::from_utf8_lossy(&output.stdout));
    assert!(built.len() > 10, "{built:?}");
    assert_none(&check_built(&ledger_rows(&tree::read("audit.md")), &built));
}

#[test]
fn a_wrong_ledger_is_caught() {
    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n\n\
        [[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"x\"\n\n\
        [[package]]\nname = \"a\"\nversion = \"2.0.0\"\nsource = \"x\"\n\
        dependencies = [\n \"b\",\n]\n";
    const HEAD: &str = "# T\n| crate | version | licence |\n|---|---|---|\n";
    let check = |rows: &str, expected: &[usize]| {
        let found = check_ledger(LOCK, &format!("{HEAD}{rows}\n| not | a row |\n"));
        assert_eq!(lines_of(&found), expected, "{found:?}");
    };
    let (one, two) = (
        "| a | 1.0.0 | MIT | sorts things | us | – |\n",
        "| a | 2.0.0 | MIT | sorts things | b | – |\n",
    );
    check(&format!("{one}{two}"), &[]);
    check(one, &[0]);
    check("", &[0, 0]);
    check(&format!("{one}{two}{one}"), &[6]);
    check(
        &format!("{one}{two}| b | 1.0.0 | MIT | sorts things | us | – |\n"),
        &[6],
    );
    check(
        &format!("{one}{two}| ours | 0.1.0 | MIT | sorts things | us | – |\n"),
        &[6],
    );
    check(&format!("{one}{}", two.replace("sorts things", "")), &[5]);
    check(&format!("{}{two}", one.replace("MIT", "")), &[4]);
    check(&format!("{one}{}", two.replace("2.0.0", "2.0.1")), &[5, 0]);
}

#[test]
fn too_many_crates_are_caught() {
    let many = |count: usize, notable: &str| {
        let numbers: BTreeMap<usize, ()> = (0..count).map(|n| (n, ())).collect();
        let lock: String = numbers
            .keys()
            .map(|n| format!("[[package]]\nname = \"c{n}\"\nversion = \"1.0.0\"\nsource = \"x\"\n"))
            .collect();
        let rows: String = numbers
            .keys()
            .map(|n| format!("| c{n} | 1.0.0 | MIT | sorts things | us | {notable} |\n"))
            .collect();
        check_ledger(
            &lock,
            &format!("| crate | version | licence |\n|---|\n{rows}"),
        )
        .len()
    };
    assert_eq!(many(MOST_BUILT, "–"), 0);
    assert_eq!(many(MOST_BUILT + 1, "–"), 1);
    assert_eq!(many(MOST_BUILT + 1, "not built on Linux"), 0);
}

#[test]
fn a_false_mark_is_caught() {
    let rows = ledger_rows(
        "| crate | version | licence |\n|---|\n\
         | a | 1.0.0 | MIT | sorts things | us | – |\n\
         | b | 1.0.0 | MIT | sorts things | us | not built on Linux; unsafe ×3 |\n",
    );
    let check = |listing: &str, expected: &[usize]| {
        assert_eq!(
            lines_of(&check_built(&rows, &listed_packages(listing))),
            expected
        );
    };
    check("ours v0.1.0 (/home/x)\na v1.0.0\na v1.0.0 (*)\n", &[]);
    check("ours v0.1.0\na v1.0.0 (proc-macro)\nb v1.0.0\n", &[4]);
    check("ours v0.1.0\na v2.0.0\n", &[3]);
}
