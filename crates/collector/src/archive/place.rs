//! Where an archive is: a folder, or a bucket.

use std::io;
use std::path::{Path, PathBuf};

use weir_fetch::EndpointError;

use super::KeepError;
use super::s3::Bucket;

/// Settings of an archive.
#[derive(Clone, Debug, Default)]
pub struct ArchiveConfig {
    /// A folder, or `s3://BUCKET[/PREFIX]`.
    pub to: String,
    /// The server of the bucket [default: Amazon's for the region].
    pub endpoint: Option<String>,
    /// The bucket's region [default: `us-east-1`].
    pub region: Option<String>,
    /// A directory with the files `access-key-id` and `secret-access-key`, and `session-token` where there
    /// is one; read anew for each request.
    pub credentials: Option<PathBuf>,
    /// PEM file with the only authorities that count for the server.
    pub ca_file: Option<PathBuf>,
}

/// Why settings of archives and witnesses make no sense.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The server's address cannot be used.
    #[error("{url}: {source}")]
    Url {
        /// What was given.
        url: String,
        /// Why not.
        source: EndpointError,
    },
    /// Something is missing or does not fit.
    #[error("{0}")]
    Invalid(String),
}

#[derive(Debug)]
pub(super) enum Place {
    Folder(PathBuf),
    Bucket(Bucket),
}

impl Place {
    pub(super) fn new(config: ArchiveConfig) -> Result<Self, PlaceError> {
        let to = config.to.clone();
        match to.strip_prefix("s3://") {
            Some(bucket) => Bucket::new(bucket, config).map(Self::Bucket),
            None if config.to.contains("://") || config.to.is_empty() => {
                let why = format!("{:?} is neither a folder nor s3://BUCKET/PREFIX", config.to);
                Err(PlaceError::Invalid(why))
            }
            None => Ok(Self::Folder(to.into())),
        }
    }

    /// An object's bytes; `None` if there is none.
    pub(super) async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, KeepError> {
        match self {
            Self::Folder(folder) => match tokio::fs::read(folder.join(name)).await {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(failed(folder, &error)),
            },
            Self::Bucket(bucket) => bucket.get(name).await,
        }
    }

    /// Writes an object whole, durably.
    pub(super) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), KeepError> {
        match self {
            Self::Folder(folder) => {
                let (path, folder) = (folder.join(name), folder.clone());
                let written = tokio::task::spawn_blocking(move || write(&path, &bytes)).await;
                let written = written.map_err(io::Error::other).and_then(|done| done);
                written.map_err(|error| failed(&folder, &error))
            }
            Self::Bucket(bucket) => bucket.put(name, bytes).await,
        }
    }
}

fn failed(folder: &Path, error: &io::Error) -> KeepError {
    KeepError::Place(format!("{}: {error}", folder.display()))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    std::fs::File::open(folder)?.sync_all()
}
