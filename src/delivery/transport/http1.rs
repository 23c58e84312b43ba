//! HTTP/1.1 for issuers of tokens and push services that have nothing newer: one request at a time on a connection.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Uri,
    header::{CONTENT_LENGTH, HOST},
};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    condition::Condition,
    connection::{Answer, Failure},
    dial::Io,
    driver::IDLE,
    origin::Origin,
};
use crate::clock::Clock;

/// Taken out for an exchange, and put back if the connection is fit for another.
pub(super) type Sender = Mutex<Option<SendRequest<Full<Bytes>>>>;

/// A handle for requests, and what has to be run for them.
pub(super) async fn open(
    io: Box<dyn Io>,
) -> Result<(Sender, http1::Connection<TokioIo<Box<dyn Io>>, Full<Bytes>>), Error> {
    let opened = http1::handshake(TokioIo::new(io)).await;
    let (sender, wire) = opened.map_err(|error| Error::Connect(error.to_string()))?;
    Ok((Mutex::new(Some(sender)), wire))
}

/// Runs a connection until it ends, is no longer wanted, or was not used for a while.
pub(super) async fn drive(
    wire: http1::Connection<TokioIo<Box<dyn Io>>, Full<Bytes>>,
    condition: Arc<Condition>,
    closing: CancellationToken,
    origin: Weak<Origin>,
) {
    let idle = async {
        loop {
            tokio::select! { biased;
                () = condition.rest() => Clock::System.sleep(IDLE).await,
                () = Clock::System.sleep(IDLE) => return,
            }
        }
    };
    tokio::select! { biased;
        () = closing.cancelled() => {}
        _ = wire => {}
        () = idle => {}
    }
    condition.close();
    if let Some(origin) = origin.upgrade() {
        origin.remove(&condition);
    }
}

pub(super) async fn exchange(
    sender: &Sender,
    condition: &Condition,
    head: Request<()>,
    body: Bytes,
    answer: &mut Answer,
) -> Result<(), Failure> {
    let taken = sender.lock().unwrap_or_else(PoisonError::into_inner).take();
    let gone = || Failure::Unsent(Error::Connect("the connection has ended".to_owned()));
    // Until the exchange is over the connection is of use to nobody else.
    let Some(mut in_hand) = taken else { return Err(gone()) };
    let whole = Whole { condition, is_over: false };
    if in_hand.ready().await.is_err() {
        return Err(gone());
    }
    let request = origin_form(head, body).map_err(|why| Failure::Unsent(Error::Connect(why)))?;
    let response = in_hand.try_send_request(request).await.map_err(|mut error| {
        let is_unsent = error.take_message().is_some();
        let detail = error.error().to_string();
        if is_unsent { Failure::Unsent(Error::Connect(detail)) } else { Failure::Broken(Error::Closed(detail)) }
    })?;
    condition.answered();
    let (parts, mut incoming) = response.into_parts();
    answer.begin(parts.status, parts.headers);
    while let Some(frame) = incoming.frame().await {
        let Ok(frame) = frame else { return Ok(()) };
        if let Ok(chunk) = frame.into_data()
            && answer.is_full_with(chunk)
        {
            return Ok(());
        }
    }
    *sender.lock().unwrap_or_else(PoisonError::into_inner) = Some(in_hand);
    whole.over();
    Ok(())
}

/// Closes a connection on which an exchange was not brought to its end.
struct Whole<'a> {
    condition: &'a Condition,
    is_over: bool,
}

impl Whole<'_> {
    fn over(mut self) {
        self.is_over = true;
    }
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.condition.close();
        }
    }
}

/// The form of RFC 9112, section 3.2.1, with the host as a header.
fn origin_form(head: Request<()>, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
    let (mut parts, ()) = head.into_parts();
    let host = parts.uri.authority().map(ToString::to_string).unwrap_or_default();
    parts.headers.insert(HOST, HeaderValue::try_from(host).map_err(|error| error.to_string())?);
    if !body.is_empty() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let path = parts.uri.path_and_query().cloned().unwrap_or_else(|| http::uri::PathAndQuery::from_static("/"));
    parts.uri = Uri::from(path);
    Ok(Request::from_parts(parts, Full::new(body)))
}
