//! The schema validator against the crate `jsonschema` and against the official test suite.

mod oracle;
mod suite;
