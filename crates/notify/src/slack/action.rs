//! What Slack sends when somebody presses a button: taken apart, and nothing else.
//!
//! By Slack's documentation of interaction payloads: the body is a form whose field `payload` is JSON,
//! of type `block_actions` for a button and `view_submission` for a dialog.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Names of the buttons, and of the dialog.
pub(crate) const APPROVE: &str = "weir_approve";
pub(crate) const DENY: &str = "weir_deny";
pub(crate) const OPEN: &str = "weir_open";
pub(crate) const DIALOG: &str = "weir_reason";

/// Which request a button is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Request {
    /// As the value of a button.
    pub(crate) fn to_value(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What a dialog keeps between its opening and its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) request: Request,
    pub(crate) answer_to: String,
}

/// What somebody did.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Deed {
    /// A button of a request.
    Press {
        approve: bool,
        request: Request,
        /// Opens a dialog, for three seconds.
        trigger: String,
        /// The blocks of the message that it is in.
        shown: Vec<Value>,
    },
    /// A dialog with a reason to deny.
    Reason { kept: Kept, reason: String },
    /// Something that is not about a request, such as a link.
    Other,
}

/// Who did what, and where the answer goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Interaction {
    /// Slack's id of the user.
    pub(crate) user: String,
    /// Where the message is changed and the user answered; empty for a dialog.
    pub(crate) answer_to: String,
    pub(crate) deed: Deed,
}

#[derive(Deserialize)]
struct Payload {
    r#type: String,
    user: User,
    #[serde(default)]
    response_url: String,
    #[serde(default)]
    trigger_id: String,
    #[serde(default)]
    actions: Vec<Action>,
    #[serde(default)]
    message: Shown,
    #[serde(default)]
    view: Option<View>,
}

#[derive(Deserialize)]
struct User {
    id: String,
}

#[derive(Deserialize)]
struct Action {
    action_id: String,
    #[serde(default)]
    value: String,
}

#[derive(Default, Deserialize)]
struct Shown {
    #[serde(default)]
    blocks: Vec<Value>,
}

#[derive(Deserialize)]
struct View {
    callback_id: String,
    #[serde(default)]
    private_metadata: String,
    #[serde(default)]
    state: Value,
}

/// Takes a form apart.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(form: &[u8]) -> Result<Interaction, String> {
    let form = std::str::from_utf8(form).map_err(|_| "the form is not UTF-8")?;
    let payload = form
        .split('&')
        .find_map(|pair| pair.strip_prefix("payload="));
    let payload = decode(payload.ok_or("the form has no payload")?)?;
    let payload: Payload = serde_json::from_str(&payload).map_err(|error| error.to_string())?;
    let deed = match payload.r#type.as_str() {
        "block_actions" => {
            let ours = |action: &&Action| matches!(&*action.action_id, APPROVE | DENY);
            match payload.actions.iter().find(ours) {
                Some(action) => Deed::Press {
                    approve: action.action_id == APPROVE,
                    request: serde_json::from_str(&action.value)
                        .map_err(|_| "the button is about no request")?,
                    trigger: payload.trigger_id,
                    shown: payload.message.blocks,
                },
                None => Deed::Other,
            }
        }
        "view_submission" => match payload.view {
            Some(view) if view.callback_id == DIALOG => Deed::Reason {
                kept: serde_json::from_str(&view.private_metadata)
                    .map_err(|_| "the dialog is about no request")?,
                reason: reason(&view.state),
            },
            _ => Deed::Other,
        },
        _ => Deed::Other,
    };
    Ok(Interaction {
        user: payload.user.id,
        answer_to: payload.response_url,
        deed,
    })
}

/// What was typed: `state.values.BLOCK.ACTION.value`.
fn reason(state: &Value) -> String {
    let value = state.pointer("/values/reason/reason/value");
    value.and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// The dialog that asks for a reason, as `views.open` takes it.
pub(crate) fn dialog(kept: &Kept, trigger: &str) -> Value {
    let plain = |text: &str| serde_json::json!({"type": "plain_text", "text": text});
    let kept_text = serde_json::to_string(kept).unwrap_or_default();
    serde_json::json!({"trigger_id": trigger, "view": {
        "type": "modal", "callback_id": DIALOG, "private_metadata": kept_text,
        "title": plain("Deny the request"), "submit": plain("Deny"), "close": plain("Back"),
        "blocks": [{"type": "input", "block_id": "reason", "label": plain("Why? The client is told."),
            "element": {"type": "plain_text_input", "action_id": "reason", "multiline": true,
                "max_length": 1000}}],
    }})
}

/// Undoes `application/x-www-form-urlencoded`.
fn decode(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
                let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                    return Err("a percent sign is not followed by two digits".to_owned());
                };
                u8::try_from(high * 16 + low).unwrap_or_default()
            }
            other => other,
        });
    }
    String::from_utf8(out).map_err(|_| "the payload is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn form(payload: &Value) -> Vec<u8> {
        let text = payload.to_string();
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("payload={encoded}").into_bytes()
    }

    fn request() -> Request {
        Request {
            namespace: Some("billing".to_owned()),
            name: "weir-x".to_owned(),
            uid: "1-2".to_owned(),
        }
    }

    #[test]
    fn a_button_says_who_decides_what() {
        let payload = json!({"type": "block_actions", "user": {"id": "U1", "name": "jane"},
            "response_url": "https://hooks.slack.com/actions/x", "trigger_id": "1.2",
            "message": {"blocks": [{"type": "header"}]},
            "actions": [{"type": "button", "action_id": "weir_approve", "value": request().to_value()}]});
        let parsed = parse(&form(&payload)).unwrap();
        assert_eq!(
            (&*parsed.user, &*parsed.answer_to),
            ("U1", "https://hooks.slack.com/actions/x")
        );
        let expected = Deed::Press {
            approve: true,
            request: request(),
            trigger: "1.2".to_owned(),
            shown: vec![json!({"type": "header"})],
        };
        assert_eq!(parsed.deed, expected);
    }

    #[test]
    fn a_dialog_says_why_and_what_it_was_opened_for() {
        let kept = Kept {
            request: request(),
            answer_to: "https://hooks.slack.com/actions/x".to_owned(),
        };
        let opened = dialog(&kept, "1.2");
        let payload = json!({"type": "view_submission", "user": {"id": "U1"}, "view": {
            "callback_id": "weir_reason", "private_metadata": opened["view"]["private_metadata"],
            "state": {"values": {"reason": {"reason": {"type": "plain_text_input", "value": "no ä"}}}}}});
        let parsed = parse(&form(&payload)).unwrap();
        let expected = Deed::Reason {
            kept,
            reason: "no ä".to_owned(),
        };
        assert_eq!(parsed.deed, expected);
    }

    #[test]
    fn what_is_not_about_a_request_is_nothing() {
        let link = json!({"type": "block_actions", "user": {"id": "U1"},
            "actions": [{"action_id": "weir_open"}]});
        let other = json!({"type": "shortcut", "user": {"id": "U1"}});
        for payload in [link, other] {
            assert_eq!(parse(&form(&payload)).unwrap().deed, Deed::Other);
        }
    }

    #[test]
    fn what_is_no_interaction_is_refused() {
        let no_request = json!({"type": "block_actions", "user": {"id": "U1"},
            "actions": [{"action_id": "weir_approve", "value": "weir-x"}]});
        let forms = [
            b"".to_vec(),
            b"payload=%".to_vec(),
            b"payload=%ff".to_vec(),
            b"payload={}".to_vec(),
            b"x=1".to_vec(),
            b"\xff".to_vec(),
            form(&no_request),
        ];
        for form in forms {
            assert!(parse(&form).is_err(), "{form:?}");
        }
    }
}
