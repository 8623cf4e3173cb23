//! Defaults that depend on other settings or on the user's folders, as texts of the same kinds.

use super::builtins::{BuiltinGroup, Profile};
use super::raw::Environment;
use super::values::Values;

/// Workers that are never inside a run, so that lists, stops and client answers always find one.
pub(super) const SPARE_WORKERS: u64 = 8;
/// Runs at a time where nobody says otherwise and the workers allow it.
const DEFAULT_CONCURRENCY: u64 = 8;

/// Why a file of ours has no default.
pub(super) const NO_DATA_FOLDER: &str =
    "as neither XDG_DATA_HOME nor HOME says where the user's data is";

/// Most runs at a time that `MCP_HTTP_WORKERS` allows; a server this small still runs one.
pub(super) fn concurrency_limit(values: &Values) -> u64 {
    let workers = values.integer("MCP_HTTP_WORKERS");
    workers.saturating_sub(SPARE_WORKERS).max(1)
}

/// Fills them in; the order is that of their dependence.
pub(super) fn fill_in(values: &mut Values, environment: &Environment) {
    let profile = Profile::read(values);
    let enterprise = profile == Profile::Enterprise;
    let stdio = values.chosen("MCP_TRANSPORT", "stdio");
    let jwt = values.chosen("MCP_AUTH_MODE", "jwt");
    let word = |truth: bool| if truth { "true" } else { "false" };

    let style = if stdio { "underscore" } else { "dotted" };
    values.set_default("MCP_TOOL_NAME_STYLE", style);
    let groups = BuiltinGroup::ALL.map(|group| profile.has_group(group).then(|| group.as_str()));
    let groups: Vec<_> = groups.into_iter().flatten().collect();
    values.set_default("MCP_BUILTIN_GROUPS", &groups.join(","));
    values.set_default("MCP_AUDIT_ENABLED", word(enterprise));
    values.set_default("MCP_REQUIRE_ADMIN_TOKEN", word(enterprise && !stdio && jwt));

    if let Some(folder) = data_folder(stdio, environment) {
        values.set_default("MCP_DYNAMIC_STORE", &format!("{folder}/tools.json"));
        values.set_default("MCP_AUDIT_FILE", &format!("{folder}/audit.log"));
    }
    values.set_default("MCP_RUNTIME_DIR", runtime_folder(environment));
    if let Some(bundle) = environment.foreign("SSL_CERT_FILE") {
        values.set_default("MCP_AUTH_CA_FILE", bundle);
    }

    let concurrency = concurrency_limit(values).min(DEFAULT_CONCURRENCY);
    values.set_default("MCP_TOOL_MAX_CONCURRENCY", &concurrency.to_string());
    let effective = values.integer("MCP_TOOL_MAX_CONCURRENCY").to_string();
    values.set_default("MCP_TOOL_MAX_CONCURRENCY_PER_PRINCIPAL", &effective);
}

/// Where our files go: beside an HTTP server; for stdio, whose working folder is anybody's, among
/// the user's data. `None` where the user has no such folder. Relative `XDG_…` paths are invalid by
/// the XDG Base Directory specification.
fn data_folder(stdio: bool, environment: &Environment) -> Option<String> {
    if !stdio {
        return Some(".dynamic-mcp".to_owned());
    }
    let absolute = |name| {
        environment
            .foreign(name)
            .filter(|path| path.starts_with('/'))
    };
    let data = absolute("XDG_DATA_HOME").map(str::to_owned);
    let data = data.or_else(|| Some(format!("{}/.local/share", absolute("HOME")?)))?;
    Some(format!("{data}/dynamic-mcp"))
}

fn runtime_folder(environment: &Environment) -> &str {
    let absolute = |name| {
        environment
            .foreign(name)
            .filter(|path| path.starts_with('/'))
    };
    absolute("XDG_RUNTIME_DIR")
        .or_else(|| absolute("TMPDIR"))
        .unwrap_or("/tmp")
}
