//! One request and its answer: delays, silence, resets, and what is written down. Knows no service's rules.

use std::{convert::Infallible, error, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use h2::Reason;
use http::{Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;

use super::{
    behaviour::{Conditions, Effect},
    connection::Service,
    fault::Subject,
    record::{Message, Received, Refusal},
    reply::{Judged, Reply, Request, status},
    shared::{Connection, Shared},
};
use crate::clock::Clock;

/// More than any service takes, so that each can say by itself that a message is too large.
const BODY_BYTES: usize = 64 * 1024;
/// Lets an answer's beginning leave before its stream is reset.
const BEFORE_RESET: Duration = Duration::from_millis(20);

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;
/// Closes a stream without an answer; its reason is that of the reset.
pub(super) type Closed = Box<dyn error::Error + Send + Sync>;

/// Never fails as a service; an error closes the stream.
pub(super) async fn answer(
    service: Service,
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    request: http::Request<Incoming>,
) -> Result<Response<Body>, Closed> {
    let conditions = shared.conditions(service.channel());
    let (number, _open) = connection.begin(&shared.clock);
    if conditions.goaway_after.is_some_and(|after| number >= after) {
        connection.explain(conditions.goaway_reason.as_deref());
        connection.leaving.notify_one();
    }
    if connection.is_crowded() {
        return Err(refused_stream());
    }
    let request = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return Err(aborted()),
        request = read(request) => request?,
    };
    let delay_ms = conditions.delay_ms(&shared.entropy);
    if let Some(code) = conditions.failing {
        let (reply, _) = service.refuse(code, None, &shared);
        pause(&shared, delay_ms).await?;
        return Ok(respond(reply.retry_after(conditions.retry_after_s).named_as(&request.headers)));
    }
    let (reply, effect) = settle(service, &shared, &connection, &conditions, &request);
    pause(&shared, delay_ms).await?;
    match effect {
        Effect::Answer | Effect::Refuse { .. } | Effect::Gone { .. } | Effect::Garble { .. } => Ok(respond(reply)),
        Effect::Delay { delay_ms } => {
            pause(&shared, delay_ms).await?;
            Ok(respond(reply))
        }
        Effect::Silence => {
            shared.stop.cancelled().await;
            Err(aborted())
        }
        Effect::Reset => Ok(respond_and_reset(reply, shared.clock.clone())),
        Effect::RefuseStream => Err(refused_stream()),
    }
}

/// Judges a request, applies what was asked for its target, and records it.
fn settle(
    service: Service,
    shared: &Shared,
    connection: &Connection,
    conditions: &Conditions,
    request: &Request,
) -> (Reply, Effect) {
    let (target, mut message, mut reply, mut refusal) = match service.judge(shared, connection, request) {
        Judged::Answer(reply) => return (reply, Effect::Answer),
        Judged::Refused { target, message, reply, reason } => (target, message, reply, Some(reason)),
        Judged::Valid { target, message, reply } => (target, message, reply, None),
    };
    let mut effect = Effect::Answer;
    if refusal.is_none() {
        effect = next_effect(service, shared, conditions, &target, &message);
        match &effect {
            Effect::RefuseStream => return (reply, effect),
            Effect::Refuse { status, reason, retry_after_s } => {
                let (told, reason) = service.refuse(*status, reason.as_deref(), shared);
                (reply, refusal) = (told.retry_after(*retry_after_s).named_as(&reply.headers), Some(reason));
            }
            Effect::Gone { since, expired } => {
                let (told, reason) = service.gone(since.unwrap_or_else(|| shared.clock.now()), *expired);
                (reply, refusal) = (told.named_as(&reply.headers), Some(reason));
            }
            Effect::Garble { status: code, body } => {
                (reply, refusal) = (Reply::html(status(*code), body.clone()), Some("garbled".to_owned()));
            }
            Effect::Answer | Effect::Delay { .. } | Effect::Silence | Effect::Reset => {
                service.accepted(shared, &target, request, &mut message);
            }
        }
    }
    let refused = refusal.map(|reason| Refusal { status: reply.status.as_u16(), reason });
    let (channel, at) = (service.channel(), shared.clock.now());
    shared.record.add(Received { sequence: 0, channel, target, at, message: *message, refused });
    (reply, effect)
}

fn next_effect(service: Service, shared: &Shared, conditions: &Conditions, target: &str, message: &Message) -> Effect {
    let known = conditions.target_requests_per_minute.and_then(|most| Some((most, shared.targets.find(target)?)));
    if known.is_some_and(|(most, known)| !known.admits(most as usize, shared.clock.now())) {
        return Effect::Refuse { status: 429, reason: None, retry_after_s: None };
    }
    let (app, topic) = (message.app.as_deref(), message.topic.as_deref());
    shared.next_effect(&Subject { channel: service.channel(), app, topic, target })
}

async fn read(request: http::Request<Incoming>) -> Result<Request, Closed> {
    let (parts, body) = request.into_parts();
    let (body, overlong) = match Limited::new(body, BODY_BYTES).collect().await {
        Ok(body) => (body.to_bytes(), false),
        Err(error) if error.is::<LengthLimitError>() => (Bytes::new(), true),
        Err(error) => return Err(error),
    };
    let path = parts.uri.path().to_owned();
    Ok(Request { method: parts.method, path, headers: parts.headers, body, overlong })
}

async fn pause(shared: &Shared, delay_ms: u64) -> Result<(), Closed> {
    if delay_ms == 0 {
        return Ok(());
    }
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => Err(aborted()),
        () = shared.clock.sleep(Duration::from_millis(delay_ms)) => Ok(()),
    }
}

fn aborted() -> Closed {
    io::Error::from(io::ErrorKind::ConnectionAborted).into()
}

fn refused_stream() -> Closed {
    h2::Error::from(Reason::REFUSED_STREAM).into()
}

fn respond(reply: Reply) -> Response<Body> {
    let body = Full::new(reply.body.clone()).map_err(|never: Infallible| match never {}).boxed_unsync();
    response(&reply, body)
}

/// Half of the answer, then an error instead of its end.
fn respond_and_reset(reply: Reply, clock: Clock) -> Response<Body> {
    let half = reply.body.slice(..reply.body.len() / 2);
    let frames = stream::iter((!half.is_empty()).then(|| Ok(Frame::data(half))));
    let cut = stream::once(async move {
        clock.sleep(BEFORE_RESET).await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    let body = StreamBody::new(frames.chain(cut)).boxed_unsync();
    let mut response = response(&reply, body);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

fn response(reply: &Reply, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status(reply.status.as_u16());
    response.headers_mut().clone_from(&reply.headers);
    response
}
