//! The sidecar's and the collector's side of the controller.
//!
//! HTTP/2 over mutual TLS, JSON bodies, streams as newline-delimited JSON. Only [`ENROL`] takes a
//! service-account token in place of a certificate; everything after it is done with the short-lived
//! certificate that it returned.

mod alerts;
mod backoff;
mod client;
mod digest;
mod enrol;
mod error;
mod identity;
mod line;
mod messages;
mod people;
#[cfg(test)]
mod tests;
mod watch;

pub use alerts::RunningPod;
pub use backoff::Backoff;
pub use client::ControlClient;
pub use enrol::{EnrolConfig, Enroller};
pub use error::ControlError;
pub use identity::{Identity, Key, SelfSigned};
pub use line::Endpoint;
pub use watch::Heard;
pub use weir_audit::Alert;

pub use messages::{
    AccessRequestOpened, Attested, Ending, Enrol, Enrolment, Lease, LeaseAsk, LeaseRequest, Leases,
    Push, Repeats, Report, RequestRuling, ResolvedService, Review, ReviewRequest, Settings,
    Snapshot, UnmatchedSetting,
};
pub use people::{
    Coverage, CoverageAsked, DecisionAsked, DecisionTaken, FingerprintsAsked, FingerprintsMade,
    NamespaceCoverage, Person, RequestView, RequestsAsked, RequestsListed,
};

/// `POST`, bearer token: [`Enrol`] to [`Enrolment`].
pub const ENROL: &str = "/v1/enrol";
/// `GET`: a stream of [`Push`], one a line, that starts with the snapshot in force.
pub const WATCH: &str = "/v1/watch";
/// `POST`: [`Report`] to nothing.
pub const REPORT: &str = "/v1/report";
/// `POST`: a [`weir_api::kinds::AccessRequestSpec`] to [`AccessRequestOpened`]; `DELETE` with the name
/// as a further segment withdraws it, or with `?superseded=true` says that nobody has to decide it. `POST` with the name and `repeats` as further segments:
/// [`Repeats`] to nothing.
pub const ACCESS_REQUESTS: &str = "/v1/access-requests";
/// `POST`: [`LeaseRequest`] to [`Leases`].
pub const LEASES: &str = "/v1/leases";
/// `POST`, from the collector only: [`ReviewRequest`] to [`Review`].
pub const REVIEW: &str = "/v1/review";
/// `POST`, from the collector only: [`RequestsAsked`] to [`RequestsListed`].
pub const PEOPLE_REQUESTS: &str = "/v1/people/requests";
/// `POST`, from the collector only: [`DecisionAsked`] to [`DecisionTaken`].
pub const PEOPLE_DECIDE: &str = "/v1/people/decide";
/// `POST`, from the collector only: [`CoverageAsked`] to [`Coverage`].
pub const PEOPLE_COVERAGE: &str = "/v1/people/coverage";
/// `POST`, from the collector only: [`FingerprintsAsked`] to [`FingerprintsMade`].
pub const FINGERPRINTS: &str = "/v1/fingerprints";
/// `GET`, from the collector only: a list of [`RunningPod`].
pub const PODS: &str = "/v1/pods";
/// `POST`, from the collector only: [`Alert`] to nothing.
pub const FINDINGS: &str = "/v1/findings";
/// `POST`, at the collector: frames of one engine, sealed as they are in the spool.
pub const INGEST: &str = "/v1/ingest";
/// A watch that has nothing to say says so this often; after three times that, the line is dead.
pub const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(5);
