//! Where a command finds its weir, and how it answers.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::value::RawValue;
use weir_collector::client::{Client, ClientError};

/// Where weir is, and in which form to answer.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Connect {
    /// State directory of the weir to ask [default: ./.weir if it exists, else /var/lib/weir]
    #[arg(long, value_name = "DIR", help_heading = "Connection")]
    pub(super) state_dir: Option<PathBuf>,
    /// Its operators' socket, if elsewhere than in the state directory
    #[arg(
        long,
        value_name = "PATH",
        conflicts_with = "state_dir",
        help_heading = "Connection"
    )]
    pub(super) socket: Option<PathBuf>,
    /// Ask a collector over TCP instead; for reading only
    #[arg(
        long,
        value_name = "http://HOST:PORT",
        requires = "token_file",
        conflicts_with_all = ["state_dir", "socket"],
        value_parser = address,
        help_heading = "Connection"
    )]
    pub(super) collector: Option<String>,
    /// File with the collector's bearer token
    #[arg(
        long,
        value_name = "FILE",
        requires = "collector",
        help_heading = "Connection"
    )]
    pub(super) token_file: Option<PathBuf>,
    /// Form of the answer
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "FORM",
        help_heading = "Connection"
    )]
    pub(super) output: Form,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// For people
    #[default]
    Table,
    /// One JSON value (`tail`: one per line)
    Json,
    /// YAML
    Yaml,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody answers.
    #[error("no weir is running for {place} ({detail})")]
    Nobody { place: String, detail: String },
    /// Somebody may be there, but not for this user.
    #[error("{0} is not open to you (permission denied)")]
    Closed(String),
    #[error(transparent)]
    Api(ClientError),
    #[error("cannot read the token file {path}: {source}")]
    Token {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("no session {0}")]
    NoSession(String),
    #[error("cannot write the answer: {0}")]
    Write(String),
    /// The reader of standard output has seen enough.
    #[error("the output was closed")]
    Enough,
}

fn address(text: &str) -> Result<String, String> {
    if text.starts_with("https://") {
        return Err("the collector serves http://; put TLS in front of it elsewhere".to_owned());
    }
    let rest = text
        .strip_prefix("http://")
        .unwrap_or(text)
        .trim_end_matches('/');
    let port = rest.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(_)) if !rest.contains('/') => Ok(rest.to_owned()),
        _ => Err("expected http://HOST:PORT".to_owned()),
    }
}

impl Connect {
    fn directory(&self) -> PathBuf {
        let local = Path::new(".weir");
        match &self.state_dir {
            Some(given) => given.clone(),
            None if local.is_dir() => local.to_owned(),
            None => PathBuf::from("/var/lib/weir"),
        }
    }

    fn socket_path(&self) -> PathBuf {
        self.socket
            .clone()
            .unwrap_or_else(|| self.directory().join("weir.sock"))
    }

    pub(super) fn client(&self) -> Result<Client, Failure> {
        let (Some(address), Some(path)) = (&self.collector, &self.token_file) else {
            return Ok(Client::socket(&self.socket_path()));
        };
        let token = std::fs::read_to_string(path).map_err(|source| Failure::Token {
            path: path.clone(),
            source,
        })?;
        Ok(Client::tcp(address.as_str(), token.trim()))
    }

    /// What an error means for the person who typed the command.
    pub(super) fn blame(&self, error: ClientError) -> Failure {
        let ClientError::Connect { place, reason } = error else {
            return Failure::Api(error);
        };
        if reason.contains("Permission denied") {
            return Failure::Closed(place);
        }
        let at = match (&self.collector, &self.socket) {
            (Some(address), _) => format!("http://{address}"),
            (None, Some(socket)) => socket.display().to_string(),
            (None, None) => self.directory().display().to_string(),
        };
        let detail = if place == at || at.ends_with(&place) {
            reason
        } else {
            format!("{place}: {reason}")
        };
        Failure::Nobody { place: at, detail }
    }
}

/// Writes to standard output.
pub(super) fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::Enough,
        _ => Failure::Write(error.to_string()),
    })
}

/// A value as one JSON or YAML document.
pub(super) fn document(value: &impl Serialize, form: Form) -> Result<String, Failure> {
    if form == Form::Yaml {
        let text = serde_saphyr::to_string(value);
        return text.map_err(|error| Failure::Write(error.to_string()));
    }
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| Failure::Write(error.to_string()))
}

/// Values as weir sent them: a JSON array with one of them per line, or a YAML list.
pub(super) fn raw_list(values: &[Box<RawValue>], form: Form) -> Result<String, Failure> {
    if form == Form::Yaml {
        let parsed: Result<Vec<serde_json::Value>, _> = values
            .iter()
            .map(|value| serde_json::from_str(value.get()))
            .collect();
        return document(
            &parsed.map_err(|error| Failure::Write(error.to_string()))?,
            form,
        );
    }
    let lines: Vec<&str> = values.iter().map(|value| value.get()).collect();
    Ok(if lines.is_empty() {
        "[]\n".to_owned()
    } else {
        format!("[\n{}\n]\n", lines.join(",\n"))
    })
}

/// A value as weir sent it, parsed.
pub(super) fn parsed<T: serde::de::DeserializeOwned>(raw: &RawValue) -> Result<T, Failure> {
    serde_json::from_str(raw.get())
        .map_err(|error| Failure::Api(ClientError::Answer(error.to_string())))
}
