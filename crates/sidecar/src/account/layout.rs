//! Which files the pod's programs find where.
//!
//! The volume itself holds what Kubernetes' own has: `token`, `ca.crt` and `namespace`. A volume of the
//! pod's author that held a token under another name gets a directory of its own, `volumes/NAME`, as the
//! webhook wrote down when it took that volume's place.
//! Refuses: a name that leads out of its directory.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Deserialize;

use super::volume;

/// The file with the token.
pub(super) const TOKEN: &str = "token";
/// The file with the authorities.
pub(super) const CA: &str = "ca.crt";
/// The file with the namespace's name.
pub(super) const NAMESPACE: &str = "namespace";
/// The directory with those of the pod's author.
const VOLUMES: &str = "volumes";
/// Most volumes of a pod that are stood in for, and most files of one.
const MAX: usize = 32;
/// Longest name of a file, in bytes.
const MAX_NAME: usize = 512;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) enum Content {
    #[serde(rename = "token")]
    Token,
    #[serde(rename = "ca.crt")]
    Ca,
    #[serde(rename = "namespace")]
    Namespace,
}

/// By volume, then by file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layouts(BTreeMap<String, BTreeMap<String, Content>>);

impl Layouts {
    /// Reads what the webhook wrote: `{"VOLUME": {"dir/file": "token", …}, …}`, or nothing.
    ///
    /// # Errors
    /// It is not that, or too much, or a name leads elsewhere.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let all: BTreeMap<String, BTreeMap<String, Content>> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        if all.len() > MAX || all.values().any(|files| files.len() > MAX) {
            return Err(format!("more than {MAX} volumes, or files of one"));
        }
        for (name, files) in &all {
            if name.contains('/') || !stays(name) {
                return Err(format!("`{name}` is not the name of a volume"));
            }
            if let Some(path) = files.keys().find(|path| !stays(path)) {
                return Err(format!("`{path}` is not the path of a file in a volume"));
            }
        }
        Ok(Self(all))
    }

    /// Writes everything in `dir`.
    ///
    /// # Errors
    /// Something cannot be written; each directory is then as it was or as it should be.
    pub(super) fn write<'a>(
        &self,
        dir: &Path,
        text: impl Fn(Content) -> &'a [u8],
    ) -> io::Result<()> {
        let own = [
            (TOKEN, Content::Token),
            (CA, Content::Ca),
            (NAMESPACE, Content::Namespace),
        ];
        volume::write(dir, own.map(|(name, content)| (name, text(content))))?;
        for (name, files) in &self.0 {
            let dir = dir.join(VOLUMES).join(name);
            volume::make(&dir)?;
            let files = files.iter();
            volume::write(
                &dir,
                files.map(|(path, content)| (path.as_str(), text(*content))),
            )?;
        }
        Ok(())
    }
}

/// Whether a path stays in its directory, and means no file that makes the directory change at once.
fn stays(path: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with("..") && part != ".";
    path.len() <= MAX_NAME && !path.contains('\0') && path.split('/').all(part)
}
