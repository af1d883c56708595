//! `weir-controller`.
fn main() {}
