//! Measures Hornero beside its peers.
fn main() {}
