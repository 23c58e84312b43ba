//! Goodbyes of peers: what they say, and that they cost no request.

use std::sync::Mutex;

use futures_util::future::join_all;

use super::{
    super::*,
    frames::{CANCEL, GOAWAY, Loopback, NO_ERROR, Speaker},
    sent, start,
    streams::{origin, over, standing},
};
use crate::delivery::testing::server::Server;

const SHUTDOWN: &str = r#"{"reason":"Shutdown"}"#;

#[tokio::test]
async fn a_goodbye_with_a_reason_under_load_loses_and_repeats_nothing() {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&taken);
    let server = Server::spoken(move |io, number| {
        let noted = Arc::clone(&noted);
        async move {
            let mut peer = Speaker::accept(io, 30).await;
            let mut waiting = Vec::new();
            while let Some(frame) = peer.next().await {
                if !frame.ends_request() {
                    continue;
                }
                waiting.push(frame.stream);
                // Of the first connection's streams only some are looked at.
                if number == 1 && waiting.len() == 30 {
                    peer.goodbye(waiting[19], NO_ERROR, SHUTDOWN).await;
                    waiting.truncate(20);
                }
                if number > 1 || waiting.len() == 20 && frame.stream > waiting[19] {
                    for stream in waiting.drain(..) {
                        noted.lock().expect("not poisoned").push((number, stream));
                        peer.answer(stream).await;
                    }
                }
            }
        }
    })
    .await;
    let http = super::open(&Config { connections_max: 1, ..super::config(&server) });
    let url = server.url();
    let replies = join_all((0..100).map(|_| http.send(super::request(&url), Peer::Apns))).await;
    assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    assert_eq!(taken.lock().expect("not poisoned").len(), 100, "none is looked at twice");
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_breaks_after_a_goodbye_names_its_reason_and_may_have_been_acted_on() {
    let (loopback, origin) = origin(Peer::Apns, 1);
    let mut asked = start(&origin, 2);
    let mut peer = loopback.accept(100).await;
    let (first, second) = (peer.request().await, peer.request().await);
    peer.answer(first).await;
    assert_eq!(asked.join_next().await.expect("one").expect("ended"), Ok(()));
    peer.goodbye(second, NO_ERROR, r#"{"reason":"ExpiredToken"}"#).await;
    sent(&origin, 0).await;
    drop(peer);
    let error = asked.join_next().await.expect("one").expect("ended").expect_err("broken off");
    assert_eq!(error, Error::GoAway { word: "ExpiredToken".to_owned(), may_have_acted: true });
    assert_eq!((error.reason().as_str(), error.name()), ("goaway_ExpiredToken", "goaway"));
    assert_eq!(loopback.dialled(), 1, "it is not sent again");
}

#[tokio::test(start_paused = true)]
async fn a_connection_takes_nothing_new_after_a_goodbye_and_finishes_what_runs() {
    let (loopback, origin) = origin(Peer::Apns, 1);
    let mut asked = start(&origin, 1);
    let mut first = loopback.accept(100).await;
    let old = first.request().await;
    first.goodbye(old, NO_ERROR, SHUTDOWN).await;
    while standing(&origin).connections > 0 {
        tokio::task::yield_now().await;
    }
    let mut more = start(&origin, 1);
    let mut second = loopback.accept(100).await;
    let new = second.request().await;
    second.answer(new).await;
    assert_eq!(more.join_next().await.expect("one").expect("ended"), Ok(()));
    first.answer(old).await;
    assert_eq!(asked.join_next().await.expect("one").expect("ended"), Ok(()));
    assert!(first.next().await.is_none_or(|frame| frame.kind == GOAWAY), "closed when it was done");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_only_says_goodbye_is_not_dialled_again_and_again() {
    let (loopback, origin) = origin(Peer::Apns, 8);
    let mut asked = start(&origin, 30);
    for _ in 0..2 {
        let mut peer = loopback.accept(100).await;
        peer.request().await;
        peer.goodbye(0, NO_ERROR, r#"{"reason":"BadCertificate"}"#).await;
    }
    while let Some(done) = asked.join_next().await {
        let error = done.expect("ended").expect_err("refused");
        assert_eq!(error, Error::GoAway { word: "BadCertificate".to_owned(), may_have_acted: false });
        assert!(!error.may_have_acted());
    }
    assert_eq!(loopback.dialled(), 2);
    let again = start(&origin, 10).join_next().await.expect("one").expect("ended");
    assert_eq!(again.expect_err("at once").reason(), "goaway_BadCertificate");
    assert_eq!(loopback.dialled(), 2);
}

#[tokio::test(start_paused = true)]
async fn codes_without_a_reason_are_named_too() {
    const ENHANCE_YOUR_CALM: u32 = 11;
    for (why, word) in
        [("", "ENHANCE_YOUR_CALM"), ("too_many_pings", "too_many_pings"), ("<html>", "ENHANCE_YOUR_CALM")]
    {
        let (loopback, origin) = origin(Peer::Fcm, 1);
        let mut asked = start(&origin, 1);
        let mut peer = loopback.accept(100).await;
        let stream = peer.request().await;
        peer.goodbye(stream, ENHANCE_YOUR_CALM, why).await;
        // The connection is no longer among those that take requests.
        sent(&origin, 0).await;
        drop(peer);
        let error = asked.join_next().await.expect("one").expect("ended").expect_err("broken off");
        assert_eq!(error, Error::GoAway { word: word.to_owned(), may_have_acted: true });
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_to_connect_is_shared_and_backed_off() {
    let (loopback, dialer) = Loopback::new(true);
    let origin = over(Peer::Apns, 8, dialer);
    let refused = Err(Error::Connect("refused".to_owned()));
    for (pause_ms, dialled) in [(250, 1), (500, 2), (1_000, 3), (2_000, 4), (4_000, 5), (8_000, 6), (10_000, 7)] {
        let mut asked = start(&origin, 50);
        while let Some(done) = asked.join_next().await {
            assert_eq!(done.expect("ended"), refused);
        }
        assert_eq!(loopback.dialled(), dialled, "one for all");
        let clock = crate::clock::Clock::System;
        clock.sleep(Duration::from_millis(pause_ms - 1)).await;
        assert_eq!(start(&origin, 1).join_next().await.expect("one").expect("ended"), refused, "at once");
        assert_eq!(loopback.dialled(), dialled, "not before {pause_ms} ms");
        clock.sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_in_the_middle_keeps_the_status() {
    let (loopback, origin) = origin(Peer::Apns, 1);
    let mut asked = start(&origin, 2);
    let mut peer = loopback.accept(100).await;
    let (first, second) = (peer.request().await, peer.request().await);
    peer.begin_answer(first).await;
    peer.reset(first, CANCEL).await;
    peer.reset(second, CANCEL).await;
    let mut outcomes =
        [asked.join_next().await, asked.join_next().await].map(|done| done.expect("two").expect("ended"));
    outcomes.sort_by_key(Result::is_err);
    assert_eq!(outcomes[0], Ok(()));
    assert!(matches!(&outcomes[1], Err(error @ Error::Closed(_)) if error.may_have_acted()), "{outcomes:?}");
    assert_eq!(loopback.dialled(), 1);
}
