//! TLS towards a Target's server, as the Target asks for it, whatever is spoken inside.

use weir_policy::{Target, TlsMode};
use weir_transport::tls::{TlsError, UpstreamMode, UpstreamTls};

use crate::place::Place;
use crate::ports::Credentials;

/// Why a Target's settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The CA cannot be read.
    #[error("{0}")]
    Secret(String),
    /// What is there is not right.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The Target's settings, for a protocol by its ALPN name. None: no TLS.
///
/// # Errors
/// They cannot be used.
pub(crate) fn of_target(
    target: &Target,
    place: &Place,
    credentials: &dyn Credentials,
    alpn: &[u8],
) -> Result<Option<UpstreamTls>, SettingsError> {
    let settings = &target.upstream_tls;
    let mode = match settings.mode {
        TlsMode::Disable => return Ok(None),
        TlsMode::Prefer | TlsMode::Require => UpstreamMode::Require,
        TlsMode::VerifyCA => UpstreamMode::VerifyCa,
        TlsMode::VerifyFull => UpstreamMode::VerifyFull,
    };
    let ca = settings.ca.as_ref();
    let roots = ca.map(|source| credentials.read(source)).transpose();
    let roots = roots.map_err(SettingsError::Secret)?;
    let name = name_of(target, place);
    let tls = UpstreamTls::new(mode, roots.as_deref(), &name, &[alpn])?;
    Ok(Some(tls))
}

/// The name that the server's certificate must bear: the Target's, else the address that is dialled.
pub(crate) fn name_of(target: &Target, place: &Place) -> String {
    let name = target.server_name();
    let name = name.or_else(|| place.ip().map(|ip| ip.to_string()));
    name.unwrap_or_default()
}
