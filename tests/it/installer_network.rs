//! The network that installers have where nothing else is asked for: the daemon's bridge. The
//! daemon that the other tests share has none.

use std::process::Command;

use dynamic_mcp::domain::json::JsonText;
use dynamic_mcp::domain::run::Returned;
use dynamic_mcp::engine::DependencySettings;
use serde_json::json;

use crate::support::daemons::{OwnDaemon, succeeded};
use crate::support::engine::{Fixture, Runs as _, settings};
use crate::support::packages::{Package, PackageRegistry, job_with};

const PLAIN: Package = Package {
    manifest: r#"{"name":"plain","version":"1.0.0","main":"index.js"}"#,
    files: &[("index.js", "module.exports = 'plain'")],
};

/// A bridge of this machine with an address of its own; gone with this.
struct Bridge {
    name: String,
    address: String,
}

impl Bridge {
    fn new() -> Self {
        // Other test runs may have theirs.
        let id = std::process::id();
        let (second, third) = (200 + id / 250 % 50, id % 250);
        let own = Self {
            name: format!("dmcp{id}"),
            address: format!("10.{second}.{third}.1"),
        };
        let address = format!("{}/24", own.address);
        ip(&["link", "add", &own.name, "type", "bridge"]);
        ip(&["address", "add", &address, "dev", &own.name]);
        ip(&["link", "set", &own.name, "up"]);
        own
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["link", "del", &self.name])
            .output();
    }
}

fn ip(line: &[&str]) {
    succeeded("ip", &Command::new("ip").args(line).output().unwrap());
}

#[test]
fn npm_reaches_the_registry_over_the_bridge_and_tools_reach_nothing() {
    let bridge = Bridge::new();
    let own = OwnDaemon::start_with("bridge", &[format!("--bridge={}", bridge.name)]);
    own.load_images();
    let registry = PackageRegistry::start_at(&bridge.address, &[PLAIN]);
    let mut settings = settings();
    let usual = settings.dependencies;
    settings.dependencies = DependencySettings::new(usual.policy, registry.npm(), usual.key);
    let fixture = Fixture::on(own.client(), settings);
    let code = "const { connect } = require('net');
        const reached = new Promise(resolve => connect(args.port, args.host)
            .on('connect', () => resolve('reached')).on('error', error => resolve(error.code)));
        return [require('plain'), Object.keys(require('os').networkInterfaces()), await reached]";
    let mut job = job_with(code, &["plain@1"]);
    let port = registry
        .url()
        .trim_end_matches('/')
        .rsplit_once(':')
        .unwrap()
        .1;
    let args = json!({ "host": bridge.address, "port": port }).to_string();
    job.args = JsonText::parse(args).unwrap();
    match fixture.run(&job).outcome {
        Ok(Returned::Value(found)) => {
            let expected = json!(["plain", ["lo"], "ENETUNREACH"]);
            assert_eq!(found.value().unwrap(), expected);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(registry.requests("/plain-1.0.0.tgz"), 1);
}
