//! Values that nobody can guess, and how they are compared.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// What a secret is known by: whoever reads this process's memory of keys learns none.
pub(super) type Mark = [u8; 32];

/// 256 bits of randomness in 43 characters; none when the system has no randomness.
pub(super) fn fresh() -> Option<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// A look-up by this takes no time that says anything about the secret.
pub(super) fn mark(secret: &str) -> Mark {
    Sha256::digest(secret.as_bytes()).into()
}

/// Whether two secrets are equal, in a time that does not say where they differ.
pub(super) fn same(one: &str, other: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one.as_bytes(), other.as_bytes()).is_ok()
}
