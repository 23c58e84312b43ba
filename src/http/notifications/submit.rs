//! `POST /v1/notifications`: one message for many targets, from a back end that decides for itself.
//!
//! A target's answer is given when its message is durable. What is taken is idempotent by the request's name: its time
//! is kept before the first message is, so that a repeat makes the same ids.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use parvis_engine::{id::NotificationId, time::Timestamp};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::sending::{Given, Sending};
use crate::{
    http::{
        Services,
        auth::Caller,
        body, idempotency,
        observations::NDJSON,
        problem::{Kind, Problem, Progress},
        schema,
    },
    ingest::lines::{Line, Lines},
    submit::{self, TARGETS_MAX},
};

/// Results that are written together.
const RESULTS_AT_ONCE: usize = 256;

/// What became of the targets. It is durable.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Submitted {
    /// The request's name.
    request: String,
    /// When what it tells of happened, or when the request first came.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// When the messages are worthless.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// How many targets' messages are stored, by this call or before.
    stored: usize,
    /// How many targets get nothing.
    refused: usize,
    /// What became of each target, in their order.
    results: Vec<Outcome>,
}

/// What became of one target.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(in crate::http) struct Outcome {
    /// `stored` or `refused`.
    status: &'static str,
    /// Its messages, if they are stored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>, required = false)]
    notifications: Vec<NotificationId>,
    /// The stable name of the reason why it gets nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::SubmitReason>)]
    reason: Option<&'static str>,
    /// Where in the target: a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    /// What to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Takes one message for up to 10,000 targets. Answers when what is said to be stored is durable.
///
/// As JSON with `targets`; or, for bounded memory on both sides, as NDJSON: the first line is the same object without
/// `targets`, each further line is one target. A target that can't get the message never costs the others. The name of
/// the request (`request`, or else the `Idempotency-Key`) makes repeats harmless: the whole call, a part of it, or
/// further targets may come under the same name, and no target gets the message twice; another message under the name is
/// refused. If the store becomes unavailable in the middle, the problem says how many targets are done (`accepted`) and
/// from which target on (`resume_at`, counted from 0) to send again.
#[utoipa::path(post, path = "/v1/notifications", tag = "notifications",
    request_body(content((schema::Submission = "application/json"), (String = "application/x-ndjson"))),
    responses((status = 200, body = Submitted)))]
pub(in crate::http) async fn post(
    State(services): State<Arc<Services>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    caller.speaks_for_many()?;
    let key = idempotency::key(request.headers())?.map(str::to_owned);
    let sending = if body::is_of(request.headers(), NDJSON) {
        lines(&services, &caller, key.as_deref(), request).await?
    } else {
        whole(&services, &caller, key.as_deref(), request).await?
    };
    Ok(answer(sending))
}

async fn whole<'a>(
    services: &'a Services,
    caller: &Caller,
    key: Option<&str>,
    request: Request,
) -> Result<Sending<'a>, Problem> {
    is_json(request.headers())?;
    let bytes = body::collect(request, services.config.body_max).await?;
    let (head, targets) = submit::whole(&bytes)?;
    let mut sending = Sending::begin(services, caller, head, key).await?;
    let at_once = sending.at_once();
    for part in targets.chunks(at_once) {
        let read = part.iter().map(|text| submit::target(text)).collect();
        sending.take(read).await.map_err(|problem| after(problem, &sending))?;
    }
    Ok(sending)
}

async fn lines<'a>(
    services: &'a Services,
    caller: &Caller,
    key: Option<&str>,
    request: Request,
) -> Result<Sending<'a>, Problem> {
    body::check_encoding(request.headers())?;
    let mut body = request.into_body();
    let mut lines = Lines::new(services.config.line_max);
    let mut reading = Reading { services, caller, key, sending: None, waiting: Vec::new() };
    while let Some(piece) = body::next_chunk(&mut body).await.map_err(|problem| reading.after(problem))? {
        lines.push(&piece);
        while let Some(line) = lines.next_line() {
            reading.take(line).await.map_err(|problem| reading.after(problem))?;
        }
    }
    if let Some(line) = lines.last_line() {
        reading.take(line).await.map_err(|problem| reading.after(problem))?;
    }
    reading.hand_on().await.map_err(|problem| reading.after(problem))?;
    reading.sending.ok_or_else(|| Problem::new(Kind::Malformed, "the first line must be the message; there is none"))
}

/// A streamed call: its head, once that is read, and the targets that are taken together next.
struct Reading<'a, 'c> {
    services: &'a Services,
    caller: &'c Caller,
    key: Option<&'c str>,
    sending: Option<Sending<'a>>,
    waiting: Vec<Result<submit::Target, submit::Refusal>>,
}

impl Reading<'_, '_> {
    async fn take(&mut self, line: Line<'_>) -> Result<(), Problem> {
        let text = match line {
            Line::Text(text) if text.trim_ascii().is_empty() => return Ok(()),
            Line::Text(text) => Some(text),
            Line::TooLong => None,
        };
        let Some(sending) = &self.sending else {
            let text = text.ok_or_else(|| Problem::new(Kind::TooLarge, "the first line is too long for a message"))?;
            self.sending = Some(Sending::begin(self.services, self.caller, submit::head(text)?, self.key).await?);
            return Ok(());
        };
        if sending.results.len() + self.waiting.len() == TARGETS_MAX {
            let detail = format!("a call has at most {TARGETS_MAX} targets; send the others under the same name");
            self.hand_on().await?;
            return Err(Problem::new(Kind::TooLarge, detail));
        }
        let too_long = || submit::Refusal::new(submit::Reason::Malformed, "the line is too long for one target");
        let at_once = sending.at_once();
        self.waiting.push(text.map_or_else(|| Err(too_long()), submit::target));
        if self.waiting.len() >= at_once { self.hand_on().await } else { Ok(()) }
    }

    async fn hand_on(&mut self) -> Result<(), Problem> {
        let waiting = std::mem::take(&mut self.waiting);
        match &mut self.sending {
            Some(sending) if !waiting.is_empty() => sending.take(waiting).await,
            Some(_) | None => Ok(()),
        }
    }

    fn after(&self, problem: Problem) -> Problem {
        match &self.sending {
            Some(sending) => after(problem, sending),
            None => problem,
        }
    }
}

/// A call that broke off says how far it came, or nothing if nothing was done.
fn after(problem: Problem, sending: &Sending<'_>) -> Problem {
    let resume_at = sending.results.len() as u64;
    if resume_at == 0 {
        return problem;
    }
    let detail = format!("{}; send the targets from `resume_at` on again, repeats are harmless", problem.detail);
    Problem { detail, ..problem }.after(Progress { accepted: sending.stored as u64, resume_at })
}

fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    body::is_json(headers).map_err(|problem| Problem { detail: format!("{}; or {NDJSON}", problem.detail), ..problem })
}

/// Written piece by piece, for there may be many results.
fn answer(sending: Sending<'_>) -> Response {
    let Sending { request, results, stored, .. } = sending;
    let expires_at = request.head.expires_at(request.at);
    let head = json!({ "request": request.name, "at": request.at, "expires_at": expires_at,
        "stored": stored, "refused": results.len() - stored });
    let mut head = head.to_string();
    head.pop();
    head.push_str(r#","results":["#);
    let (mut results, mut between) = (results.into_iter(), "");
    let pieces = std::iter::from_fn(move || {
        let mut piece = Vec::new();
        for given in results.by_ref().take(RESULTS_AT_ONCE) {
            piece.extend_from_slice(std::mem::replace(&mut between, ",").as_bytes());
            piece.extend_from_slice(&serde_json::to_vec(&Outcome::from(given)).unwrap_or_default());
        }
        (!piece.is_empty()).then(|| Bytes::from(piece))
    });
    let whole = std::iter::once(Bytes::from(head)).chain(pieces).chain(std::iter::once(Bytes::from_static(b"]}")));
    let body = Body::from_stream(stream::iter(whole.map(Ok::<_, Infallible>)));
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

impl From<Given> for Outcome {
    fn from(given: Given) -> Outcome {
        match given {
            Given::Stored(notifications) => Outcome { status: "stored", notifications, ..Outcome::default() },
            Given::Refused(submit::Refusal { reason, pointer, detail }) => Outcome {
                status: "refused",
                reason: Some(reason.name()),
                pointer: Some(pointer),
                detail: Some(detail),
                ..Outcome::default()
            },
        }
    }
}
