//! The paths of the API, in one table that the documentation is checked against.

use std::collections::HashMap;

use weir_audit::{SessionId, Timestamp};

use crate::{About, Filter, Question, SawFilter, Selection, SessionFilter};

/// A documented path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// The path, with `{name}` for a part that varies; `{path}` is all that follows.
    pub path: &'static str,
    pub(super) to: To,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    Sessions,
    Events,
    Replay,
    Tail,
    Requests,
    Approve,
    Deny,
    Coverage,
    Status,
    ResetBudgets,
    UiLink,
    Quarantines,
    Quarantine,
    Lift,
    Verify,
    Overview,
    Questions,
    Ask,
    Checkpoint,
    Consistency,
    Tile,
    Export,
    Report,
    Saw,
}

/// Older checkpoints that a bundle is to continue.
const MAX_OLDS: usize = 100;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Csv,
}

const fn get(path: &'static str, to: To) -> Route {
    Route {
        method: "GET",
        path,
        to,
    }
}

const fn post(path: &'static str, to: To) -> Route {
    Route {
        method: "POST",
        path,
        to,
    }
}

/// Every path that is served.
pub const ROUTES: &[Route] = &[
    get("/v1/sessions", To::Sessions),
    get("/v1/sessions/{id}/replay", To::Replay),
    get("/v1/events", To::Events),
    get("/v1/tail", To::Tail),
    get("/v1/requests", To::Requests),
    post("/v1/requests/{name}/approve", To::Approve),
    post("/v1/requests/{name}/deny", To::Deny),
    get("/v1/coverage", To::Coverage),
    get("/v1/status", To::Status),
    post("/v1/budgets/reset", To::ResetBudgets),
    post("/v1/ui/link", To::UiLink),
    get("/v1/quarantines", To::Quarantines),
    post("/v1/quarantines/{name}", To::Quarantine),
    post("/v1/quarantines/{name}/lift", To::Lift),
    get("/v1/verify", To::Verify),
    get("/v1/overview", To::Overview),
    get("/v1/questions", To::Questions),
    get("/v1/questions/{name}", To::Ask),
    get("/v1/log/checkpoint", To::Checkpoint),
    get("/v1/log/consistency/{size}", To::Consistency),
    get("/v1/log/tile/{path}", To::Tile),
    get("/v1/export", To::Export),
    get("/v1/report", To::Report),
    post("/v1/saw", To::Saw),
];

/// Where a path leads, and the part of it that varies.
pub(super) enum Found<'a> {
    Route(&'static Route, &'a str),
    /// The path exists, for another method.
    Method,
    Nothing,
}

pub(super) fn find<'a>(method: &str, path: &'a str) -> Found<'a> {
    let mut found = Found::Nothing;
    for route in ROUTES {
        let Some(varying) = fit(route.path, path) else {
            continue;
        };
        if route.method == method {
            return Found::Route(route, varying);
        }
        found = Found::Method;
    }
    found
}

fn fit<'a>(template: &str, path: &'a str) -> Option<&'a str> {
    if let Some(before) = template.strip_suffix("{path}") {
        return path.strip_prefix(before).filter(|rest| !rest.is_empty());
    }
    let mut varying = "";
    let (mut wanted, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return Some(varying),
            (Some(part), Some(text)) if part.starts_with('{') && !text.is_empty() => varying = text,
            (Some(part), Some(text)) if part == text => {}
            _ => return None,
        }
    }
}

/// Since, until, and of which namespace.
pub(super) type Range = (Option<Timestamp>, Option<Timestamp>, Option<String>);

/// A query string's pairs, percent-decoded; what is not known is refused.
pub(super) struct Query(HashMap<String, String>);

impl Query {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        let mut pairs = HashMap::new();
        for pair in text
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
        {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if pairs.insert(name.clone(), value).is_some() {
                return Err(format!("{name} is given twice"));
            }
        }
        Ok(Self(pairs))
    }

    fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn parsed<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let parse = |text: String| text.parse().map_err(|_| format!("{name} is not valid"));
        self.text(name).map(parse).transpose()
    }

    pub(super) fn finish(self) -> Result<(), String> {
        self.0
            .into_keys()
            .next()
            .map_or(Ok(()), |name| Err(format!("{name} is not known")))
    }

    /// `format`: JSON unless CSV is asked for.
    pub(super) fn form(&mut self) -> Result<Form, String> {
        match self.text("format").as_deref() {
            None | Some("json") => Ok(Form::Json),
            Some("csv") => Ok(Form::Csv),
            Some(_) => Err("format is json or csv".to_owned()),
        }
    }

    /// Range and namespace of an overview.
    pub(super) fn overview(mut self) -> Result<Range, String> {
        let range = (
            self.parsed("since")?,
            self.parsed("until")?,
            self.text("namespace"),
        );
        self.finish()?;
        Ok(range)
    }

    pub(super) fn question(mut self, about: About) -> Result<Question, String> {
        let question = Question {
            about,
            since: self.parsed("since")?,
            until: self.parsed("until")?,
            namespace: self.text("namespace"),
            identity: self.text("identity"),
            target: self.text("target"),
            label: self.text("label"),
            approver: self.text("approver"),
            limit: self.parsed("limit")?,
        };
        self.finish()?;
        Ok(question)
    }

    /// The namespace, as the only parameter.
    pub(super) fn namespace(mut self) -> Result<Option<String>, String> {
        let namespace = self.text("namespace");
        self.finish()?;
        Ok(namespace)
    }

    /// The namespace of requests, and whether those that are over are meant as well.
    pub(super) fn requests(mut self) -> Result<(Option<String>, bool), String> {
        let namespace = self.text("namespace");
        let closed = self.parsed("closed")?.unwrap_or_default();
        self.finish()?;
        Ok((namespace, closed))
    }

    pub(super) fn events(mut self) -> Result<Filter, String> {
        let filter = Filter {
            since: self.parsed("since")?,
            until: self.parsed("until")?,
            identity: self.text("identity"),
            namespace: self.text("namespace"),
            target: self.text("target"),
            table: self.text("table"),
            label: self.text("label"),
            decision: self.text("decision"),
            approver: self.text("approver"),
            kind: self.text("kind"),
            text: self.text("text"),
            sha256: self.parsed("sha256")?,
            session: self.parsed::<SessionId>("session")?,
            limit: self.parsed("limit")?,
            cursor: self.text("cursor"),
        };
        self.finish()?;
        Ok(filter)
    }

    /// Who was given a value: the value is in the body.
    pub(super) fn saw(mut self) -> Result<(SawFilter, Option<String>), String> {
        let filter = SawFilter {
            since: self.parsed("since")?,
            until: self.parsed("until")?,
            namespace: self.text("namespace"),
            values: Vec::new(),
        };
        let label = self.text("label");
        self.finish()?;
        Ok((filter, label))
    }

    pub(super) fn selection(mut self) -> Result<Selection, String> {
        let selection = Selection {
            since: self.parsed("since")?,
            until: self.parsed("until")?,
            entries: None,
            old: self.olds()?,
        };
        self.finish()?;
        Ok(selection)
    }

    /// Sizes of older checkpoints, by comma.
    fn olds(&mut self) -> Result<Vec<u64>, String> {
        let text = self.text("old").unwrap_or_default();
        let olds = text.split(',').filter(|one| !one.is_empty());
        let olds: Result<Vec<u64>, _> = olds.take(MAX_OLDS + 1).map(str::parse).collect();
        let olds = olds.map_err(|_| "old is not valid".to_owned())?;
        if olds.len() > MAX_OLDS {
            return Err(format!("old names more than {MAX_OLDS} checkpoints"));
        }
        Ok(olds)
    }

    pub(super) fn sessions(mut self) -> Result<SessionFilter, String> {
        let filter = SessionFilter {
            since: self.parsed("since")?,
            until: self.parsed("until")?,
            identity: self.text("identity"),
            namespace: self.text("namespace"),
            target: self.text("target"),
            limit: self.parsed("limit")?,
            cursor: self.text("cursor"),
        };
        self.finish()?;
        Ok(filter)
    }
}

/// One parameter of a query string, decoded.
pub(crate) fn named(query: Option<&str>, name: &str) -> Result<Option<String>, String> {
    Ok(Query::parse(query)?.text(name))
}

fn decode(text: &str) -> Result<String, String> {
    let bad = || "a percent sign is not followed by two digits".to_owned();
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
                let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                    return Err(bad());
                };
                u8::try_from(high * 16 + low).map_err(|_| bad())?
            }
            other => other,
        });
    }
    String::from_utf8(out).map_err(|_| "a parameter is not UTF-8".to_owned())
}

/// Percent-encodes a query value.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
