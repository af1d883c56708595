//! Small conversions of text.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use weir_api::Diagnostic;

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

/// All findings about one object in one text.
pub(crate) fn findings(diagnostics: &[Diagnostic]) -> String {
    let all: Vec<String> = diagnostics.iter().map(finding).collect();
    all.join("; ")
}

/// A finding without the place in a file that nobody sees.
pub(crate) fn finding(diagnostic: &Diagnostic) -> String {
    let mut text = String::new();
    if !diagnostic.field.is_empty() {
        text.push_str(&diagnostic.field);
        text.push_str(": ");
    }
    text.push_str(&diagnostic.message);
    if let Some(suggestion) = &diagnostic.suggestion {
        text.push_str(&format!(" ({suggestion})"));
    }
    text
}

/// What the API server says, in its own words.
pub(crate) fn why(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => error.to_string(),
    }
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
