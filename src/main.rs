//! Arguments → command → exit code; nothing else.

fn main() {
    dynamic_mcp::engine::jail::launch_if_asked();
}
