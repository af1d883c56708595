//! `metav1.Status`, the object in which the API server says what went wrong, in JSON.
//!
//! `kubectl` prints `Error from server (REASON): MESSAGE`; client libraries tell errors apart by reason
//! and code, and wait for `retryAfterSeconds`.

use crate::json;

/// What a refusal says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The HTTP status.
    pub code: u16,
    /// A word for programs. Empty: the usual one of the code.
    pub reason: String,
    /// What happened, for people.
    pub message: String,
    /// The API group of what the request was about; empty for the core group.
    pub group: String,
    /// The resource or kind that it was about; empty: none.
    pub kind: String,
    /// The object that it was about; empty: none.
    pub name: String,
    /// Why.
    pub causes: Vec<Cause>,
    /// When the request may be tried again, in seconds.
    pub retry_after: Option<u32>,
}

/// One reason for a refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// A word for programs.
    pub reason: String,
    /// What is wrong, for people.
    pub message: String,
    /// The field that it is about; empty: none.
    pub field: String,
}

impl Status {
    /// The object, as the body of an answer.
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::from(&b"{"[..]);
        member(&mut out, "kind", "Status");
        member(&mut out, "apiVersion", "v1");
        out.extend(b",\"metadata\":{}");
        member(&mut out, "status", "Failure");
        member(&mut out, "message", &self.message);
        let reason = match self.reason.as_str() {
            "" => reason(self.code),
            reason => reason,
        };
        member(&mut out, "reason", reason);
        out.extend(b",\"details\":{");
        member(&mut out, "name", &self.name);
        member(&mut out, "group", &self.group);
        member(&mut out, "kind", &self.kind);
        if !self.causes.is_empty() {
            comma(&mut out);
            out.extend(b"\"causes\":[");
            for cause in &self.causes {
                comma(&mut out);
                out.push(b'{');
                member(&mut out, "reason", &cause.reason);
                member(&mut out, "message", &cause.message);
                member(&mut out, "field", &cause.field);
                out.push(b'}');
            }
            out.push(b']');
        }
        if let Some(seconds) = self.retry_after {
            comma(&mut out);
            out.extend(format!("\"retryAfterSeconds\":{seconds}").bytes());
        }
        out.extend(format!("}},\"code\":{}}}\n", self.code).bytes());
        out
    }
}

/// A member, where its text is not empty.
fn member(out: &mut Vec<u8>, name: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    comma(out);
    json::write(name, out);
    out.push(b':');
    json::write(text, out);
}

/// A comma, but at the beginning of a list or an object.
fn comma(out: &mut Vec<u8>) {
    if !matches!(out.last(), None | Some(b'{' | b'[')) {
        out.push(b',');
    }
}

/// The usual reason of a code (`k8s.io/apimachinery/pkg/apis/meta/v1`, `StatusReason`).
pub fn reason(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        406 => "NotAcceptable",
        409 => "Conflict",
        410 => "Expired",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_clients_print_and_tell_apart() {
        let status = Status {
            code: 403,
            message: "secrets \"db\" is forbidden: policy \"p\"\nrefuses it".to_owned(),
            kind: "secrets".to_owned(),
            name: "db".to_owned(),
            causes: vec![
                Cause {
                    reason: "weir.dev/policy".to_owned(),
                    message: "rule no-secrets".to_owned(),
                    field: String::new(),
                },
                Cause {
                    reason: "weir.dev/audit-id".to_owned(),
                    message: "0d1d".to_owned(),
                    field: "x".to_owned(),
                },
            ],
            ..Status::default()
        };
        assert_eq!(
            String::from_utf8(status.to_json()).unwrap(),
            concat!(
                r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","#,
                r#""message":"secrets \"db\" is forbidden: policy \"p\"\nrefuses it","reason":"Forbidden","#,
                r#""details":{"name":"db","kind":"secrets","causes":[{"reason":"weir.dev/policy","message":"rule no-secrets"},"#,
                r#"{"reason":"weir.dev/audit-id","message":"0d1d","field":"x"}]},"code":403}"#,
                "\n"
            )
        );
    }

    #[test]
    fn an_empty_one_and_one_to_try_again_are_valid() {
        let empty = Status::default().to_json();
        serde_json::from_slice::<serde_json::Value>(&empty).unwrap();
        let later = Status {
            code: 429,
            group: "apps".to_owned(),
            retry_after: Some(7),
            ..Status::default()
        };
        let later: serde_json::Value = serde_json::from_slice(&later.to_json()).unwrap();
        assert_eq!(later["reason"], "TooManyRequests");
        assert_eq!(later["details"]["retryAfterSeconds"], 7);
        assert_eq!(later["details"]["group"], "apps");
        assert_eq!(reason(200), "InternalError");
    }
}
