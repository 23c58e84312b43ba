//! One connection and the exchanges on it. Which connection serves a request is the origin's business, and living and
//! dying is the [`super::driver`]'s.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header::CONTENT_LENGTH};
use tokio_util::sync::DropGuard;

use super::{Error, Reply, condition::Condition, farewell, http1};

/// An error document is shorter; the rest is not read.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024;

/// An open connection. Its driver ends with it.
pub(super) struct Connection {
    speech: Speech,
    condition: Arc<Condition>,
    _closing: DropGuard,
}

pub(super) enum Speech {
    Http2(Mutex<SendRequest<Bytes>>),
    Http1(http1::Sender),
}

/// As much of an answer as there is.
#[derive(Default)]
pub(super) struct Answer {
    head: Option<(StatusCode, HeaderMap)>,
    first: Bytes,
    all: BytesMut,
}

/// Why an exchange did not come to an answer.
pub(super) enum Failure {
    /// The peer has certainly not acted on the request (RFC 9113, section 8.7).
    Unsent(Error),
    /// It may have.
    Broken(Error),
}

impl Connection {
    pub(super) fn new(speech: Speech, condition: Arc<Condition>, closing: DropGuard) -> Connection {
        Connection { speech, condition, _closing: closing }
    }

    pub(super) fn condition(&self) -> &Arc<Condition> {
        &self.condition
    }

    /// Sends a request and reads the answer; what has been read stands in `answer` even if the rest does not come.
    pub(super) async fn exchange(&self, head: Request<()>, body: Bytes, answer: &mut Answer) -> Result<(), Failure> {
        match &self.speech {
            Speech::Http2(sender) => self.exchange_http2(sender, head, body, answer).await,
            Speech::Http1(sender) => http1::exchange(sender, &self.condition, head, body, answer).await,
        }
    }

    async fn exchange_http2(
        &self,
        sender: &Mutex<SendRequest<Bytes>>,
        mut head: Request<()>,
        body: Bytes,
        answer: &mut Answer,
    ) -> Result<(), Failure> {
        let is_empty = body.is_empty();
        if !is_empty && !head.headers().contains_key(CONTENT_LENGTH) {
            head.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        let (response, mut stream) = open(sender, head, is_empty).map_err(|error| {
            self.condition.close();
            Failure::Unsent(self.error(&error, false))
        })?;
        if !is_empty {
            // If the stream has ended already, the response says why.
            let _ = stream.send_data(body, true);
        }
        let response = response.await.map_err(|error| self.failure(&error))?;
        self.condition.answered();
        let (parts, mut incoming) = response.into_parts();
        answer.begin(parts.status, parts.headers);
        while let Some(Ok(chunk)) = incoming.data().await {
            if answer.is_full_with(chunk) {
                break;
            }
        }
        Ok(())
    }

    fn failure(&self, error: &h2::Error) -> Failure {
        if error.is_remote() && error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM) {
            self.condition.refused();
            return Failure::Unsent(Error::Connect("the peer refused the stream".to_owned()));
        }
        // A goodbye is the end of those streams only that are beyond the last that the peer has looked at.
        let is_unsent = error.is_remote() && error.is_go_away();
        let error = self.error(error, !is_unsent);
        if is_unsent { Failure::Unsent(error) } else { Failure::Broken(error) }
    }

    fn error(&self, error: &h2::Error, may_have_acted: bool) -> Error {
        let word = self.condition.farewell().map(str::to_owned).or_else(|| farewell::word(error));
        match word {
            Some(word) => Error::GoAway { word, may_have_acted },
            None => {
                let detail = self.condition.epitaph().map_or_else(|| error.to_string(), str::to_owned);
                if may_have_acted { Error::Closed(detail) } else { Error::Connect(detail) }
            }
        }
    }
}

type Opened = (h2::client::ResponseFuture, h2::SendStream<Bytes>);

fn open(sender: &Mutex<SendRequest<Bytes>>, head: Request<()>, is_empty: bool) -> Result<Opened, h2::Error> {
    let mut sender = sender.lock().unwrap_or_else(PoisonError::into_inner);
    match sender.poll_ready(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => ready?,
        // The last request still waits in h2, because streams that were given up are not yet reset on the wire. Another
        // handle may queue there too.
        Poll::Pending => *sender = sender.clone(),
    }
    sender.send_request(head, is_empty)
}

impl Answer {
    pub(super) fn begin(&mut self, status: StatusCode, headers: HeaderMap) {
        self.head = Some((status, headers));
    }

    /// Adds to the body; true if nothing more is wanted.
    pub(super) fn is_full_with(&mut self, mut chunk: Bytes) -> bool {
        let length = if self.all.is_empty() { self.first.len() } else { self.all.len() };
        chunk.truncate(BODY_BYTES_MAX - length);
        if length == 0 {
            self.first = chunk;
            return self.first.len() == BODY_BYTES_MAX;
        }
        if self.all.is_empty() {
            self.all.extend_from_slice(&self.first);
        }
        self.all.extend_from_slice(&chunk);
        self.all.len() == BODY_BYTES_MAX
    }

    /// The status is the answer: a body that breaks off or does not end takes nothing from it.
    pub(super) fn into_reply(self) -> Option<Reply> {
        let (status, headers) = self.head?;
        let body = if self.all.is_empty() { self.first } else { self.all.freeze() };
        Some(Reply { status, headers, body })
    }
}
