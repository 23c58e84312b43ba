//! `POST /v1/observations`: one device's observations as JSON, many devices' as a stream of lines.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use parvis_engine::{
    matching::Transition,
    observation::{Observation, Rejected, Rejection},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Services,
    auth::Caller,
    body,
    problem::{Kind, Problem, Progress},
    schema,
};
use crate::ingest::{
    self, Batch, Taken,
    lines::{Line, Lines},
    native, sightings,
};

/// The media type of the streamed form.
pub const NDJSON: &str = "application/x-ndjson";

/// No place on Earth is further away, metres: what "nothing can change anywhere" is said as.
const RADIUS_MAX_M: f64 = 20_000_000.0;

/// What became of the observations. It is durable.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Answer {
    /// How many were taken.
    pub accepted: u64,
    /// What was not taken, by place in the request (for NDJSON the line, counted from 0).
    pub rejected: Vec<Refused>,
    /// What they caused, oldest first.
    #[schema(value_type = Vec<schema::Transition>)]
    pub transitions: Vec<Transition>,
    /// When it is worth while to report again; absent if several devices spoke.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// What the lists above leave out, because they are bounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub omitted: Option<Omitted>,
}

/// One observation that was not taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refused {
    /// Its place in the request.
    pub index: usize,
    /// The stable name of the reason.
    #[schema(value_type = schema::Rejection)]
    pub reason: Rejection,
    /// What to change.
    pub detail: String,
}

/// When it is worth while to report again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Next {
    /// Nothing can change until the device has moved so far, metres; 0 if that is not known.
    pub radius_m: f64,
}

/// What the lists of the answer leave out.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Omitted {
    /// Rejected observations that are not listed.
    pub rejected: u64,
    /// Transitions that are not listed.
    pub transitions: u64,
}

/// Takes observations. Answers when what they caused is durable.
///
/// As JSON, one device's observations: all are judged, or, if the inbox is full, none is taken. As NDJSON, one
/// observation with its `device` a line, for back ends: the body is read and taken part by part, so it may be of any
/// size. If an inbox is full or the store is unavailable in the middle, the problem says how many observations were
/// `accepted` and from which line on (`resume_at`) to send again. Repeats are harmless, so sending everything again
/// is right, too. `Idempotency-Key` is ignored for NDJSON.
#[utoipa::path(post, path = "/v1/observations", tag = "observations",
    request_body(content((schema::Observations = "application/json"), (String = "application/x-ndjson"))),
    responses((status = 200, body = Answer)))]
pub(super) async fn post(
    State(services): State<Arc<Services>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    if body::is_of(request.headers(), NDJSON) {
        return stream(&services, &caller, request).await;
    }
    body::is_json(request.headers())
        .map_err(|problem| Problem { detail: format!("{}; or {NDJSON}", problem.detail), ..problem })?;
    let bytes = body::collect(request, services.config.body_max).await?;
    let (device, mut batch) = native::batch(&bytes)?;
    caller.speaks_for(&device)?;
    own_sightings_only(&caller, &mut batch);
    let taken = submit(&services, batch).await.map_err(|refused| Problem::from(refused.cause))?;
    let next = Next { radius_m: radius_m(taken.safe_radius_m) };
    let mut answer = Answer { next: Some(next), ..Answer::default() };
    answer.add(taken, usize::MAX);
    Ok(axum::Json(answer).into_response())
}

/// Hands a batch to the shoppers' owners.
pub(super) async fn submit(services: &Services, mut batch: Batch) -> Result<Taken, ingest::Refused> {
    sightings::settle(&mut batch, &services.catalog, &services.fleet, services.clock.now());
    let world = services.catalog.world();
    ingest::submit(&services.shards, services.store.as_ref(), &services.reporter, &world, batch).await
}

/// A scanner speaks for what it hears itself, and for nothing else.
pub(super) fn own_sightings_only(caller: &Caller, batch: &mut Batch) {
    let Some(scanner) = &caller.scanner else { return };
    let (own, others) = std::mem::take(&mut batch.reports).into_iter().partition(|report| {
        matches!(&report.observation, Observation::Sighting(sighting) if sighting.observer.as_ref() == Some(scanner))
    });
    batch.reports = own;
    batch.rejected.extend(others.into_iter().map(|report| {
        let detail = format!("this key may only report sightings whose `observer` is {scanner:?}");
        (report.index, Rejected { reason: Rejection::Invalid, detail })
    }));
}

impl Answer {
    fn add(&mut self, taken: Taken, listed_max: usize) {
        self.accepted += taken.accepted;
        let rejected_room = listed_max.saturating_sub(self.rejected.len());
        let transitions_room = listed_max.saturating_sub(self.transitions.len());
        let left_out = Omitted {
            rejected: taken.rejected.len().saturating_sub(rejected_room) as u64,
            transitions: taken.transitions.len().saturating_sub(transitions_room) as u64,
        };
        if left_out.rejected + left_out.transitions > 0 {
            let omitted = self.omitted.get_or_insert_default();
            omitted.rejected += left_out.rejected;
            omitted.transitions += left_out.transitions;
        }
        let refused = |(index, Rejected { reason, detail })| Refused { index, reason, detail };
        self.rejected.extend(taken.rejected.into_iter().take(rejected_room).map(refused));
        self.transitions.extend(taken.transitions.into_iter().take(transitions_room));
    }
}

fn radius_m(safe: Option<f64>) -> f64 {
    // Rounded down: a longer radius would be a promise that nobody made.
    safe.map_or(0.0, |radius_m| radius_m.clamp(0.0, RADIUS_MAX_M).floor())
}

async fn stream(services: &Services, caller: &Caller, request: Request) -> Result<Response, Problem> {
    body::check_encoding(request.headers())?;
    let mut body = request.into_body();
    let mut lines = Lines::new(services.config.line_max);
    let mut part = Part::default();
    let mut answer = Answer::default();
    loop {
        let piece = body::next_chunk(&mut body).await.map_err(|problem| problem.after(part.progress(&answer)))?;
        let Some(piece) = piece else { break };
        lines.push(&piece);
        while let Some(line) = lines.next_line() {
            part.read(caller, line);
            if part.batch.reports.len() + part.batch.rejected.len() >= services.config.lines_at_once {
                part.hand_on(services, caller, &mut answer).await?;
            }
        }
    }
    if let Some(line) = lines.last_line() {
        part.read(caller, line);
    }
    part.hand_on(services, caller, &mut answer).await?;
    Ok(axum::Json(answer).into_response())
}

/// The lines that are handed on together.
#[derive(Default)]
struct Part {
    batch: Batch,
    /// The first line of this part.
    first: usize,
    /// The line to be read next.
    next: usize,
}

impl Part {
    fn read(&mut self, caller: &Caller, line: Line<'_>) {
        let index = self.next;
        self.next += 1;
        let read = match line {
            Line::Text(text) if text.trim_ascii().is_empty() => return,
            Line::Text(text) => native::line(index, text),
            Line::TooLong => Err(invalid("the line is too long for one observation")),
        };
        let allowed = read.and_then(|report| match caller.speaks_for(&report.device) {
            Ok(()) => Ok(report),
            Err(problem) => Err(invalid(problem.detail)),
        });
        match allowed {
            Ok(report) => self.batch.reports.push(report),
            Err(rejected) => self.batch.rejected.push((index, rejected)),
        }
    }

    async fn hand_on(&mut self, services: &Services, caller: &Caller, answer: &mut Answer) -> Result<(), Problem> {
        let mut batch = std::mem::take(&mut self.batch);
        own_sightings_only(caller, &mut batch);
        match submit(services, batch).await {
            Ok(taken) => {
                self.first = self.next;
                answer.add(taken, services.config.listed_max);
                Ok(())
            }
            Err(refused) => {
                answer.accepted += refused.accepted;
                let problem = Problem::from(refused.cause);
                let again = "send the lines from `resume_at` on again, repeats are harmless";
                let why = if problem.kind == Kind::Full { "an inbox is full" } else { problem.detail.as_str() };
                Err(Problem { detail: format!("{why}; {again}"), ..problem.clone() }.after(self.progress(answer)))
            }
        }
    }

    fn progress(&self, answer: &Answer) -> Progress {
        Progress { accepted: answer.accepted, resume_at: self.first as u64 }
    }
}

fn invalid(detail: impl Into<String>) -> Rejected {
    Rejected { reason: Rejection::Invalid, detail: detail.into() }
}
