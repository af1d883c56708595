//! The process around the engine: what `weir-sidecar` and `weir standalone` share.
