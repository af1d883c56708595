//! Credentials that can be told by how they begin.

use crate::Kind;
use crate::text::{Text, distinct};

/// What follows a prefix.
struct Shape {
    prefix: &'static str,
    kind: Kind,
    /// Length of what follows.
    least: usize,
    most: usize,
    /// Bytes besides letters and digits.
    extra: &'static [u8],
}

const fn shape(
    prefix: &'static str,
    kind: Kind,
    least: usize,
    most: usize,
    extra: &'static [u8],
) -> Shape {
    Shape {
        prefix,
        kind,
        least,
        most,
        extra,
    }
}

/// Tokens whose prefix ends in `_` or has one; first match counts.
const UNDERSCORE: &[Shape] = &[
    shape("github_pat_", Kind::GithubToken, 40, 255, b"_"),
    shape("npm_", Kind::NpmToken, 36, 36, b""),
    shape("sk_live_", Kind::StripeKey, 16, 255, b""),
    shape("rk_live_", Kind::StripeKey, 16, 255, b""),
    shape("sk_test_", Kind::StripeKey, 16, 255, b""),
    shape("rk_test_", Kind::StripeKey, 16, 255, b""),
    shape("whsec_", Kind::StripeKey, 24, 255, b"+/="),
    shape("hf_", Kind::ApiToken, 34, 40, b""),
    shape("dop_v1_", Kind::ApiToken, 64, 64, b""),
    shape("shpat_", Kind::ApiToken, 32, 32, b""),
    shape("shpss_", Kind::ApiToken, 32, 32, b""),
    shape("glsa_", Kind::ApiToken, 32, 64, b"_"),
    shape("gsk_", Kind::ApiToken, 48, 64, b""),
    shape("lin_api_", Kind::ApiToken, 32, 64, b""),
    shape("rubygems_", Kind::ApiToken, 48, 48, b""),
    shape("dckr_pat_", Kind::ApiToken, 20, 64, b"-_"),
    shape("dckr_oat_", Kind::ApiToken, 20, 64, b"-_"),
    shape("doo_v1_", Kind::ApiToken, 64, 64, b""),
    shape("dor_v1_", Kind::ApiToken, 64, 64, b""),
    shape("shpca_", Kind::ApiToken, 32, 32, b""),
    shape("shppa_", Kind::ApiToken, 32, 32, b""),
    shape("glc_", Kind::ApiToken, 48, 255, b"+/="),
    shape("pscale_tkn_", Kind::ApiToken, 32, 64, b"-_."),
    shape("pscale_pw_", Kind::ApiToken, 32, 64, b"-_."),
    shape("pscale_oauth_", Kind::ApiToken, 32, 64, b"-_."),
    shape("tfp_", Kind::ApiToken, 40, 64, b"_"),
    shape("sbp_", Kind::ApiToken, 40, 40, b""),
    shape("nfp_", Kind::ApiToken, 36, 40, b""),
    shape("figd_", Kind::ApiToken, 40, 64, b"-_"),
    shape("ntn_", Kind::ApiToken, 40, 64, b""),
    shape("sntrys_", Kind::ApiToken, 64, 255, b"+/=_"),
    shape("sgp_", Kind::ApiToken, 40, 64, b"_"),
    shape("phx_", Kind::ApiToken, 40, 64, b""),
];

/// Tokens whose prefix ends in `-` or has one.
const DASH: &[Shape] = &[
    shape("glpat-", Kind::GitlabToken, 20, 255, b"-_."),
    shape("glptt-", Kind::GitlabToken, 20, 255, b"-_"),
    shape("gldt-", Kind::GitlabToken, 20, 255, b"-_"),
    shape("glrt-", Kind::GitlabToken, 20, 255, b"-_."),
    shape("glcbt-", Kind::GitlabToken, 20, 255, b"-_"),
    shape("gloas-", Kind::GitlabToken, 20, 255, b"-_"),
    shape("glsoat-", Kind::GitlabToken, 20, 255, b"-_"),
    shape("glft-", Kind::GitlabToken, 20, 255, b"-_"),
    shape("glagent-", Kind::GitlabToken, 20, 255, b"-_"),
    shape("glimt-", Kind::GitlabToken, 20, 255, b"-_"),
    shape("glffct-", Kind::GitlabToken, 20, 255, b"-_"),
    shape("xoxb-", Kind::SlackToken, 16, 255, b"-"),
    shape("xoxp-", Kind::SlackToken, 16, 255, b"-"),
    shape("xoxa-", Kind::SlackToken, 16, 255, b"-"),
    shape("xoxr-", Kind::SlackToken, 16, 255, b"-"),
    shape("xoxs-", Kind::SlackToken, 16, 255, b"-"),
    shape("xoxo-", Kind::SlackToken, 16, 255, b"-"),
    shape("xoxe-", Kind::SlackToken, 16, 255, b"-"),
    shape("xoxc-", Kind::SlackToken, 16, 255, b"-"),
    shape("xoxd-", Kind::SlackToken, 16, 255, b"-%"),
    shape("xapp-", Kind::SlackToken, 16, 255, b"-"),
    shape("sk-ant-", Kind::ApiToken, 32, 255, b"-_"),
    shape("sk-proj-", Kind::ApiToken, 32, 255, b"-_"),
    shape("sk-svcacct-", Kind::ApiToken, 32, 255, b"-_"),
    shape("sk-", Kind::ApiToken, 40, 64, b""),
    shape("pypi-", Kind::ApiToken, 64, 255, b"-_"),
    shape("dapi-", Kind::ApiToken, 32, 64, b""),
    shape("GOCSPX-", Kind::ApiToken, 28, 28, b"-_"),
    shape("PMAK-", Kind::ApiToken, 59, 59, b"-"),
    shape("sq0atp-", Kind::ApiToken, 22, 22, b"-_"),
    shape("sq0csp-", Kind::ApiToken, 43, 43, b"-_"),
    shape("xkeysib-", Kind::ApiToken, 81, 81, b"-"),
    shape("NRAK-", Kind::ApiToken, 27, 27, b""),
    shape("CFPAT-", Kind::ApiToken, 43, 43, b"-_"),
    shape("tskey-auth-", Kind::ApiToken, 32, 128, b"-"),
    shape("tskey-api-", Kind::ApiToken, 32, 128, b"-"),
    shape("pul-", Kind::ApiToken, 40, 40, b""),
    shape("xai-", Kind::ApiToken, 80, 80, b""),
    shape("pplx-", Kind::ApiToken, 48, 56, b""),
    shape("AGE-SECRET-KEY-", Kind::ApiToken, 59, 59, b""),
];

/// A token whose prefix has its first `_` or `-` at `i`.
pub(crate) fn prefixed(text: Text<'_>, i: usize) -> Option<(usize, usize, Kind)> {
    // Every token here is long, and most words with such a sign are not.
    if !text.before(i).is_ascii_alphabetic()
        || ![3, 8, 13, 16]
            .iter()
            .all(|ahead| is_inner(text.at(i + ahead)))
    {
        return None;
    }
    // Its check digits say what one of GitHub's is, whatever stands before it.
    if text.at(i) == b'_'
        && let Some(start) = i.checked_sub(3)
        && text.starts_with(start, b"gh")
    {
        return github(text, start);
    }
    let start = text.run_back(i, 9, |b| b.is_ascii_alphanumeric());
    let start = start + usize::from(text.led(start + 1) == 0);
    if start >= i || is_inner(text.led(start)) {
        return None;
    }
    let shapes = if text.at(i) == b'_' { UNDERSCORE } else { DASH };
    let shape = shapes
        .iter()
        .find(|shape| text.starts_with(start, shape.prefix.as_bytes()))?;
    let from = start + shape.prefix.len();
    let end = text.run(from, shape.most + 1, |b| {
        b.is_ascii_alphanumeric() || shape.extra.contains(&b)
    });
    let body = text.slice(from..end);
    // Rotated tokens of Slack have two prefixes.
    let start = start
        - if text.slice(start.saturating_sub(5)..start) == b"xoxe." {
            5
        } else {
            0
        };
    let fits = (shape.least..=shape.most).contains(&body.len()) && !is_inner(text.at(end));
    (fits && distinct(body) > 6).then_some((start, end, shape.kind))
}

/// `ghp_` and its siblings: 30 random characters and their CRC32 in base 62.
/// <https://github.blog/engineering/behind-githubs-new-authentication-token-formats/>
fn github(text: Text<'_>, start: usize) -> Option<(usize, usize, Kind)> {
    if !matches!(text.at(start + 2), b'p' | b'o' | b'u' | b's' | b'r') {
        return None;
    }
    let from = start + 4;
    let end = text.run(from, 36, |b| b.is_ascii_alphanumeric());
    let (random, check) = text.slice(from..end).split_at_checked(30)?;
    (check == base62(crc32(random))).then_some((start, end, Kind::GithubToken))
}

/// A token of SendGrid, Vault or Google around `i`, which has a dot behind its prefix. The bytes that
/// the pass stops at are among the first 64 of nearly every one.
pub(crate) fn dotted(text: Text<'_>, i: usize) -> Option<(usize, usize, Kind)> {
    let long = [1, 4, 8].iter().all(|ahead| is_inner(text.at(i + ahead)));
    long.then(|| dotted_around(text, i)).flatten()
}

#[inline(never)]
fn dotted_around(text: Text<'_>, i: usize) -> Option<(usize, usize, Kind)> {
    let start = text.run_back(i, 64, |b| is_inner(b) || b == b'.');
    let start = start + usize::from(text.led(start + 1) == 0);
    let prefixes: [(&[u8], usize); 4] =
        [(b"SG.", 60), (b"hvs.", 24), (b"hvb.", 60), (b"ya29.", 60)];
    let (prefix, least) = prefixes
        .into_iter()
        .find(|(prefix, _)| text.starts_with(start, prefix))?;
    let from = start + prefix.len();
    let end = text.run(from, 1024, |b| is_inner(b) || b == b'.');
    let body = text.slice(from..end);
    let whole = body.len() >= least && distinct(body) > 12 && start < i;
    whole.then_some((start, end, Kind::ApiToken))
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, b| {
        (0..8).fold(crc ^ u32::from(*b), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

fn base62(mut n: u32) -> [u8; 6] {
    let mut out = [b'0'; 6];
    for slot in out.iter_mut().rev() {
        *slot = match u8::try_from(n % 62).unwrap_or(0) {
            d @ 0..10 => b'0' + d,
            d @ 10..36 => b'A' + d - 10,
            d => b'a' + d - 36,
        };
        n /= 62;
    }
    out
}

/// An AWS access key id whose second pair of letters ends at `i`: `AKIA`,
/// `ASIA`. AWS's documented examples end in EXAMPLE.
pub(crate) fn aws(text: Text<'_>, i: usize) -> Option<(usize, usize)> {
    let start = i.checked_sub(2)?;
    if text.at(start) != b'A' {
        return None;
    }
    if !text.starts_with(start, b"AKIA") && !text.starts_with(start, b"ASIA") {
        return None;
    }
    if text.led(start).is_ascii_alphanumeric() {
        return None;
    }
    let end = text.run(start, 21, |b| b.is_ascii_uppercase() || b.is_ascii_digit());
    let key = text.slice(start..end);
    let whole = key.len() == 20 && !is_inner(text.at(end));
    (whole && !key.ends_with(b"EXAMPLE") && distinct(key) > 7).then_some((start, end))
}

/// A Google API key whose `z` is at `i`.
pub(crate) fn google(text: Text<'_>, i: usize) -> Option<(usize, usize)> {
    let start = i.checked_sub(2)?;
    if text.at(start) != b'A' {
        return None;
    }
    if !text.starts_with(start, b"AIza") || is_inner(text.led(start)) {
        return None;
    }
    let end = text.run(start, 40, is_inner);
    (end - start == 39 && distinct(text.slice(start..end)) > 10).then_some((start, end))
}

/// A JSON Web Token whose `J` of `eyJ` is at `i`: three parts (signed) or
/// five (encrypted), the first of which is a JSON object with an algorithm.
pub(crate) fn jwt(text: Text<'_>, i: usize) -> Option<(usize, usize)> {
    let start = i.checked_sub(2)?;
    if !text.starts_with(start, b"eyJ") || is_inner(text.led(start)) {
        return None;
    }
    let limit = 64 * 1024;
    let header = text.run(start, limit, is_inner);
    if text.at(header) != b'.' || !names_algorithm(text.slice(start..header)) {
        return None;
    }
    let mut parts = 1;
    let mut end = header;
    while parts < 5 && text.at(end) == b'.' {
        let stop = text.run(end + 1, limit, is_inner);
        // The key part of an encrypted token may be empty.
        if stop == end + 1 && !(parts == 1 && text.at(stop) == b'.') {
            break;
        }
        parts += 1;
        end = stop;
    }
    (parts >= 3).then_some((start, end))
}

fn names_algorithm(part: &[u8]) -> bool {
    let mut json = Vec::with_capacity(part.len());
    let (mut bits, mut count) = (0u32, 0);
    for b in part.iter().take(4096) {
        let value = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'-' => 62,
            _ => 63,
        };
        bits = (bits << 6 | u32::from(value)) & 0xF_FFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            json.push(u8::try_from(bits >> count & 0xFF).unwrap_or(0));
        }
    }
    json.starts_with(b"{\"") && memchr::memmem::find(&json, b"\"alg\"").is_some()
}

/// A private key in PEM armour that begins at `i`. Without its end it reaches
/// as far as the armour's alphabet does.
pub(crate) fn private_key(text: Text<'_>, i: usize) -> Option<usize> {
    // In forms of web pages blanks are plus signs; SSH2's armour has four dashes and a blank.
    let armour = [&b"-----BEGIN "[..], b"-----BEGIN+", b"---- BEGIN "]
        .into_iter()
        .find(|armour| text.starts_with(i, armour))?;
    let label = i + armour.len();
    let stop = text.run(label, 64, |b| {
        b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b' ' | b'+')
    });
    let name = text.slice(label..stop);
    let secret = [&b"PRIVATE KEY"[..], b"PRIVATE+KEY", b"SECRET KEY BLOCK"]
        .iter()
        .any(|words| memchr::memmem::find(name, words).is_some());
    if !text.starts_with(stop, b"----") || !secret {
        return None;
    }
    let body = text.run(stop, 5, |b| b == b'-');
    let rest = text.slice(body..text.len().min(body + 64 * 1024));
    let ends = [&b"-----END "[..], b"-----END+", b"---- END "];
    let found = ends
        .iter()
        .find_map(|end| Some(memchr::memmem::find(rest, end)? + end.len()));
    if let Some(at) = found {
        let end = text.run(body + at, 64, |b| b != b'-' && b != b'\n');
        let key = rest.get(..at).unwrap_or(&[]);
        // The armour alone is no key.
        let filled = key.iter().filter(|b| b.is_ascii_alphanumeric()).count() > 3;
        return filled.then(|| text.run(end, 5, |b| b == b'-'));
    }
    let end = text.run(body, rest.len(), |b| {
        b.is_ascii_alphanumeric() || b"+/=\r\n\t \\,:-".contains(&b)
    });
    (end > body + 4).then_some(end)
}

/// The lines of a key of PuTTY's behind `Private-Lines: 14`, whose dash is at `i`.
pub(crate) fn putty(text: Text<'_>, i: usize) -> Option<(usize, usize)> {
    let start = i.checked_sub(7)?;
    if !text.starts_with(start, b"Private-Lines: ") {
        return None;
    }
    let count = text.run(start + 15, 4, |b| b.is_ascii_digit());
    let end = text.run(count, 64 * 1024, |b| {
        b.is_ascii_alphanumeric() || b"+/=\r\n\\".contains(&b)
    });
    (end > count + 16).then_some((start, end))
}

/// Bytes that continue a token.
fn is_inner(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')
}
