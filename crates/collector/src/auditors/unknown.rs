//! Tokens that nobody knows yet, and what they may cost.
//!
//! Whether a token is good only the API server can say, and each question is a request to it. So whoever sends one
//! random token after the other must not make it one question each.
//!
//! Invariants
//! - A token that was good lately is asked about whatever others send.
//! - One that was not good lately, that cannot be one, that has expired or is for Weir's controller is refused unasked.
//! - Others are asked about as often as their address may, and all addresses together.
//! - Tokens are known by a hash; how many, and how many addresses, is bounded. Nothing here reads a clock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use tokio::time::Instant;
use weir_serve::{Pace, Paced};

/// How long a token that was not good is not asked about again.
const BAD: Duration = Duration::from_secs(10);
/// How long one that was good goes past the limits.
const GOOD: Duration = Duration::from_secs(3600);
/// Tokens of either kind, and addresses, that are remembered.
const REMEMBERED: usize = 8192;
/// Unknown tokens of one address: so many at once, and one more in this time.
const OF_ONE: Pace = Pace {
    burst: 20,
    each: Duration::from_secs(3),
};
/// Those of all addresses.
const OF_ALL: Pace = Pace {
    burst: 100,
    each: Duration::from_millis(100),
};
/// How far this machine's clock may be ahead.
const LEEWAY: f64 = 60.0;
/// What tokens for Weir's controller are for; the API server is never meant.
const ENROLMENT: &str = "weir.dev";

/// A token's hash.
pub(super) type Mark = [u8; 32];

/// What is to be done about a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knock {
    Ask,
    /// It was not good a moment ago.
    Bad,
    /// Too many that nobody knows.
    TooMany,
}

/// What is known of tokens.
pub(super) struct Unknown {
    good: HashMap<Mark, Instant>,
    bad: HashMap<Mark, Instant>,
    addresses: HashMap<IpAddr, Paced>,
    all: Paced,
}

impl Unknown {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            good: HashMap::new(),
            bad: HashMap::new(),
            addresses: HashMap::new(),
            all: Paced::new(OF_ALL, now),
        }
    }

    /// What is to be done about a token that comes `from` somewhere.
    pub(super) fn knock(&mut self, token: &Mark, from: IpAddr, now: Instant) -> Knock {
        if self.good.get(token).is_some_and(|until| now < *until) {
            return Knock::Ask;
        }
        if self.bad.get(token).is_some_and(|until| now < *until) {
            return Knock::Bad;
        }
        let from = network(from);
        if self.addresses.len() >= REMEMBERED && !self.addresses.contains_key(&from) {
            self.addresses.retain(|_, paced| !paced.is_full(now));
        }
        // Where too many addresses knock to be told apart, the limit of all is theirs.
        let crowded = self.addresses.len() >= REMEMBERED && !self.addresses.contains_key(&from);
        let mut own = || {
            let paced = self.addresses.entry(from);
            paced.or_insert_with(|| Paced::new(OF_ONE, now)).take(now)
        };
        if (crowded || own()) && self.all.take(now) {
            Knock::Ask
        } else {
            Knock::TooMany
        }
    }

    /// Remembers whether a token was good.
    pub(super) fn told(&mut self, token: Mark, good: bool, now: Instant) {
        let (kept, other, life) = if good {
            (&mut self.good, &mut self.bad, GOOD)
        } else {
            (&mut self.bad, &mut self.good, BAD)
        };
        other.remove(&token);
        if kept.len() >= REMEMBERED && !kept.contains_key(&token) {
            kept.retain(|_, until| now < *until);
        }
        if kept.len() < REMEMBERED || kept.contains_key(&token) {
            kept.insert(token, now + life);
        }
    }
}

/// Whoever has an IPv6 address has its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

/// Why a token cannot be good, whoever is asked, at `now` in seconds since 1970. What is no JWT at all may be a token of
/// another kind.
pub(super) fn cannot_be(token: &str, now: f64) -> Option<&'static str> {
    let mut parts = token.split('.');
    let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    let is_three = parts.next().is_none();
    let header = object(header).filter(|header| is_three && header.contains_key("alg"))?;
    let is_signed = header.get("alg").and_then(Value::as_str) != Some("none");
    let Some(claims) = object(payload).filter(|_| is_signed && !signature.is_empty()) else {
        return Some("the token is no signed token");
    };
    let expires = claims.get("exp").and_then(Value::as_f64);
    if expires.is_some_and(|expires| expires + LEEWAY < now) {
        return Some("the token has expired");
    }
    let own = |audience: &Value| audience.as_str() == Some(ENROLMENT);
    let elsewhere = match claims.get("aud") {
        Some(Value::Array(all)) => !all.is_empty() && all.iter().all(own),
        Some(audience) => own(audience),
        None => false,
    };
    elsewhere.then_some("the token is for Weir's controller, and not for the API server")
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn mark(n: u32) -> Mark {
        let mut mark = [0; 32];
        mark[..4].copy_from_slice(&n.to_le_bytes());
        mark
    }

    fn asked(
        unknown: &mut Unknown,
        tokens: std::ops::Range<u32>,
        from: IpAddr,
        at: Instant,
    ) -> usize {
        tokens
            .filter(|n| unknown.knock(&mark(*n), from, at) == Knock::Ask)
            .count()
    }

    #[test]
    fn random_tokens_cost_what_an_address_may_and_all_together_and_good_ones_are_never_locked_out()
    {
        let now = Instant::now();
        let mut unknown = Unknown::new(now);
        unknown.told(mark(1), true, now);
        assert_eq!(asked(&mut unknown, 1000..2000, NEAR, now), 20);
        assert_eq!(unknown.knock(&mark(1), NEAR, now), Knock::Ask);
        assert_eq!(unknown.knock(&mark(2), NEAR, now), Knock::TooMany);
        // Another address is another's, until there are too many of all.
        let other = |n: u8| IpAddr::from([10, 0, 0, n]);
        assert_eq!(unknown.knock(&mark(2), other(1), now), Knock::Ask);
        let all: usize = (2..200)
            .map(|n| asked(&mut unknown, 0x1_0000..0x1_0100, other(n), now))
            .sum();
        assert_eq!(all, 100 - 21);
        assert_eq!(unknown.knock(&mark(1), NEAR, now), Knock::Ask);
        let later = now + Duration::from_secs(3);
        assert_eq!(asked(&mut unknown, 3000..4000, NEAR, later), 1);
        // A network of IPv6 is one.
        let six = |n| IpAddr::from([0x2001, 0xdb8, 0, 1, n, n, n, n]);
        let later = now + Duration::from_secs(600);
        let all: usize = (0..50)
            .map(|n| asked(&mut unknown, 2..2000, six(n), later))
            .sum();
        assert_eq!(all, 20);
    }

    #[test]
    fn what_was_not_good_is_not_asked_about_again_for_a_while() {
        let now = Instant::now();
        let mut unknown = Unknown::new(now);
        unknown.told(mark(1), false, now);
        assert_eq!(unknown.knock(&mark(1), NEAR, now), Knock::Bad);
        assert_eq!(unknown.knock(&mark(1), NEAR, now + BAD), Knock::Ask);
        unknown.told(mark(1), true, now);
        assert_eq!(unknown.knock(&mark(1), NEAR, now), Knock::Ask);
    }

    #[test]
    fn memory_is_bounded_whatever_knocks() {
        let now = Instant::now();
        let mut unknown = Unknown::new(now);
        for n in 0..20_000_u32 {
            unknown.told(mark(n), n % 2 == 0, now);
            let _ = unknown.knock(&mark(n + 1_000_000), IpAddr::from(n.to_le_bytes()), now);
        }
        let kept = [
            unknown.good.len(),
            unknown.bad.len(),
            unknown.addresses.len(),
        ];
        assert!(kept.iter().all(|kept| *kept <= REMEMBERED), "{kept:?}");
    }

    #[test]
    fn what_cannot_be_a_token_of_the_cluster_is_told_by_itself() {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = part(serde_json::json!({"alg": "RS256"}));
        let jwt = |claims: Value| format!("{header}.{}.c2ln", part(claims));
        let good = serde_json::json!({"aud": ["https://kubernetes.default.svc"], "exp": 2000});
        for fine in [
            jwt(good.clone()),
            jwt(serde_json::json!({"aud": ["weir.dev", "kubernetes"]})),
            jwt(serde_json::json!({"aud": "client", "exp": 1990.5})),
            "abcdef.0123456789abcdef".to_owned(),
            "an opaque token".to_owned(),
            "a.b.c".to_owned(),
        ] {
            assert_eq!(cannot_be(&fine, 2000.0), None, "{fine}");
        }
        let none = part(serde_json::json!({"alg": "none"}));
        for (bad, why) in [
            (jwt(serde_json::json!({"exp": 1900})), "expired"),
            (jwt(serde_json::json!({"aud": "weir.dev"})), "controller"),
            (jwt(serde_json::json!({"aud": ["weir.dev"]})), "controller"),
            (format!("{header}.bm9uZQ.c2ln"), "signed"),
            (format!("{header}.{}.", part(good.clone())), "signed"),
            (format!("{none}.{}.c2ln", part(good)), "signed"),
        ] {
            let said = cannot_be(&bad, 2000.0).unwrap_or_default();
            assert!(said.contains(why), "{bad}: {said}");
        }
    }
}
