//! Quarantines that operators ordered: a file of resources beside the others, in the state directory.
//!
//! Invariants: the file is replaced whole; who ordered or lifted is the socket's peer, whatever was
//! asked for. A file that cannot be read refuses new orders and the start.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use weir_api::kinds::{LiftingSpec, Manifest, Metadata, QuarantineSpec};
use weir_audit::QuarantineChanged;
use weir_collector::api::QuarantineView;

/// The file and whoever writes it.
pub(crate) struct Quarantines {
    path: PathBuf,
    writing: Mutex<()>,
}

/// Why an order is not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QuarantineError {
    #[error("{0}")]
    Unreadable(String),
    #[error("{}: {source}", path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("there is no quarantine {0}")]
    Unknown(String),
    #[error("{0} was lifted before")]
    Over(String),
    #[error("{0}")]
    Invalid(String),
}

impl Quarantines {
    /// The quarantines of a state directory.
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join("quarantines.yaml"),
            writing: Mutex::default(),
        }
    }

    /// Where they are.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// All of them, those that were lifted included.
    pub(crate) fn list(&self) -> Result<Vec<QuarantineView>, QuarantineError> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let path = self.path.display();
                return Err(QuarantineError::Unreadable(format!("{path}: {error}")));
            }
        };
        let loaded = weir_api::load_str(&self.path.to_string_lossy(), &text);
        let loaded = loaded
            .map_err(|errors| QuarantineError::Unreadable(super::policies::render(&errors)))?;
        let views = loaded.quarantines.into_iter().map(|one| QuarantineView {
            name: one.metadata.name,
            spec: one.spec,
        });
        Ok(views.collect())
    }

    /// Orders one; one of the same name that was lifted is in force again.
    pub(crate) fn order(
        &self,
        name: &str,
        by: &str,
        mut spec: QuarantineSpec,
    ) -> Result<QuarantineChanged, QuarantineError> {
        spec.by = by.to_owned();
        spec.lifted = None;
        let ordered = QuarantineChanged {
            name: name.into(),
            subject: QuarantineChanged::order(&spec.whom()).into(),
            reason: spec.reason.as_str().into(),
            by: by.into(),
            on: true,
        };
        self.change(|all| {
            all.retain(|one| one.name != name);
            all.push(QuarantineView {
                name: name.to_owned(),
                spec,
            });
            Ok(ordered)
        })
    }

    /// Lifts one.
    pub(crate) fn lift(
        &self,
        name: &str,
        by: &str,
        reason: &str,
    ) -> Result<QuarantineChanged, QuarantineError> {
        self.change(|all| {
            let one = all.iter_mut().find(|one| one.name == name);
            let one = one.ok_or_else(|| QuarantineError::Unknown(name.to_owned()))?;
            if one.spec.lifted.is_some() {
                return Err(QuarantineError::Over(name.to_owned()));
            }
            one.spec.lifted = Some(LiftingSpec {
                reason: reason.to_owned(),
                by: by.to_owned(),
            });
            Ok(QuarantineChanged {
                name: name.into(),
                subject: QuarantineChanged::order(&one.spec.whom()).into(),
                reason: reason.into(),
                by: by.into(),
                on: false,
            })
        })
    }

    fn change(
        &self,
        with: impl FnOnce(&mut Vec<QuarantineView>) -> Result<QuarantineChanged, QuarantineError>,
    ) -> Result<QuarantineChanged, QuarantineError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = self.list()?;
        let changed = with(&mut all)?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let mut text = String::new();
        for one in all {
            let manifest = Manifest {
                api_version: None,
                kind: "Quarantine".to_owned(),
                metadata: Metadata {
                    name: one.name,
                    ..Metadata::default()
                },
                spec: one.spec,
            };
            // JSON is YAML.
            let json = serde_json::to_string(&manifest);
            text.push_str(&json.map_err(|error| QuarantineError::Invalid(error.to_string()))?);
            text.push_str("\n---\n");
        }
        let resources = weir_api::load_str("quarantine", &text);
        let compiled = resources.and_then(|resources| {
            weir_api::compile(&resources, &weir_api::CompileOptions::default())
        });
        compiled.map_err(|errors| QuarantineError::Invalid(super::policies::render(&errors)))?;
        self.write(&text).map_err(|source| QuarantineError::Write {
            path: self.path.clone(),
            source,
        })?;
        Ok(changed)
    }

    fn write(&self, text: &str) -> std::io::Result<()> {
        let next = self.path.with_extension("yaml.next");
        let mut file = std::fs::File::create(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&next, &self.path)?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        std::fs::File::open(dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use weir_api::kinds::SubjectSpec;

    use super::*;

    fn spec(name: &str) -> QuarantineSpec {
        QuarantineSpec {
            subjects: vec![SubjectSpec {
                names: vec![name.to_owned()],
                ..SubjectSpec::default()
            }],
            reason: "odd reads".to_owned(),
            by: "somebody else".to_owned(),
            lifted: None,
        }
    }

    #[test]
    fn an_order_is_kept_with_who_gave_it_and_lifted_once() {
        let dir = tempfile::tempdir().unwrap();
        let quarantines = Quarantines::of(dir.path());
        assert_eq!(quarantines.list().unwrap(), Vec::new());
        let ordered = quarantines.order("a", "jane", spec("reporter")).unwrap();
        assert!(ordered.is_order() && ordered.on && &*ordered.by == "jane");
        assert_eq!(&*ordered.subject, "whoever is called reporter");
        let kept = Quarantines::of(dir.path()).list().unwrap();
        assert_eq!(
            (kept[0].name.as_str(), kept[0].spec.by.as_str()),
            ("a", "jane")
        );
        let lifted = quarantines.lift("a", "joe", "it was a drill").unwrap();
        assert!(!lifted.on && lifted.subject == ordered.subject);
        assert_eq!((&*lifted.by, &*lifted.reason), ("joe", "it was a drill"));
        let kept = quarantines.list().unwrap();
        assert_eq!(kept[0].spec.lifted.as_ref().unwrap().by, "joe");
        let again = quarantines.lift("a", "joe", "again").unwrap_err();
        assert!(matches!(again, QuarantineError::Over(_)), "{again}");
        let other = quarantines.lift("b", "joe", "again").unwrap_err();
        assert!(matches!(other, QuarantineError::Unknown(_)), "{other}");
        quarantines.order("a", "jane", spec("reporter")).unwrap();
        assert!(quarantines.list().unwrap()[0].spec.lifted.is_none());
    }

    #[test]
    fn an_order_that_names_nobody_or_gives_no_reason_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let quarantines = Quarantines::of(dir.path());
        let nobody = QuarantineSpec {
            subjects: Vec::new(),
            ..spec("x")
        };
        let silent = QuarantineSpec {
            reason: " ".to_owned(),
            ..spec("x")
        };
        for wrong in [nobody, silent] {
            let error = quarantines.order("a", "jane", wrong).unwrap_err();
            assert!(matches!(error, QuarantineError::Invalid(_)), "{error}");
        }
        assert!(!quarantines.path().exists());
    }
}
