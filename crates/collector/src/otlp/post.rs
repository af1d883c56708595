//! One request to a receiver. What its answer means is in [`super::answer`].

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Method;
use hyper::body::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use weir_fetch::{Endpoint, Fetcher};

use super::answer::{Verdict, verdict};
use super::headers;

/// How long a receiver may take: as OpenTelemetry's own exporters wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is read of an answer; the specification has this bound.
const MAX_ANSWER: usize = 4 << 20;

/// Sends requests to one receiver.
#[derive(Clone, Debug)]
pub(super) struct Post {
    endpoint: Endpoint,
    headers_file: Option<PathBuf>,
    fetcher: Fetcher,
}

impl Post {
    pub(super) fn new(
        endpoint: &Endpoint,
        headers_file: Option<PathBuf>,
        ca_file: Option<PathBuf>,
    ) -> Self {
        Self {
            endpoint: endpoint.clone(),
            headers_file,
            fetcher: Fetcher::new(ca_file).bounded(PATIENCE, MAX_ANSWER),
        }
    }

    /// Where it goes, for people.
    pub(super) fn place(&self) -> String {
        self.endpoint.place()
    }

    /// Sends `body` to `path` below the receiver's base, once.
    pub(super) async fn send(&self, path: &str, body: String) -> Verdict {
        let endpoint = self.endpoint.at(below(self.endpoint.path(), path));
        let mut request = endpoint
            .request(Method::POST)
            .header(CONTENT_TYPE, "application/json")
            .header(CONTENT_ENCODING, "gzip");
        if let Some(file) = &self.headers_file {
            match headers::read(file).await {
                Ok(headers) => {
                    for (name, value) in headers {
                        request = request.header(name, value);
                    }
                }
                Err(error) => return Verdict::Trouble(error.to_string()),
            }
        }
        let zipped = tokio::task::spawn_blocking(move || zipped(&body)).await;
        let request = match zipped {
            Ok(Ok(zipped)) => request.body(zipped),
            Ok(Err(error)) => return Verdict::Trouble(error.to_string()),
            Err(error) => return Verdict::Trouble(error.to_string()),
        };
        match request {
            Ok(request) => {
                let answer = self.fetcher.send(&endpoint, request).await;
                verdict(answer, SystemTime::now())
            }
            Err(error) => Verdict::Trouble(error.to_string()),
        }
    }
}

fn below(base: &str, path: &str) -> String {
    format!("{}/{path}", base.trim_end_matches('/'))
}

fn zipped(body: &str) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body.as_bytes())?;
    Ok(encoder.finish()?.into())
}
