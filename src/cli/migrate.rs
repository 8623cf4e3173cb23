//! The `migrate` command: brings the database's schema up to date, as its owner.

use std::process::ExitCode;

use super::{fail, print};
use crate::app::database_options;
use crate::config::{Backend, Config};
use crate::registry::postgres::migrate as migrate_database;

pub(super) fn migrate(config: &Config) -> ExitCode {
    let Backend::Postgres(database) = &config.store.backend else {
        return fail(
            2,
            "a file has nothing to migrate: set MCP_DYNAMIC_BACKEND=postgres",
        );
    };
    match migrate_database(&database_options(&config.store, database)) {
        Ok(done) if done.from == done.to => {
            print(&format!("the schema is at version {} already", done.to))
        }
        Ok(done) => print(&format!(
            "the schema went from version {} to {}",
            done.from, done.to
        )),
        Err(error) => fail(1, &error.to_string()),
    }
}
