//! dynamic-mcp: an MCP server whose tools are made while it runs, each call in a hardened single-use container.

pub mod base;
pub mod domain;
pub mod gate;
