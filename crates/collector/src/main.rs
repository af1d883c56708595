//! `weir-collector`.
fn main() {}
