//! Typed values, defaults that depend on others, and rules between settings, with every part built.

use std::time::Duration;

use crate::config::testing::{load_env, problems_of};
use crate::config::*;

fn config(env: &[(&str, &str)]) -> Config {
    load_env(env)
        .map_err(|problems| problems.to_string())
        .unwrap()
        .config
}

/// The only problem of `env` is one of `key` whose line has `part`.
fn refused(env: &[(&str, &str)], key: &str, part: &str) {
    let problems = problems_of(env);
    let fits = |line: &String| line.starts_with(key) && line.contains(part);
    assert!(
        matches!(&problems[..], [line] if fits(line)),
        "{key} {part}: {problems:?}"
    );
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = config(&[]);
    assert_eq!(
        (config.profile, config.transport),
        (Profile::Mvp, Transport::Http)
    );
    assert_eq!(config.shutdown_grace, Duration::from_secs(20));
    let http = &config.http;
    assert_eq!(http.bind, "127.0.0.1:8788".parse().unwrap());
    assert_eq!(
        (http.path.as_str(), http.ops, &http.public_url),
        ("/mcp", None, &None)
    );
    assert_eq!(http.allowed_origins, [OriginRule::Loopback]);
    assert!(http.allowed_hosts.is_empty() && http.trusted_proxies.is_empty());
    assert_eq!((http.workers, http.max_request_bytes), (64, 1 << 20));
    let limits = (
        http.max_connections,
        http.max_connections_per_ip,
        http.max_streams,
    );
    assert_eq!((limits, http.buffer_bytes), ((1024, 256, 2000), 64 << 20));
    let waits = [
        http.head_timeout,
        http.body_timeout,
        http.idle_timeout,
        http.write_timeout,
    ];
    assert_eq!(waits, [10, 30, 60, 10].map(Duration::from_secs));
    assert_eq!(http.runtime_dir.to_str(), Some("/tmp"));
    assert_eq!(http.session_ttl, Duration::from_secs(1800));
    assert!(matches!(&config.store.backend, Backend::File(path)
        if path.to_str() == Some(".dynamic-mcp/tools.json")));
    assert_eq!(
        (config.store.max_tools, config.store.access),
        (256, Access::ReadWrite)
    );
    let engine = &config.engine;
    assert_eq!(engine.choice, EngineChoice::Auto);
    assert_eq!(
        engine.daemon,
        DaemonAddress::Unix("/var/run/docker.sock".into())
    );
    assert_eq!(
        (engine.memory_bytes, engine.nano_cpus),
        (512 << 20, 1_000_000_000)
    );
    assert_eq!(
        (engine.max_dependencies, engine.max_output_bytes),
        (32, 200_000)
    );
    assert_eq!(engine.max_timeout, Duration::from_secs(120));
    assert_eq!(engine.allowed_images[0].as_str(), "node:lts-slim");
    assert_eq!(
        engine.blocked_packages,
        ["child_process", "node-pty", "npm", "pm2"]
    );
    assert_eq!(
        (engine.pull_policy, engine.reuse),
        (PullPolicy::Missing, Reuse::Never)
    );
    assert_eq!(
        (engine.warm_pool, engine.node_jail),
        (2, NodeJail::Required)
    );
    assert_eq!(
        (engine.max_sandboxes, engine.sandbox_idle.as_secs()),
        (20, 1800)
    );
    assert_eq!(
        (&engine.runtime, &engine.npm),
        (&None, &NpmConfig::default())
    );
    let guard = config.guard;
    assert_eq!(
        (guard.max_concurrency, guard.max_concurrency_per_principal),
        (8, 8)
    );
    assert_eq!((guard.queue.as_secs(), guard.window.as_secs()), (10, 60));
    assert_eq!(guard.max_calls_per_window, 300);
    assert!(matches!(config.auth.mode, AuthMode::None) && !config.auth.admin_token_required);
    assert!(config.audit.is_none() && config.upstream_max.is_none());
    assert_eq!(config.log.level, log::LevelFilter::Info);
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!(config.catalog.name_style, NameStyle::Dotted);
    assert!(config.is_local_only());
}

#[test]
fn every_choice_reaches_its_type() {
    let env = [
        ("MCP_TRANSPORT", "stdio"),
        ("MCP_PROFILE", "enterprise"),
        ("XDG_DATA_HOME", "/data"),
        ("MCP_LOG_LEVEL", "warn"),
        ("MCP_LOG_FORMAT", "json"),
        ("MCP_EXECUTION_ENGINE", "node"),
        ("MCP_SANDBOX_PULL_POLICY", "never"),
        ("MCP_SANDBOX_REUSE", "tool"),
        ("MCP_NODE_UNSAFE", "true"),
        ("MCP_DYNAMIC_READ_ONLY", "1"),
        ("MCP_AUDIT_SYNC", "each"),
        ("MCP_AUDIT_FAIL_CLOSED", "0"),
    ];
    let found = config(&env);
    assert_eq!(
        (found.transport, found.profile),
        (Transport::Stdio, Profile::Enterprise)
    );
    assert_eq!(
        (found.log.level, found.log.format),
        (log::LevelFilter::Warn, LogFormat::Json)
    );
    assert_eq!(found.engine.choice, EngineChoice::Node);
    assert_eq!(
        (found.engine.pull_policy, found.engine.reuse),
        (PullPolicy::Never, Reuse::Tool)
    );
    assert_eq!(found.engine.node_jail, NodeJail::Waived);
    assert_eq!(found.store.access, Access::ReadOnly);
    let audit = found.audit.unwrap();
    assert_eq!(
        (audit.sync, audit.on_failure),
        (AuditSync::Each, AuditFailure::GoOn)
    );
    assert_eq!(audit.file.to_str(), Some("/data/dynamic-mcp/audit.log"));
    let limits = (audit.max_event_bytes, audit.max_file_bytes, audit.max_files);
    assert_eq!(limits, (20_000, 10_000_000, 5));
    assert_eq!(found.catalog.name_style, NameStyle::Underscore);
    assert_eq!(found.catalog.builtin_groups, BuiltinGroup::ALL);
    let docker = config(&[("MCP_EXECUTION_ENGINE", "docker")]);
    assert_eq!(docker.engine.choice, EngineChoice::Docker);
}

#[test]
fn stdio_keeps_its_files_among_the_user_s_data() {
    let store = |env: &[(&str, &str)]| {
        let all = [&[("MCP_TRANSPORT", "stdio")], env].concat();
        match load_env(&all).unwrap().config.store.backend {
            Backend::File(path) => path.to_str().unwrap().to_owned(),
            Backend::Postgres(_) => unreachable!(),
        }
    };
    let (home, data) = (("HOME", "/home/u"), ("XDG_DATA_HOME", "/data"));
    assert_eq!(store(&[home, data]), "/data/dynamic-mcp/tools.json");
    assert_eq!(
        store(&[home]),
        "/home/u/.local/share/dynamic-mcp/tools.json"
    );
    assert_eq!(
        store(&[home, ("XDG_DATA_HOME", "relative")]),
        store(&[home])
    );
    assert_eq!(store(&[home, ("XDG_DATA_HOME", "")]), store(&[home]));
    assert_eq!(store(&[("MCP_DYNAMIC_STORE", "x.json")]), "x.json");
    refused(
        &[("MCP_TRANSPORT", "stdio")],
        "MCP_DYNAMIC_STORE",
        "XDG_DATA_HOME",
    );
}

#[test]
fn built_in_groups_follow_the_profile() {
    use BuiltinGroup::{Dev, Prompt, Resource, RunJs, System, Tool};
    let groups = |env: &[(&str, &str)]| config(env).catalog.builtin_groups;
    assert_eq!(groups(&[]), [Tool, Prompt, Resource, RunJs, System]);
    assert_eq!(groups(&[("MCP_PROFILE", "enterprise")]), BuiltinGroup::ALL);
    assert_eq!(
        groups(&[("MCP_BUILTIN_GROUPS", "run_js, tool,tool")]),
        [Tool, RunJs]
    );
    let enterprise = [("MCP_BUILTIN_GROUPS", "dev"), ("MCP_PROFILE", "enterprise")];
    assert_eq!(groups(&enterprise), [Dev]);
    refused(
        &enterprise[..1],
        "MCP_BUILTIN_GROUPS",
        "MCP_PROFILE=enterprise",
    );
}

#[test]
fn runs_leave_eight_workers_free() {
    let concurrency = |env: &[(&str, &str)]| {
        let guard = config(env).guard;
        (guard.max_concurrency, guard.max_concurrency_per_principal)
    };
    let workers = |count: &'static str| [("MCP_HTTP_WORKERS", count)];
    for (count, expected) in [
        ("2", 1),
        ("9", 1),
        ("10", 2),
        ("16", 8),
        ("17", 8),
        ("1024", 8),
    ] {
        assert_eq!(
            concurrency(&workers(count)),
            (expected, expected),
            "{count}"
        );
    }
    let (most, above) = (
        ("MCP_TOOL_MAX_CONCURRENCY", "56"),
        ("MCP_TOOL_MAX_CONCURRENCY", "57"),
    );
    assert_eq!(concurrency(&[most]), (56, 56));
    refused(&[above], "MCP_TOOL_MAX_CONCURRENCY", "lower it to 56");
    assert_eq!(concurrency(&[above, ("MCP_HTTP_WORKERS", "65")]), (57, 57));
    let own = ("MCP_TOOL_MAX_CONCURRENCY_PER_PRINCIPAL", "3");
    assert_eq!(concurrency(&[most, own]), (56, 3));
    refused(
        &[above, ("MCP_HTTP_WORKERS", "x")],
        "MCP_HTTP_WORKERS",
        "malformed",
    );
}

#[test]
fn no_authentication_is_for_loopback() {
    for host in ["0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1"] {
        refused(
            &[("MCP_HOST", host)],
            "MCP_HOST",
            "MCP_ALLOW_UNAUTHENTICATED=true",
        );
        let insisted = [("MCP_HOST", host), ("MCP_ALLOW_UNAUTHENTICATED", "true")];
        assert_eq!(
            load_env(&insisted).unwrap().warnings,
            [Warning::NobodyIsAdmin]
        );
        let token = ("MCP_ADMIN_TOKEN", "0123456789abcdef");
        let guarded = [insisted[0], insisted[1], token];
        assert!(load_env(&guarded).unwrap().warnings.is_empty());
    }
    for host in [
        "127.0.0.1",
        "127.0.0.2",
        "::1",
        "[::1]",
        "localhost",
        "::ffff:127.0.0.1",
    ] {
        assert!(config(&[("MCP_HOST", host)]).is_local_only(), "{host}");
    }
    let stdio = [
        ("MCP_HOST", "0.0.0.0"),
        ("MCP_TRANSPORT", "stdio"),
        ("HOME", "/u"),
    ];
    assert!(config(&stdio).is_local_only());
}

const JWT: [(&str, &str); 4] = [
    ("MCP_AUTH_MODE", "jwt"),
    ("MCP_AUTH_JWKS_URL", "https://issuer.example/jwks"),
    ("MCP_AUTH_ISSUER", "https://issuer.example/"),
    ("MCP_AUTH_AUDIENCE", "mcp"),
];

#[test]
fn jwt_needs_its_three() {
    let found = config(&JWT);
    let AuthMode::Jwt(jwt) = found.auth.mode else {
        panic!("not jwt");
    };
    assert_eq!(
        jwt.jwks,
        JwksSource::Url("https://issuer.example/jwks".to_owned())
    );
    assert_eq!(
        (jwt.issuer.as_str(), jwt.audience.as_str()),
        ("https://issuer.example/", "mcp")
    );
    assert_eq!((jwt.admin_scope.as_str(), jwt.ca_file), ("mcp.admin", None));
    assert!(jwt.required_scopes.is_empty());
    for (index, (key, _)) in JWT.iter().enumerate().skip(1) {
        let mut without = JWT.to_vec();
        without.remove(index);
        refused(&without, key, "is missing: required with MCP_AUTH_MODE=jwt");
    }
    assert!(load_env(&[&JWT[..], &[("MCP_HOST", "0.0.0.0")]].concat()).is_ok());
    let stdio = [&JWT[..], &[("MCP_TRANSPORT", "stdio"), ("HOME", "/u")]].concat();
    refused(&stdio, "MCP_AUTH_MODE", "needs MCP_TRANSPORT=http");
}

#[test]
fn keys_come_over_a_way_that_nobody_can_change() {
    let source = |url: &'static str| {
        let mut env = JWT.to_vec();
        env[1].1 = url;
        match load_env(&env).map(|loaded| loaded.config.auth.mode) {
            Ok(AuthMode::Jwt(jwt)) => Ok(jwt.jwks),
            Ok(AuthMode::None) => unreachable!(),
            Err(problems) => Err(problems.to_string()),
        }
    };
    for url in [
        "https://a.example/k",
        "http://127.0.0.1:1/k",
        "http://[::1]/k",
    ] {
        assert_eq!(source(url), Ok(JwksSource::Url(url.to_owned())));
    }
    assert_eq!(
        source("file:///etc/k.json"),
        Ok(JwksSource::File("/etc/k.json".into()))
    );
    for url in [
        "http://a.example/k",
        "file://host/k",
        "file:///",
        "ftp://a/k",
        "https://u:p@a/k",
    ] {
        let problems = source(url).unwrap_err();
        assert!(
            problems.starts_with("MCP_AUTH_JWKS_URL"),
            "{url}: {problems}"
        );
    }
}

#[test]
fn roots_come_from_the_setting_or_the_usual_variable() {
    let ca = |env: &[(&str, &str)]| match config(&[&JWT[..], env].concat()).auth.mode {
        AuthMode::Jwt(jwt) => jwt.ca_file.map(|path| path.to_str().unwrap().to_owned()),
        AuthMode::None => unreachable!(),
    };
    let (own, usual) = (("MCP_AUTH_CA_FILE", "/a"), ("SSL_CERT_FILE", "/b"));
    assert_eq!(ca(&[]), None);
    assert_eq!(ca(&[usual]).as_deref(), Some("/b"));
    assert_eq!(ca(&[own, usual]).as_deref(), Some("/a"));
}

#[test]
fn the_admin_token_is_required_where_it_matters() {
    let enterprise = [&JWT[..], &[("MCP_PROFILE", "enterprise")]].concat();
    refused(
        &enterprise,
        "MCP_ADMIN_TOKEN",
        "MCP_REQUIRE_ADMIN_TOKEN=true",
    );
    let waived = [&enterprise[..], &[("MCP_REQUIRE_ADMIN_TOKEN", "false")]].concat();
    assert!(!config(&waived).auth.admin_token_required);
    let given = [&enterprise[..], &[("MCP_ADMIN_TOKEN", "0123456789abcdef")]].concat();
    assert!(config(&given).auth.admin_token_required);
    assert!(
        !config(&[("MCP_PROFILE", "enterprise")])
            .auth
            .admin_token_required
    );
    let short = load_env(&[("MCP_ADMIN_TOKEN", "short")]).unwrap();
    assert_eq!(short.warnings, [Warning::ShortAdminToken]);
    let long = "x".repeat(1025);
    refused(
        &[("MCP_ADMIN_TOKEN", &long)],
        "MCP_ADMIN_TOKEN",
        "longer than 1024 bytes",
    );
}

#[test]
fn postgres_needs_a_decided_url() {
    let postgres = ("MCP_DYNAMIC_BACKEND", "postgres");
    refused(&[postgres], "MCP_DYNAMIC_PG_URL", "is missing");
    let url = |text: &'static str| [postgres, ("MCP_DYNAMIC_PG_URL", text)];
    refused(
        &url("postgres://u:p@db/d"),
        "MCP_DYNAMIC_PG_URL",
        "sslmode=verify-full",
    );
    refused(
        &url("mysql://localhost/d"),
        "MCP_DYNAMIC_PG_URL",
        "postgres://",
    );
    match config(&url("postgres://u:p@db/d?sslmode=require"))
        .store
        .backend
    {
        Backend::Postgres(pg) => {
            assert_eq!(
                (pg.target.tls, pg.schema.as_str()),
                (PgTls::Require, "dynamic_mcp")
            );
            assert_eq!(
                (pg.init_attempts, pg.init_backoff),
                (10, Duration::from_secs(1))
            );
        }
        Backend::File(_) => panic!("a file"),
    }
}

#[test]
fn plain_tcp_to_a_daemon_is_for_loopback() {
    let host = |text: &'static str| ("DOCKER_HOST", text);
    refused(
        &[host("tcp://docker:2375")],
        "DOCKER_HOST",
        "MCP_DOCKER_ALLOW_PLAIN_TCP=true",
    );
    refused(
        &[host("ssh://docker")],
        "DOCKER_HOST",
        "unix:///path, tcp://host:port",
    );
    let tls = |env: &[(&str, &str)]| match config(env).engine.daemon {
        DaemonAddress::Tcp { tls, port, .. } => (tls.map(|path| path.display().to_string()), port),
        DaemonAddress::Unix(_) => panic!("a socket"),
    };
    assert_eq!(tls(&[host("tcp://127.0.0.1")]), (None, 2375));
    let allowed = [
        host("tcp://docker:1"),
        ("MCP_DOCKER_ALLOW_PLAIN_TCP", "true"),
    ];
    assert_eq!(tls(&allowed), (None, 1));
    let (verify, path) = (("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", "/c"));
    assert_eq!(
        tls(&[host("tcp://docker"), verify, path]),
        (Some("/c".to_owned()), 2376)
    );
    refused(
        &[host("tcp://docker"), verify],
        "DOCKER_CERT_PATH",
        "is missing",
    );
    let socket = config(&[verify, path]).engine.daemon;
    assert!(matches!(socket, DaemonAddress::Unix(_)));
}

#[test]
fn a_package_registry_s_token_names_its_registry() {
    let token = ("MCP_SANDBOX_NPM_TOKEN_FILE", "/run/token");
    let registry = ("MCP_SANDBOX_NPM_REGISTRY", "https://npm.example/");
    refused(&[token], "MCP_SANDBOX_NPM_REGISTRY", "is missing");
    let npm = config(&[token, registry]).engine.npm;
    assert_eq!(npm.registry.as_deref(), Some("https://npm.example/"));
    assert_eq!(npm.token_file, Some("/run/token".into()));
}

#[test]
fn listeners_do_not_collide() {
    let ops = |env: &[(&str, &str)]| config(env).http.ops.map(|address| address.to_string());
    let port = ("MCP_OPS_PORT", "9000");
    assert_eq!(ops(&[port]).as_deref(), Some("127.0.0.1:9000"));
    assert_eq!(
        ops(&[port, ("MCP_OPS_HOST", "0.0.0.0")]).as_deref(),
        Some("0.0.0.0:9000")
    );
    refused(&[("MCP_OPS_HOST", "0.0.0.0")], "MCP_OPS_PORT", "is missing");
    refused(
        &[("MCP_OPS_PORT", "8788")],
        "MCP_OPS_PORT",
        "main listener's port",
    );
    let other = [("MCP_OPS_PORT", "8788"), ("MCP_OPS_HOST", "127.0.0.2")];
    assert!(load_env(&other).is_ok());
    let public = [("MCP_OPS_PORT", "0"), ("MCP_OPS_HOST", "0.0.0.0")];
    refused(&public, "MCP_OPS_PORT", "loopback");
    assert_eq!(config(&[("MCP_PORT", "0")]).http.bind.port(), 0);
    let anywhere = [
        ("MCP_PORT", "0"),
        ("MCP_HOST", "0.0.0.0"),
        ("MCP_ALLOW_UNAUTHENTICATED", "true"),
    ];
    refused(&anywhere, "MCP_PORT", "loopback");
}

#[test]
fn one_request_fits_the_buffers() {
    let small = ("MCP_HTTP_BUFFER_BYTES", "65536");
    refused(
        &[small],
        "MCP_HTTP_BUFFER_BYTES",
        "MCP_HTTP_MAX_REQUEST_BYTES (1048576)",
    );
    assert!(load_env(&[small, ("MCP_HTTP_MAX_REQUEST_BYTES", "65536")]).is_ok());
}

#[test]
fn the_socket_s_folder_has_a_short_path() {
    let folder = |env: &[(&str, &str)]| config(env).http.runtime_dir.display().to_string();
    let (run, temp) = (("XDG_RUNTIME_DIR", "/run/user/1"), ("TMPDIR", "/var/tmp"));
    assert_eq!(folder(&[run, temp]), "/run/user/1");
    assert_eq!(folder(&[("XDG_RUNTIME_DIR", "relative"), temp]), "/var/tmp");
    assert_eq!(folder(&[("MCP_RUNTIME_DIR", "/x"), run]), "/x");
    let path = |bytes: usize| format!("/{}", "r".repeat(bytes - 1));
    assert_eq!(folder(&[("MCP_RUNTIME_DIR", &path(100))]).len(), 100);
    refused(
        &[("MCP_RUNTIME_DIR", &path(101))],
        "MCP_RUNTIME_DIR",
        "at most 100",
    );
    refused(
        &[("XDG_RUNTIME_DIR", &path(101))],
        "MCP_RUNTIME_DIR",
        "at most 100",
    );
}

#[test]
fn lists_become_what_they_name() {
    let digest = format!("registry:5000/node@sha256:{}", "ab".repeat(32));
    let images = format!("{digest}, node:22");
    let found = config(&[
        ("MCP_SANDBOX_ALLOWED_IMAGES", &images),
        (
            "MCP_HTTP_ALLOWED_ORIGINS",
            "loopback,HTTPS://A.example".to_lowercase().as_str(),
        ),
        ("MCP_HTTP_ALLOWED_HOSTS", "MCP.example, b:81"),
        ("MCP_HTTP_TRUSTED_PROXIES", "10.0.0.0/8,::1"),
    ]);
    let images = found
        .engine
        .allowed_images
        .iter()
        .map(|image| image.as_str());
    assert_eq!(images.collect::<Vec<_>>(), [digest.as_str(), "node:22"]);
    let exact = OriginRule::Exact("https://a.example".to_owned());
    assert_eq!(found.http.allowed_origins, [OriginRule::Loopback, exact]);
    assert_eq!(found.http.allowed_hosts, ["mcp.example", "b:81"]);
    let proxies = &found.http.trusted_proxies;
    assert!(proxies[0].contains("10.9.9.9".parse().unwrap()));
    assert!(proxies[1].contains("::1".parse().unwrap()) && proxies.len() == 2);
}

#[test]
fn upstream_servers_need_enterprise_and_a_token() {
    let attach = ("MCP_EXPERIMENTAL_UPSTREAM_MCP_ATTACH", "true");
    let token = ("MCP_ADMIN_TOKEN", "0123456789abcdef");
    let enterprise = ("MCP_PROFILE", "enterprise");
    assert_eq!(config(&[attach, token, enterprise]).upstream_max, Some(8));
    refused(&[attach, token], attach.0, "MCP_PROFILE=enterprise");
    refused(&[attach, enterprise], "MCP_ADMIN_TOKEN", "is missing");
}
