//! What std lacks: clock texts, time zones, deadlines, random ids, clipped text, secrets, HMAC, an
//! HTTP/1.1 client codec, TLS for clients, owners of files, system calls. Nothing here knows about
//! tools, MCP or Docker.

pub mod address;
pub mod clock;
pub mod deadline;
pub mod hmac;
pub mod http1;
pub mod ids;
pub mod owner;
pub mod secret;
pub mod sys;
pub mod text;
pub mod time_zone;
pub mod tls;
