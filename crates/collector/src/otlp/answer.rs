//! What a receiver's answer means, by the specification of OTLP over HTTP.
//!
//! Pure. It differs from the specification in one place: an answer that is about who asks, or where, refuses
//! no event, and one that says that the receiver failed does so only when it comes again and again. What is
//! evidence is tried again, slowly.

use std::time::{Duration, SystemTime};

use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;
use weir_fetch::{Answer, FetchError};

/// No receiver makes us wait longer.
const MOST: Duration = Duration::from_secs(3600);
/// What is shown of what a receiver says.
const SHOWN: usize = 300;

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has the request, but for so many records.
    Taken {
        rejected: u64,
        /// What it says of it.
        said: Option<String>,
    },
    /// Try again, not before this time has passed.
    Later {
        after: Option<Duration>,
        why: String,
    },
    /// It takes no request of this size.
    TooLarge,
    /// It will never take this request.
    Refused(String),
    /// It failed over this request, and may do so each time.
    Failed(String),
    /// It takes none, until somebody does something.
    Trouble(String),
}

/// The answer to an export of logs or metrics.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Export {
    partial_success: Option<Partial>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Partial {
    #[serde(alias = "rejectedDataPoints")]
    rejected_log_records: Option<Count>,
    error_message: Option<String>,
}

/// Numbers of 64 bits are text in JSON of protobuf, and readers take both.
#[derive(Deserialize)]
#[serde(untagged)]
enum Count {
    Number(u64),
    Text(String),
}

impl Count {
    fn value(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.parse().unwrap_or(0),
        }
    }
}

/// What an answer to one request means at `now`.
pub(super) fn verdict(answer: Result<Answer, FetchError>, now: SystemTime) -> Verdict {
    let answer = match answer {
        Ok(answer) => answer,
        // Whether it has the request is not known, and it will hardly say next time.
        Err(error @ FetchError::TooLarge(_)) => return Verdict::Trouble(error.to_string()),
        Err(error) => {
            return Verdict::Later {
                after: None,
                why: error.to_string(),
            };
        }
    };
    let status = answer.status;
    if status.is_success() {
        return taken(&answer);
    }
    let why = || format!("status {status}{}", shown(&answer));
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT
        | StatusCode::REQUEST_TIMEOUT => Verdict::Later {
            after: retry_after(&answer.headers, now),
            why: why(),
        },
        StatusCode::PAYLOAD_TOO_LARGE => Verdict::TooLarge,
        StatusCode::BAD_REQUEST
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::UNPROCESSABLE_ENTITY => Verdict::Refused(why()),
        _ if status.is_server_error() => Verdict::Failed(why()),
        _ => Verdict::Trouble(why()),
    }
}

fn taken(answer: &Answer) -> Verdict {
    // A gateway may answer with nothing, or with something else: the status is what counts.
    let export: Export = serde_json::from_slice(&answer.body).unwrap_or_default();
    let partial = export.partial_success.unwrap_or_default();
    let rejected = partial
        .rejected_log_records
        .map_or(0, |count| count.value());
    let said = partial.error_message.filter(|said| !said.is_empty());
    Verdict::Taken {
        rejected,
        said: said.map(|said| cut(&said)),
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(now)
            .unwrap_or_default(),
    };
    Some(wait.min(MOST))
}

fn shown(answer: &Answer) -> String {
    let said = String::from_utf8_lossy(&answer.body);
    match said.trim() {
        "" => String::new(),
        said => format!(": {}", cut(said)),
    }
}

/// Without control characters: it goes to a log.
fn cut(said: &str) -> String {
    let said = said.chars().filter(|c| !c.is_control());
    said.take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use hyper::body::Bytes;

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> Verdict {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let answer = Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        };
        verdict(Ok(answer), SystemTime::UNIX_EPOCH)
    }

    fn taken(rejected: u64, said: Option<&str>) -> Verdict {
        Verdict::Taken {
            rejected,
            said: said.map(str::to_owned),
        }
    }

    #[test]
    fn a_success_may_be_partial_and_goes_no_second_time() {
        for body in ["", "{}", r#"{"partialSuccess":{}}"#, "<html>"] {
            assert_eq!(answer(200, &[], body), taken(0, None), "{body}");
        }
        let partial = |name: &str, count: &str| {
            let body =
                format!(r#"{{"partialSuccess":{{"{name}":{count},"errorMessage":"too\nold"}}}}"#);
            answer(200, &[], &body)
        };
        let wanted = taken(3, Some("tooold"));
        assert_eq!(partial("rejectedLogRecords", r#""3""#), wanted);
        assert_eq!(partial("rejectedLogRecords", "3"), wanted);
        assert_eq!(partial("rejectedDataPoints", r#""3""#), wanted);
    }

    #[test]
    fn what_may_be_retried_is_and_not_before_the_receiver_wants_it() {
        let after = |status, header: &str| match answer(status, &[("retry-after", header)], "busy")
        {
            Verdict::Later { after, why } => {
                assert!(
                    why.contains("busy") && why.contains(&status.to_string()),
                    "{why}"
                );
                after
            }
            other => panic!("{other:?}"),
        };
        for status in [408, 429, 502, 503, 504] {
            assert_eq!(after(status, "7"), Some(Duration::from_secs(7)));
        }
        let date = after(503, "Thu, 01 Jan 1970 00:01:30 GMT");
        assert_eq!(date, Some(Duration::from_secs(90)));
        assert_eq!(after(503, "soon"), None);
        assert_eq!(after(503, "99999999999"), Some(MOST));
        let hung_up = verdict(Err(FetchError::Timeout(MOST)), SystemTime::UNIX_EPOCH);
        assert!(matches!(hung_up, Verdict::Later { after: None, .. }));
    }

    #[test]
    fn only_what_is_about_the_request_refuses_it() {
        for status in [400, 415, 422] {
            assert!(
                matches!(answer(status, &[], ""), Verdict::Refused(_)),
                "{status}"
            );
        }
        assert_eq!(answer(413, &[], ""), Verdict::TooLarge);
        for status in [301, 401, 403, 404, 405] {
            assert!(
                matches!(answer(status, &[], ""), Verdict::Trouble(_)),
                "{status}"
            );
        }
        for status in [500, 501, 507] {
            assert!(
                matches!(answer(status, &[], ""), Verdict::Failed(_)),
                "{status}"
            );
        }
    }

    #[test]
    fn an_answer_without_end_says_nothing() {
        let endless = verdict(Err(FetchError::TooLarge(9)), SystemTime::UNIX_EPOCH);
        assert!(matches!(endless, Verdict::Trouble(_)));
    }
}
