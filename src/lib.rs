//! dynamic-mcp: an MCP server whose tools are made while it runs, each call in a hardened
//! single-use container.
//!
//! # The house
//!
//! | room | what lives there |
//! |---|---|
//! | [`cli`] | one file a command |
//! | [`app`] | the only wiring: which services there are, in which order they start and end |
//! | [`http`] | private tiny_http servers, their workers, routes, MCP endpoint, probes |
//! | [`stdio`] | the other transport, into the same dispatch |
//! | [`gate`] | the public TCP sockets: limits, deadlines, relay inwards; one thread |
//! | [`mcp`] | the protocol, knowing no HTTP and no Docker: messages in, replies out |
//! | [`tools`] | which tools there are, and what calling one means |
//! | [`engine`] | confined runs: what a container is, the runner inside, nothing left behind |
//! | [`docker`] | the Engine API by hand |
//! | [`registry`] | where tools are kept; live instances |
//! | [`auth`] | who a caller is and what it may do |
//! | [`audit`] | the log of acts: what is written, its chain, its proof |
//! | [`guard`] | how many runs at once, how often |
//! | [`schema`] | JSON Schema 2020-12 |
//! | [`config`] | one table of settings, what was given, the typed result |
//! | [`metrics`] | counts and their text |
//! | [`domain`] | plain types: tool, image, run, failure |
//! | [`base`] | what std lacks |
//!
//! Imports point one way: `cli → app → http, stdio → gate → mcp → tools → engine → docker,
//! registry, auth, audit, guard → config, metrics, schema → domain → base`; neighbours do not
//! know each other.
//!
//! # One call
//!
//! [`gate`] accepts, checks and wholly buffers the request → an [`http`] worker checks origin, host
//! and media types → [`mcp`] reads the message, finds its era and method → [`tools`] resolves the
//! tool, validates the arguments, asks [`auth`] and [`guard`] → [`engine`] makes a container, sends
//! the job, hears the result, destroys the container → the answer goes back the same way. What
//! the code says before goes up as it comes, to a stream that its first word opens in the [`gate`].
//!
//! # What never happens
//!
//! * Code of authors never runs outside a container (or jail); a missing daemon is an error, never
//!   a reason to run it here.
//! * A container never serves two calls, and never outlives its instance unnoticed: its labels name
//!   its owner and its end, and only what is provably dead or expired is removed.
//! * No number of connections or open streams changes the number of threads.
//! * Nothing that a client sent is echoed into a response header unchecked, and no secret reaches a
//!   log, an error or a metric.
//! * Probes and lists never wait behind runs.
//!
//! # Words
//!
//! *Run*: one execution of an author's code. *One-shot*: its throw-away container. *Checker*: a
//! container that compiles code and never runs it. *Cell*: a confined process that the runner
//! speaks from. *Registry*: where tools are kept; Docker's is an *image registry*. *Engine*: what
//! runs code; the other side of its socket is the *daemon*. *Instance*: one running server.
//! *Principal*: who is asking. *Round*: one run of a call whose code asks its client; the next one
//! has the answers.

pub mod app;
pub mod audit;
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
pub mod stdio;
pub mod tools;
