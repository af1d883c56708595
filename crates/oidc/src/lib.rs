//! Who somebody is, by OpenID Connect: login with a code, and what an ID token proves.
//!
//! - [`Verifier`] judges ID tokens, wherever they come from. Collector and controller do it alike.
//! - [`Login`] is the authorization code flow with PKCE: [`Login::begin`] makes the URL that a browser
//!   is sent to, [`Login::finish`] takes what it comes back with.
//!
//! Invariants
//! - A claim counts only once the issuer's key has signed it, with an algorithm of the allow-list, for
//!   this client, and until it expires. Everything of that is checked before anything is read.
//! - Names that Kubernetes keeps for itself (`system:…`) come from no provider.
//! - Keys are fetched when they are needed, at most once in [`RETRY`], and believed for an hour.
//! - Secrets and tokens are in no error and in no `Debug`.
//!
//! It refuses symmetric algorithms and `none`, tokens of more than 64 KiB, plain HTTP (but to loopback
//! and the cluster, where configured), and a document that states another issuer.
//!
//! Specifications: OpenID Connect Core 1.0, Discovery 1.0; RFC 7636 (PKCE), RFC 9207 (`iss` in the
//! answer), RFC 9700 (current practice).

#[cfg(feature = "args")]
mod args;
mod claims;
mod config;
mod discovery;
mod keys;
mod login;
mod secret;
mod verify;

#[cfg(feature = "args")]
pub use args::OidcArgs;
pub use claims::Claims;
pub use config::{ConfigError, OidcConfig};
pub use keys::RETRY;
pub use login::{ClientSettings, LoggedIn, Login, LoginError, Pending, Returned};
pub use verify::{Refusal, Verifier, VerifyError};
