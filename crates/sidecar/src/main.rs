//! `weir-sidecar`.
fn main() {}
