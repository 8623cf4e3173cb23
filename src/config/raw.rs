//! What was given, before it means anything: gathers texts from flags, environment and env file, by
//! precedence, with their origin. A pure function of its [`Sources`];
//! [`Environment::of_this_process`] is the one place of the program that reads the real
//! environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::base::secret::Secret;

use super::env_file;
use super::files::{Files, LoadedFile};
use super::nearest::nearest;
use super::problem::{Fault, FileFault, Origin, Problem, Problems, visible};
use super::settings::{self, Form, SETTINGS, Setting};
use super::warning::Warning;

/// A flag of the command line that is about a setting, or about nothing we know.
#[derive(Clone, Debug)]
pub struct GivenFlag {
    /// With its dashes.
    pub name: String,
    /// `None` where the flag stood alone.
    pub value: Option<Secret>,
}

/// Variables of an environment. `Debug` shows no value.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, Option<Secret>>);

impl Environment {
    /// The environment this process was started with. Names that are no text are none of ours.
    pub fn of_this_process() -> Self {
        let named = std::env::vars_os().filter_map(|(name, value)| {
            let value = value.into_string().ok().map(Secret::new);
            Some((name.into_string().ok()?, value))
        });
        Self(named.collect())
    }

    /// The user's own folder, where one is named.
    pub fn home(&self) -> Option<PathBuf> {
        self.foreign("HOME").map(PathBuf::from)
    }

    /// `PATH`.
    pub fn search_path(&self) -> Option<OsString> {
        self.foreign("PATH").map(OsString::from)
    }

    /// A variable that is not one of ours (`HOME`, `XDG_…`); empty counts as absent there.
    pub(super) fn foreign(&self, name: &str) -> Option<&str> {
        let value = self.0.get(name)?.as_ref()?.reveal();
        (!value.is_empty()).then_some(value)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let entry = |(name, value): (K, V)| (name.into(), Some(Secret::new(value)));
        Self(variables.into_iter().map(entry).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// Everything that settings come from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// From the command line.
    pub flags: &'a [GivenFlag],
    /// `--env-file`.
    pub env_file: Option<&'a str>,
    /// The process's variables.
    pub environment: &'a Environment,
    /// Where env files and secrets are read.
    pub files: &'a dyn Files,
}

impl fmt::Debug for Sources<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sources")
            .field("flags", &self.flags)
            .field("env_file", &self.env_file)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

/// More unknown variables than this are not worth a line each.
const MAX_UNKNOWN_VARIABLES: usize = 20;

/// A setting's text and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) text: Secret,
    pub(super) origin: Origin,
}

/// A carrier (variable name) with its text; `None` where it is no text.
type Layer = BTreeMap<String, (Option<Secret>, Origin)>;

/// The text of each setting that was given, by its key; `None` where it was given in a way that is
/// already a problem.
pub(super) fn gather(
    sources: &Sources<'_>,
    problems: &mut Problems,
    warnings: &mut Vec<Warning>,
) -> BTreeMap<&'static str, Option<Given>> {
    let mut layers = vec![
        flag_layer(sources.flags, problems, warnings),
        environment_layer(sources.environment, warnings),
    ];
    let file = env_file_layer(sources, &layers, problems);
    layers.push(file);
    let mut given = BTreeMap::new();
    for setting in SETTINGS {
        match resolve(setting, &layers, sources.files, warnings) {
            Ok(None) => {}
            Ok(found) => {
                warn_of_token_file(setting, found.as_ref(), sources.files, warnings);
                given.insert(setting.key, found);
            }
            Err((fault, origin)) => {
                problems.push(Problem::new(setting.key, fault).at(origin));
                given.insert(setting.key, None);
            }
        }
    }
    given
}

fn flag_layer(flags: &[GivenFlag], problems: &mut Problems, warnings: &mut Vec<Warning>) -> Layer {
    let mut layer = Layer::new();
    for flag in flags {
        let fail = |fault| Problem::new(&flag.name, fault);
        let Some((setting, form)) = settings::by_flag(&flag.name) else {
            let nearest = nearest(&flag.name, settings::flags());
            problems.push(fail(Fault::Unknown { nearest }));
            continue;
        };
        let switch = settings::is_switch(&flag.name).then(|| Secret::new("true"));
        let Some(value) = flag.value.clone().or(switch) else {
            problems.push(fail(Fault::FlagWithoutValue));
            continue;
        };
        if setting.kind.is_secret() && form == Form::Value {
            warnings.push(Warning::SecretInFlag(flag.name.clone()));
        }
        let carrier = carrier(setting, form);
        let entry = (Some(value), Origin::Flag(flag.name.clone()));
        if layer.insert(carrier, entry).is_some() {
            problems.push(fail(Fault::GivenTwice));
        }
    }
    layer
}

fn carrier(setting: &Setting, form: Form) -> String {
    let file_key = setting.file_key().filter(|_| form == Form::File);
    file_key.unwrap_or_else(|| setting.key.to_owned())
}

fn environment_layer(environment: &Environment, warnings: &mut Vec<Warning>) -> Layer {
    let mut layer = Layer::new();
    let mut unknown = 0;
    for (name, value) in &environment.0 {
        if let Some((setting, _)) = settings::by_variable(name) {
            let by = (name != setting.key).then(|| name.clone());
            layer.insert(name.clone(), (value.clone(), Origin::Environment { by }));
        } else if name.starts_with("MCP_") && unknown < MAX_UNKNOWN_VARIABLES {
            unknown += 1;
            warnings.push(Warning::UnknownVariable {
                nearest: nearest(name, settings::variables()),
                name: name.clone(),
            });
        }
    }
    layer
}

/// The unasked env file, read for http only: an editor may start a stdio server in a hostile
/// folder.
const UNASKED: &str = ".env";

fn env_file_layer(sources: &Sources<'_>, above: &[Layer], problems: &mut Problems) -> Layer {
    let transport = above.iter().find_map(|layer| layer.get("MCP_TRANSPORT"));
    let http = transport.is_none_or(|(text, _)| text.as_ref().is_some_and(is_http));
    let path = match sources.env_file {
        Some(path) => path,
        None if http => UNASKED,
        None => return Layer::new(),
    };
    let asked = sources.env_file.is_some();
    let loaded = match sources.files.load(Path::new(path)) {
        Err(FileFault::Missing) if !asked => return Layer::new(),
        Ok(file) if file.writable_by_others => Err(FileFault::WritableByOthers),
        Ok(file) if file.foreign_owner && !asked => Err(FileFault::ForeignOwner),
        other => other,
    };
    match loaded {
        Ok(file) => {
            let layer = read_env_file(path, file.text.reveal(), problems);
            refuse_unasked_stdio(&layer, asked, transport.is_some(), problems);
            layer
        }
        Err(fault) => {
            problems.push(Problem::new(path, Fault::File(fault)));
            Layer::new()
        }
    }
}

fn is_http(text: &Secret) -> bool {
    text.reveal() == "http"
}

/// A `.env` that turns on stdio would be an env file that stdio reads unasked.
fn refuse_unasked_stdio(layer: &Layer, asked: bool, decided: bool, problems: &mut Problems) {
    let Some((Some(text), origin)) = layer.get("MCP_TRANSPORT") else {
        return;
    };
    if !asked && !decided && text.reveal() == "stdio" {
        let rule = "stdio reads no env file unasked: give --transport stdio, \
                    and --env-file for the rest";
        let problem = Problem::new("MCP_TRANSPORT", Fault::Conflict(rule.to_owned()));
        problems.push(problem.at(origin.clone()));
    }
}

fn read_env_file(path: &str, text: &str, problems: &mut Problems) -> Layer {
    let mut layer = Layer::new();
    let origin = |line, by| Origin::EnvFile {
        path: path.to_owned(),
        line,
        by,
    };
    for parsed in env_file::parse(text) {
        let found = match parsed {
            Ok(found) => found,
            Err(bad) => {
                let subject = format!("{path} line {}", bad.line);
                problems.push(Problem::new(subject, Fault::BadLine(bad.rule)));
                continue;
            }
        };
        let fail = |fault| Problem::new(found.key, fault).at(origin(found.line, None));
        let Some((setting, _)) = settings::by_variable(found.key) else {
            let fault = match nearest(found.key, settings::variables()) {
                None if !found.key.starts_with("MCP_") => Fault::ForeignKey,
                nearest => Fault::Unknown { nearest },
            };
            problems.push(fail(fault));
            continue;
        };
        let by = (found.key != setting.key).then(|| found.key.to_owned());
        let entry = (Some(found.value.clone()), origin(found.line, by));
        if layer.insert(found.key.to_owned(), entry).is_some() {
            problems.push(fail(Fault::GivenTwice));
        }
    }
    layer
}

/// The one text of a setting: the first layer that has it wins; a secret has one form only.
fn resolve(
    setting: &'static Setting,
    layers: &[Layer],
    files: &dyn Files,
    warnings: &mut Vec<Warning>,
) -> Result<Option<Given>, (Fault, Origin)> {
    let value = layers.iter().find_map(|layer| {
        let aliased = || layer.get(setting.alias?);
        layer.get(setting.key).or_else(aliased)
    });
    let file_key = setting.file_key();
    let file = file_key.as_ref();
    let file = file.and_then(|key| layers.iter().find_map(|layer| layer.get(key)));
    let (text, origin) = match (value, file) {
        (None, None) => return Ok(None),
        (Some((_, origin)), Some(_)) => return Err((Fault::BothForms, origin.clone())),
        (Some(found), None) | (None, Some(found)) => found,
    };
    let text = text.as_ref().ok_or((Fault::NotUtf8, origin.clone()))?;
    let text = match file_key.filter(|_| file.is_some()) {
        None => Ok(text.clone()),
        Some(key) => load_secret(&key, text.reveal(), files, warnings),
    };
    let origin = origin.clone();
    match text {
        Ok(text) => Ok(Some(Given { text, origin })),
        Err(fault) => Err((fault, origin)),
    }
}

/// The content of a secret's file, without the newline that editors leave at its end.
fn load_secret(
    key: &str,
    path: &str,
    files: &dyn Files,
    warnings: &mut Vec<Warning>,
) -> Result<Secret, Fault> {
    if path.is_empty() {
        return Err(Fault::Empty {
            allowed: "the path of a file".to_owned(),
        });
    }
    let loaded = files.load(Path::new(path)).map_err(Fault::File)?;
    warn_of_readable(key, path, &loaded, warnings);
    let text = loaded.text.reveal();
    let line = text.strip_suffix('\n').unwrap_or(text);
    Ok(Secret::new(line.strip_suffix('\r').unwrap_or(line)))
}

/// Containers' secrets are mounted there, readable by every user of the container.
const MOUNTED_SECRETS: [&str; 2] = ["/run/secrets", "/var/run/secrets"];

fn warn_of_readable(key: &str, path: &str, loaded: &LoadedFile, warnings: &mut Vec<Warning>) {
    let mounted = MOUNTED_SECRETS
        .iter()
        .any(|folder| Path::new(path).starts_with(folder));
    if loaded.readable_by_all && !mounted {
        let (key, path) = (key.to_owned(), visible(path));
        warnings.push(Warning::ReadableSecret { key, path });
    }
}

/// The same of a token that is read from its file when it is used; trouble with it shows then.
fn warn_of_token_file(
    setting: &Setting,
    given: Option<&Given>,
    files: &dyn Files,
    warnings: &mut Vec<Warning>,
) {
    if let Some(given) = given.filter(|_| setting.key.ends_with("_TOKEN_FILE"))
        && let Ok(loaded) = files.load(Path::new(given.text.reveal()))
    {
        warn_of_readable(setting.key, given.text.reveal(), &loaded, warnings);
    }
}
