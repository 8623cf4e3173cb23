//! The limits on each field of a definition (contract, section 4). What operators forbid beyond
//! them (images, packages) is policy and never stands here.

use super::entry::{Dependency, InvalidField};
use super::image::ImageRef;
use super::json::JsonText;
use super::program::Program;
use super::tool::{MAX_CODE_CHARS, MAX_DEPENDENCIES, MIN_TIMEOUT_MS};

/// Longest time limit that any server can be set to allow, in milliseconds.
pub const MAX_TIMEOUT_MS: u64 = 300_000;
/// Longest text of one schema, or of the annotations, in bytes.
pub const MAX_SCHEMA_BYTES: usize = 262_144;
/// Longest image reference, in bytes.
pub const MAX_IMAGE_BYTES: usize = 255;
/// Longest package name, in bytes (npm's own limit).
pub const MAX_PACKAGE_NAME_BYTES: usize = 214;
/// Longest version of a dependency, in characters.
pub const MAX_VERSION_CHARS: usize = 128;
/// Longest messages of a prompt, or text or blob of a resource, in bytes.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Most values that are offered for one argument or variable.
pub const MAX_CHOICES: usize = 256;
/// Longest of them, in characters.
pub const MAX_CHOICE_CHARS: usize = 256;

/// `Ok` where nothing is broken.
pub(super) fn none(broken: Vec<InvalidField>) -> Result<(), Vec<InvalidField>> {
    match broken.is_empty() {
        true => Ok(()),
        false => Err(broken),
    }
}

/// Checks that just one of the fields that something can come from is there.
pub(super) fn check_body(broken: &mut Vec<InvalidField>, given: &[(&str, bool)]) {
    if given.iter().filter(|(_, is_there)| *is_there).count() != 1 {
        let names: Vec<_> = given.iter().map(|(name, _)| *name).collect();
        let first = names.first().copied().unwrap_or_default();
        let rule = format!("needs a decision: give exactly one of {}", names.join(", "));
        broken.push(invalid(first, rule));
    }
}

pub(super) fn check_program_sizes(
    broken: &mut Vec<InvalidField>,
    program: &Program,
    max_timeout_ms: u64,
    max_dependencies: usize,
) {
    if let Some(image) = &program.image
        && !(1..=MAX_IMAGE_BYTES).contains(&image.len())
    {
        let rule = format!("must be 1 to {MAX_IMAGE_BYTES} bytes");
        broken.push(invalid("image", rule));
    }
    if !(MIN_TIMEOUT_MS..=max_timeout_ms).contains(&program.timeout_ms) {
        let rule = format!("must be {MIN_TIMEOUT_MS} to {max_timeout_ms} milliseconds");
        broken.push(invalid("timeoutMs", rule));
    }
    check_dependency_sizes(broken, &program.dependencies, max_dependencies);
    check_chars(broken, "code", &program.code, MAX_CODE_CHARS);
}

/// The grammar of the image and of package names, and no package twice.
pub(super) fn check_program_grammar(broken: &mut Vec<InvalidField>, program: &Program) {
    if let Some(image) = &program.image
        && (1..=MAX_IMAGE_BYTES).contains(&image.len())
        && let Err(error) = ImageRef::parse(image)
    {
        broken.push(invalid("image", format!("is {error}")));
    }
    let dependencies = &program.dependencies;
    for (index, dependency) in dependencies.iter().enumerate().take(MAX_DEPENDENCIES) {
        let path = format!("dependencies[{index}].name");
        let size_is_right = (1..=MAX_PACKAGE_NAME_BYTES).contains(&dependency.name.len());
        if size_is_right && !is_package_name(&dependency.name) {
            broken.push(invalid(path, "must be a package name as npm allows it"));
        } else if is_repeated(dependencies, index) {
            broken.push(invalid(path, "must not name a package twice"));
        }
    }
}

/// npm's rule for new packages (the package validate-npm-package-name): at most 214 bytes; lower
/// case, no character that an URL would escape; an optional scope. A core module of Node is no
/// package: it is there without being listed.
pub fn is_package_name(name: &str) -> bool {
    if name.len() > MAX_PACKAGE_NAME_BYTES {
        return false;
    }
    let (scope, package) = match name.strip_prefix('@') {
        Some(scoped) => match scoped.split_once('/') {
            Some((scope, package)) => (Some(scope), package),
            None => return false,
        },
        None => (None, name),
    };
    let well_spelt = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
            })
    };
    match scope {
        // A scope becomes a folder under node_modules: one of dots alone would leave it.
        Some(scope) => {
            well_spelt(scope)
                && !scope.starts_with('.')
                && well_spelt(package)
                && !package.starts_with('.')
        }
        None => {
            well_spelt(package)
                && !package.starts_with(['.', '-', '_'])
                && !["node_modules", "favicon.ico"].contains(&package)
        }
    }
}

fn is_repeated(dependencies: &[Dependency], index: usize) -> bool {
    let mut earlier = dependencies.iter().take(index);
    let name = dependencies.get(index).map(|dependency| &dependency.name);
    earlier.any(|dependency| Some(&dependency.name) == name)
}

fn check_dependency_sizes(broken: &mut Vec<InvalidField>, dependencies: &[Dependency], max: usize) {
    let max = max.min(MAX_DEPENDENCIES);
    if dependencies.len() > max {
        let rule = format!("must not be more than {max}");
        broken.push(invalid("dependencies", rule));
    }
    for (index, dependency) in dependencies.iter().enumerate().take(MAX_DEPENDENCIES) {
        if !(1..=MAX_PACKAGE_NAME_BYTES).contains(&dependency.name.len()) {
            let rule = format!("must be 1 to {MAX_PACKAGE_NAME_BYTES} bytes");
            broken.push(invalid(format!("dependencies[{index}].name"), rule));
        }
        let path = format!("dependencies[{index}].version");
        check_chars(broken, &path, &dependency.version, MAX_VERSION_CHARS);
    }
}

pub(super) fn check_chars(broken: &mut Vec<InvalidField>, path: &str, text: &str, max: usize) {
    // Counting stops at the limit, however long the text.
    let chars = text.chars().take(max + 1).count();
    if !(1..=max).contains(&chars) {
        broken.push(invalid(path, format!("must be 1 to {max} characters")));
    }
}

pub(super) fn check_object(broken: &mut Vec<InvalidField>, path: &str, json: Option<&JsonText>) {
    let Some(json) = json else { return };
    if json.text().len() > MAX_SCHEMA_BYTES {
        let rule = format!("must be at most {MAX_SCHEMA_BYTES} bytes of JSON");
        broken.push(invalid(path, rule));
    } else if !json.value().is_ok_and(|value| value.is_object()) {
        let rule = "must be a JSON object of valid Unicode, at most 128 levels deep";
        broken.push(invalid(path, rule));
    }
}

pub(super) fn invalid(path: impl Into<String>, rule: impl Into<String>) -> InvalidField {
    InvalidField {
        path: path.into(),
        rule: rule.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::entry::Authored as _;
    use super::super::tool::Definition;
    use super::*;

    fn definition() -> Definition {
        Definition {
            title: None,
            description: "d".to_owned(),
            image: None,
            timeout_ms: 30_000,
            dependencies: Vec::new(),
            input_schema: None,
            output_schema: None,
            annotations: None,
            requires_client_capabilities: BTreeSet::new(),
            code: "return 1".into(),
            enabled: true,
        }
    }

    fn dependency(name: &str, version: &str) -> Dependency {
        Dependency {
            name: name.to_owned(),
            version: version.to_owned(),
        }
    }

    fn check(change: impl FnOnce(&mut Definition), expected: &[&str]) {
        let mut changed = definition();
        change(&mut changed);
        let paths: Vec<String> = match changed.check(120_000, 32) {
            Ok(()) => Vec::new(),
            Err(broken) => broken.into_iter().map(|field| field.path).collect(),
        };
        assert_eq!(paths, expected, "{:.200}", format!("{changed:?}"));
    }

    #[test]
    fn sizes_at_and_beyond_each_limit() {
        check(|_| (), &[]);
        check(|tool| tool.title = Some("é".repeat(120)), &[]);
        check(|tool| tool.title = Some("é".repeat(121)), &["title"]);
        check(|tool| tool.title = Some(String::new()), &["title"]);
        check(|tool| tool.description = "é".repeat(4000), &[]);
        check(|tool| tool.description = "é".repeat(4001), &["description"]);
        check(|tool| tool.code = "é".repeat(200_000).into(), &[]);
        check(|tool| tool.code = "é".repeat(200_001).into(), &["code"]);
        check(|tool| tool.code = "".into(), &["code"]);
        check(|tool| tool.timeout_ms = 1000, &[]);
        check(|tool| tool.timeout_ms = 120_000, &[]);
        check(|tool| tool.timeout_ms = 999, &["timeoutMs"]);
        check(|tool| tool.timeout_ms = 120_001, &["timeoutMs"]);
        check(
            |tool| tool.image = Some("node@sha256:1".to_owned()),
            &["image"],
        );
        check(|tool| tool.image = Some("a".repeat(256)), &["image"]);
        check(
            |tool| {
                tool.code = "".into();
                tool.title = Some(String::new());
            },
            &["title", "code"],
        );
    }

    #[test]
    fn dependencies_by_count_name_and_version() {
        let many = |count: usize| {
            (0..count)
                .map(|n| dependency(&format!("p{n}"), "1"))
                .collect()
        };
        check(|tool| tool.dependencies = many(32), &[]);
        check(|tool| tool.dependencies = many(33), &["dependencies"]);
        let mut wide = definition();
        wide.dependencies = many(65);
        assert!(
            wide.check(120_000, 256).is_err(),
            "64 is the ceiling of every server"
        );
        check(
            |tool| tool.dependencies = vec![dependency("a", &"1".repeat(128))],
            &[],
        );
        check(
            |tool| tool.dependencies = vec![dependency("a", &"1".repeat(129))],
            &["dependencies[0].version"],
        );
        check(
            |tool| {
                tool.dependencies = vec![
                    dependency("a", ""),
                    dependency("../b", "1"),
                    dependency("", "1"),
                ]
            },
            &[
                "dependencies[0].version",
                "dependencies[2].name",
                "dependencies[1].name",
            ],
        );
        check(
            |tool| tool.dependencies = vec![dependency("a", "1"), dependency("a", "2")],
            &["dependencies[1].name"],
        );
    }

    #[test]
    fn schemas_are_objects_of_bounded_size_and_depth() {
        let json = |text: &str| Some(JsonText::parse(text.to_owned()).unwrap());
        check(|tool| tool.input_schema = json(r#"{"type":"object"}"#), &[]);
        check(|tool| tool.input_schema = json("[]"), &["inputSchema"]);
        check(|tool| tool.output_schema = json("true"), &["outputSchema"]);
        check(
            |tool| tool.annotations = json(r#"{"a":"\ud800"}"#),
            &["annotations"],
        );
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        check(|tool| tool.input_schema = json(&deep), &["inputSchema"]);
        let long = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
        check(
            |tool| tool.input_schema = json(&long(MAX_SCHEMA_BYTES)),
            &[],
        );
        check(
            |tool| tool.input_schema = json(&long(MAX_SCHEMA_BYTES + 1)),
            &["inputSchema"],
        );
    }

    #[test]
    fn stored_records_of_the_original_keep_looser_names() {
        let mut old = definition();
        old.image = Some("Registry.Example/Node:LTS slim".to_owned());
        old.dependencies = vec![dependency("~odd", "npm:x@1"), dependency("~odd", "1")];
        assert!(old.check_sizes().is_ok());
        assert!(old.check(120_000, 32).is_err());
        old.timeout_ms = 300_001;
        assert!(old.check_sizes().is_err());
    }

    #[test]
    fn package_names_as_npm_judges_them() {
        let longest = "x".repeat(214);
        let good = [
            "lodash",
            "a.b",
            "1",
            "npm",
            "@a/b",
            "@a/-b",
            "@a/_b",
            "@a/node_modules",
            &longest,
        ];
        for name in good {
            assert!(is_package_name(name), "{name}");
        }
        let too_long = "x".repeat(215);
        let bad = [
            "",
            "UP",
            "a b",
            "a/b",
            "@a",
            "@/b",
            "@a/",
            "@a/.b",
            "@../b",
            "..",
            ".x",
            "_x",
            "-x",
            "a~b",
            "a!b",
            "a%b",
            "a+b",
            "a:b",
            "a@b",
            "é",
            "node_modules",
            "favicon.ico",
            "@a/b/c",
            "@@a/b",
            "@A/b",
            "a\n",
            &too_long,
        ];
        for name in bad {
            assert!(!is_package_name(name), "{name}");
        }
    }
}
