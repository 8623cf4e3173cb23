//! A jail engine of one test's own, with the face of the Docker engine's fixture.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dynamic_mcp::base::ids::random_hex;
use dynamic_mcp::engine::jail::{JailEngine, JailSettings, find_node};
use dynamic_mcp::engine::{Engine, EngineSettings};

use super::engine::{Runs, await_that, patience, settings};

/// The program that becomes a launcher; another one for test runs as a user who cannot read ours.
pub(crate) fn launcher() -> PathBuf {
    let other = std::env::var_os("DYNAMIC_MCP_TEST_LAUNCHER").map(PathBuf::from);
    other.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_dynamic-mcp")))
}

pub(crate) fn jail_settings(settings: EngineSettings) -> JailSettings {
    JailSettings {
        launcher: launcher(),
        node: find_node(&std::env::var_os("PATH").unwrap()),
        default_image: settings.allowed_images[0].clone(),
        memory_bytes: settings.memory_bytes,
        processors: 1,
        max_output_bytes: settings.max_output_bytes,
        warm_pool: 0,
        unsafe_without_jail: false,
    }
}

/// An engine that leaves nothing behind, or its test fails.
pub(crate) struct Fixture {
    pub(crate) engine: JailEngine,
    /// A name of the launcher that only this engine uses: launchers and first processes bear it.
    mark: PathBuf,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::start(settings())
    }

    pub(crate) fn start(settings: EngineSettings) -> Self {
        Self::with(jail_settings(settings))
    }

    pub(crate) fn with(mut settings: JailSettings) -> Self {
        let mark = std::env::temp_dir().join(format!("launcher-{}", random_hex()));
        std::os::unix::fs::symlink(&settings.launcher, &mark).unwrap();
        settings.launcher = mark.clone();
        let engine = JailEngine::start(settings).unwrap_or_else(|refusal| panic!("{refusal}"));
        let fixture = Self { engine, mark };
        // The jail that proved the engine, where nothing is parked.
        if fixture.engine.pool_counts().parked == 0 {
            await_that("the first jail ends", || fixture.containers().is_empty());
        }
        fixture
    }

    /// Nothing of a run is left, now: it was killed and confirmed before its answer.
    pub(crate) fn assert_gone(&self, what: &str) {
        assert_eq!(self.containers(), [] as [u32; 0], "left of: {what}");
    }

    /// This engine's launchers and first processes on the host; with a first process ends, by the
    /// kernel, whatever its jail held.
    pub(crate) fn containers(&self) -> Vec<u32> {
        processes(|pid| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let program = command.split(|byte| *byte == 0).next().unwrap_or_default();
            Path::new(&*String::from_utf8_lossy(program)) == self.mark
        })
    }
}

impl Runs for Fixture {
    fn engine(&self) -> &dyn Engine {
        &self.engine
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let unfinished = self.engine.stop(patience());
        // Where the machine was too busy for a launcher to end in time, the kernel ends its jail.
        let left = || {
            (0..500).all(|_| {
                std::thread::sleep(Duration::from_millis(20));
                !self.containers().is_empty()
            })
        };
        let left = !self.containers().is_empty() && left();
        let _ = std::fs::remove_file(&self.mark);
        if !std::thread::panicking() {
            assert!(
                !left && unfinished == 0,
                "jails are left behind: {unfinished}"
            );
        }
    }
}

/// Processes of the host for which something holds.
pub(crate) fn processes(holds: impl Fn(u32) -> bool) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap();
    let numbers = all.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    numbers.filter(|pid| holds(*pid)).collect()
}
