//! The files of `deploy/` as their own readers see them: Compose, YAML, Kubernetes' schemas.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::daemons::succeeded;
use super::provided;
use super::server::stdout;

pub(crate) const CHECKOUT: &str = env!("CARGO_MANIFEST_DIR");

pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(CHECKOUT).join(name)
}

pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A program of `tests/env/manifests`.
fn python(program: &str) -> Command {
    let folder = format!("{}/manifests", provided("DYNAMIC_MCP_TEST_CACHE"));
    let installer = path("tests/env/manifests");
    let installed = Command::new(installer).arg(&folder).output().unwrap();
    succeeded("tests/env/manifests", &installed);
    Command::new(format!("{folder}/venv/bin/{program}"))
}

/// Every document of a YAML text.
fn documents_of(yaml: &Path) -> Vec<Value> {
    let script = "import json, sys, yaml\n\
                  print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let output = python("python")
        .args(["-c", script])
        .arg(yaml)
        .output()
        .unwrap();
    succeeded(&yaml.display().to_string(), &output);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every object of the manifests.
pub(crate) fn objects() -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(path("deploy/k8s"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().flat_map(|file| documents_of(file)).collect()
}

/// What the schemas of Kubernetes say of a file.
pub(crate) fn validate(file: &Path) -> Output {
    let mut command = python("kubernetes-validate");
    command
        .args(["--strict", "--quiet"])
        .arg(file)
        .output()
        .unwrap()
}

/// Settings that the operator must give the stack.
pub(crate) const GIVEN: [(&str, &str); 4] = [
    ("MCP_PUBLIC_URL", "https://mcp.example/mcp"),
    (
        "MCP_AUTH_JWKS_URL",
        "https://issuer.example/.well-known/jwks.json",
    ),
    ("MCP_AUTH_ISSUER", "https://issuer.example/"),
    ("MCP_AUTH_AUDIENCE", "https://mcp.example/mcp"),
];

/// `docker-compose config` with some of what it needs from outside.
pub(crate) fn compose_with(given: &[(&str, &str)]) -> Output {
    let mut command = Command::new("docker-compose");
    command
        .args(["-f", "deploy/docker-compose.postgres.yml", "config"])
        .current_dir(CHECKOUT)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .envs(given.iter().copied());
    command
        .output()
        .expect("docker-compose is missing: tests/run installs it")
}

/// The stack as Compose understands it.
pub(crate) fn compose() -> Value {
    let output = compose_with(&GIVEN);
    succeeded("docker-compose config", &output);
    let folder = super::server::Folder::new();
    let file = folder.path().join("stack.yml");
    std::fs::write(&file, stdout(&output)).unwrap();
    documents_of(&file).remove(0)
}

/// The text values of an object.
pub(crate) fn texts(object: &Value) -> BTreeMap<String, String> {
    let entries = object.as_object().unwrap().iter();
    let text = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    entries
        .map(|(name, value)| (name.clone(), text(value)))
        .collect()
}
