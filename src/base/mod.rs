//! What std lacks: clock texts, random ids, clipped text, secrets, an HTTP/1.1 client codec,
//! system calls. Nothing here knows about tools, MCP or Docker.

pub mod clock;
pub mod ids;
pub mod secret;
pub mod text;
