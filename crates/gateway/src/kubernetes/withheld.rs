//! Words of the API server that may quote values: its warnings, and what it says where it refuses something.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, WARNING};
use http::{HeaderMap, Response, StatusCode, response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::Value;
use weir_audit::Outcome;
use weir_wire_kube::{Cause, Status};

use super::answer::{Body, full};
use super::objects::{Masking, Masks};
use super::refusal::Refusal;
use super::statement::Active;

/// Most bytes of an error of the server's.
const ERROR: usize = 256 << 10;
/// What stands in place of warnings.
const WITHHELD: &str =
    "299 - \"weir: warnings of the API server are withheld, as they may quote masked values\"";

/// Warnings of the server may quote values. Those about what is changed are withheld where fields are masked.
pub(super) fn mask_warnings(headers: &mut HeaderMap, masks: &Masks, changes: bool) {
    let warnings: Vec<HeaderValue> = headers.get_all(WARNING).iter().cloned().collect();
    if warnings.is_empty() {
        return;
    }
    headers.remove(WARNING);
    if changes && masks.has_fields() {
        headers.append(WARNING, HeaderValue::from_static(WITHHELD));
        return;
    }
    let mut masking = Masking::new(masks.clone());
    for warning in warnings {
        let text = String::from_utf8_lossy(warning.as_bytes());
        let masked = masking.text(&text);
        let shown = match masked {
            Some(text) => HeaderValue::try_from(text).ok(),
            None => Some(warning),
        };
        if let Some(shown) = shown {
            headers.append(WARNING, shown);
        }
    }
}

/// The server's refusal of a request that is about masked fields: its words may quote their values.
pub(super) async fn withheld(
    mut head: response::Parts,
    upstream: Incoming,
    mut active: Active,
) -> Response<Body> {
    let limited = http_body_util::Limited::new(upstream, ERROR);
    let bytes = match limited.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => {
            let refusal = Refusal::bad_gateway(&format!("it failed: {error}"));
            active.outcome = Some(Outcome::Failed { code: "502".into() });
            return refusal.response(&active.audit_id());
        }
    };
    let asked = (!active.answered.name.is_empty()).then(|| Arc::clone(&active.answered.name));
    let status = withhold(&bytes, head.status, asked.as_deref());
    active.delivers(&status);
    let outcome = Outcome::Failed {
        code: head.status.as_str().into(),
    };
    active.finish_kept(outcome).await;
    head.headers
        .insert(CONTENT_LENGTH, HeaderValue::from(status.len()));
    head.headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(head, full(status))
}

/// `asked` is the name of the object that was asked for: another may be that of a node, which is a value.
fn withhold(bytes: &[u8], code: StatusCode, asked: Option<&str>) -> Vec<u8> {
    const TEXT: &str =
        "the API server refused it; its words are withheld, as they may quote masked values";
    let known: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let at = |pointer: &str| text(known.pointer(pointer));
    let causes = known.pointer("/details/causes").and_then(Value::as_array);
    let cause = |cause: &Value| Cause {
        reason: text(cause.get("reason")),
        field: text(cause.get("field")),
        ..Cause::default()
    };
    let reason = at("/reason");
    let word = if reason.is_empty() {
        "Failure"
    } else {
        &reason
    };
    let status = Status {
        code: code.as_u16(),
        message: format!("{word}: {TEXT}"),
        name: match at("/details/name") {
            name if asked.is_none_or(|asked| asked == name) => name,
            _ => String::new(),
        },
        group: at("/details/group"),
        kind: at("/details/kind"),
        causes: causes.into_iter().flatten().map(cause).collect(),
        retry_after: None,
        reason,
    };
    status.to_json()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_withheld_names_only_what_was_asked_for() {
        let refused = |name: &str| {
            format!(
                r#"{{"kind":"Status","code":404,"reason":"NotFound","message":"pods \"{name}\" not found","details":{{"name":"{name}","kind":"pods"}}}}"#
            )
        };
        let shown = |name: &str, asked| {
            let shown = withhold(refused(name).as_bytes(), StatusCode::NOT_FOUND, asked);
            String::from_utf8(shown).unwrap()
        };
        assert!(!shown("node-7", Some("db")).contains("node-7"));
        assert!(shown("db", Some("db")).contains(r#""name":"db""#));
        assert!(shown("db", None).contains(r#""name":"db""#));
    }
}
