//! Settings: one table (`settings.rs`) → what was given (`raw.rs`) → values by kind (`values.rs`) →
//! typed [`Config`] (`parse.rs` and a file a consumer). Documents (`documents.rs`) come from the
//! same table. Nothing here starts, connects or logs; only [`Environment::of_this_process`] reads
//! the environment.

mod auth;
mod builtins;
mod derived;
pub mod documents;
mod engine;
mod env_file;
mod files;
mod grammar;
mod http;
mod kind;
mod nearest;
mod parse;
mod pg_url;
mod problem;
mod raw;
pub mod settings;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod url;
mod values;
mod warning;

pub use auth::{AuthConfig, AuthMode, JwksSource, JwtConfig};
pub use builtins::{BUILT_INS, BuiltinGroup, Profile, has_built_in};
pub use engine::{
    DaemonAddress, EngineChoice, EngineConfig, NodeJail, NpmConfig, PullPolicy, Reuse,
};
pub use files::{Disk, Files, LoadedFile, MAX_FILE_BYTES};
pub use http::{HttpConfig, OriginRule};
pub use kind::{Item, Kind};
pub(crate) use nearest::nearest;
pub use parse::{
    AuditConfig, AuditFailure, AuditSync, CatalogConfig, Config, GuardConfig, LogConfig, LogFormat,
    NameStyle, Transport,
};
pub use pg_url::{PgTarget, PgTls, PgUrlFault};
pub use problem::{Fault, FileFault, Origin, Problem, Problems};
pub use raw::{Environment, GivenFlag, Sources};
pub use store::{Access, Backend, PgConfig, StoreConfig};
pub use values::Effective;
pub use warning::Warning;

/// Settings that were read without a problem.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Typed.
    pub config: Config,
    /// What should be read and does not keep the program from starting.
    pub warnings: Vec<Warning>,
}

/// Whether settings of parts that are not built are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Closed,
    /// As if all were built: for tests of what stands behind the gate.
    #[cfg(test)]
    Open,
}

/// Reads all settings.
///
/// # Errors
/// Every problem there is, `earlier` ones (of the command line) first.
pub fn load(sources: &Sources<'_>, earlier: Problems) -> Result<Loaded, Problems> {
    load_through(Gate::Closed, sources, earlier)
}

fn load_through(gate: Gate, sources: &Sources<'_>, earlier: Problems) -> Result<Loaded, Problems> {
    let (mut problems, mut warnings) = (earlier, Vec::new());
    let given = raw::gather(sources, &mut problems, &mut warnings);
    let mut values = values::Values::read(&given, problems, warnings);
    derived::fill_in(&mut values, sources.environment);
    if gate == Gate::Closed {
        values.refuse_missing_parts();
    }
    let mut config = Config::read(&mut values);
    let warnings;
    (config.rows, warnings) = values.finish()?;
    Ok(Loaded { config, warnings })
}
