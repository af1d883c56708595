//! Objects in an S3-compatible bucket: signed GET and PUT (AWS Signature Version 4).
//!
//! The signature is written out here: what there is for it brings a second URL parser with tables of
//! Unicode and a second library of dates along, for a hundred lines.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use aws_lc_rs::hmac;
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use sha2::{Digest as _, Sha256};
use weir_audit::Timestamp;
use weir_fetch::{Answer, Endpoint, Fetcher};

use super::KeepError;
use super::place::{ArchiveConfig, PlaceError};

const PATIENCE: Duration = Duration::from_secs(60);
const MAX_ANSWER: usize = 1 << 20;

/// A bucket, and the start of its objects' names.
#[derive(Debug)]
pub(super) struct Bucket {
    endpoint: Endpoint,
    region: String,
    /// `/BUCKET/PREFIX/`
    path: String,
    credentials: PathBuf,
    fetcher: Fetcher,
}

impl Bucket {
    pub(super) fn new(name: &str, config: ArchiveConfig) -> Result<Self, PlaceError> {
        let (bucket, prefix) = name.split_once('/').unwrap_or((name, ""));
        if bucket.is_empty() {
            return Err(PlaceError::Invalid(
                "the archive's bucket has no name".into(),
            ));
        }
        let credentials = config.credentials.ok_or_else(|| {
            PlaceError::Invalid("an archive in a bucket needs a directory with credentials".into())
        })?;
        let region = config.region.unwrap_or_else(|| "us-east-1".into());
        let url = config
            .endpoint
            .unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let endpoint = Endpoint::parse(&url, true).map_err(|source| PlaceError::Url {
            url: url.clone(),
            source,
        })?;
        let mut path = format!("/{bucket}/");
        let prefix = prefix.trim_matches('/');
        if !prefix.is_empty() {
            path.push_str(prefix);
            path.push('/');
        }
        Ok(Self {
            endpoint,
            region,
            path,
            credentials,
            fetcher: Fetcher::new(config.ca_file).bounded(PATIENCE, MAX_ANSWER),
        })
    }

    pub(super) async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, KeepError> {
        let answer = self.send(Method::GET, name, Bytes::new()).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer.body.to_vec())),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(refused(&answer)),
        }
    }

    pub(super) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), KeepError> {
        let answer = self.send(Method::PUT, name, bytes.into()).await?;
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(refused(&answer))
        }
    }

    async fn send(&self, method: Method, name: &str, body: Bytes) -> Result<Answer, KeepError> {
        let failed =
            |error: &dyn std::fmt::Display| KeepError::Place(format!("the bucket: {error}"));
        let login = Login::read(&self.credentials).map_err(|error| failed(&error))?;
        let path = escaped(&format!("{}{name}", self.path));
        let at = self.endpoint.at(path.clone());
        let now = SystemTime::now().into();
        let digest = hex(&Sha256::digest(&body));
        let mut headers = vec![
            ("host", at.authority().to_owned()),
            ("x-amz-content-sha256", digest.clone()),
            ("x-amz-date", date(now)),
        ];
        if let Some(token) = &login.token {
            headers.push(("x-amz-security-token", token.clone()));
        }
        let signed = Signing {
            login: &login,
            region: &self.region,
            time: now,
        };
        let authorization = signed.authorization(method.as_str(), &path, "", &headers, &digest);
        let mut request = at.request(method).header("authorization", authorization);
        for (name, value) in headers.iter().filter(|(name, _)| *name != "host") {
            request = request.header(*name, value);
        }
        let request = request.body(body).map_err(|error| failed(&error))?;
        let sent = self.fetcher.send(&at, request).await;
        sent.map_err(|error| failed(&error))
    }
}

fn refused(answer: &Answer) -> KeepError {
    // Errors are XML with a code; the rest of it may repeat names.
    let body = String::from_utf8_lossy(&answer.body);
    let code = body
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"));
    let code = code.map(|(code, _)| code.chars().take(60).collect::<String>());
    KeepError::Place(format!(
        "the bucket: {}{}",
        answer.status,
        code.map(|code| format!(", {code}")).unwrap_or_default()
    ))
}

/// Who writes.
struct Login {
    id: String,
    secret: String,
    token: Option<String>,
}

impl Login {
    fn read(dir: &std::path::Path) -> io::Result<Self> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path)
                .map(|text| text.trim().to_owned())
                .map_err(|error| {
                    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
                })
        };
        let token = match read("session-token") {
            Ok(token) => Some(token),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self {
            id: read("access-key-id")?,
            secret: read("secret-access-key")?,
            token,
        })
    }
}

/// What a signature depends on beside the request.
struct Signing<'a> {
    login: &'a Login,
    region: &'a str,
    time: Timestamp,
}

impl Signing<'_> {
    /// The header `authorization`; `headers` are in order, with names in small letters.
    fn authorization(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, String)],
        digest: &str,
    ) -> String {
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let mut canonical = format!("{method}\n{path}\n{query}\n");
        for (name, value) in headers {
            let _ = writeln!(canonical, "{name}:{value}");
        }
        let _ = write!(canonical, "\n{names}\n{digest}");
        let stamp = date(self.time);
        let day = stamp.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let text = format!(
            "AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}",
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        let mut key = format!("AWS4{}", self.login.secret).into_bytes();
        for part in [day, self.region, "s3", "aws4_request", &text] {
            let mac = hmac::Key::new(hmac::HMAC_SHA256, &key);
            key = hmac::sign(&mac, part.as_bytes()).as_ref().to_vec();
        }
        let (id, signature) = (&self.login.id, hex(&key));
        format!(
            "AWS4-HMAC-SHA256 Credential={id}/{scope},SignedHeaders={names},Signature={signature}"
        )
    }
}

/// `20130524T000000Z`
fn date(time: Timestamp) -> String {
    let text = time.to_string();
    let text = text.split(['.', 'Z']).next().unwrap_or_default();
    let digits: String = text.chars().filter(|c| !"-:".contains(*c)).collect();
    digits + "Z"
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A path with every byte escaped that a signature wants escaped.
fn escaped(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples in Amazon's description of Signature Version 4 for S3.
    #[test]
    fn signatures_are_those_of_amazons_examples() {
        let login = Login {
            id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let signing = Signing {
            login: &login,
            region: "us-east-1",
            time: "2013-05-24T00:00:00Z".parse().unwrap(),
        };
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let host = || ("host", "examplebucket.s3.amazonaws.com".to_owned());
        let rest = |digest: &str| {
            [
                ("x-amz-content-sha256", digest.to_owned()),
                ("x-amz-date", "20130524T000000Z".to_owned()),
            ]
        };
        let [content, date] = rest(empty);
        let range = ("range", "bytes=0-9".to_owned());
        let headers = [host(), range, content, date];
        let got = signing.authorization("GET", "/test.txt", "", &headers, empty);
        assert!(
            got.ends_with(
                "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
            ),
            "{got}"
        );
        let [content, date] = rest(empty);
        let headers = [host(), content, date];
        let got = signing.authorization("GET", "/", "lifecycle=", &headers, empty);
        assert!(
            got.ends_with(
                "Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
            ),
            "{got}"
        );
    }

    #[test]
    fn names_are_escaped_as_signatures_want_it() {
        assert_eq!(escaped("/b/tile/0/x001/067.p/3"), "/b/tile/0/x001/067.p/3");
        assert_eq!(escaped("/b/a b+ü"), "/b/a%20b%2B%C3%BC");
    }

    #[test]
    fn a_bucket_needs_a_name_a_server_and_credentials() {
        let config = |endpoint: &str, credentials: bool| ArchiveConfig {
            endpoint: Some(endpoint.into()),
            credentials: credentials.then(|| "/c".into()),
            ..ArchiveConfig::default()
        };
        assert!(Bucket::new("b/p/q/", config("https://s3.example.org", true)).is_ok());
        assert!(Bucket::new("", config("https://s3.example.org", true)).is_err());
        assert!(Bucket::new("b", config("https://s3.example.org", false)).is_err());
        assert!(Bucket::new("b", config("http://s3.example.org", true)).is_err());
        let bucket = Bucket::new("b/p/q/", config("http://127.0.0.1:9000", true)).unwrap();
        assert_eq!(bucket.path, "/b/p/q/");
    }
}
