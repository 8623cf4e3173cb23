//! Arguments → command → exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    dynamic_mcp::engine::jail::launch_if_asked();
    dynamic_mcp::cli::run(std::env::args_os().skip(1))
}
