//! Whether the record is complete: the log's state, and a verification on demand.
//!
//! Invariant: what is said here is what the store says of itself. Whoever does not trust this machine
//! verifies an export elsewhere, and the page says how.

use askama::Template;
use hyper::{Response, StatusCode};
use weir_serve::Body;

use super::Inner;
use super::assets;
use super::frame::{Frame, Here, page};
use super::html::{self, Html, visible};
use super::problem::Problem;
use super::request::Asked;
use super::sessions::Session;
use super::show::{count, moment, unlisted};
use crate::{ChainReport, Proof};

#[derive(Template)]
#[template(path = "proof.html")]
struct ProofPage {
    frame: Frame,
    size: String,
    grown: String,
    key: Html,
    checkpoint: Html,
    vouched: Vec<Vouching>,
    verified: Option<Verified>,
}

struct Vouching {
    by: Html,
    size: String,
    when: String,
    behind: Option<String>,
}

/// What a verification found.
struct Verified {
    ok: bool,
    engines: Vec<Engine>,
    problems: Vec<Html>,
    more: Option<String>,
}

struct Engine {
    name: Html,
    problems: Vec<Html>,
    more: Option<String>,
}

impl Inner {
    pub(super) async fn proof_page(
        &self,
        session: &Session,
        asked: &Asked,
    ) -> Result<Response<Body>, Problem> {
        let reads = self.reading(session, asked).await?;
        if let Some(namespace) = reads.namespace {
            let text = format!("The proof is of the whole record; you look at {namespace} alone.");
            return Err(Problem::new(StatusCode::FORBIDDEN, text));
        }
        let proof = self.blocking(&reads.on, |store| store.proof()).await?;
        let verified = match asked.fields.text("verify") {
            Some(_) => Some(self.whole(&reads.on, |store| store.verify()).await?),
            None => None,
        };
        let frame = self.frame(session, Here::Proof).await;
        page(&shown(frame, &proof, verified.as_ref()))
    }
}

fn shown(frame: Frame, proof: &Proof, verified: Option<&ChainReport>) -> ProofPage {
    let vouched = proof.vouched.iter().map(|one| Vouching {
        by: visible(&one.by),
        size: count(one.size),
        when: moment(one.time),
        behind: proof
            .size
            .checked_sub(one.size)
            .filter(|gap| *gap > 0)
            .map(count),
    });
    ProofPage {
        frame,
        size: count(proof.size),
        grown: moment(proof.time),
        key: visible(&proof.key),
        checkpoint: visible(&proof.checkpoint),
        vouched: vouched.collect(),
        verified: verified.map(|report| Verified {
            ok: report.ok,
            more: unlisted(report.log.more_problems),
            problems: report
                .log
                .problems
                .iter()
                .map(|text| visible(text))
                .collect(),
            engines: report
                .engines
                .iter()
                .map(|engine| Engine {
                    name: visible(engine.engine.as_str()),
                    more: unlisted(engine.more_problems),
                    problems: engine
                        .problems
                        .iter()
                        .map(|problem| visible(problem))
                        .collect(),
                })
                .collect(),
        }),
    }
}
