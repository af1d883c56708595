//! Small conversions of text.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    text
}

/// A time of the API server's.
pub(crate) fn time(of: &Time) -> Option<Timestamp> {
    Timestamp::from_microsecond(of.0.as_microsecond()).ok()
}

/// Resource versions of one cluster as numbers that grow with time; others as 0.
pub(crate) fn version(resource_version: Option<&str>) -> u64 {
    resource_version
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}
