//! Taking tools into the registry from outside any server. They are made and changed as by a call,
//! so each of them stands in the audit log, with the operator's command as the actor.

use std::sync::Arc;

use super::audit_log::open_audit;
use super::{StartError, open_store};
use crate::audit::{ActResult, Action, Actor, Audit, CodeDigest, Details, Event, Unaudited};
use crate::base::ids::random_hex;
use crate::config::Config;
use crate::domain::tool::Tool;
use crate::metrics::Metrics;
use crate::registry::snapshot::Snapshot;
use crate::registry::{Imported, OnCollision};

/// Takes tools in, all or none.
///
/// # Errors
/// In words: what is wrong with the registry, the tools or the audit log. Only where they say so
/// was the import made all the same.
pub fn import_tools(
    config: &Config,
    tools: &[Arc<Tool>],
    on_collision: OnCollision,
) -> Result<Imported, String> {
    let words = |error: StartError| error.to_string();
    let store = open_store(&config.store).map_err(words)?;
    let instance = format!("import-{}", random_hex());
    let audit = open_audit(config, || instance, &Arc::new(Metrics::default())).map_err(words)?;
    let before = store.snapshot();
    let imported = store.import(tools, on_collision);
    let written = match &imported {
        Ok(_) => write_changes(&audit, &before, &store.snapshot(), tools),
        Err(_) => Ok(()),
    };
    audit.stop();
    let imported = imported.map_err(|error| error.to_string())?;
    written.map_err(|Unaudited| "the import was made, but it could not be audited".to_owned())?;
    Ok(imported)
}

fn write_changes(
    audit: &Audit,
    before: &Snapshot,
    after: &Snapshot,
    tools: &[Arc<Tool>],
) -> Result<(), Unaudited> {
    for name in tools.iter().map(|tool| tool.name.as_str()) {
        let Some(tool) = after.find(name) else {
            continue;
        };
        let action = match before.find(name) {
            None => Action::ToolCreate,
            Some(old) if old.revision != tool.revision => Action::ToolUpdate,
            Some(_) => continue,
        };
        let actor = Actor {
            subject: Some("operator".to_owned()),
            client: Some("tools import".to_owned()),
            ..Actor::server()
        };
        let event = Event {
            actor,
            ..Event::of_server(action, name)
        };
        let details = Details::Tool {
            revision: tool.revision,
            digest: CodeDigest::of(&tool.definition.code),
        };
        audit.record(&event, ActResult::Success, details)?;
    }
    Ok(())
}
