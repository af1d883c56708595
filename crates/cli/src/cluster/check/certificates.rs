//! How long Weir's certificates last, and whether its processes serve those that they should.

use rustls::pki_types::CertificateDer;
use weir_audit::Timestamp;
use x509_parser::prelude::FromDer as _;
use x509_parser::prelude::X509Certificate;

use super::super::access::Cluster;
use super::super::tunnel::{Process, Tunnel, roots};
use super::Finding;
use crate::commands::text::duration;
use crate::commands::time::between;

const CHECK: &str = "certificates";
/// The ports that serve TLS to the API server and to auditors.
const SERVED: [(Process, u16); 2] = [(Process::Controller, 8443), (Process::Collector, 8446)];

/// The root, and what controller and collector serve.
pub(super) async fn check(cluster: &Cluster, now: Timestamp, findings: &mut Vec<Finding>) {
    let roots = match roots(cluster).await {
        Ok(roots) => roots,
        Err(error) => return findings.push(Finding::unread(CHECK, &error)),
    };
    for root in roots.iter().take(1) {
        // Renewed once a third is left: less than a tenth means that nobody renews it.
        findings.push(expiry("Weir's root", root, now));
    }
    for (process, port) in SERVED {
        let served = match Tunnel::to(cluster, process, port).await {
            Ok(tunnel) => tunnel.certificates(roots.clone()).await,
            Err(error) => Err(error),
        };
        findings.push(match served {
            Ok(chain) => match chain.first() {
                Some(leaf) => expiry(process.component(), leaf, now),
                None => Finding::fail(CHECK, format!("{} serves none", process.component())),
            },
            Err(error) => Finding::unread(CHECK, &error),
        });
    }
}

/// Whether a certificate is valid, and stays so for a while.
pub(super) fn expiry(whose: &str, certificate: &CertificateDer<'_>, now: Timestamp) -> Finding {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Finding::fail(CHECK, format!("{whose}: not a certificate"));
    };
    let time = |seconds: i64| {
        let micros = u64::try_from(seconds)
            .unwrap_or_default()
            .saturating_mul(1_000_000);
        Timestamp::from_micros(micros)
    };
    let (from, until) = (
        time(parsed.validity().not_before.timestamp()),
        time(parsed.validity().not_after.timestamp()),
    );
    let (whole, left) = (between(from, until), between(now, until));
    if left.is_zero() {
        return Finding::fail(CHECK, format!("{whose}: expired at {until}"));
    }
    let text = format!("{whose}: valid for another {}", duration(left));
    // All are renewed long before the last tenth.
    if left < whole / 10 {
        Finding::warn(CHECK, format!("{text}, and was not renewed in time"))
    } else {
        Finding::ok(CHECK, text)
    }
}
