//! A repeated write gets the first answer: `Idempotency-Key`.
//!
//! Answers are kept in the store under the caller's name and the key. An answer that says "come back later" is not
//! kept, because coming back must help. On one node, of two requests with the same key at the same time one is
//! executed and the other waits for its answer; on two nodes both may be executed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use aws_lc_rs::digest;
use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tokio::sync::Mutex as Turn;

use super::{
    Services,
    auth::Caller,
    body,
    problem::{Kind, Problem},
};
use crate::store::Answer;

/// The header.
pub const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest key that is taken, in bytes: twice a UUID's text, with room for a prefix.
const KEY_MAX: usize = 128;

/// The requests that are being executed under a key.
#[derive(Debug, Default)]
pub struct Running {
    turns: Mutex<BTreeMap<String, Weak<Turn<()>>>>,
}

impl Running {
    fn turn(&self, key: &str) -> Arc<Turn<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(key).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::new(()));
        turns.insert(key.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// Answers a repeat with what was answered first. `body_max` is the largest body that the path takes: it is held as a
/// whole, to be compared.
pub(super) async fn repeat(
    services: Arc<Services>,
    caller: Caller,
    body_max: usize,
    request: Request,
    next: Next,
) -> Response {
    let key = match key(request.headers()) {
        Ok(Some(key)) if !is_streamed(request.headers()) => format!("http/{}/{}/{key}", caller.name.len(), caller.name),
        Ok(_) => return super::timed(&services, request, next).await,
        Err(problem) => return problem.into_response(),
    };
    // In a task of its own: a caller who hangs up must not leave a write without its kept answer.
    let tasks = services.tasks.clone();
    let run = tasks.spawn(async move {
        let (parts, body) = request.into_parts();
        let whole = body::collect(Request::from_parts(parts.clone(), body), body_max).await?;
        once(&services, &caller, key, (parts, whole), next).await
    });
    match run.await {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => problem.into_response(),
        Err(error) => {
            tracing::error!(%error, "a write ended without an answer");
            Problem::new(Kind::Internal, "the request ended without an answer; send it again").into_response()
        }
    }
}

async fn once(
    services: &Services,
    caller: &Caller,
    key: String,
    (parts, whole): (Parts, Bytes),
    next: Next,
) -> Result<Response, Problem> {
    let request_hash = request_hash(caller, &parts, &whole);
    let turn = services.running.turn(&key);
    let _turn = turn.lock().await;
    if let Some(first) = services.store.answer(&key).await? {
        return again(first, request_hash);
    }
    let response = super::timed(services, Request::from_parts(parts, Body::from(whole)), next).await;
    // What may turn out otherwise next time is not kept: a refusal for want of a better key least of all.
    let retriable = response.status().is_server_error()
        || matches!(
            response.status(),
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
        );
    if retriable {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX)
        .await
        .map_err(|_| Problem::new(Kind::Internal, "the answer could not be written; send it again"))?;
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let answer = Answer {
        status: parts.status.as_u16(),
        content_type: content_type.unwrap_or_default().to_owned(),
        body: body.to_vec(),
        request_hash,
    };
    services.store.keep_answer(&key, answer, services.clock.now()).await?;
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn again(first: Answer, request_hash: u64) -> Result<Response, Problem> {
    if first.request_hash != request_hash {
        let detail = "this Idempotency-Key was used for another request; use a new key for a new request";
        return Err(Problem::new(Kind::IdempotencyKeyReused, detail));
    }
    let mut response = Response::new(Body::from(Bytes::from(first.body)));
    *response.status_mut() = StatusCode::from_u16(first.status).unwrap_or(StatusCode::OK);
    if let Some(value) = HeaderValue::from_str(&first.content_type).ok().filter(|value| !value.is_empty()) {
        response.headers_mut().insert(header::CONTENT_TYPE, value);
    }
    response.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    Ok(response)
}

/// What the caller calls its request, if it says so.
///
/// # Errors
/// If the name is none.
pub(super) fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > KEY_MAX {
        let detail = format!("an Idempotency-Key has 1 to {KEY_MAX} visible ASCII characters");
        return Err(Problem::new(Kind::Malformed, detail));
    }
    Ok(Some(text))
}

/// A streamed body can't be held to compare it; repeats of observations are harmless without that.
fn is_streamed(headers: &HeaderMap) -> bool {
    body::is_of(headers, super::observations::NDJSON)
}

fn request_hash(caller: &Caller, parts: &Parts, body: &[u8]) -> u64 {
    let mut hash = digest::Context::new(&digest::SHA256);
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    for part in [caller.name.as_bytes(), parts.method.as_str().as_bytes(), target.as_bytes(), body] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finish().as_ref()[..8]);
    u64::from_le_bytes(first)
}
