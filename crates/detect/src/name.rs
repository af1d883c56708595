//! Names of fields, variables and keys that say that the value beside them is a secret.

use crate::assign::{ends_like_key, promise};

/// How much of a name's end is looked at.
const MAX_NAME: usize = 48;

/// Ends of names, written small and without separators, beyond those that assignments have: keys of
/// frameworks and of files.
const SECRETS: &[&str] = &[
    "passwords",
    "apikeys",
    "sessionkey",
    "hmackey",
    "sharedkey",
    "storagekey",
    "licensekey",
    "appkey",
    "sshkeydata",
    "requirepass",
    "masterauth",
    "dockerconfigjson",
    "dockercfg",
    "htpasswd",
    "jwt",
    "psk",
    "snmpcommunity",
    "unsealkey",
];

/// Ends of names that only look like those of secrets: what they hold is the name of a Secret, a place in
/// a list, or a switch.
const PLAIN: &[&str] = &[
    "existingsecret",
    "pullsecret",
    "tlssecret",
    "casecret",
    "certsecret",
    "certificatesecret",
    "defaultsslcertificate",
    "serviceaccounttoken",
    "continuetoken",
    "pagetoken",
    "nexttoken",
    "synctoken",
    "fencingtoken",
];

/// Words of names that are switches about passwords.
const SWITCHES: &[&str] = &[
    "allow", "disable", "disabled", "enable", "enabled", "has", "is", "random", "requires", "use",
];

/// Whether a name says that what stands beside it is a secret: `password`, `DB_PASSWORD`, `api_key`,
/// `AWS_SECRET_ACCESS_KEY`, `clientSecret`; not `passwordPolicy`, `secretName`, `publicKey`.
///
/// A name is a guess. Whoever masks by it should leave values alone that no secret has, as truth values.
#[must_use]
pub fn names_secret(name: &str) -> bool {
    let end = name.as_bytes();
    let end = end.get(end.len().saturating_sub(MAX_NAME)..).unwrap_or(end);
    if !may_name_secret(end) {
        return false;
    }
    let mut buffer = [0; MAX_NAME];
    let mut length = 0;
    for b in end.iter().filter(|b| b.is_ascii_alphanumeric()) {
        if let Some(slot) = buffer.get_mut(length) {
            *slot = b.to_ascii_lowercase();
            length += 1;
        }
    }
    let plain = buffer.get(..length).unwrap_or_default();
    let ends = |words: &[&str]| words.iter().any(|word| plain.ends_with(word.as_bytes()));
    // The working directory of a shell.
    if matches!(plain, b"pwd" | b"oldpwd") || ends(PLAIN) {
        return false;
    }
    let mut words = words(end);
    if words.clone().any(|word| {
        SWITCHES
            .iter()
            .any(|switch| word.eq_ignore_ascii_case(switch.as_bytes()))
    }) {
        return false;
    }
    // `example.com/auth-secret` names a Secret.
    if name.contains('/') && plain.ends_with(b"secret") {
        return false;
    }
    let camel = words.next_back().is_some_and(|word| {
        ["pass", "pwd", "pw"]
            .iter()
            .any(|p| word.eq_ignore_ascii_case(p.as_bytes()))
    });
    camel || ends(SECRETS) || promise(end).is_some()
}

/// Whether the last two letters are those of a name that says so: most names are told by them.
fn may_name_secret(name: &[u8]) -> bool {
    let mut letters = name.iter().rev().filter(|b| b.is_ascii_alphanumeric());
    let (Some(last), Some(before)) = (letters.next(), letters.next()) else {
        return false;
    };
    let last = [before, last].map(u8::to_ascii_lowercase);
    ends_like_key(last) || matches!(&last, b"ds" | b"ys" | b"ta" | b"fg" | b"wt" | b"sk" | b"ty")
}

/// The words of a name: `dbPass`, `DB_PASS` and `db.pass` have two.
fn words(name: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> + Clone {
    name.split(|b| !b.is_ascii_alphanumeric())
        .flat_map(|part| part.chunk_by(|a, b| !(a.is_ascii_lowercase() && b.is_ascii_uppercase())))
}

#[cfg(test)]
mod tests {
    use super::{SECRETS, names_secret};

    #[test]
    fn finds_names_of_secrets_however_they_are_written() {
        for name in [
            "wifi_psk",
            "idJwt",
            "snmp_community",
            "unsealKey",
            "password",
            "Password",
            "PASSWORD",
            "passwd",
            "passphrase",
            "DB_PASSWORD",
            "dbPassword",
            "db.password",
            "spring.datasource.password",
            "PGPASSWORD",
            "MYSQL_PWD",
            "SMTP_PASS",
            "smtpPass",
            "api_key",
            "apiKey",
            "API-KEY",
            "x-api-key",
            "DD_API_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "aws_secret_access_key",
            "secret",
            "SECRET",
            "secretKey",
            "clientSecret",
            "client_secret",
            "CLIENT-SECRET",
            "AUTH_SECRET",
            "DJANGO_SECRET_KEY",
            "SECRET_KEY_BASE",
            "token",
            "access_token",
            "refreshToken",
            "GITHUB_TOKEN",
            "privateKey",
            "SSH_PRIVATE_KEY",
            "ENCRYPTION_KEY",
            "credentials",
            "Authorization",
            "authorization",
            ".dockerconfigjson",
            "requirepass",
            "a.rather.long.name.of.a.property.that.goes.on.and.on.password",
        ] {
            assert!(names_secret(name), "{name}");
        }
    }

    #[test]
    fn every_end_is_told_by_its_last_letters() {
        for word in SECRETS.iter().chain(&["pass", "pwd", "pw"]) {
            assert!(names_secret(&format!("my-{word}")), "{word}");
        }
    }

    #[test]
    fn leaves_names_that_only_speak_of_secrets() {
        for name in [
            "",
            "name",
            "key",
            "keyId",
            "publicKey",
            "passwordPolicy",
            "PASSWORD_FILE",
            "passwordSecretRef",
            "secretName",
            "secretKeyRef",
            "secretRef",
            "existingSecret",
            "imagePullSecret",
            "nginx.ingress.kubernetes.io/auth-secret",
            "tokenExpirationSeconds",
            "tokenPath",
            "TOKEN_URL",
            "serviceAccountToken",
            "automountServiceAccountToken",
            "nextPageToken",
            "continueToken",
            "AWS_ACCESS_KEY_ID",
            "ALLOW_EMPTY_PASSWORD",
            "MYSQL_RANDOM_ROOT_PASSWORD",
            "usePassword",
            "PWD",
            "bypass",
            "task",
            "identity",
            "compass",
            "passThrough",
            "resourceVersion",
            "sharedKeyId",
            "monkey",
            "primaryKey",
            "\u{e9}",
        ] {
            assert!(!names_secret(name), "{name}");
        }
    }
}
