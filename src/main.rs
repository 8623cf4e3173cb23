//! Arguments → command → exit code; nothing else.

fn main() {}
