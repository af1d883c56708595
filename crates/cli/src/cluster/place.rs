//! Which weir a command means when no option says, and how to reach a cluster.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::object::is_name;

/// Weir's namespace, unless told.
const WEIR_NAMESPACE: &str = "weir-system";

/// Where commands look for their weir by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Home {
    /// On this machine.
    #[default]
    Local,
    /// In the cluster of the kubeconfig.
    Cluster,
}

impl Home {
    /// Whether this program is a plugin of kubectl, by the name that it was called by.
    pub(crate) fn is_plugin(program: Option<&OsStr>) -> bool {
        program
            .map(Path::new)
            .and_then(Path::file_stem)
            .is_some_and(|name| name == "kubectl-weir")
    }

    /// The default of a plugin or not, and of the variable `WEIR_PLACE`, which wins.
    ///
    /// # Errors
    /// The variable says neither `cluster` nor `local`.
    pub(crate) fn new(plugin: bool, variable: Option<&str>) -> Result<Self, String> {
        match variable {
            Some("cluster") => Ok(Self::Cluster),
            Some("local") => Ok(Self::Local),
            None | Some("") if plugin => Ok(Self::Cluster),
            None | Some("") => Ok(Self::Local),
            Some(other) => Err(format!(
                "WEIR_PLACE is `{other}`; it may be `cluster` or `local`"
            )),
        }
    }
}

/// How to reach a cluster.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct KubeArgs {
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub(crate) context: Option<String>,
    /// Kubeconfig [default: $KUBECONFIG, ~/.kube/config, or the pod's own account]
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Only what belongs to this namespace [default: everything that you may see]
    #[arg(short, long, value_name = "NAME", value_parser = name, help_heading = "Cluster")]
    pub(crate) namespace: Option<String>,
    /// Namespace that Weir is installed in [default: weir-system]
    #[arg(long, value_name = "NAME", value_parser = name, help_heading = "Cluster")]
    weir_namespace: Option<String>,
}

/// The name of a namespace.
pub(super) fn name(text: &str) -> Result<String, String> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of a namespace".to_owned())
    }
}

impl KubeArgs {
    /// Whether any of them was given: who names a context means a cluster.
    pub(crate) fn given(&self) -> bool {
        self.context.is_some()
            || self.kubeconfig.is_some()
            || self.namespace.is_some()
            || self.weir_namespace.is_some()
    }

    /// Weir's own namespace.
    pub(crate) fn weir_namespace(&self) -> &str {
        self.weir_namespace.as_deref().unwrap_or(WEIR_NAMESPACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_of_kubectl_is_known_by_its_name() {
        for (name, plugin) in [
            ("kubectl-weir", true),
            ("/usr/local/bin/kubectl-weir", true),
            ("kubectl-weir.exe", true),
            ("/usr/bin/weir", false),
            ("weir", false),
            ("kubectl-weir-old", false),
        ] {
            assert_eq!(Home::is_plugin(Some(name.as_ref())), plugin, "{name}");
        }
        assert!(!Home::is_plugin(None));
    }

    #[test]
    fn a_namespace_is_no_path() {
        assert!(name("weir-system").is_ok());
        for bad in ["", "..", "a/b", "a?b", "A", "-a", "a-"] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_variable_wins_over_the_name_and_nonsense_is_refused() {
        assert_eq!(Home::new(false, None), Ok(Home::Local));
        assert_eq!(Home::new(true, None), Ok(Home::Cluster));
        assert_eq!(Home::new(true, Some("")), Ok(Home::Cluster));
        assert_eq!(Home::new(false, Some("cluster")), Ok(Home::Cluster));
        assert_eq!(Home::new(true, Some("local")), Ok(Home::Local));
        assert!(Home::new(false, Some("Cluster")).is_err());
    }
}
