//! Regular expressions (RE2, as the API server has them) for texts that the loader parses.
//!
//! Each says exactly what its parser accepts; the tests compare the two.

use std::sync::LazyLock;

use weir_policy::FunctionClass;

/// `compile::check_name`.
pub(crate) const NAME: &str = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$";
/// The letters of a host; `rules::host` tells names and addresses apart.
pub(crate) const HOST: &str = r"^([-._A-Za-z0-9]+|[0-9A-Fa-f:.]+|\[[0-9A-Fa-f:.]+\])$";
/// `compile::check_resource`.
pub(crate) const RESOURCE: &str = r"^[-*?a-z0-9]+$";
/// [`crate::Span`]: at least one part, the largest unit first.
pub(crate) const SPAN: &str =
    r"^([0-9]{1,11}d)?([0-9]{1,11}h)?([0-9]{1,11}m)?([0-9]{1,11}s)?([0-9]{1,11}ms)?$";
/// [`crate::Size`].
pub(crate) const SIZE: &str = r"^[0-9]+(Ti|Gi|Mi|Ki|T|G|M|k)?$";
/// The type of a condition, as Kubernetes defines it.
pub(crate) const CONDITION_TYPE: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";
/// The reason of a condition, as Kubernetes defines it.
pub(crate) const CONDITION_REASON: &str = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$";

/// One SQL identifier: plain with wildcards, or in double quotes.
const IDENTIFIER: &str = r#"(([a-z0-9_$*?]|[^\x00-\x7F\p{Lu}])+|"([^"]|"")+")"#;

/// `weir_policy::TablePattern`.
pub(crate) static TABLE: LazyLock<String> =
    LazyLock::new(|| format!(r"^{IDENTIFIER}\.{IDENTIFIER}$"));
/// `weir_policy::Glob::identifier`, with a path into a document behind it.
pub(crate) static COLUMN: LazyLock<String> =
    LazyLock::new(|| format!(r"^{IDENTIFIER}([ \t]*(->|//)(.|\n)*)?$"));
/// `weir_policy::FunctionPattern`, or a class of functions.
pub(crate) static FUNCTION: LazyLock<String> = LazyLock::new(|| {
    let classes: Vec<&str> = FunctionClass::ALL.iter().map(|c| c.name()).collect();
    format!(
        r"^(class:({})|{IDENTIFIER}(\.{IDENTIFIER})?)$",
        classes.join("|")
    )
});
