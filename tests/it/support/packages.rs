//! A real package registry of one test's own, with packages that the test makes, and engines that
//! install from it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dynamic_mcp::base::ids::random_hex;
use dynamic_mcp::config::NpmConfig;
use dynamic_mcp::domain::entry::Dependency;
use dynamic_mcp::domain::run::Job;
use dynamic_mcp::engine::{DependencySettings, EngineSettings};

use super::daemons::request_shared;
use super::engine::{dependencies, job, settings};
use super::provided;

const SERVE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/env/packages/serve.js");

/// A package to be published: its manifest without the name's quotes, and its files.
pub(crate) struct Package {
    pub(crate) manifest: &'static str,
    pub(crate) files: &'static [(&'static str, &'static str)],
}

/// A package registry, and the folder that it is kept in.
pub(crate) struct PackageRegistry {
    folder: PathBuf,
    host: String,
    running: Option<(Child, String)>,
}

impl PackageRegistry {
    /// Publishes the packages, in their order.
    pub(crate) fn start(packages: &[Package]) -> Self {
        Self::start_at("127.0.0.1", packages)
    }

    /// The same at another address of this machine.
    pub(crate) fn start_at(host: &str, packages: &[Package]) -> Self {
        let run = PathBuf::from(provided("DYNAMIC_MCP_TEST_RUN"));
        let folder = run.join(format!("packages-{}", &random_hex()[..8]));
        for (index, package) in packages.iter().enumerate() {
            let source = folder.join(format!("sources/{index:03}"));
            std::fs::create_dir_all(&source).unwrap();
            std::fs::write(source.join("package.json"), package.manifest).unwrap();
            for (name, text) in package.files {
                std::fs::write(source.join(name), text).unwrap();
            }
        }
        let mut registry = Self {
            folder,
            host: host.to_owned(),
            running: None,
        };
        registry.resume();
        registry
    }

    /// Serves again what it has, on another port.
    pub(crate) fn resume(&mut self) {
        let program = provided("DYNAMIC_MCP_TEST_VERDACCIO");
        let mut child = Command::new("node")
            .args([SERVE, &program])
            .arg(&self.folder)
            .arg(&self.host)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| line.unwrap().trim().parse::<u16>().ok());
        let Some(port) = port else {
            let mut said = String::new();
            let _ = child.stderr.take().unwrap().read_to_string(&mut said);
            panic!("the package registry did not start: {said}")
        };
        self.running = Some((child, format!("http://{}:{port}/", self.host)));
    }

    pub(crate) fn stop(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.running.as_ref().unwrap().1
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// How often something whose path ends so was asked for.
    pub(crate) fn requests(&self, ending: &str) -> usize {
        let requests = std::fs::read_to_string(self.folder.join("requests")).unwrap_or_default();
        let gets = requests.lines().filter(|line| line.starts_with("GET "));
        gets.filter(|line| line.ends_with(ending)).count()
    }

    pub(crate) fn npm(&self) -> NpmConfig {
        NpmConfig {
            registry: Some(self.url().to_owned()),
            ..NpmConfig::default()
        }
    }
}

impl Drop for PackageRegistry {
    fn drop(&mut self) {
        self.stop();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// A volume of layers of one test's own, removed at its end.
pub(crate) struct Volume(pub(crate) String);

impl Volume {
    pub(crate) fn new() -> Self {
        Self(format!("dynamic-mcp-test-{}", random_hex()))
    }

    /// Settings of an engine with this volume.
    pub(crate) fn settings(&self, npm: NpmConfig) -> EngineSettings {
        EngineSettings {
            dependencies: DependencySettings {
                volume: self.0.clone(),
                ..dependencies(npm)
            },
            ..settings()
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            request_shared("DELETE", &format!("/v1.41/volumes/{}?force=1", self.0), b"");
        }
    }
}

/// A job that loads packages, each `name@version`.
pub(crate) fn job_with(code: &str, packages: &[&str]) -> Job {
    let dependency = |text: &&str| {
        let (name, version) = text.rsplit_once('@').unwrap();
        Dependency {
            name: name.to_owned(),
            version: version.to_owned(),
        }
    };
    Job {
        dependencies: packages.iter().map(dependency).collect(),
        ..job(code, "{}")
    }
}
