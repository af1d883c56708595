//! Where a command finds its weir, and how it answers.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use weir_collector::client::{Client, ClientError};
use weir_collector::exports::asciicast::CastError;

use crate::cluster::{Cluster, ClusterError, Home, KubeArgs, tunnel};

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
    /// Ask the Weir of a cluster [default for kubectl weir, with WEIR_PLACE=cluster, and wherever an
    /// option below is given]
    #[arg(
        long,
        conflicts_with_all = ["state_dir", "socket", "collector"],
        help_heading = "Cluster"
    )]
    pub(super) cluster: bool,
    #[command(flatten)]
    pub(super) kube: KubeArgs,
    /// Form of the answer
    #[arg(
        short,
        long,
        value_enum,
        default_value_t,
        value_name = "FORM",
        help_heading = "Connection"
    )]
    pub(crate) output: Form,
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Form {
    /// For people
    #[default]
    #[value(alias = "text")]
    Table,
    /// One JSON value (`tail`: one per line)
    Json,
    /// YAML
    Yaml,
    /// A table for spreadsheets: of sessions, query and ask
    Csv,
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
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Options of two places.
    #[error("options for this machine and for a cluster exclude each other")]
    Place,
    /// It exists in one place only.
    #[error("{0}")]
    Elsewhere(&'static str),
    #[error("cannot read the token file {path}: {source}")]
    Token {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {reason}")]
    File { path: PathBuf, reason: String },
    #[error("no session {0}")]
    NoSession(String),
    /// No asciicast, or one has to be chosen.
    #[error("{}", cast(.0))]
    Cast(#[from] CastError),
    #[error("csv is a form of sessions, query and ask only")]
    NoTable,
    #[error("cannot read standard input: {0}")]
    Input(String),
    #[error("cannot write the answer: {0}")]
    Write(String),
    /// The reader of standard output has seen enough.
    #[error("the output was closed")]
    Enough,
}

fn cast(error: &CastError) -> String {
    match error {
        CastError::Several(numbers) => {
            let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
            let numbers = numbers.join(", ");
            format!("this session has several terminals, name one as SESSION/NUMBER: {numbers}")
        }
        CastError::TooMuch => format!("{error}: name one statement as SESSION/NUMBER"),
        CastError::NoTerminal | CastError::Damaged => error.to_string(),
    }
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

    /// Which weir is meant: what is said, else where this program is at home.
    pub(super) fn place(&self, home: Home) -> Result<Home, Failure> {
        let local = self.state_dir.is_some() || self.socket.is_some() || self.collector.is_some();
        match (local, self.cluster || self.kube.given()) {
            (true, true) => Err(Failure::Place),
            (true, false) => Ok(Home::Local),
            (false, true) => Ok(Home::Cluster),
            (false, false) => Ok(home),
        }
    }

    /// The cluster that is meant, if one is.
    pub(super) async fn cluster(&self, home: Home) -> Result<Option<Cluster>, Failure> {
        match self.place(home)? {
            Home::Local => Ok(None),
            Home::Cluster => Ok(Some(Cluster::open(&self.kube).await?)),
        }
    }

    /// The API of evidence, wherever it is.
    pub(super) async fn source(&self, home: Home) -> Result<Source, Failure> {
        match self.cluster(home).await? {
            Some(cluster) => Ok(Source {
                client: tunnel::collector(&cluster).await?,
                at: None,
            }),
            None => self.local(),
        }
    }

    /// The namespace that evidence is asked of; only a cluster has them.
    pub(super) fn namespace(&self) -> Option<String> {
        self.kube.namespace.clone()
    }

    fn local(&self) -> Result<Source, Failure> {
        let (Some(address), Some(path)) = (&self.collector, &self.token_file) else {
            let at = self.socket.clone().unwrap_or_else(|| self.directory());
            return Ok(Source {
                client: Client::socket(&self.socket_path()),
                at: Some(at.display().to_string()),
            });
        };
        let token = std::fs::read_to_string(path).map_err(|source| Failure::Token {
            path: path.clone(),
            source,
        })?;
        Ok(Source {
            client: Client::tcp(address.as_str(), token.trim()),
            at: Some(format!("http://{address}")),
        })
    }
}

/// Where evidence comes from.
pub(super) struct Source {
    client: Client,
    /// What the person calls it; nothing where a cluster leads to it.
    at: Option<String>,
}

impl Source {
    /// Reads a path.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.client.get(path).await;
        answer.map_err(|error| self.blame(error))
    }

    /// Reads bytes as they come.
    pub(super) async fn bytes(
        &self,
        path: &str,
        take: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let read = self.client.bytes(path, take).await;
        read.map_err(|error| self.blame(error))
    }

    /// Acts on a path.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let answer = self.client.post(path, body).await;
        answer.map_err(|error| self.blame(error))
    }

    /// Reads a stream of values until `take` returns false or it ends.
    pub(super) async fn stream<T: DeserializeOwned>(
        &self,
        path: &str,
        take: impl FnMut(T) -> bool,
    ) -> Result<(), Failure> {
        let streamed = self.client.stream(path, take).await;
        streamed.map_err(|error| self.blame(error))
    }

    /// What an error means for the person who typed the command.
    fn blame(&self, error: ClientError) -> Failure {
        let ClientError::Connect { place, reason } = error else {
            return Failure::Api(error);
        };
        let Some(at) = self.at.clone() else {
            return ClusterError::Collector(reason).into();
        };
        if reason.contains("Permission denied") {
            return Failure::Closed(place);
        }
        let detail = if place == at || at.ends_with(&place) {
            reason
        } else {
            format!("{place}: {reason}")
        };
        Failure::Nobody { place: at, detail }
    }
}

/// Writes to standard output.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::Enough,
        _ => Failure::Write(error.to_string()),
    })
}

/// Writes to a file that only its owner may read, or to standard output.
pub(super) fn write_to(file: Option<&Path>, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let Some(path) = file else {
        return write(text);
    };
    let opened = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Failure::Write(format!("{}: {error}", path.display())))
}

/// A value as one JSON or YAML document.
pub(crate) fn document(value: &impl Serialize, form: Form) -> Result<String, Failure> {
    if form == Form::Csv {
        return Err(Failure::NoTable);
    }
    if form == Form::Yaml {
        let text = serde_saphyr::to_string(value);
        return text.map_err(|error| Failure::Write(error.to_string()));
    }
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| Failure::Write(error.to_string()))
}

/// Values as weir sent them: a JSON array with one of them per line, or a YAML list.
pub(crate) fn raw_list(values: &[Box<RawValue>], form: Form) -> Result<String, Failure> {
    if form == Form::Csv {
        return Err(Failure::NoTable);
    }
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
pub(crate) fn parsed<T: DeserializeOwned>(raw: &RawValue) -> Result<T, Failure> {
    serde_json::from_str(raw.get())
        .map_err(|error| Failure::Api(ClientError::Answer(error.to_string())))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        connect: Connect,
    }

    fn place(args: &[&str], home: Home) -> Home {
        let words = std::iter::once(&"weir").chain(args);
        let cli = Cli::try_parse_from(words).unwrap();
        cli.connect.place(home).unwrap()
    }

    #[test]
    fn what_is_said_decides_the_place_and_else_the_home() {
        for home in [Home::Local, Home::Cluster] {
            assert_eq!(place(&[], home), home);
            assert_eq!(place(&["--state-dir", "d"], home), Home::Local);
            assert_eq!(place(&["--socket", "s"], home), Home::Local);
            for said in [
                &["--cluster"][..],
                &["-n", "billing"],
                &["--context", "c"],
                &["--kubeconfig", "f"],
                &["--weir-namespace", "w"],
            ] {
                assert_eq!(place(said, home), Home::Cluster, "{said:?}");
            }
        }
    }

    #[test]
    fn two_places_at_once_are_refused() {
        let words = ["weir", "--socket", "s", "-n", "billing"];
        let cli = Cli::try_parse_from(words).unwrap();
        assert!(matches!(
            cli.connect.place(Home::Local),
            Err(Failure::Place)
        ));
    }

    #[test]
    fn text_is_another_word_for_a_table() {
        let cli = Cli::try_parse_from(["weir", "-o", "text"]).unwrap();
        assert_eq!(cli.connect.output, Form::Table);
    }
}
