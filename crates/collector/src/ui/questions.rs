//! The questions that auditors ask again and again, with their answers as tables.

use askama::Template;
use hyper::{Response, StatusCode};
use weir_serve::Body;

use super::Inner;
use super::assets;
use super::evidence::{Filled, window};
use super::frame::{Frame, Here, page};
use super::html::{self, Html, visible};
use super::problem::Problem;
use super::request::Asked;
use super::sessions::Session;
use crate::{About, Question};

/// Rows that a page shows; an export has more.
const ROWS: usize = 200;

struct Choice {
    name: &'static str,
    title: &'static str,
    here: bool,
}

/// The question that is open.
struct Open {
    name: &'static str,
    title: &'static str,
    fields: Vec<Field>,
}

struct Field {
    name: &'static str,
    title: &'static str,
    value: String,
    needed: bool,
}

struct Answered {
    title: Html,
    columns: Vec<Html>,
    rows: Vec<Vec<(Html, Html)>>,
    more: bool,
}

#[derive(Template)]
#[template(path = "questions.html")]
struct QuestionsPage {
    frame: Frame,
    filled: Filled,
    questions: Vec<Choice>,
    asked: Option<Open>,
    answer: Option<Answered>,
    export: Option<String>,
}

impl Inner {
    pub(super) async fn questions_page(
        &self,
        session: &Session,
        asked: &Asked,
        name: &str,
    ) -> Result<Response<Body>, Problem> {
        let about = match name {
            "" => None,
            name => Some(
                name.parse::<About>()
                    .map_err(|_| Problem::not_found("There is no such question."))?,
            ),
        };
        let fields = &asked.fields;
        let mut shown = QuestionsPage {
            filled: Filled::read(fields),
            questions: About::ALL.iter().map(|one| choice(*one, about)).collect(),
            asked: about.map(|about| open(about, asked)),
            answer: None,
            export: None,
            frame: self.frame(session, Here::Questions).await,
        };
        let Some(about) = about.filter(|_| fields.text("ask").is_some()) else {
            if fields.text("within").is_none() {
                shown.filled.within = "30d".to_owned();
            }
            return page(&shown);
        };
        let reads = self.reading(session, asked).await?;
        if about.is_of_everywhere() && reads.namespace.is_some() {
            let text = "This is a question about the whole record; you look at one namespace.";
            return Err(Problem::new(StatusCode::FORBIDDEN, text));
        }
        let (since, until) = window(fields)?;
        let takes = about.parameters();
        let text = |name: &str| {
            let value = fields.text(name).filter(|_| takes.contains(&name));
            value.map(str::to_owned)
        };
        let question = Question {
            about,
            since,
            until,
            namespace: reads.namespace,
            identity: text("identity"),
            target: text("target"),
            label: text("label"),
            approver: text("approver"),
            limit: Some(ROWS),
        };
        shown.export = Some(export(&question));
        let answer = self.blocking(&reads.on, move |store| store.ask(&question));
        let answer = answer.await?;
        let columns: Vec<Html> = answer
            .columns
            .iter()
            .map(|column| visible(column))
            .collect();
        let row = |row: &Vec<String>| {
            let cells = row.iter().map(|cell| visible(cell));
            columns.iter().cloned().zip(cells).collect()
        };
        shown.answer = Some(Answered {
            title: visible(&answer.title),
            rows: answer.rows.iter().map(row).collect(),
            columns,
            more: answer.more,
        });
        page(&shown)
    }
}

fn choice(one: About, open: Option<About>) -> Choice {
    Choice {
        name: one.name(),
        title: one.title(),
        here: open == Some(one),
    }
}

fn open(about: About, asked: &Asked) -> Open {
    let field = |name: &&'static str| Field {
        name,
        title: match *name {
            "identity" if about == About::WhoReadEvidence => "Reader",
            "identity" => "Identity",
            "target" => "Target",
            "label" => "Label",
            "approver" => "Approver",
            other => other,
        },
        value: asked.fields.text(name).unwrap_or_default().to_owned(),
        needed: about.needs() == Some(name),
    };
    let fields = about
        .parameters()
        .iter()
        .filter(|name| **name != "namespace");
    Open {
        name: about.name(),
        title: about.title(),
        fields: fields.map(field).collect(),
    }
}

/// The same question to the API.
fn export(question: &Question) -> String {
    let mut all = form_urlencoded::Serializer::new(String::new());
    let times = [("since", question.since), ("until", question.until)];
    let times = times.map(|(name, time)| (name, time.map(|time| time.to_string())));
    let texts = [
        ("namespace", question.namespace.clone()),
        ("identity", question.identity.clone()),
        ("target", question.target.clone()),
        ("label", question.label.clone()),
        ("approver", question.approver.clone()),
    ];
    for (name, value) in times.into_iter().chain(texts) {
        if let Some(value) = value {
            all.append_pair(name, &value);
        }
    }
    all.append_pair("limit", "10000");
    format!(
        "/ui/api/v1/questions/{}?{}",
        question.about.name(),
        all.finish()
    )
}
