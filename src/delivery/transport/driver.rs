//! Drives one HTTP/2 connection from its handshake to its end: reads what the peer announces, notices goodbyes and
//! silence, rests. It opens no streams.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use h2::{
    PingPong,
    client::{Builder, Connection, SendRequest},
};
use tokio_util::sync::CancellationToken;

use super::{Error, condition::Condition, connection::BODY_BYTES_MAX, dial::Io, farewell, origin::Origin};
use crate::clock::Clock;

/// Apple asks for one ping in an hour without requests; more are counted as abuse.
const PING_WHEN_IDLE: Duration = Duration::from_secs(60 * 60);
/// Push services of browsers are many and called seldom.
pub(super) const IDLE: Duration = Duration::from_secs(90);
/// How often a busy connection is looked at.
const TICK: Duration = Duration::from_millis(2_500);
/// 10 s in which something was asked and nothing answered raise a doubt.
const SILENT_TICKS: u32 = 4;
/// Within which a doubt must be dispelled.
const PONG_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the answers under way may take once a connection is no longer wanted.
const LINGER: Duration = Duration::from_secs(30);

/// What all answers of a connection that nobody reads may take up, besides 16 KiB for each stream.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Answers to streams that were given up are ignored for so long and for so many streams; a stray answer beyond that
/// counts as a fault of the peer.
const RESETS_MAX: usize = 4_096;
const RESETS_REMEMBERED: Duration = Duration::from_secs(30);

pub(super) type Http2 = Connection<Box<dyn Io>, Bytes>;

/// What becomes of a connection without requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// It stays, with a sign of life now and then.
    Stay,
    /// It is closed after a while.
    Close,
}

/// What a driver has to do with.
pub(super) struct Reins {
    pub(super) condition: Arc<Condition>,
    pub(super) probe: SendRequest<Bytes>,
    pub(super) closing: CancellationToken,
    pub(super) origin: Weak<Origin>,
    pub(super) rest: Rest,
}

/// Opens HTTP/2, and waits for what the peer announces: until then no number of streams is right.
pub(super) async fn open(io: Box<dyn Io>) -> Result<(SendRequest<Bytes>, Http2), Error> {
    let failed = |error: h2::Error| match farewell::word(&error) {
        Some(word) => Error::GoAway { word, may_have_acted: false },
        None => Error::Connect(error.to_string()),
    };
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(0)
        .initial_window_size(BODY_BYTES_MAX as u32)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_reset_streams(RESETS_MAX)
        .reset_stream_duration(RESETS_REMEMBERED);
    let (sender, mut wire) = builder.handshake(io).await.map_err(failed)?;
    let announced = std::future::poll_fn(|waiting| match Pin::new(&mut wire).poll(waiting) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(Error::Connect("the peer has closed the connection".to_owned()))),
        Poll::Ready(Err(error)) => Poll::Ready(Err(failed(error))),
        Poll::Pending if wire.max_concurrent_send_streams() == 0 => Poll::Pending,
        Poll::Pending => Poll::Ready(Ok(())),
    });
    announced.await?;
    Ok((sender, wire))
}

enum End {
    /// The connection is over.
    Over,
    /// Nobody wants it any more.
    Unwanted,
    /// The peer gives no sign of life.
    Silent,
}

/// Runs a connection until it ends or is no longer wanted.
pub(super) async fn drive(mut wire: Http2, reins: Reins) {
    let pings = wire.ping_pong();
    let Reins { condition, probe, closing, origin, rest } = reins;
    let mut probe = Some(probe);
    let mut running = pin!(std::future::poll_fn(|waiting| {
        if !condition.is_open() {
            probe = None;
        }
        let polled = Pin::new(&mut wire).poll(waiting);
        if condition.announce(wire.max_concurrent_send_streams())
            && let Some(origin) = origin.upgrade()
        {
            origin.serve();
        }
        if let Some(Poll::Ready(Err(error))) = probe.as_mut().map(|probe| probe.poll_ready(waiting)) {
            probe = None;
            part(&condition, &error, &origin);
        }
        polled
    }));
    let end = tokio::select! { biased;
        () = closing.cancelled() => End::Unwanted,
        _ = &mut running => End::Over,
        end = watch(&condition, pings, rest, &origin) => end,
    };
    if matches!(end, End::Silent) {
        condition.bury("no answer to a ping");
    }
    condition.close();
    if let Some(origin) = origin.upgrade() {
        origin.remove(&condition);
    }
    if matches!(end, End::Unwanted) {
        // h2 closes a connection that nobody can use any more.
        let _ = tokio::time::timeout(LINGER, running).await;
    }
}

/// No new streams; those that the peer has taken go on.
fn part(condition: &Arc<Condition>, error: &h2::Error, origin: &Weak<Origin>) {
    if let Some(word) = farewell::word(error) {
        tracing::info!(word, "a push service said goodbye to a connection");
        condition.bid_farewell(word);
    }
    condition.close();
    if let Some(origin) = origin.upgrade() {
        origin.remove(condition);
    }
}

/// Watches over a connection; ends when it should.
async fn watch(condition: &Arc<Condition>, mut pings: Option<PingPong>, rest: Rest, origin: &Weak<Origin>) -> End {
    let clock = Clock::System;
    loop {
        let pause = match rest {
            Rest::Stay => PING_WHEN_IDLE,
            Rest::Close => IDLE,
        };
        tokio::select! { biased;
            () = condition.rest() => {
                if !is_alive_while_asked(condition, &mut pings).await {
                    return End::Silent;
                }
            }
            () = clock.sleep(pause) => {
                let is_wanted = origin.upgrade().is_some_and(|origin| origin.wants(condition, rest));
                if !is_wanted {
                    return End::Unwanted;
                }
                if rest == Rest::Stay && !is_alive(&mut pings).await {
                    return End::Silent;
                }
            }
        }
    }
}

/// Watches while requests come and wait; false if the peer is found silent.
async fn is_alive_while_asked(condition: &Condition, pings: &mut Option<PingPong>) -> bool {
    let (mut seen, mut silent) = (condition.answers(), 0);
    loop {
        Clock::System.sleep(TICK).await;
        if !condition.is_owing() && condition.in_use() == 0 {
            return true;
        }
        let answers = condition.answers();
        silent = if answers == seen { silent + 1 } else { 0 };
        seen = answers;
        if silent == SILENT_TICKS {
            if !is_alive(pings).await {
                return false;
            }
            condition.heard();
            silent = 0;
        }
    }
}

async fn is_alive(pings: &mut Option<PingPong>) -> bool {
    let Some(pings) = pings else { return true };
    let pong = pings.ping(h2::Ping::opaque());
    matches!(tokio::time::timeout(PONG_TIMEOUT, pong).await, Ok(Ok(_)))
}
