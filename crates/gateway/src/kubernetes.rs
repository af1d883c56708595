//! The Kubernetes API in the data path.

mod line;
mod placeholder;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        unused_imports,
        reason = "what serves requests is not merged yet"
    )
)]
mod upgraded;

pub use placeholder::{PlaceholderClaims, Placeholders};
