//! Whether the host that answers is the one that the Target means.
//!
//! Strict: a key is accepted because the Target pins it, because a file vouches for it, or because
//! an authority of the Target's signed a certificate for one of the host's names. The first key that
//! comes is accepted only where the Target says so and nothing else vouches; it is then kept.

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::known_hosts::{HostPatterns, KnownHosts, Marker};
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, PublicKeyOrCertificate};
use weir_policy::{Glob, Source, Target};

use crate::place::Place;
use crate::ports::Credentials;

/// What a host may show.
#[derive(Debug, Clone, Default)]
pub(super) struct HostCheck {
    keys: Vec<PublicKey>,
    revoked: Vec<PublicKey>,
    authorities: Vec<PublicKey>,
    names: Vec<String>,
    /// Whether any key does, as nothing vouches for one.
    pub(super) first_use: bool,
}

impl HostCheck {
    /// What the Target says of its host at this address; `kept` are keys that were trusted before.
    ///
    /// # Errors
    /// A key or a file cannot be read, or nothing vouches for the host.
    pub(super) fn new(
        target: &Target,
        place: &Place,
        credentials: &dyn Credentials,
        kept: Option<PublicKey>,
    ) -> Result<Self, String> {
        let mut names = target.client_names();
        names.extend(place.ip().map(|ip| ip.to_string()));
        let mut check = Self {
            keys: parse(&target.ssh.host_keys)?,
            authorities: parse(&target.ssh.host_authorities)?,
            names,
            ..Self::default()
        };
        if let Some(source) = &target.ssh.known_hosts {
            let text = match source {
                Source::Ref(name) => credentials
                    .field(name, "known_hosts")?
                    .ok_or_else(|| format!("{name}: has no known_hosts"))?,
                Source::File(_) => credentials.read(source)?,
            };
            check.read_known_hosts(&String::from_utf8_lossy(&text), place.port())?;
        }
        let nothing = check.keys.is_empty() && check.authorities.is_empty();
        if nothing && target.ssh.trust_on_first_use {
            check.first_use = kept.is_none();
            check.keys.extend(kept);
        } else if nothing {
            return Err("nothing vouches for the host's key".to_owned());
        }
        Ok(check)
    }

    fn read_known_hosts(&mut self, text: &str, port: u16) -> Result<(), String> {
        for entry in KnownHosts::new(text) {
            let entry = entry.map_err(|error| format!("known_hosts: {error}"))?;
            if !self.means(entry.host_patterns(), port)? {
                continue;
            }
            let list = match entry.marker() {
                None => &mut self.keys,
                Some(Marker::CertAuthority) => &mut self.authorities,
                Some(Marker::Revoked) => &mut self.revoked,
            };
            list.push(entry.public_key().clone());
        }
        Ok(())
    }

    /// Whether a line of known_hosts is about the host.
    fn means(&self, patterns: &HostPatterns, port: u16) -> Result<bool, String> {
        let HostPatterns::Patterns(patterns) = patterns else {
            return Err("known_hosts: a hashed name cannot be used, write it out".to_owned());
        };
        let mut found = false;
        for pattern in patterns {
            let (negated, pattern) = match pattern.strip_prefix('!') {
                Some(rest) => (true, rest),
                None => (false, pattern.as_str()),
            };
            let glob = Glob::free(pattern);
            let matches = self.names.iter().any(|name| {
                let with_port = format!("[{name}]:{port}");
                glob.matches(&with_port) || (port == 22 && glob.matches(name))
            });
            if matches && negated {
                return Ok(false);
            }
            found |= matches;
        }
        Ok(found)
    }

    /// The algorithms to ask the host for: those of its keys, so that it shows one that is known.
    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let mut asked = Vec::new();
        for key in &self.keys {
            match key.algorithm() {
                Algorithm::Rsa { .. } => asked.extend(RSA),
                other => asked.push(other),
            }
        }
        if self.first_use || asked.is_empty() {
            asked.clear();
            asked.extend(russh::Preferred::DEFAULT.key.iter().cloned());
        }
        let mut unique: Vec<Algorithm> = Vec::new();
        for algorithm in asked {
            let sha1 = matches!(algorithm, Algorithm::Rsa { hash: None });
            if !sha1 && !unique.contains(&algorithm) {
                unique.push(algorithm);
            }
        }
        unique
    }

    /// Nothing but this key is accepted from now on.
    pub(super) fn pin(&mut self, key: PublicKey) {
        self.first_use = false;
        self.keys = vec![key];
    }

    /// Whether certificates are understood.
    pub(super) fn has_authorities(&self) -> bool {
        !self.authorities.is_empty()
    }

    /// Whether the host may show this.
    ///
    /// # Errors
    /// It may not: what is wrong with it.
    pub(super) fn accept(&self, shown: &PublicKeyOrCertificate) -> Result<(), String> {
        let is = |list: &[PublicKey], key: &PublicKey| {
            list.iter().any(|known| known.key_data() == key.key_data())
        };
        let key = shown.public_key();
        let print = key.fingerprint(HashAlg::Sha256);
        if is(&self.revoked, &key) {
            return Err(format!("the host's key {print} is revoked"));
        }
        if let Some(certificate) = shown.certificate() {
            return self.accept_certificate(certificate);
        }
        if self.first_use || is(&self.keys, &key) {
            return Ok(());
        }
        Err(format!(
            "the host shows key {} {print}, which the target does not know",
            key.algorithm()
        ))
    }

    fn accept_certificate(&self, certificate: &Certificate) -> Result<(), String> {
        let bad = |what: &str| Err(format!("the host's certificate {what}"));
        if certificate.cert_type() != CertType::Host {
            return bad("is not one for a host");
        }
        let prints: Vec<_> = self
            .authorities
            .iter()
            .map(|key| key.fingerprint(HashAlg::Sha256))
            .collect();
        if certificate.validate(&prints).is_err() {
            return bad("is not signed by an authority of the target, or is not valid now");
        }
        if certificate.critical_options().iter().next().is_some() {
            return bad("has an option that is not known");
        }
        let principals = certificate.valid_principals();
        let named = |name: &String| principals.iter().any(|p| p.eq_ignore_ascii_case(name));
        if !principals.is_empty() && !self.names.iter().any(named) {
            return bad(&format!("is for {}", principals.join(", ")));
        }
        Ok(())
    }
}

const RSA: [Algorithm; 2] = [
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

fn parse(keys: &[String]) -> Result<Vec<PublicKey>, String> {
    keys.iter()
        .map(|key| PublicKey::from_openssh(key).map_err(|error| format!("{key}: {error}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use russh::keys::PrivateKey;
    use russh::keys::key::safe_rng;
    use russh::keys::ssh_key::certificate::Builder;

    use super::*;

    fn key() -> PrivateKey {
        PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap()
    }

    fn line(key: &PrivateKey) -> String {
        key.public_key().to_openssh().unwrap()
    }

    fn check(names: &[&str]) -> HostCheck {
        HostCheck {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..HostCheck::default()
        }
    }

    fn shows(key: &PrivateKey) -> PublicKeyOrCertificate {
        key.public_key().clone().into()
    }

    #[test]
    fn a_key_is_accepted_because_a_line_about_the_host_names_it_and_not_if_it_is_revoked() {
        let (ours, other, revoked) = (key(), key(), key());
        let text = format!(
            "# comment\ndb.corp,10.0.0.1 {}\nelse.corp {}\n@revoked * {}\n* {}\n",
            line(&ours),
            line(&other),
            line(&revoked),
            line(&revoked)
        );
        let mut check = check(&["db.corp", "10.9.9.9"]);
        check.read_known_hosts(&text, 22).unwrap();
        check.accept(&shows(&ours)).unwrap();
        assert!(
            check
                .accept(&shows(&other))
                .unwrap_err()
                .contains("does not know")
        );
        assert!(
            check
                .accept(&shows(&revoked))
                .unwrap_err()
                .contains("revoked")
        );
    }

    #[test]
    fn a_line_without_a_port_is_not_about_another_port_and_a_negation_wins() {
        let ours = key();
        let mut on_port = check(&["db.corp"]);
        on_port
            .read_known_hosts(&format!("db.corp {}", line(&ours)), 2222)
            .unwrap();
        assert!(on_port.accept(&shows(&ours)).is_err());
        on_port
            .read_known_hosts(&format!("[db.corp]:2222 {}", line(&ours)), 2222)
            .unwrap();
        on_port.accept(&shows(&ours)).unwrap();
        let mut negated = check(&["db.corp"]);
        negated
            .read_known_hosts(&format!("*.corp,!db.corp {}", line(&ours)), 22)
            .unwrap();
        assert!(negated.accept(&shows(&ours)).is_err());
    }

    #[test]
    fn a_certificate_counts_for_its_own_names_until_it_is_over() {
        let (authority, host, stranger) = (key(), key(), key());
        let certificate = |signer: &PrivateKey, kind, names: &[&str], until| {
            let mut builder =
                Builder::new_with_random_nonce(&mut safe_rng(), host.public_key(), 0, until)
                    .unwrap();
            builder.cert_type(kind).unwrap();
            for name in names {
                builder.valid_principal(*name).unwrap();
            }
            PublicKeyOrCertificate::from(builder.sign(signer).unwrap())
        };
        let mut check = check(&["db.corp"]);
        check.authorities.push(authority.public_key().clone());
        let far = 4_000_000_000;
        let accept = |shown| check.accept(&shown);
        accept(certificate(&authority, CertType::Host, &["db.corp"], far)).unwrap();
        for wrong in [
            certificate(&authority, CertType::User, &["db.corp"], far),
            certificate(&authority, CertType::Host, &["else.corp"], far),
            certificate(&authority, CertType::Host, &["db.corp"], 1000),
            certificate(&stranger, CertType::Host, &["db.corp"], far),
        ] {
            assert!(accept(wrong).is_err());
        }
        assert!(accept(shows(&host)).is_err(), "its bare key is not known");
    }

    #[test]
    fn a_hashed_name_is_refused_with_the_reason() {
        let text = "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= ssh-ed25519 \
                    AAAAC3NzaC1lZDI1NTE5AAAAIMhNGRvqDSK0c2d4yQDyLcN1tY8lnIYwLuHJWZYzT2IX";
        let error = check(&["db"]).read_known_hosts(text, 22).unwrap_err();
        assert!(error.contains("hashed"), "{error}");
    }
}
