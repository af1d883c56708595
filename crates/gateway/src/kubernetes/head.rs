//! What the head of a request says of it, and what of a head goes on.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName,
    HeaderValue, SEC_WEBSOCKET_PROTOCOL, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::{HeaderMap, StatusCode, request};
use sha2::{Digest as _, Sha256};
use weir_wire_kube as wire;

use super::credentials::{self, Claim, Presented};
use super::refusal::Refusal;

/// Headers of one connection alone.
const HOP: [HeaderName; 6] = [
    CONNECTION,
    TRANSFER_ENCODING,
    http::header::TE,
    http::header::TRAILER,
    UPGRADE,
    http::header::PROXY_AUTHORIZATION,
];
/// Headers that `Connection` must not take away: by them the request was judged.
const KEPT: [HeaderName; 4] = [AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, ACCEPT];
const OLD_HOP: [&str; 2] = ["keep-alive", "proxy-connection"];

/// What tells a request from every other: what it does, in whose name, and with which object, read in
/// which way.
pub(super) fn exact(
    target: &str,
    head: &request::Parts,
    verb: &str,
    claim: Claim,
    object: Option<&[u8]>,
) -> String {
    let decides = |name: &HeaderName| {
        let foreign = claim.presented == Presented::Other;
        *name == CONTENT_TYPE
            || credentials::acts_for_another(name)
            || (foreign && (*name == AUTHORIZATION || *name == SEC_WEBSOCKET_PROTOCOL))
    };
    let mut headers: Vec<(&[u8], &[u8])> = head
        .headers
        .iter()
        .filter(|(name, _)| decides(name))
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
        .collect();
    headers.sort_unstable();
    let claimed = format!("{claim:?}");
    let parts = [verb.as_bytes(), target.as_bytes(), claimed.as_bytes()];
    let headers = headers.iter().flat_map(|(name, value)| [*name, *value]);
    let mut digest = Sha256::new();
    for part in parts.into_iter().chain(headers).chain(object) {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    format!("{:x?}", digest.finalize())
}

/// Whether the request asks to go on as something else, and is one that may. What else asks for it is
/// answered as if it had not.
pub(super) fn upgrades(head: &request::Parts, request: &wire::Request) -> bool {
    let streams = request.resource.as_ref().is_some_and(|resource| {
        let sub = resource.subresource.as_str();
        resource.group.is_empty()
            && resource.resource == "pods"
            && matches!(sub, "exec" | "attach" | "portforward")
    });
    streams && head.headers.contains_key(UPGRADE)
}

pub(super) fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let mut asked = headers.get_all(UPGRADE).iter();
    asked.any(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The first header whose value is not plain text. What stands in it would be read in one way here, and in
/// another by the server; only what a client calls itself says nothing.
pub(super) fn unreadable(headers: &HeaderMap) -> Option<&HeaderName> {
    let mut headers = headers.iter();
    let found = headers.find(|(name, value)| **name != USER_AGENT && value.to_str().is_err());
    found.map(|(name, _)| name)
}

/// Takes away what is said about one connection alone.
pub(super) fn strip(headers: &mut HeaderMap) {
    let of_connection = |name: &HeaderName| HOP.contains(name) || OLD_HOP.contains(&name.as_str());
    if !headers.keys().any(of_connection) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| !KEPT.contains(name))
        .collect();
    for name in named.iter().chain(&HOP) {
        headers.remove(name);
    }
    for name in OLD_HOP {
        headers.remove(name);
    }
}

/// Asks for JSON that is not compressed. Whether the client takes none, and is answered in YAML made of it:
/// watches have no form in YAML.
pub(super) fn only_json(headers: &mut HeaderMap, watch: bool) -> Result<bool, Refusal> {
    headers.remove(ACCEPT_ENCODING);
    let texts = headers.get_all(ACCEPT).iter().map(|value| value.to_str());
    let texts: Result<Vec<&str>, _> = texts.collect();
    let (texts, mut yaml) = (texts.unwrap_or_default(), false);
    let accept = wire::accept_json(texts.iter().copied()).or_else(|error| {
        yaml = !watch;
        let accept = yaml.then(|| wire::accept_yaml(texts.iter().copied()));
        accept.unwrap_or(Err(error)).map(Some)
    });
    let accept = accept.map_err(|_| {
        let text = "policy reads what this answers, which is given as JSON, or as YAML where it is no watch: \
                    the request accepts neither";
        Refusal::of(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", text)
    })?;
    if let Some(accept) = accept {
        let value = HeaderValue::try_from(accept);
        let value =
            value.map_err(|_| Refusal::bad_request("the Accept header cannot be sent on"))?;
        headers.insert(ACCEPT, value);
    }
    Ok(yaml)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn an_approval_is_for_one_request_of_one_identity() {
        let claim = |presented, impersonates| Claim {
            presented,
            impersonates,
        };
        let pods = claim(Presented::Placeholder, false);
        let others = claim(Presented::Other, false);
        let json = [("content-type", "application/json")];
        let yaml = [("content-type", "application/yaml")];
        let named = |user| {
            [
                ("content-type", "application/json"),
                ("impersonate-user", user),
            ]
        };
        let token = |token| [("authorization", token)];
        let all = [
            exact("/a", &head(&json), "get", pods, None),
            exact("/b", &head(&json), "get", pods, None),
            exact("/a", &head(&json), "delete", pods, None),
            exact("/a", &head(&json), "create", pods, Some(b"x")),
            exact("/a", &head(&json), "create", pods, Some(b"y")),
            exact("/a", &head(&yaml), "create", pods, Some(b"x")),
            exact(
                "/a",
                &head(&named("a")),
                "get",
                claim(Presented::Placeholder, true),
                None,
            ),
            exact(
                "/a",
                &head(&named("b")),
                "get",
                claim(Presented::Placeholder, true),
                None,
            ),
            exact("/a", &head(&token("Bearer a")), "get", others, None),
            exact("/a", &head(&token("Bearer b")), "get", others, None),
        ];
        let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        // A placeholder's token moves, and the order of headers says nothing.
        let moved = [
            ("authorization", "Bearer a"),
            ("content-type", "application/json"),
        ];
        let again = [
            ("content-type", "application/json"),
            ("authorization", "Bearer b"),
        ];
        let one = exact("/a", &head(&moved), "get", pods, None);
        assert_eq!(one, exact("/a", &head(&again), "get", pods, None));
    }

    #[test]
    fn a_header_that_could_be_read_in_two_ways_is_found() {
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_bytes(b"caf\xe9").unwrap());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        assert_eq!(unreadable(&headers), None);
        for (name, value) in [
            (CONTENT_TYPE, &b"application/json-patch+json; x=\xe9"[..]),
            (SEC_WEBSOCKET_PROTOCOL, b"v4.channel.k8s.io, \xe9"),
            (ACCEPT, "application/json; x=\u{e9}".as_bytes()),
        ] {
            let mut headers = headers.clone();
            headers.append(&name, HeaderValue::from_bytes(value).unwrap());
            assert_eq!(unreadable(&headers), Some(&name));
        }
    }

    #[test]
    fn what_a_request_was_judged_by_is_not_taken_away() {
        let mut head = head(&[
            (
                "connection",
                "content-type, Accept, x-own, authorization, upgrade",
            ),
            ("content-type", "application/yaml"),
            ("accept", "application/json"),
            ("authorization", "Bearer a"),
            ("upgrade", "h2c"),
            ("x-own", "x"),
            ("keep-alive", "x"),
        ]);
        strip(&mut head.headers);
        let mut left: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "authorization", "content-type"]);
    }
}
