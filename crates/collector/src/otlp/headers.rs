//! Headers of every request, from a file: `NAME=VALUE`, with commas or line ends between them, values
//! percent-encoded where they must be. That is the form of `OTEL_EXPORTER_OTLP_HEADERS`.

use std::path::{Path, PathBuf};

use hyper::header::{HeaderName, HeaderValue};

/// Why headers cannot be used. No value is in it.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeadersError {
    #[error("cannot read {}: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{}: header number {place} is not NAME=VALUE", path.display())]
    Form { path: PathBuf, place: usize },
}

pub(super) async fn read(path: &Path) -> Result<Vec<(HeaderName, HeaderValue)>, HeadersError> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|source| HeadersError::File {
        path: path.to_owned(),
        source,
    })?;
    parse(&text).map_err(|place| HeadersError::Form {
        path: path.to_owned(),
        place,
    })
}

/// `Err` has the place of the one that is wrong, from 1.
fn parse(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, usize> {
    let pairs = text.split([',', '\n']).map(str::trim);
    let pairs = pairs.filter(|pair| !pair.is_empty()).enumerate();
    pairs
        .map(|(place, pair)| header(pair).ok_or(place + 1))
        .collect()
}

fn header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let mut value = HeaderValue::from_bytes(&decoded(value.trim())?).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Result<Vec<(String, String)>, usize> {
        let headers = parse(text)?;
        let plain = headers.into_iter().map(|(name, value)| {
            assert!(value.is_sensitive());
            (name.to_string(), value.to_str().unwrap().to_owned())
        });
        Ok(plain.collect())
    }

    #[test]
    fn headers_are_those_of_the_environment_variable_or_one_a_line() {
        let wanted = vec![
            ("authorization".into(), "Basic dXNlcjpwYXNz==".into()),
            ("x-scope-orgid".into(), "a,b".into()),
        ];
        let one = "Authorization=Basic%20dXNlcjpwYXNz==,X-Scope-OrgID=a%2Cb";
        assert_eq!(seen(one), Ok(wanted.clone()));
        let lines = "Authorization = Basic dXNlcjpwYXNz==\n\nX-Scope-OrgID=a%2Cb\n";
        assert_eq!(seen(lines), Ok(wanted));
        assert_eq!(seen("\n"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_header_is_named_by_its_place_only() {
        for (text, place) in [
            ("a=b,secret", 2),
            ("a b=secret", 1),
            ("a=b\nc=%zz", 2),
            ("a=%0a", 1),
        ] {
            assert_eq!(seen(text), Err(place), "{text}");
        }
    }
}
