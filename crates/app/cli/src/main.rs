//! The hornero command.
fn main() {}
