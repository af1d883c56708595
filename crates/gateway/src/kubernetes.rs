//! The Kubernetes API in the data path.

mod placeholder;

pub use placeholder::{PlaceholderClaims, Placeholders};
