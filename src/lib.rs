//! dynamic-mcp: an MCP server whose tools are made while it runs, each call in a hardened
//! single-use container.

pub mod app;
pub mod auth;
pub mod base;
pub mod cli;
pub mod config;
pub mod docker;
pub mod domain;
pub mod engine;
pub mod gate;
pub mod guard;
pub mod http;
pub mod mcp;
pub mod metrics;
pub mod registry;
pub mod schema;
pub mod tools;
