//! Taking entries into the registry from outside any server. They are made and changed as by a
//! call, so each of them stands in the audit log, with the operator's command as the actor.

use std::sync::Arc;

use super::audit_log::open_audit;
use super::{StartError, open_store};
use crate::audit::{
    Act, ActResult, Action, Actor, Audit, Change, CodeDigest, Details, Event, Unaudited,
};
use crate::base::ids::random_hex;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::registry::snapshot::Snapshot;
use crate::registry::{Imported, OnCollision, Record, ToolStore, Writes as _};

/// Takes entries in, all or none; nothing where that cannot be audited.
///
/// # Errors
/// In words: what is wrong with the registry, the entries or the audit log. Only where they say so
/// was the import made all the same.
pub fn import_records(
    config: &Config,
    records: &[Record],
    on_collision: OnCollision,
) -> Result<Imported, String> {
    let words = |error: StartError| error.to_string();
    let store = open_store(&config.store).map_err(words)?;
    let instance = format!("import-{}", random_hex());
    let audit = open_audit(config, || instance, &Arc::new(Metrics::default())).map_err(words)?;
    let imported = import(&audit, store.as_ref(), records, on_collision);
    audit.stop();
    imported
}

fn import(
    audit: &Audit,
    store: &dyn ToolStore,
    records: &[Record],
    on_collision: OnCollision,
) -> Result<Imported, String> {
    let before = store.snapshot();
    let acts = records
        .iter()
        .filter_map(|record| begin(audit, &before, record));
    let acts: Vec<_> = acts
        .collect::<Result<_, Unaudited>>()
        .map_err(|error| error.to_string())?;
    let imported = store.import(records, on_collision);
    let after = store.snapshot();
    let finish = |(record, act): (&Record, Act)| {
        let stored = after.record(&record.key());
        let (result, details) = match (&imported, stored) {
            (Err(error), _) => {
                let outcome = error.kind().as_str();
                (ActResult::Error, Details::Failed { outcome })
            }
            (Ok(_), None) => (ActResult::Success, Details::None {}),
            (Ok(_), Some(stored)) => {
                let details = Details::Stored {
                    revision: stored.revision(),
                    digest: CodeDigest::of(stored.body()),
                };
                (ActResult::Success, details)
            }
        };
        act.finish(result, details)
    };
    let written: Vec<_> = acts.into_iter().map(finish).collect();
    let imported = imported.map_err(|error| error.to_string())?;
    match written.into_iter().collect() {
        Ok(()) => Ok(imported),
        Err(Unaudited) => Err("the import was made, but it could not be audited".to_owned()),
    }
}

/// The line before a change; `None` where there is nothing to change.
fn begin<'a>(
    audit: &Audit,
    before: &Snapshot,
    record: &'a Record,
) -> Option<Result<(&'a Record, Act), Unaudited>> {
    let change = match before.record(&record.key()) {
        None => Change::Create,
        Some(old) if !old.defines_the_same(record) => Change::Update,
        Some(_) => return None,
    };
    let actor = Actor {
        subject: Some("operator".to_owned()),
        client: Some("tools import".to_owned()),
        ..Actor::server()
    };
    let event = Event {
        actor,
        ..Event::of_server(
            Action::of_change(record.kind(), change),
            record.name().as_str(),
        )
    };
    let digest = CodeDigest::of(record.body());
    let act = audit.intend(event, Details::Code { digest });
    Some(act.map(|act| (record, act)))
}
