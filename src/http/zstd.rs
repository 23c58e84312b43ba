//! Undoes the content coding zstd with a bounded window. The usual decoder takes windows of 128 MiB: a few bytes would
//! have the daemon hold as much, for each request. How much comes out is bounded where the body is read.

use async_compression::{tokio::bufread::ZstdDecoder, zstd::DParameter};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::Response,
};
use futures_util::TryStreamExt;
use tokio_util::io::{ReaderStream, StreamReader};

/// 8 MiB, the most that a sender may ask for (RFC 9659, section 3).
const WINDOW_LOG_MAX: u32 = 23;
const PIECE_BYTES: usize = 16 * 1024;

/// Hands the body on as it was before its compression.
pub(super) async fn undo(request: Request, next: Next) -> Response {
    if request.headers().get(header::CONTENT_ENCODING) != Some(&HeaderValue::from_static("zstd")) {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(header::CONTENT_ENCODING);
    parts.headers.remove(header::CONTENT_LENGTH);
    let compressed = StreamReader::new(body.into_data_stream().map_err(std::io::Error::other));
    let mut plain = ZstdDecoder::with_params(compressed, &[DParameter::window_log_max(WINDOW_LOG_MAX)]);
    plain.multiple_members(true);
    let body = Body::from_stream(ReaderStream::with_capacity(plain, PIECE_BYTES));
    next.run(Request::from_parts(parts, body)).await
}
