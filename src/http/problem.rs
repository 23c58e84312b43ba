//! Problem documents (RFC 9457): the one place that knows which failure has which HTTP status.
//!
//! Must not be asked by anything below the HTTP edge: what happens there has its own names.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    catalog,
    delivery::{Blame, apns::channels, courier::Unmanaged},
    ingest::{self, scanners},
    json::Malformed,
    shard, store,
};

/// What went wrong. The names are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The body, the query or the path can't be read.
    Malformed,
    /// No key, or one that is not known or no longer valid.
    Unauthenticated,
    /// The key is good but not for this.
    Forbidden,
    /// Nobody registered the scanner that reports.
    UnknownScanner,
    /// There is nothing under this name.
    NotFound,
    /// The path knows other methods.
    MethodNotAllowed,
    /// The request was not finished in time.
    Timeout,
    /// What is there contradicts what is asked for.
    Conflict,
    /// The report is older than what was taken of its scanner.
    Replayed,
    /// The body is larger than what is taken.
    TooLarge,
    /// The body has a form that is not taken here.
    UnsupportedMediaType,
    /// The body can be read, but what it says is wrong.
    Invalid,
    /// The idempotency key was used for another request.
    IdempotencyKeyReused,
    /// There is more work than is taken at once.
    Full,
    /// Nothing can be made durable now.
    Unavailable,
    /// A push service can't be asked now.
    ProviderUnavailable,
    /// The node can't do what it should; an operator is needed.
    Internal,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 17] = [
        Kind::Malformed,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::UnknownScanner,
        Kind::NotFound,
        Kind::MethodNotAllowed,
        Kind::Timeout,
        Kind::Conflict,
        Kind::Replayed,
        Kind::TooLarge,
        Kind::UnsupportedMediaType,
        Kind::Invalid,
        Kind::IdempotencyKeyReused,
        Kind::Full,
        Kind::Unavailable,
        Kind::ProviderUnavailable,
        Kind::Internal,
    ];

    /// The last part of the problem's `type`.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The status that goes with it.
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    /// The problem's `title`.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Kind::Malformed => ("malformed", StatusCode::BAD_REQUEST, "The request can't be read"),
            Kind::Unauthenticated => ("unauthenticated", StatusCode::UNAUTHORIZED, "A valid key is needed"),
            Kind::Forbidden => ("forbidden", StatusCode::FORBIDDEN, "The key is not for this"),
            Kind::UnknownScanner => ("unknown_scanner", StatusCode::FORBIDDEN, "The scanner is not registered"),
            Kind::NotFound => ("not_found", StatusCode::NOT_FOUND, "Nothing is here"),
            Kind::MethodNotAllowed => ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "Not with this method"),
            Kind::Timeout => ("timeout", StatusCode::REQUEST_TIMEOUT, "The request was not finished in time"),
            Kind::Conflict => ("conflict", StatusCode::CONFLICT, "What is there contradicts the request"),
            Kind::Replayed => ("replayed", StatusCode::CONFLICT, "The report is older than what was taken"),
            Kind::TooLarge => ("too_large", StatusCode::PAYLOAD_TOO_LARGE, "The body is too large"),
            Kind::UnsupportedMediaType => {
                ("unsupported_media_type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body's form is not taken here")
            }
            Kind::Invalid => ("invalid", StatusCode::UNPROCESSABLE_ENTITY, "The content is wrong"),
            Kind::IdempotencyKeyReused => (
                "idempotency_key_reused",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The idempotency key belongs to another request",
            ),
            Kind::Full => ("full", StatusCode::TOO_MANY_REQUESTS, "Too much at once"),
            Kind::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "Nothing can be made durable now"),
            Kind::ProviderUnavailable => {
                ("provider_unavailable", StatusCode::SERVICE_UNAVAILABLE, "The push service can't be asked now")
            }
            Kind::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "An operator is needed"),
        }
    }
}

/// One wrong place in the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Fault {
    /// Where: a JSON pointer into the body, or empty for the whole of it.
    pub pointer: String,
    /// What is wrong there and what to do.
    pub detail: String,
}

/// A failure as the caller gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What went wrong.
    pub kind: Kind,
    /// What went wrong this time, and what to do about it.
    pub detail: String,
    /// Every wrong place, as far as places are known.
    pub errors: Vec<Fault>,
    /// After which time it is worth while to try again.
    pub retry_after: Option<Duration>,
    /// How far a streamed request came.
    pub progress: Option<Progress>,
}

/// How far a streamed request came before it was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Progress {
    /// Observations that were taken and are durable.
    pub accepted: u64,
    /// Every line before this one (counted from 0) is done; send this one and all after it again.
    pub resume_at: u64,
}

/// The document (RFC 9457).
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct Document<'a> {
    /// Names the kind of problem; stable.
    #[schema(example = "urn:parvis:problem:invalid")]
    r#type: String,
    /// The kind in words.
    title: &'a str,
    /// The HTTP status.
    status: u16,
    /// What went wrong this time, and what to do.
    detail: &'a str,
    /// Every wrong place.
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    #[schema(required = false)]
    errors: &'a [Fault],
    /// How far a streamed request came.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
}

/// The most wrong places that an answer lists; it says how many there are.
const ERRORS_MAX: usize = 1_000;

/// How long a caller waits who met a store that takes nothing: longer than a full inbox needs to drain.
const UNAVAILABLE_WAIT: Duration = Duration::from_secs(5);
const FULL_WAIT: Duration = Duration::from_secs(1);

impl Problem {
    /// A problem of a kind.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        let retry_after = match kind {
            Kind::Full => Some(FULL_WAIT),
            Kind::Unavailable => Some(UNAVAILABLE_WAIT),
            Kind::Malformed
            | Kind::Unauthenticated
            | Kind::Forbidden
            | Kind::UnknownScanner
            | Kind::NotFound
            | Kind::MethodNotAllowed
            | Kind::Timeout
            | Kind::Conflict
            | Kind::Replayed
            | Kind::TooLarge
            | Kind::UnsupportedMediaType
            | Kind::Invalid
            | Kind::IdempotencyKeyReused
            | Kind::ProviderUnavailable
            | Kind::Internal => None,
        };
        Problem { kind, detail: detail.into(), errors: Vec::new(), retry_after, progress: None }
    }

    /// A problem at one place of the body.
    pub fn at(kind: Kind, pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
        let detail = detail.into();
        let fault = Fault { pointer: pointer.into(), detail: detail.clone() };
        Problem { errors: vec![fault], ..Problem::new(kind, detail) }
    }

    /// There is no such thing.
    pub fn not_found(what: &str, id: &str) -> Problem {
        Problem::new(Kind::NotFound, format!("there is no {what} {id:?}"))
    }

    /// What the engine found wrong.
    pub fn invalid(problems: Vec<parvis_engine::problem::Problem>) -> Problem {
        let detail = match problems.as_slice() {
            [only] => only.to_string(),
            several => format!("{} places are wrong; nothing was changed", several.len()),
        };
        let errors = problems
            .into_iter()
            .take(ERRORS_MAX)
            .map(|problem| Fault { pointer: problem.path, detail: problem.message });
        Problem { errors: errors.collect(), ..Problem::new(Kind::Invalid, detail) }
    }

    /// Says how far a streamed request came.
    #[must_use]
    pub fn after(self, progress: Progress) -> Problem {
        Problem { progress: Some(progress), ..self }
    }
}

impl From<shard::Refusal> for Problem {
    fn from(refusal: shard::Refusal) -> Problem {
        match refusal {
            shard::Refusal::Full => Problem::new(Kind::Full, "the inbox is full; nothing was taken, send it again"),
            shard::Refusal::Unavailable(why) => {
                Problem::new(Kind::Unavailable, format!("{why}; send it again, repeats are harmless"))
            }
        }
    }
}

impl From<ingest::Cause> for Problem {
    fn from(cause: ingest::Cause) -> Problem {
        match cause {
            ingest::Cause::Shard(refusal) => refusal.into(),
            ingest::Cause::Store(error) => error.into(),
        }
    }
}

impl From<scanners::Refusal> for Problem {
    fn from(refusal: scanners::Refusal) -> Problem {
        match refusal {
            scanners::Refusal::Nameless => Problem::new(
                Kind::Malformed,
                "no scanner is named; add ?scanner=<id>, or use a key that is bound to one",
            ),
            scanners::Refusal::NotYours { bound, named } => {
                Problem::new(Kind::Forbidden, format!("this key speaks for scanner {bound:?} only, not for {named:?}"))
            }
            scanners::Refusal::Contradiction { named, said } => {
                let detail = format!("the query names scanner {named:?}, but the body {said:?}; leave the query out");
                Problem::new(Kind::Malformed, detail)
            }
            scanners::Refusal::UnknownScanner(scanner) => {
                let detail = format!("scanner {scanner:?} is not registered; PUT /v1/scanners/{scanner} first");
                Problem::new(Kind::UnknownScanner, detail)
            }
            scanners::Refusal::Replayed => {
                let detail = "a later report of this scanner was taken already; drop this one";
                Problem::new(Kind::Replayed, detail)
            }
            scanners::Refusal::NotNow(cause) => cause.into(),
        }
    }
}

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Problem {
        Problem::at(Kind::Malformed, malformed.pointer, malformed.detail)
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Problem {
        match error {
            store::Error::Unavailable(_) => Problem::new(Kind::Unavailable, format!("{error}; try again")),
            store::Error::Corrupt(_) => {
                tracing::error!(%error, "the store can't be read");
                Problem::new(Kind::Internal, "what is stored can't be read; tell the operator of this service")
            }
        }
    }
}

impl From<catalog::Refusal> for Problem {
    fn from(refusal: catalog::Refusal) -> Problem {
        match refusal {
            catalog::Refusal::Invalid(problems) => Problem::invalid(problems),
            catalog::Refusal::InFile { path } => {
                Problem::new(Kind::Conflict, format!("it stands in {path}; change it there"))
            }
            catalog::Refusal::Unavailable(why) => Problem::new(Kind::Unavailable, format!("{why}; try again")),
        }
    }
}

impl From<Unmanaged> for Problem {
    fn from(unmanaged: Unmanaged) -> Problem {
        match unmanaged {
            Unmanaged::UnknownApp(app) => Problem::not_found("app", app.as_str()),
            Unmanaged::NoApns(app) => Problem::new(Kind::Conflict, format!("the app {app} has no APNs here")),
            Unmanaged::Failed(error) => error.into(),
        }
    }
}

impl From<channels::Error> for Problem {
    fn from(error: channels::Error) -> Problem {
        match error {
            channels::Error::BadBundle => {
                let detail = "`bundle` must be the app's bundle id: letters, digits, `-` and `.`";
                Problem::at(Kind::Malformed, "/bundle", detail)
            }
            channels::Error::BadId => {
                Problem::new(Kind::Malformed, "the id in the path: not a channel's id as Apple gave it")
            }
            channels::Error::NotFound => Problem::new(Kind::NotFound, "there is no such broadcast channel"),
            channels::Error::Refused(reason) => Problem::new(Kind::Conflict, format!("APNs refuses it: {reason}")),
            channels::Error::Unavailable { retry_after, reason, blame } => match blame {
                Blame::Provider => {
                    let detail = format!("APNs: {reason}; if something was to change, look whether it has");
                    Problem { retry_after, ..Problem::new(Kind::ProviderUnavailable, detail) }
                }
                Blame::Message | Blame::Setup => Problem::new(
                    Kind::Conflict,
                    format!("APNs refuses it: {reason}; see how the bundle and the key are set up at Apple"),
                ),
                Blame::Operator => {
                    tracing::error!(reason, "APNs refuses to have its channels managed");
                    let detail = format!("APNs refuses this service: {reason}; tell its operator");
                    Problem::new(Kind::Internal, detail)
                }
            },
            channels::Error::Unreadable => Problem::new(
                Kind::ProviderUnavailable,
                "APNs gave an answer that can't be read, or a list too long for it",
            ),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            r#type: format!("urn:parvis:problem:{}", self.kind.name()),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            errors: &self.errors,
            progress: self.progress,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response =
            (self.kind.status(), [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if let Some(wait) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if matches!(self.kind, Kind::TooLarge | Kind::Timeout) || self.progress.is_some() {
            // The rest of the body is not read, so the connection ends; who keeps it open must not use it again.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.kind == Kind::Unauthenticated {
            let challenges = [r#"Bearer realm="parvis""#, r#"Basic realm="parvis""#];
            for challenge in challenges {
                response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
        }
        response
    }
}
