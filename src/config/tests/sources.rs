//! Where values come from: precedence, env file, secrets in files.

use std::path::Path;

use crate::base::secret::Secret;
use crate::config::raw::{Environment, GivenFlag, Sources};
use crate::config::testing::{Folder, Start, load_env, problems_of};
use crate::config::{Disk, FileFault, Files, LoadedFile, Origin, Problems, Warning};

#[test]
fn flag_over_environment_over_env_file_over_default() {
    let flags: &[(&str, Option<&str>)] = &[("--port", Some("1"))];
    let env: &[(&str, &str)] = &[("MCP_PORT", "2")];
    let file: &[(&str, &str)] = &[(".env", "MCP_PORT=3")];
    let check = |flags, env, files, port: u16, origin: Origin| {
        let start = Start {
            flags,
            env,
            files,
            ..Start::default()
        };
        let loaded = start.load().unwrap();
        assert_eq!(loaded.config.http.bind.port(), port);
        let mut rows = loaded.config.rows.iter();
        let row = rows.find(|row| row.setting.key == "MCP_PORT").unwrap();
        assert_eq!(row.origin, origin);
    };
    let line = Origin::EnvFile {
        path: ".env".to_owned(),
        line: 1,
        by: None,
    };
    check(flags, env, file, 1, Origin::Flag("--port".to_owned()));
    check(&[], env, file, 2, Origin::Environment { by: None });
    check(&[], &[], file, 3, line);
    check(&[], &[], &[], 8788, Origin::Default);
}

#[test]
fn an_alias_serves_where_the_name_is_absent() {
    let port = |env: &[(&str, &str)]| load_env(env).unwrap().config.http.bind.port();
    assert_eq!(port(&[("PORT", "1")]), 1);
    assert_eq!(port(&[("PORT", "1"), ("MCP_PORT", "2")]), 2);
    let problems = problems_of(&[("PORT", "x")]);
    let expected = "MCP_PORT (environment, PORT): \"x\" is malformed; allowed: 0 to 65535";
    assert_eq!(problems, [expected]);
}

#[test]
fn an_alias_above_wins_over_the_name_below() {
    let start = Start {
        env: &[("PORT", "1")],
        files: &[(".env", "MCP_PORT=2")],
        ..Start::default()
    };
    assert_eq!(start.load().unwrap().config.http.bind.port(), 1);
}

#[test]
fn flags_that_are_wrong() {
    let check = |flags: &[(&str, Option<&str>)], expected: &[&str]| {
        let start = Start {
            flags,
            ..Start::default()
        };
        let problems = start.load().unwrap_err();
        let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(lines, expected);
    };
    check(
        &[("--prot", None)],
        &["--prot: is unknown; did you mean --port?"],
    );
    check(
        &[("--xyzzy", Some("1"))],
        &["--xyzzy: is unknown; see --help"],
    );
    check(
        &[("--docker-host", Some("unix:///x"))],
        &["--docker-host: is unknown; see --help"],
    );
    check(&[("--port", None)], &["--port: needs a value"]);
    let twice = [("--port", Some("1")), ("--port", Some("1"))];
    check(&twice, &["--port: is given twice"]);
    let empty = "MCP_PATH (flag --path): is empty; allowed: a path such as /mcp";
    check(&[("--path", Some(""))], &[empty]);
}

#[test]
fn unknown_variables_are_warnings() {
    let env = [("MCP_HTTP_WORKRES", "1"), ("MCP_X", ""), ("OTHER", "x")];
    let warnings: Vec<_> = load_env(&env).unwrap().warnings;
    let lines: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    let expected = [
        "MCP_HTTP_WORKRES: unknown variable, ignored; did you mean MCP_HTTP_WORKERS?",
        "MCP_X: unknown variable, ignored",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn secrets_that_every_user_can_read_are_warnings() {
    struct Open;
    impl Files for Open {
        fn load(&self, _: &Path) -> Result<LoadedFile, FileFault> {
            Ok(LoadedFile {
                text: Secret::new("a-secret-of-some-length"),
                readable_by_all: true,
                writable_by_others: false,
                foreign_owner: false,
            })
        }
    }
    let check = |key: &str, path: &str, expected: &[&str]| {
        let environment = [
            (key, path),
            ("MCP_TRANSPORT", "stdio"),
            ("HOME", "/nowhere"),
            ("MCP_SANDBOX_NPM_REGISTRY", "https://npm.example/"),
        ];
        let environment = environment.into_iter().collect();
        let sources = Sources {
            flags: &[],
            env_file: None,
            environment: &environment,
            files: &Open,
        };
        let loaded = crate::config::load(&sources, Problems::default()).unwrap();
        let told: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(told, expected, "{path}");
    };
    let mend = "every user can read /etc/token; chmod 600 it, or 640 for a group that needs it";
    for key in ["MCP_ADMIN_TOKEN_FILE", "MCP_SANDBOX_NPM_TOKEN_FILE"] {
        check(key, "/etc/token", &[&format!("{key}: {mend}")]);
        check(key, "/run/secrets/token", &[]);
        check(key, "/var/run/secrets/a/token", &[]);
    }
}

#[test]
fn every_problem_is_told_in_one_go() {
    let start = Start {
        flags: &[("--nonsense", None), ("--http-workers", Some("1"))],
        env: &[
            ("MCP_PORT", "12abc"),
            ("MCP_PROFILE", ""),
            ("MCP_HTTP_MAX_REQUEST_BYTES", "16777217"),
            ("MCP_DYNAMIC_BACKEND", "postgres"),
        ],
        files: &[(
            ".env",
            "MCP_NONSENSE=1\nMCP_PATH=mcp\nno assignment\nMCP_PATH=/x",
        )],
        ..Start::default()
    };
    let problems = start.load().unwrap_err().to_string();
    let expected = "\
        --nonsense: is unknown; see --help\n\
        MCP_NONSENSE (.env line 1): is unknown; see --help\n\
        .env line 3: expected KEY=VALUE\n\
        MCP_PATH (.env line 4): is given twice\n\
        MCP_PROFILE (environment): is empty; allowed: mvp, enterprise\n\
        MCP_PORT (environment): \"12abc\" is malformed; allowed: 0 to 65535\n\
        MCP_HTTP_WORKERS (flag --http-workers): \"1\" is out of range; allowed: 2 to 1024\n\
        MCP_HTTP_MAX_REQUEST_BYTES (environment): \"16777217\" is out of range; \
        allowed: 1 to 16777216\n\
        MCP_DYNAMIC_PG_URL: is missing: required with MCP_DYNAMIC_BACKEND=postgres\n";
    assert_eq!(problems, expected);
}

#[test]
fn stdio_reads_no_env_file_unasked() {
    let files = &[
        (".env", "MCP_NONSENSE=1\n"),
        ("/asked", "MCP_LOG_LEVEL=debug\n"),
    ];
    let env = &[("MCP_TRANSPORT", "stdio"), ("HOME", "/home/u")];
    let stdio = Start {
        env,
        files,
        ..Start::default()
    };
    assert!(stdio.load().is_ok());
    let asked = Start {
        env_file: Some("/asked"),
        ..stdio
    };
    let level = asked.load().unwrap().config.log.level;
    assert_eq!(level, log::LevelFilter::Debug);
    let http = Start {
        env: &[],
        files,
        ..Start::default()
    };
    assert!(http.load().is_err());
    let other_file = Start {
        env_file: Some("/asked"),
        env: &[],
        ..http
    };
    assert!(
        other_file.load().is_ok(),
        "an asked file stands in place of .env"
    );
}

#[test]
fn an_unasked_env_file_cannot_turn_on_stdio() {
    let files = &[(".env", "MCP_TRANSPORT=stdio\n")];
    let unasked = Start {
        files,
        env: &[("HOME", "/home/u")],
        ..Start::default()
    };
    let problems = unasked.load().unwrap_err().to_string();
    assert!(problems.starts_with("MCP_TRANSPORT (.env line 1): stdio reads no env file"));
    let asked = Start {
        env_file: Some(".env"),
        ..unasked
    };
    assert!(asked.load().is_ok());
}

/// The file system, with relative names in a folder of the test's own.
struct Rooted<'a>(&'a Path);

impl Files for Rooted<'_> {
    fn load(&self, path: &Path) -> Result<LoadedFile, FileFault> {
        Disk.load(&self.0.join(path))
    }
}

fn load_in(folder: &Folder, env_file: Option<&str>) -> Result<u16, String> {
    let environment = Environment::default();
    let sources = Sources {
        flags: &[],
        env_file,
        environment: &environment,
        files: &Rooted(folder.path()),
    };
    match crate::config::load(&sources, Problems::default()) {
        Ok(loaded) => Ok(loaded.config.http.bind.port()),
        Err(problems) => Err(problems.to_string()),
    }
}

#[test]
fn env_files_that_others_may_write_are_refused() {
    let folder = Folder::new();
    assert_eq!(load_in(&folder, None), Ok(8788), "no .env is no problem");
    for (mode, good) in [(0o600, true), (0o644, true), (0o620, false), (0o666, false)] {
        folder.write(".env", b"MCP_PORT=7\n", mode);
        for asked in [None, Some(".env")] {
            let told = ".env: the file is writable by group or others: chmod go-w it\n";
            let expected = if good { Ok(7) } else { Err(told.to_owned()) };
            assert_eq!(load_in(&folder, asked), expected, "{mode:o}");
        }
    }
}

#[test]
fn env_files_that_cannot_serve() {
    let folder = Folder::new();
    let absent = load_in(&folder, Some("absent")).unwrap_err();
    assert_eq!(absent, "absent: the file does not exist\n");
    folder.write(".env", &vec![b'#'; 65_537], 0o600);
    let large = load_in(&folder, None).unwrap_err();
    assert_eq!(large, ".env: the file is larger than 65536 bytes\n");
    folder.write(".env", b"MCP_PATH=\xff", 0o600);
    assert_eq!(
        load_in(&folder, None).unwrap_err(),
        ".env: the file is not UTF-8 text\n"
    );
}

#[test]
fn an_unasked_env_file_of_another_user_is_refused() {
    struct Foreign;
    impl Files for Foreign {
        fn load(&self, _: &Path) -> Result<LoadedFile, FileFault> {
            Ok(LoadedFile {
                text: Secret::new("MCP_PORT=7"),
                readable_by_all: false,
                writable_by_others: false,
                foreign_owner: true,
            })
        }
    }
    let environment = Environment::default();
    let load = |env_file| {
        let sources = Sources {
            flags: &[],
            env_file,
            environment: &environment,
            files: &Foreign,
        };
        crate::config::load(&sources, Problems::default())
    };
    let told = load(None).unwrap_err().to_string();
    assert!(
        told.starts_with(".env: the file belongs to another user"),
        "{told}"
    );
    assert!(load(Some(".env")).is_ok());
}

#[test]
fn secrets_from_files_lose_one_newline() {
    let token = |content: &str| {
        let start = Start {
            env: &[("MCP_ADMIN_TOKEN_FILE", "/secret")],
            files: &[("/secret", content)],
            ..Start::default()
        };
        let loaded = start.load().map_err(|problems| problems.to_string());
        loaded.map(|loaded| loaded.config.auth.admin_token.unwrap().reveal().to_owned())
    };
    assert_eq!(
        token("sesame-sesame-sesame").unwrap(),
        "sesame-sesame-sesame"
    );
    assert_eq!(token("sesame\n").unwrap(), "sesame");
    assert_eq!(token("sesame\r\n").unwrap(), "sesame");
    let origin = "MCP_ADMIN_TOKEN (environment, MCP_ADMIN_TOKEN_FILE): ";
    let malformed = "the value is malformed; allowed: visible ASCII without spaces\n";
    assert_eq!(
        token("sesame\n\n").unwrap_err(),
        format!("{origin}{malformed}")
    );
    let empty = "is empty; allowed: visible ASCII without spaces\n";
    assert_eq!(token("\n").unwrap_err(), format!("{origin}{empty}"));
}

#[test]
fn a_secret_has_one_form() {
    let check = |start: Start<'_>, expected: &str| {
        let problems = start.load().unwrap_err().to_string();
        assert_eq!(problems.trim_end(), expected);
    };
    let files = &[("/s", "sesame")];
    let both = "is given both as a value and as a _FILE: keep one, best the file";
    check(
        Start {
            env: &[("MCP_ADMIN_TOKEN", "x"), ("MCP_ADMIN_TOKEN_FILE", "/s")],
            files,
            ..Start::default()
        },
        &format!("MCP_ADMIN_TOKEN (environment): {both}"),
    );
    check(
        Start {
            env: &[("MCP_DYNAMIC_PG_URL", "postgres://localhost/x")],
            flags: &[("--dynamic-pg-url-file", Some("/s"))],
            files,
            ..Start::default()
        },
        &format!("MCP_DYNAMIC_PG_URL (environment): {both}"),
    );
    check(
        Start {
            flags: &[("--admin-token-file", Some("/absent"))],
            ..Start::default()
        },
        "MCP_ADMIN_TOKEN (flag --admin-token-file): the file does not exist",
    );
    check(
        Start {
            env: &[("MCP_ADMIN_TOKEN_FILE", "")],
            ..Start::default()
        },
        "MCP_ADMIN_TOKEN (environment, MCP_ADMIN_TOKEN_FILE): is empty; \
         allowed: the path of a file",
    );
}

#[test]
fn an_unusable_secret_is_not_called_missing_too() {
    let problems = problems_of(&[
        ("MCP_REQUIRE_ADMIN_TOKEN", "true"),
        ("MCP_ADMIN_TOKEN_FILE", "/absent"),
    ]);
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn a_secret_as_a_flag_is_a_warning() {
    let start = Start {
        flags: &[("--admin-token", Some("a-long-enough-token"))],
        ..Start::default()
    };
    let warnings = start.load().unwrap().warnings;
    assert_eq!(
        warnings,
        [Warning::SecretInFlag("--admin-token".to_owned())]
    );
}

#[test]
fn the_real_environment_is_read() {
    let environment = Environment::of_this_process();
    let path = std::env::var("PATH").unwrap();
    assert_eq!(environment.foreign("PATH"), Some(path.as_str()));
    assert!(!format!("{environment:?}").contains(&path));
    let flag = GivenFlag {
        name: "--admin-token".to_owned(),
        value: Some(Secret::new("hunter2")),
    };
    assert!(!format!("{flag:?}").contains("hunter2"));
}
