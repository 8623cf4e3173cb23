//! One file per command, and what they share: splitting the command line, and help.

pub mod args;
pub mod config;
pub mod help;
