//! Who a request says it is, and what the server is told instead.
//!
//! The token of the pod's service account is put on the wire only in place of a placeholder that this
//! pod's Weir made. Everything else that says who somebody is counts as a foreign identity: refused
//! unless a policy allows it, and then sent on as it came.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use weir_policy::{Credentials as Mode, Login, Source};

use crate::ports::Credentials;

/// What stands in front of a token in the list of a WebSocket's subprotocols.
const WEBSOCKET_BEARER: &str = "base64url.bearer.authorization.k8s.io.";
/// Headers that impersonate.
const IMPERSONATE: &str = "impersonate-";
/// Headers with which a proxy in front of the API server says who is asking.
const REMOTE: &str = "x-remote-";

/// What a request brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presented {
    /// Nothing.
    Nothing,
    /// The placeholder of this pod.
    Placeholder,
    /// Something else.
    Other,
}

/// Who a request says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) presented: Presented,
    /// It acts in the name of another, or says that it did who asks.
    pub(super) impersonates: bool,
}

impl Claim {
    /// Reads the headers.
    ///
    /// # Errors
    /// They bring more than one credential.
    pub(super) fn of(
        headers: &HeaderMap,
        credentials: &dyn Credentials,
    ) -> Result<Self, &'static str> {
        let mut tokens: Vec<Option<String>> = Vec::new();
        for value in headers.get_all(AUTHORIZATION) {
            tokens.push(value.to_str().ok().and_then(bearer).map(str::to_owned));
        }
        for protocol in subprotocols(headers) {
            if let Some(encoded) = protocol.strip_prefix(WEBSOCKET_BEARER) {
                let decoded = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('='));
                tokens.push(decoded.ok().and_then(|token| String::from_utf8(token).ok()));
            }
        }
        let presented = match tokens.as_slice() {
            [] => Presented::Nothing,
            [Some(token)] if credentials.is_placeholder(token) => Presented::Placeholder,
            [_] => Presented::Other,
            _ => return Err("a request brings one credential, this one brings several"),
        };
        let impersonates = headers.keys().any(acts_for_another);
        Ok(Self {
            presented,
            impersonates,
        })
    }

    /// Whether it is an identity that is not the pod's.
    pub(super) fn is_foreign(self, mode: &Mode) -> bool {
        let passes = matches!(mode, Mode::PassThrough);
        self.impersonates || (self.presented == Presented::Other && !passes)
    }

    /// Puts what the server is told in place of what the client brought.
    ///
    /// # Errors
    /// The token cannot be read; the request is refused.
    pub(super) fn exchange(
        self,
        headers: &mut HeaderMap,
        mode: &Mode,
        credentials: &dyn Credentials,
    ) -> Result<(), String> {
        if self.presented == Presented::Placeholder {
            remove_bearer(headers);
        }
        let Mode::Brokered { login, .. } = mode else {
            return Ok(());
        };
        let token = match (login, self.presented) {
            (Login::PodToken, Presented::Placeholder) => credentials.pod_token()?,
            (Login::Token(source), Presented::Placeholder | Presented::Nothing) => {
                token(source, credentials)?
            }
            _ => return Ok(()),
        };
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| "the token cannot stand in a header".to_owned())?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }
}

/// Whether a header says that a request is made in the name of another.
pub(super) fn acts_for_another(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with(IMPERSONATE) || name.starts_with(REMOTE)
}

fn token(source: &Source, credentials: &dyn Credentials) -> Result<String, String> {
    let bytes = match source {
        Source::Ref(object) => {
            let field = credentials.field(object, "token")?;
            field.ok_or_else(|| format!("{object} has no key `token`"))?
        }
        Source::File(_) => credentials.read(source)?,
    };
    let text = String::from_utf8(bytes).map_err(|_| "the token is not text".to_owned())?;
    Ok(text.trim().to_owned())
}

/// The token of an `Authorization: Bearer` header, as the API server reads it.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

fn subprotocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',').map(str::trim))
}

fn remove_bearer(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    let left: Vec<&str> = subprotocols(headers)
        .filter(|protocol| !protocol.starts_with(WEBSOCKET_BEARER))
        .collect();
    let left = left.join(", ");
    if !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return;
    }
    match HeaderValue::try_from(left) {
        Ok(value) if !value.is_empty() => {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, value);
        }
        _ => {
            headers.remove(SEC_WEBSOCKET_PROTOCOL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows one placeholder.
    struct Known;

    impl Credentials for Known {
        fn read(&self, _: &Source) -> Result<Vec<u8>, String> {
            Err("none".to_owned())
        }

        fn field(&self, _: &str, _: &str) -> Result<Option<Vec<u8>>, String> {
            Ok(Some(b" brokered\n".to_vec()))
        }

        fn login(&self, _: &Login) -> Result<(String, String), String> {
            Err("none".to_owned())
        }

        fn pod_token(&self) -> Result<String, String> {
            Ok("real".to_owned())
        }

        fn is_placeholder(&self, token: &str) -> bool {
            token == "mine"
        }
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn websocket(token: &str) -> String {
        let token = URL_SAFE_NO_PAD.encode(token);
        format!("{WEBSOCKET_BEARER}{token}, v4.channel.k8s.io")
    }

    fn brokered(login: Login) -> Mode {
        let client = weir_policy::ClientLogin::Any;
        Mode::Brokered { login, client }
    }

    #[test]
    fn only_a_placeholder_of_this_pod_is_one() {
        for (name, value, expected) in [
            (
                "authorization",
                "Bearer mine".to_owned(),
                Presented::Placeholder,
            ),
            (
                "authorization",
                "bearer  mine ".to_owned(),
                Presented::Placeholder,
            ),
            (
                "authorization",
                "Bearer theirs".to_owned(),
                Presented::Other,
            ),
            ("authorization", "Basic mine".to_owned(), Presented::Other),
            ("authorization", "mine".to_owned(), Presented::Other),
            (
                "sec-websocket-protocol",
                websocket("mine"),
                Presented::Placeholder,
            ),
            (
                "sec-websocket-protocol",
                websocket("theirs"),
                Presented::Other,
            ),
            (
                "sec-websocket-protocol",
                "v4.channel.k8s.io".to_owned(),
                Presented::Nothing,
            ),
        ] {
            let claim = Claim::of(&headers(&[(name, &value)]), &Known).unwrap();
            assert_eq!(claim.presented, expected, "{name}: {value}");
        }
        let protocol = websocket("mine");
        for second in [
            ("sec-websocket-protocol", &*protocol),
            ("Authorization", "Bearer x"),
        ] {
            let twice = headers(&[("authorization", "Bearer mine"), second]);
            assert!(Claim::of(&twice, &Known).is_err());
        }
    }

    #[test]
    fn the_pods_token_goes_out_only_in_place_of_its_placeholder() {
        let token = brokered(Login::Token(Source::Ref("o".to_owned())));
        let pod = brokered(Login::PodToken);
        for (mode, pairs, expected) in [
            (
                &pod,
                &[("authorization", "Bearer mine")][..],
                Some("Bearer real"),
            ),
            (&pod, &[], None),
            (&pod, &[("authorization", "Bearer x")], Some("Bearer x")),
            (&token, &[], Some("Bearer brokered")),
            (&token, &[("authorization", "Bearer x")], Some("Bearer x")),
            (
                &Mode::PassThrough,
                &[("authorization", "Bearer x")],
                Some("Bearer x"),
            ),
            (
                &Mode::PassThrough,
                &[("authorization", "Bearer mine")],
                None,
            ),
        ] {
            let mut headers = headers(pairs);
            let claim = Claim::of(&headers, &Known).unwrap();
            claim.exchange(&mut headers, mode, &Known).unwrap();
            let sent = headers
                .get(AUTHORIZATION)
                .map(|value| value.to_str().unwrap());
            assert_eq!(sent, expected, "{mode:?} {pairs:?}");
        }
        let mut headers = headers(&[("sec-websocket-protocol", &websocket("mine"))]);
        let claim = Claim::of(&headers, &Known).unwrap();
        claim.exchange(&mut headers, &pod, &Known).unwrap();
        assert_eq!(headers.get(AUTHORIZATION).unwrap(), "Bearer real");
        assert_eq!(
            headers.get(SEC_WEBSOCKET_PROTOCOL).unwrap(),
            "v4.channel.k8s.io"
        );
    }

    #[test]
    fn impersonation_is_foreign_whatever_the_mode() {
        for name in [
            "Impersonate-User",
            "iMpErSoNaTe-Extra-scopes",
            "X-Remote-Group",
        ] {
            let claim = Claim::of(&headers(&[(name, "x")]), &Known).unwrap();
            assert!(claim.is_foreign(&Mode::PassThrough), "{name}");
        }
        let token = Claim::of(&headers(&[("authorization", "Bearer x")]), &Known).unwrap();
        assert!(!token.is_foreign(&Mode::PassThrough));
        assert!(token.is_foreign(&brokered(Login::PodToken)));
    }
}
