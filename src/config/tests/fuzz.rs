//! Seeded garbage as command line, environment and env file: no panic, and every problem names its
//! subject.

use std::ffi::OsString;

use crate::cli::args::Invocation;
use crate::config::kind::Kind;
use crate::config::settings::{Fallback, SETTINGS, by_variable, flags, variables};
use crate::config::testing::Memory;
use crate::config::{Effective, Environment, Files};

/// A small generator (xorshift), so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn value(&mut self) -> String {
        const WHOLE: &[&str] = &[
            "",
            "0",
            "1",
            "true",
            "false",
            "-1",
            "12abc",
            "18446744073709551616",
            "512m",
            "0.5",
            "http",
            "stdio",
            "jwt",
            "postgres",
            "enterprise",
            "0.0.0.0",
            "::1",
            "/mcp",
            "/s",
            ",",
            "https://a.example",
            "tcp://[::1]:1",
            "unix:///x",
            "postgres://u:p@h/d?sslmode=require",
            "node:lts-slim",
            "10.0.0.0/8",
            "a=b",
            "--port",
            "-",
            "ä€\u{10ffff}",
            "\u{0}",
        ];
        const PARTS: &[char] = &[
            'a', 'Z', '0', '9', '/', ':', '@', '%', '?', '&', '=', ',', '.', '-', '_', '[', ']',
            ' ', '\t', '\n', '"', '\'', '#', '$', '\\', 'é', '\u{200d}', '😀',
        ];
        match self.below(3) {
            0 => (*self.pick(WHOLE)).to_owned(),
            1 => (0..self.below(12)).map(|_| *self.pick(PARTS)).collect(),
            _ => {
                let (mut text, other) = ((*self.pick(WHOLE)).to_owned(), *self.pick(PARTS));
                let at = text.floor_char_boundary(self.below(text.len() + 1));
                text.insert(at, other);
                text
            }
        }
    }
}

/// What stands in every secret that is given.
const SECRET: &str = "s3cr3t";

/// A value for a variable: its own default half of the time, so that some starts get far.
fn value_of(random: &mut Random, variable: &str) -> String {
    let setting = by_variable(variable).map(|(setting, _)| setting);
    match setting.map(|setting| setting.fallback) {
        _ if setting.is_some_and(|row| row.kind.is_secret() && row.key == variable) => {
            match random.below(2) {
                0 => format!("{SECRET}{}", random.value()),
                _ => format!("postgres://u:{SECRET}@h/{}", random.value()),
            }
        }
        Some(Fallback::Is(text)) if random.below(2) == 0 => text.to_owned(),
        _ => random.value(),
    }
}

/// What took effect is within its bounds, and shows no secret.
fn check_row(row: &Effective) {
    let shown = format!("{:?} {:?}", row.masked(), row.shown);
    assert!(!shown.contains(SECRET), "{}: {shown}", row.setting.key);
    if let (Kind::Integer { min, max }, Some(text)) = (row.setting.kind, &row.shown) {
        let number: u64 = text.parse().unwrap();
        assert!((min..=max).contains(&number), "{}: {text}", row.setting.key);
    }
}

fn line(random: &mut Random, flags: &[String]) -> Vec<String> {
    let mut line = Vec::new();
    for _ in 0..random.below(3) {
        match random.below(5) {
            0 => line.push(random.value()),
            1 => line.push(format!("{}={}", random.pick(flags), random.value())),
            2 => line.push(format!("--{}", random.value())),
            _ => {
                line.push(random.pick(flags).clone());
                line.push(random.value());
            }
        }
    }
    line
}

fn env_file(random: &mut Random, variables: &[String]) -> String {
    let mut text = String::new();
    for _ in 0..random.below(4) {
        let quote = *random.pick(&["", "", "\"", "'"]);
        let key = random.pick(variables);
        let value = value_of(random, key);
        text += &format!("{key}={quote}{value}{quote}\n");
    }
    text
}

#[test]
fn garbage_is_refused_by_name() {
    let variables: Vec<String> = variables().collect();
    let flags: Vec<String> = flags().collect();
    let known = |subject: &str| {
        let row = SETTINGS.iter().any(|setting| setting.key == subject);
        let place = ["--", "-", "argument ", ".env"];
        let command = crate::cli::args::COMMANDS
            .iter()
            .any(|row| row.words == subject);
        row || command || place.iter().any(|start| subject.starts_with(start))
    };
    let (mut started, mut refused) = (0, 0);
    for seed in 1..=3_000_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let line = line(&mut random, &flags);
        let env: Vec<(String, String)> = (0..random.below(5))
            .map(|_| {
                let name = random.pick(&variables).clone();
                let value = value_of(&mut random, &name);
                (name, value)
            })
            .collect();
        let text = env_file(&mut random, &variables);
        let files = Memory::with(&[
            (".env", &text),
            ("/s", &format!("{SECRET}{}", random.value())),
        ]);
        let invocation = Invocation::parse(line.iter().map(OsString::from));
        let environment: Environment = env.iter().cloned().collect();
        match invocation.load(&environment, &files as &dyn Files) {
            Ok(loaded) => {
                started += 1;
                assert_eq!(loaded.config.rows.len(), SETTINGS.len());
                assert!(!loaded.config.engine.allowed_images.is_empty());
                loaded.config.rows.iter().for_each(check_row);
                for warning in &loaded.warnings {
                    assert!(
                        !warning.to_string().contains(SECRET),
                        "seed {seed}: {warning}"
                    );
                }
            }
            Err(problems) => {
                refused += 1;
                assert!(!problems.is_empty());
                for problem in problems.iter() {
                    let env_key = text.contains(&problem.subject);
                    assert!(known(&problem.subject) || env_key, "seed {seed}: {problem}");
                    let shown = problem.to_string();
                    assert!(!shown.contains(char::is_control), "seed {seed}: {shown:?}");
                    assert!(!shown.contains(SECRET), "seed {seed}: {shown:?}");
                }
            }
        }
    }
    assert!(
        started > 100 && refused > 100,
        "{started} started, {refused} refused"
    );
}
