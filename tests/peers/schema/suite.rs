//! The official JSON-Schema-Test-Suite for 2020-12. `tests/env/schema-suite DIR` fetches it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use dynamic_mcp::schema::{Schema, SchemaFault};
use serde_json::Value;

const FOLDER: &str = "DYNAMIC_MCP_TEST_SCHEMA_SUITE";

/// Files about `format` as an assertion; for us, as by default in the standard, it is an
/// annotation.
const ASSERT_FORMATS: &[&str] = &["format-assertion.json", "format"];

#[derive(Default)]
struct Tally {
    run: usize,
    refused: Vec<String>,
    wrong: Vec<String>,
}

#[test]
fn every_test_of_the_suite_that_we_support() {
    let folder = env::var_os(FOLDER).map(PathBuf::from).unwrap_or_else(|| {
        panic!("set {FOLDER} to the json folder that tests/env/schema-suite DIR leaves in DIR");
    });
    let folder = folder.join("tests/draft2020-12");
    let mut tally = Tally::default();
    run_folder(&folder, &mut tally);
    run_folder(&folder.join("optional"), &mut tally);

    for refused in &tally.refused {
        println!("refused: {refused}");
    }
    println!(
        "{} tests run, {} schemas refused as not supported",
        tally.run,
        tally.refused.len()
    );
    assert!(tally.wrong.is_empty(), "{}", tally.wrong.join("\n"));
    assert!(tally.run >= FLOOR, "only {} tests run", tally.run);
}

/// Fewer tests mean that we support less than we did, or that the folder is not whole.
const FLOOR: usize = 1000;

fn run_folder(folder: &Path, tally: &mut Tally) {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.is_file()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if !ASSERT_FORMATS.contains(&name.as_str()) {
            let groups: Vec<Value> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
            for group in &groups {
                run_group(&name, group, tally);
            }
        }
    }
}

fn run_group(file: &str, group: &Value, tally: &mut Tally) {
    let name = format!("{file}: {}", group["description"]);
    let schema = match Schema::compile(&group["schema"]) {
        Ok(schema) => schema,
        Err(error) => {
            // A legal schema may be too much for us, but never wrong.
            match error.fault {
                SchemaFault::NotSupported { .. } => tally.refused.push(format!("{name}: {error}")),
                _ => tally.wrong.push(format!("{name}: {error}")),
            }
            return;
        }
    };
    for test in group["tests"].as_array().unwrap() {
        tally.run += 1;
        let verdict = schema.validate(&test["data"]);
        if verdict.is_ok() != test["valid"].as_bool().unwrap() {
            tally
                .wrong
                .push(format!("{name}: {}: {verdict:?}", test["description"]));
        }
    }
}
