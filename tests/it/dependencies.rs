//! Packages from a real package registry, installed by the real npm in the container.

use std::net::TcpListener;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use dynamic_mcp::base::deadline::Deadline;
use dynamic_mcp::config::NpmConfig;
use dynamic_mcp::domain::failure::{Failure, FailureKind};
use dynamic_mcp::domain::run::{Cancel, Ended, Job, Returned};
use dynamic_mcp::engine::{DependencySettings, Engine as _, EngineSettings, LayerKey};
use serde_json::{Value, json};

use crate::support::daemons::request_shared;
use crate::support::engine::{Fixture, Silent, failure_text, image, matches};
use crate::support::packages::{Package, PackageRegistry, Volume, job_with};
use crate::support::server::Server;

const PLAIN: Package = Package {
    manifest: r#"{"name":"plain","version":"1.2.3","main":"index.js"}"#,
    files: &[("index.js", "module.exports = text => text + '!'")],
};
const USER: Package = Package {
    manifest: r#"{"name":"user","version":"1.0.0","dependencies":{"plain":"^1.0.0"}}"#,
    files: &[(
        "index.js",
        "module.exports = text => require('plain')(text + '?')",
    )],
};
const SCOPED: Package = Package {
    manifest: r#"{"name":"@scope/esm","version":"2.0.0","type":"module","exports":"./index.js"}"#,
    files: &[(
        "index.js",
        "import plain from 'plain'; export const shout = plain;",
    )],
};
const SCRIPTED: Package = Package {
    manifest: r#"{"name":"scripted","version":"1.0.0","scripts":{
        "preinstall":"touch ran","install":"touch ran","postinstall":"touch ran"}}"#,
    files: &[("index.js", "module.exports = 1"), ("run.sh", "#!/bin/sh")],
};
const GUARDED: Package = Package {
    manifest: r#"{"name":"@guarded/one","version":"1.0.0"}"#,
    files: &[("index.js", "module.exports = 'guarded'")],
};
const BLOCKED: Package = Package {
    manifest: r#"{"name":"blocked","version":"1.0.0"}"#,
    files: &[("index.js", "")],
};
const BRINGS_BLOCKED: Package = Package {
    manifest: r#"{"name":"brings","version":"1.0.0","dependencies":{"blocked":"*"}}"#,
    files: &[("index.js", "")],
};
const BRINGS_ALIAS: Package = Package {
    manifest: r#"{"name":"sly","version":"1.0.0","dependencies":{"fine":"npm:blocked@1"}}"#,
    files: &[("index.js", "")],
};
const BRINGS_FOREIGN: Package = Package {
    manifest: r#"{"name":"foreign","version":"1.0.0","optionalDependencies":{"x":"file:../x"}}"#,
    files: &[("index.js", "")],
};
const BRINGS_GIT: Package = Package {
    manifest: r#"{"name":"git","version":"1.0.0","dependencies":{"x":"git+file:///tmp/x"}}"#,
    files: &[("index.js", "")],
};

/// The one that no test stops; it ends with this process.
fn registry() -> &'static PackageRegistry {
    static SHARED: OnceLock<PackageRegistry> = OnceLock::new();
    SHARED.get_or_init(|| {
        PackageRegistry::start(&[
            PLAIN,
            USER,
            SCOPED,
            SCRIPTED,
            GUARDED,
            BLOCKED,
            BRINGS_BLOCKED,
            BRINGS_ALIAS,
            BRINGS_FOREIGN,
            BRINGS_GIT,
        ])
    })
}

fn run(fixture: &Fixture, job: &Job) -> Ended {
    let acquire = Deadline::after(Duration::from_secs(240));
    let cancel = Cancel::default();
    fixture.engine.run(job, acquire, &cancel, &mut Silent)
}

fn value(fixture: &Fixture, code: &str, packages: &[&str]) -> Value {
    match run(fixture, &job_with(code, packages)).outcome {
        Ok(Returned::Value(value)) => value.value().unwrap(),
        other => panic!("{packages:?}: {other:?}"),
    }
}

fn failure(fixture: &Fixture, packages: &[&str]) -> Failure {
    let job = job_with("return 1", packages);
    run(fixture, &job).outcome.expect_err("it must fail")
}

fn check_failure(fixture: &Fixture, packages: &[&str], pattern: &str) {
    let text = failure_text(&failure(fixture, packages));
    assert!(matches(pattern, &text), "want {pattern}\ngot  {text}");
}

#[test]
fn packages_are_required_and_imported_and_their_scripts_do_not_run() {
    let volume = Volume::new();
    let fixture = Fixture::start(volume.settings(registry().npm()));
    let code = "const user = require('user');
        const { shout } = await import('@scope/esm');
        require('scripted');
        const folder = require('path').dirname(require.resolve('scripted'));
        return {
            said: [user('a'), shout('b')],
            files: require('fs').readdirSync(folder).sort(),
            mode: (require('fs').statSync(folder + '/run.sh').mode & 0o7777).toString(8),
        }";
    let packages = [
        "user@1.x",
        "@scope/esm@latest",
        "plain@^1.2.0",
        "scripted@1",
    ];
    let found = value(&fixture, code, &packages);
    let expected = json!({
        "said": ["a?!", "b!"],
        "files": ["index.js", "package.json", "run.sh"],
        "mode": "644",
    });
    assert_eq!(found, expected);
    // A run without dependencies sees none.
    let text = failure_text(
        &run(&fixture, &job_with("require('plain')", &[]))
            .outcome
            .unwrap_err(),
    );
    assert!(text.contains("Cannot find module 'plain'"), "{text}");
}

#[test]
fn a_layer_can_be_read_and_neither_changed_nor_listed_nor_guessed() {
    let volume = Volume::new();
    let mut settings = volume.settings(registry().npm());
    settings.allowed_images.push(image("node-user:1"));
    settings.warm_pool = 1;
    let fixture = Fixture::start(settings);
    let code = "const fs = require('fs');
        const code = act => { try { return act(); } catch (error) { return error.code; } };
        const layer = fs.realpathSync('/workspace/node_modules');
        const plain = require.resolve('plain');
        return [
            code(() => fs.readdirSync('/layers')),
            code(() => fs.readdirSync('/layers/.')),
            code(() => fs.writeFileSync(plain, 'x')),
            code(() => fs.mkdirSync('/layers/x')),
            code(() => fs.chmodSync('/layers', 0o777)),
            code(() => fs.readdirSync(layer)),
            /^\\/layers\\/[0-9a-f]{64}\\/node_modules$/.test(layer),
            (fs.statSync('/layers').mode & 0o7777).toString(8),
            fs.readdirSync(layer + '/..').sort(),
        ]";
    for name in ["node:lts-slim", "node-user:1"] {
        let mut job = job_with(code, &["plain@1.2.3"]);
        job.image = Some(image(name));
        let Ok(Returned::Value(found)) = run(&fixture, &job).outcome else {
            panic!("{name} must run")
        };
        let expected = json!([
            "EACCES",
            "EACCES",
            "EROFS",
            "EROFS",
            "EROFS",
            ["plain"],
            true,
            "711",
            ["layer.json", "node_modules", "package.json"],
        ]);
        assert_eq!(found.value().unwrap(), expected, "{name}");
    }
}

#[test]
fn calls_that_find_their_layer_need_no_registry_also_after_a_restart() {
    let mut registry = PackageRegistry::start(&[PLAIN]);
    let volume = Volume::new();
    let settings = volume.settings(registry.npm());
    let load = "return require('plain')('a')";
    {
        let fixture = Fixture::start(settings.clone());
        assert_eq!(value(&fixture, load, &["plain@1"]), "a!");
        registry.stop();
        assert_eq!(value(&fixture, load, &["plain@1"]), "a!");
        let began = Instant::now();
        check_failure(
            &fixture,
            &["plain@1.2.3", "other@^3"],
            "engine_unavailable: plain@1.2.3, other@^3: not in the cache and the package registry \
             cannot be reached: …(MCP_SANDBOX_NPM_REGISTRY)",
        );
        // Told again without trying again.
        let (told, again) = (began.elapsed(), Instant::now());
        failure(&fixture, &["other@^3", "plain@1.2.3"]);
        assert!(again.elapsed() < told, "{told:?}");
    }
    // The server comes back; the daemon has kept the volume, and upkeep takes nothing in use.
    let fixture = Fixture::start(settings.clone());
    assert_eq!(value(&fixture, load, &["plain@1"]), "a!");
    fixture
        .engine
        .tidy(Deadline::after(Duration::from_secs(60)));
    assert_eq!(value(&fixture, load, &["plain@1"]), "a!");
    // Another key means other names, and nothing is found.
    let mut other = settings;
    other.dependencies.key = LayerKey::new([8; 32]);
    let stranger = Fixture::start(other);
    assert_eq!(
        failure(&stranger, &["plain@1"]).kind,
        FailureKind::EngineUnavailable
    );
}

#[test]
fn ten_calls_at_once_on_two_servers_install_once_each_at_most() {
    let registry = PackageRegistry::start(&[PLAIN, USER]);
    let volume = Volume::new();
    let fixture = Fixture::start(volume.settings(registry.npm()));
    let load = "return require('user')('a')";
    std::thread::scope(|scope| {
        for index in 0..10 {
            let fixture = &fixture;
            // The order in which they are named makes no difference.
            let packages = [["user@1", "plain@1"], ["plain@1", "user@1"]][index % 2];
            scope.spawn(move || assert_eq!(value(fixture, load, &packages), "a?!"));
        }
    });
    assert_eq!(registry.requests("/user-1.0.0.tgz"), 1);
    assert_eq!(registry.requests("/plain-1.2.3.tgz"), 1);
    // A second server on the daemon finds what the first has installed.
    let replica = Fixture::start(volume.settings(registry.npm()));
    assert_eq!(value(&replica, load, &["user@1", "plain@1"]), "a?!");
    assert_eq!(registry.requests("/user-1.0.0.tgz"), 1);
}

#[test]
fn what_cannot_be_installed_is_named() {
    let volume = Volume::new();
    let fixture = Fixture::start(volume.settings(registry().npm()));
    let cases: &[(&[&str], &str)] = &[
        (
            &["absent@1"],
            "policy: absent@1: not in the package registry: E404 …",
        ),
        (
            &["plain@^9"],
            "policy: plain@^9: not in the package registry: ETARGET …",
        ),
        (
            &["plain@nightly"],
            "policy: plain@nightly: not in the package registry: ETARGET …",
        ),
        (
            &["brings@1"],
            "policy: brings@1: it brings along a package blocked is blocked …",
        ),
        (
            &["sly@1"],
            "policy: sly@1: it brings along a package blocked is blocked …",
        ),
        (&["foreign@1"], "…foreign@1: …"),
        (&["git@1"], "…git@1: …"),
        (
            &["@guarded/one@1"],
            "engine_unavailable: @guarded/one@1: not in the cache and the package registry does \
             not let us in: …(MCP_SANDBOX_NPM_TOKEN_FILE)",
        ),
        (
            &["plain@npm:blocked"],
            "policy: the version \"npm:blocked\" of package plain is not allowed: …",
        ),
        (&["blocked@1"], "policy: package blocked is blocked here …"),
    ];
    for (packages, pattern) in cases {
        check_failure(&fixture, packages, pattern);
    }
}

#[test]
fn the_token_lets_us_in_and_no_tool_sees_it() {
    let token = std::fs::read_to_string(registry().folder().join("token")).unwrap();
    let volume = Volume::new();
    let npm = NpmConfig {
        token_file: Some(registry().folder().join("token")),
        ..registry().npm()
    };
    let fixture = Fixture::start(volume.settings(npm));
    let code = "const fs = require('fs');
        const found = [];
        const layer = fs.realpathSync('/workspace/node_modules') + '/..';
        const look = folder => {
            for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
                const at = folder + '/' + entry.name;
                if (entry.isDirectory()) look(at);
                else if (entry.isFile() && fs.readFileSync(at).includes(args.token)) found.push(at);
            }
        };
        for (const folder of [layer, '/workspace', '/tmp', '/etc']) look(folder);
        for (const id of fs.readdirSync('/proc').filter(name => /^\\d+$/.test(name))) {
            for (const name of ['environ', 'cmdline']) {
                try {
                    if (fs.readFileSync('/proc/' + id + '/' + name).includes(args.token)) found.push(id);
                } catch {}
            }
        }
        return [require('@guarded/one'), found, Object.keys(process.env).sort()]";
    let mut job = job_with(code, &["@guarded/one@1"]);
    job.args =
        dynamic_mcp::domain::json::JsonText::parse(json!({ "token": token }).to_string()).unwrap();
    let Ok(Returned::Value(found)) = run(&fixture, &job).outcome else {
        panic!("it must run")
    };
    let expected = json!(["guarded", [], ["HOME", "PATH", "TMPDIR", "TZ"]]);
    assert_eq!(found.value().unwrap(), expected);
}

#[test]
fn a_tarball_that_is_not_what_was_vouched_for_is_not_installed() {
    let registry = PackageRegistry::start(&[PLAIN, SCRIPTED]);
    let stored = registry.folder().join("storage");
    // Another package's content under this one's name.
    std::fs::copy(
        stored.join("scripted/scripted-1.0.0.tgz"),
        stored.join("plain/plain-1.2.3.tgz"),
    )
    .unwrap();
    let volume = Volume::new();
    let fixture = Fixture::start(volume.settings(registry.npm()));
    check_failure(
        &fixture,
        &["plain@1"],
        "engine_unavailable: plain@1: what the package registry sent is not what it vouches for…",
    );
}

/// A package registry that takes connections and says nothing.
fn silent_registry() -> (TcpListener, NpmConfig) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let npm = NpmConfig {
        registry: Some(url),
        ..NpmConfig::default()
    };
    (listener, npm)
}

#[test]
fn a_call_waits_its_time_and_no_longer_and_a_stop_ends_the_installation() {
    let (_listener, npm) = silent_registry();
    let volume = Volume::new();
    let fixture = Fixture::start(volume.settings(npm));
    let job = job_with("return 1", &["plain@1"]);
    let acquire = Deadline::after(Duration::from_millis(200));
    let began = Instant::now();
    let ended = fixture
        .engine
        .run(&job, acquire, &Cancel::default(), &mut Silent);
    let failure = ended.outcome.unwrap_err();
    let text = failure_text(&failure);
    let expected = "engine_unavailable: plain@1: being installed; try again soon";
    assert_eq!(text, expected);
    assert!(failure.retry_after_ms.is_some());
    assert!(began.elapsed() < Duration::from_secs(5));

    let cancel = Cancel::default();
    cancel.cancel();
    let patience = Deadline::after(Duration::from_secs(60));
    let ended = fixture.engine.run(&job, patience, &cancel, &mut Silent);
    let kind = ended.outcome.unwrap_err().kind;
    assert_eq!(kind, FailureKind::Cancelled);

    let stopped = Instant::now();
    assert_eq!(fixture.engine.stop(patience), 0);
    assert!(stopped.elapsed() < Duration::from_secs(30));
    fixture.assert_gone("an installation that was stopped");
}

#[test]
fn old_layers_go_and_come_back_with_the_next_call() {
    let registry = PackageRegistry::start(&[PLAIN]);
    let volume = Volume::new();
    let kept = |max_unused, max_total_bytes| {
        let settings = volume.settings(registry.npm());
        EngineSettings {
            dependencies: DependencySettings {
                upkeep: Duration::ZERO,
                max_unused,
                max_total_bytes,
                ..settings.dependencies
            },
            ..settings
        }
    };
    let long = Duration::from_secs(3600);
    let load = "return require('plain')('a')";
    let tidy = |fixture: &Fixture| {
        fixture
            .engine
            .tidy(Deadline::after(Duration::from_secs(60)))
    };
    let user = Fixture::start(kept(long, 1 << 30));
    assert_eq!(value(&user, load, &["plain@1"]), "a!");
    tidy(&user);
    assert_eq!(value(&user, load, &["plain@1"]), "a!");
    assert_eq!(
        registry.requests("/plain-1.2.3.tgz"),
        1,
        "nothing was too old"
    );
    for (installs, fixture) in [
        (2, Fixture::start(kept(long, 0))),
        (3, Fixture::start(kept(Duration::ZERO, 1 << 30))),
    ] {
        tidy(&fixture);
        // This server does not know that it is gone, and its caller does not notice.
        assert_eq!(value(&user, load, &["plain@1"]), "a!");
        assert_eq!(registry.requests("/plain-1.2.3.tgz"), installs);
    }
    let volumes = request_shared("GET", &format!("/v1.41/volumes/{}", volume.0), b"");
    assert!(
        volumes.contains(r#""dynamic-mcp.kind":"layers""#),
        "{volumes}"
    );
}

#[test]
fn a_full_volume_takes_no_more_until_something_of_it_is_old() {
    let volume = Volume::new();
    let fixture = |upkeep| {
        let settings = volume.settings(registry().npm());
        Fixture::start(EngineSettings {
            dependencies: DependencySettings {
                upkeep,
                max_total_bytes: 0,
                ..settings.dependencies
            },
            ..settings
        })
    };
    let load = "return require('plain')('a')";
    let young = fixture(Duration::from_secs(3600));
    assert_eq!(value(&young, load, &["plain@1"]), "a!");
    check_failure(
        &young,
        &["user@1"],
        "engine_unavailable: user@1: not in the cache, and the volume of packages is full: …",
    );
    assert_eq!(value(&young, load, &["plain@1"]), "a!", "it is there");
    let old = fixture(Duration::ZERO);
    let load = "return require('user')('a')";
    assert_eq!(value(&old, load, &["user@1"]), "a?!");
}

#[test]
fn nothing_is_installed_from_elsewhere_than_the_registry() {
    let elsewhere = PackageRegistry::start(&[PLAIN]);
    let url = elsewhere.npm().registry.unwrap();
    let manifest = |name: &str, field: &str| {
        let url = url.trim_end_matches('/');
        let manifest = json!({
            "name": name,
            "version": "1.0.0",
            field: { "plain": format!("{url}/plain/-/plain-1.2.3.tgz") },
        });
        &*Box::leak(manifest.to_string().into_boxed_str())
    };
    let files = &[("index.js", "")][..];
    let registry = PackageRegistry::start(&[
        Package {
            manifest: manifest("peer", "peerDependencies"),
            files,
        },
        Package {
            manifest: manifest("plainly", "dependencies"),
            files,
        },
    ]);
    let volume = Volume::new();
    let fixture = Fixture::start(volume.settings(registry.npm()));
    for name in ["peer", "plainly"] {
        let pattern =
            format!("policy: {name}@1: it brings along plain@http://…/plain-1.2.3.tgz, …");
        check_failure(&fixture, &[&format!("{name}@1")], &pattern);
    }
}

#[test]
fn a_server_refuses_bad_dependencies_when_a_tool_is_made_and_tells_why_none_come() {
    let server = Server::start(&[
        ("MCP_SANDBOX_NPM_REGISTRY", "http://127.0.0.1:9/"),
        ("MCP_TOOL_QUEUE_MS", "120000"),
    ]);
    let tool = |name: &str, version: &str| {
        json!({ "tool": {
            "name": "with_packages", "description": "d", "code": "return 1",
            "dependencies": [{ "name": name, "version": version }],
        }})
    };
    for (name, version, part) in [
        ("pm2", "1", "package pm2 is blocked"),
        ("plain", "npm:pm2@1", "no URL, file, git address or alias"),
        ("plain", "https://h/x.tgz", "no URL"),
        ("plain", "git+ssh://h/x", "no URL"),
        ("Plain", "1", "package name"),
    ] {
        let result = server.call("dynamic.tool.create", tool(name, version));
        let text = result.to_string();
        assert!(result["isError"] == true && text.contains(part), "{text}");
    }
    server.create(tool("plain", "^1.0.0")["tool"].clone());
    let text = server.call("with_packages", json!({})).to_string();
    let expected = "plain@^1.0.0: not in the cache and the package registry cannot be reached";
    assert!(text.contains(expected), "{text}");
}
