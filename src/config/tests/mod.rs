//! Tests of settings as a whole: from what is given to the typed configuration or its problems.

mod fuzz;
mod rules;
mod sources;
mod table;
