//! Images: missing, pulled, refused, unfit, and whose user their code is.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use dynamic_mcp::base::ids::random_hex;
use dynamic_mcp::domain::failure::FailureKind;
use dynamic_mcp::engine::{Check, Engine, EngineSettings, PullPolicy};
use serde_json::json;

use crate::support::daemons::request_shared;
use crate::support::engine::{
    Fixture, Runs as _, await_that, create, failure_text, image, job, outcome_text, patience,
    settings,
};
use crate::support::{daemon, provided};

fn with_image(name: &str, pull_policy: PullPolicy) -> EngineSettings {
    EngineSettings {
        allowed_images: vec![image(name)],
        pull_policy,
        ..settings()
    }
}

fn in_registry(name: &str) -> String {
    format!("{}/{name}", provided("DYNAMIC_MCP_TEST_REGISTRY"))
}

/// An image on the daemon for one test.
struct OwnImage(String);

impl OwnImage {
    fn new() -> Self {
        Self(format!("test-{}:1", random_hex()))
    }

    /// Without any file in it.
    fn empty() -> Self {
        let own = Self::new();
        let path = format!("/images/create?fromSrc=-&repo={}", own.0);
        request_shared("POST", &path, &[0; 1024]);
        own
    }

    /// `busybox-only:1` with a program `node` of our own.
    fn with_node(script: &str) -> Self {
        let own = Self::new();
        let write = format!("cat >/bin/node <<'E'\n#!/bin/sh\n{script}\nE\nchmod 755 /bin/node");
        let spec = json!({"Image": "busybox-only:1", "Cmd": ["sh", "-c", write]});
        let daemon = daemon();
        let id = create(&daemon, &spec);
        daemon.start_container(&id, patience()).unwrap();
        daemon.await_exit(&id, patience()).unwrap();
        let (name, tag) = own.0.split_once(':').unwrap();
        let path = format!("/commit?container={id}&repo={name}&tag={tag}");
        request_shared("POST", &path, b"{}");
        daemon.remove_container(&id, patience()).unwrap();
        own
    }

    /// `node:lts-slim` with a `VOLUME`.
    fn with_volume(path: &str) -> Self {
        let own = Self::new();
        let spec = json!({"Image": "node:lts-slim", "Cmd": ["true"]});
        let id = create(&daemon(), &spec);
        let (name, tag) = own.0.split_once(':').unwrap();
        let path = format!("/commit?container={id}&repo={name}&tag={tag}&changes=VOLUME%20{path}");
        request_shared("POST", &path, b"{}");
        daemon().remove_container(&id, patience()).unwrap();
        own
    }

    fn remove(&self) {
        request_shared("DELETE", &format!("/images/{}?force=1", self.0), b"");
    }
}

fn forget_image(name: &str) {
    let found = daemon().image(&image(name), patience()).unwrap();
    if found.is_some() {
        request_shared("DELETE", &format!("/images/{name}?force=1"), b"");
    }
}

#[test]
fn a_missing_image_that_may_not_be_pulled_names_the_mend() {
    let fixture = Fixture::start(with_image("no-such-image:1", PullPolicy::Never));
    let failure = fixture.failure("return 1");
    assert_eq!(failure.kind, FailureKind::EngineUnavailable, "{failure:?}");
    for part in [
        "no-such-image:1",
        "MCP_SANDBOX_PULL_POLICY=never",
        "docker load",
    ] {
        assert!(failure.message.contains(part), "{failure:?}");
    }
    let Check { ready, detail } = fixture.engine.probe_image(patience());
    assert!(!ready && detail == failure.message, "{detail}");
    assert!(fixture.engine.probe(patience()).ready);
}

#[test]
fn a_missing_image_is_pulled_while_calls_are_told_to_come_back() {
    let name = in_registry("big:1");
    forget_image(&name);
    let fixture = Fixture::start(with_image(&name, PullPolicy::Missing));
    let mut percents = Vec::new();
    await_that("the image is pulled", || {
        let Err(failure) = fixture.run(&job("return 1", "{}")).outcome else {
            return true;
        };
        assert_eq!(failure.kind, FailureKind::EngineUnavailable, "{failure:?}");
        assert!(failure.retry_after_ms.is_some(), "{failure:?}");
        let text = failure
            .message
            .strip_prefix(&format!("image {name}: pulling "));
        let text = text.and_then(|text| text.strip_suffix("%; try again soon"));
        let percent: u64 = text
            .unwrap_or_else(|| panic!("{failure:?}"))
            .parse()
            .unwrap();
        let Check { ready, detail } = fixture.engine.probe_image(patience());
        assert!(ready || detail.contains("pulling "), "{detail}");
        percents.push(percent);
        false
    });
    assert_eq!(
        percents.first(),
        Some(&0),
        "the call that starts the pull does not wait for it"
    );
    assert!(
        percents.is_sorted() && percents.iter().all(|percent| *percent <= 100),
        "{percents:?}"
    );
    assert!(
        percents.iter().any(|percent| *percent > 0),
        "no progress was seen: {percents:?}"
    );
    assert_eq!(fixture.value("return 2"), "2");
    let Check { ready, detail } = fixture.engine.probe_image(patience());
    assert!(ready && detail == format!("{name} present"), "{detail}");
}

#[test]
fn an_image_by_its_digest() {
    let registry = provided("DYNAMIC_MCP_TEST_REGISTRY");
    let mut stream = TcpStream::connect(&registry).unwrap();
    write!(
        stream,
        "HEAD /v2/node/manifests/lts-slim HTTP/1.1\r\nHost: r\r\nConnection: close\r\n\
         Accept: application/vnd.docker.distribution.manifest.v2+json\r\n\r\n"
    )
    .unwrap();
    let mut head = String::new();
    stream.read_to_string(&mut head).unwrap();
    let digest = head
        .lines()
        .find_map(|line| line.strip_prefix("Docker-Content-Digest: "));
    let name = format!(
        "{registry}/node@{}",
        digest.unwrap_or_else(|| panic!("{head}"))
    );
    forget_image(&name);
    let fixture = Fixture::start(with_image(&name, PullPolicy::Missing));
    let mut ended = None;
    await_that("the image is pulled", || {
        let run = fixture.run(&job("return 1", "{}"));
        let done = run.outcome.is_ok();
        ended = Some(run);
        done
    });
    let image = ended.unwrap().image.unwrap();
    assert_eq!((&image.name, image.digest.as_deref()), (&name, digest));
    forget_image(&name);
}

/// Which image the parked containers are of is known from the ids of runs: each takes one.
#[test]
fn a_tag_that_moves_is_followed_by_what_is_parked() {
    let own = OwnImage::new();
    let (name, tag) = own.0.split_once(':').unwrap();
    let id_of = |name: &str| {
        daemon()
            .image(&image(name), patience())
            .unwrap()
            .unwrap()
            .id
    };
    let move_to = |target: &str| {
        let path = format!("/images/{target}/tag?repo={name}&tag={tag}");
        request_shared("POST", &path, b"");
        id_of(target)
    };
    let first = move_to("node:lts-slim");
    let fixture = Fixture::start(EngineSettings {
        warm_pool: 2,
        ..with_image(&own.0, PullPolicy::Never)
    });
    let counts = || fixture.engine.pool_counts();
    let ran_in = || {
        await_that("two are parked", || counts().parked == 2);
        let hits = counts().hits;
        let ended = fixture.run(&job("return process.getuid()", "{}"));
        assert_eq!(counts().hits, hits + 1);
        (outcome_text(&ended.outcome), ended.image.unwrap().id)
    };
    assert_eq!(ran_in(), ("1000".to_owned(), first));
    await_that("two are parked", || counts().parked == 2);
    assert!(counts().refills >= 2 && counts().refill_time > Duration::ZERO);
    assert!(counts().oldest > Duration::ZERO);

    // Nobody calls meanwhile.
    let parked: Vec<_> = fixture.containers();
    let second = move_to("node-user:1");
    await_that("the parked ones are replaced", || {
        let now = fixture.containers();
        now.iter().all(|one| !parked.contains(one)) && counts().parked == 2
    });
    assert_eq!(ran_in(), ("4242".to_owned(), second));

    // And once there is no such image, none of it is left.
    own.remove();
    await_that("nothing is parked", || counts().parked == 0);
    let failure = fixture.failure("return 1");
    assert_eq!(failure.kind, FailureKind::EngineUnavailable, "{failure:?}");
    let mend = "MCP_SANDBOX_PULL_POLICY";
    assert!(failure.message.contains(mend), "{failure:?}");
    move_to("node:lts-slim");
    await_that("it is back", || counts().parked == 2);
    own.remove();
}

#[test]
fn a_refused_pull_is_told_in_the_registry_s_words() {
    for (name, expected) in [
        (in_registry("no-such-name:1"), "not found"),
        ("127.0.0.1:1/node:1".to_owned(), "connection refused"),
    ] {
        let fixture = Fixture::start(with_image(&name, PullPolicy::Missing));
        let mut message = String::new();
        await_that("the pull fails", || {
            let failure = fixture.failure("return 1");
            assert_eq!(failure.kind, FailureKind::EngineUnavailable, "{failure:?}");
            assert!(failure.retry_after_ms.is_some(), "{failure:?}");
            message = failure.message;
            !message.contains("pulling ")
        });
        assert!(message.contains("could not be pulled"), "{message}");
        assert!(
            message.contains(expected) && message.contains("docker load"),
            "{message}"
        );
        let Check { ready, detail } = fixture.engine.probe_image(patience());
        assert!(!ready && detail == message, "{detail}");
    }
}

#[test]
fn images_that_cannot_run_tools_are_refused_with_the_reason() {
    let old_node =
        OwnImage::with_node("echo '{\"ready\":{\"node\":\"18.20.4\"}}' >&3; exec sleep 1000");
    let broken_node = OwnImage::with_node("echo 'Illegal instruction' >&2; exit 132");
    let empty = OwnImage::empty();
    for (name, reason, stderr) in [
        ("busybox-only:1", "ended with 127", "node: not found"),
        (&empty.0, "sh", ""),
        (&old_node.0, "18.20.4", ""),
        (&broken_node.0, "ended with 132", "Illegal instruction"),
    ] {
        let fixture = Fixture::start(with_image(name, PullPolicy::Never));
        let failures = [
            fixture.failure("return 1"),
            fixture
                .engine
                .check(None, "return 1", patience())
                .unwrap_err(),
        ];
        for failure in failures {
            assert_eq!(failure.kind, FailureKind::Policy, "{name}: {failure:?}");
            assert!(failure.message.contains(reason), "{name}: {failure:?}");
            assert!(
                failure.message.contains("sh and Node.js 20 or newer"),
                "{failure:?}"
            );
            assert!(failure.stderr.contains(stderr), "{name}: {failure:?}");
        }
    }
    for own in [old_node, broken_node, empty] {
        own.remove();
    }
}

#[test]
fn code_runs_as_the_image_s_number_or_as_1000() {
    let who = "const fs = require('fs'); fs.writeFileSync('/tmp/x', ''); fs.writeFileSync('x', '');
        return [process.getuid(), process.getgid(), fs.statSync('/workspace').uid,
          fs.statSync('/tmp/x').gid]";
    for (name, expected) in [
        ("node-user:1", "[4242,4242,4242,4242]"),
        ("node-named:1", "[1000,1000,1000,1000]"),
        ("node:lts-slim", "[1000,1000,1000,1000]"),
    ] {
        let fixture = Fixture::start(with_image(name, PullPolicy::Never));
        assert_eq!(fixture.value(who), expected, "{name}");
    }
}

/// A volume would be disk of the host without limits.
#[test]
fn volumes_of_an_image_are_as_bounded_as_every_other_folder() {
    let own = OwnImage::with_volume("/data");
    let fixture = Fixture::start(with_image(&own.0, PullPolicy::Never));
    let look = "const fs = require('fs'); fs.writeFileSync('/data/x', '');
        const [, , kind, options] = fs.readFileSync('/proc/mounts', 'utf8').split('\\n')
          .map(line => line.split(' ')).find(mount => mount[1] === '/data');
        return [kind, ...['noexec', 'nosuid', 'nodev', 'size=65536k']
          .filter(option => options.split(',').includes(option))]";
    let expected = r#"["tmpfs","noexec","nosuid","nodev","size=65536k"]"#;
    assert_eq!(fixture.value(look), expected);
    drop(fixture);
    own.remove();
}

#[test]
fn only_listed_images_run_and_the_first_is_the_default() {
    let fixture = Fixture::start(EngineSettings {
        allowed_images: vec![image("node-user:1"), image("node:lts-slim")],
        ..settings()
    });
    let mut job = job("return process.getuid()", "{}");
    assert_eq!(fixture.value_of(&job), "4242");
    job.image = Some(image("node:lts-slim"));
    assert_eq!(fixture.value_of(&job), "1000");
    for other in ["node-named:1", "node", "node:lts"] {
        job.image = Some(image(other));
        let failure = fixture.failure_of(&job);
        let text = failure_text(&failure);
        assert_eq!(failure.kind, FailureKind::Policy, "{text}");
        for part in [
            other,
            "node-user:1, node:lts-slim",
            "MCP_SANDBOX_ALLOWED_IMAGES",
        ] {
            assert!(text.contains(part), "{text}");
        }
    }
    let fixture = Fixture::start(EngineSettings {
        allowed_images: Vec::new(),
        ..settings()
    });
    assert_eq!(fixture.failure("return 1").kind, FailureKind::Policy);
}

/// What was seen of an image is believed for some seconds; the daemon's word counts.
#[test]
fn an_image_removed_under_it_is_missed_at_once() {
    let own = OwnImage::with_node("echo '{\"ready\":{\"node\":\"20.0.0\"}}' >&3; exec cat");
    let fixture = Fixture::start(with_image(&own.0, PullPolicy::Never));
    assert!(fixture.engine.probe_image(patience()).ready);
    own.remove();
    let failure = fixture.failure("return 1");
    assert_eq!(failure.kind, FailureKind::EngineUnavailable, "{failure:?}");
    assert!(
        failure.message.contains("MCP_SANDBOX_PULL_POLICY"),
        "{failure:?}"
    );
}
