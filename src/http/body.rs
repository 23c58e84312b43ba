//! Reads what a request carries: the body within its bound, JSON with the place of every mistake, ids in paths.
//!
//! Bodies arrive here decompressed, so every bound holds for what comes out of a compressed body.

use std::{error::Error, str::FromStr, sync::Arc};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;

use super::{
    Services,
    problem::{Kind, Problem},
};
use crate::json;

/// A JSON body, read strictly: an unknown field is an error if the type says so.
#[derive(Debug)]
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Services>> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, services: &Arc<Services>) -> Result<Json<T>, Problem> {
        is_json(request.headers())?;
        let bytes = collect(request, services.config.body_max).await?;
        Ok(Json(json::typed(&bytes)?))
    }
}

/// An id out of the path.
#[derive(Debug)]
pub(super) struct Id<T>(pub T);

impl<T, S> FromRequestParts<S> for Id<T>
where
    T: FromStr<Err = String>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id<T>, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::new(Kind::Malformed, format!("the path can't be read: {error}")))?;
        text.parse().map(Id).map_err(|why| Problem::new(Kind::Malformed, format!("the id in the path: {why}")))
    }
}

/// Two ids out of the path.
#[derive(Debug)]
pub(super) struct Ids<A, B>(pub A, pub B);

impl<A, B, S> FromRequestParts<S> for Ids<A, B>
where
    A: FromStr<Err = String>,
    B: FromStr<Err = String>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Ids<A, B>, Problem> {
        let Path((one, other)) = Path::<(String, String)>::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::new(Kind::Malformed, format!("the path can't be read: {error}")))?;
        let wrong = |why: String| Problem::new(Kind::Malformed, format!("an id in the path: {why}"));
        Ok(Ids(one.parse().map_err(wrong)?, other.parse().map_err(wrong)?))
    }
}

/// The query, strictly.
#[derive(Debug)]
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked<T>, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(asked)| Asked(asked))
            .map_err(|error| Problem::new(Kind::Malformed, format!("the query can't be read: {}", innermost(&error))))
    }
}

/// The whole body, at most `max_bytes` of it.
///
/// # Errors
/// If it is larger, is not compressed as it says, or does not arrive.
pub(super) async fn collect(request: Request, max_bytes: usize) -> Result<Bytes, Problem> {
    check_encoding(request.headers())?;
    let mut body = request.into_body();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = next_chunk(&mut body).await? {
        if bytes.len() + chunk.len() > max_bytes {
            let detail = format!("the body is larger than {max_bytes} bytes after decompression; send it in parts");
            return Err(Problem::new(Kind::TooLarge, detail));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// The next piece of a body.
///
/// # Errors
/// If the body is not compressed as it says, or does not arrive.
pub(super) async fn next_chunk(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
            Err(error) => {
                let why = innermost(&error);
                let idle = why.contains("timeout") || why.contains("timed out");
                let kind = if idle { Kind::Timeout } else { Kind::Malformed };
                return Err(Problem::new(kind, format!("the body can't be read to its end: {why}")));
            }
        }
    }
    Ok(None)
}

/// Refuses a content coding that was not undone on the way here.
///
/// # Errors
/// If there is one.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(coding) if coding.as_bytes() != b"identity" => {
            Err(Problem::new(Kind::UnsupportedMediaType, "a body may be compressed with gzip or zstd, once"))
        }
        Some(_) | None => Ok(()),
    }
}

/// The media type without parameters, as it is written.
fn media_type(headers: &HeaderMap) -> &str {
    let text = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim()
}

/// Whether a body is declared as of this media type, which is given in lower case.
pub(super) fn is_of(headers: &HeaderMap, media: &str) -> bool {
    media_type(headers).eq_ignore_ascii_case(media)
}

/// Checks that a body is declared as JSON.
///
/// # Errors
/// If it is not.
pub(super) fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let media = media_type(headers).to_ascii_lowercase();
    if media == "application/json" || (media.starts_with("application/") && media.ends_with("+json")) {
        return Ok(());
    }
    let said = if media.is_empty() { "none is given".to_owned() } else { format!("this is {media:?}") };
    Err(Problem::new(Kind::UnsupportedMediaType, format!("Content-Type must be application/json; {said}")))
}

fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
