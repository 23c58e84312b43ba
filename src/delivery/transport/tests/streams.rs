//! How many connections and streams there are, and who gets them.

use futures_util::{FutureExt, future::join_all};
use tokio::task::JoinSet;

use super::{
    super::*,
    frames::{CANCEL, GOAWAY, Loopback, NO_ERROR, REFUSED_STREAM, RST_STREAM},
    sent, start,
};
use crate::delivery::testing::server::{Answer, HTTP2, Manner, Server, ok};

/// An origin in memory.
pub(super) fn origin(peer: Peer, connections_max: usize) -> (Loopback, Arc<Origin>) {
    let (loopback, dialer) = Loopback::new(false);
    (loopback, over(peer, connections_max, dialer))
}

pub(super) fn over(peer: Peer, connections_max: usize, dialer: Box<dyn dial::Dial>) -> Arc<Origin> {
    let bounds = Bounds { connections_max, connect_timeout: Duration::from_secs(5) };
    Origin::new(peer, "push.example".to_owned(), None, dialer, bounds)
}

pub(super) fn standing(origin: &Origin) -> Standing {
    let mut standing =
        Standing { peer: origin.peer, origins: 0, connections: 0, streams_in_use: 0, streams_announced: 0, waiting: 0 };
    origin.add_to(&mut standing);
    standing
}

#[tokio::test(start_paused = true)]
async fn one_stream_first_and_a_hundred_later_are_one_connection() {
    let (loopback, origin) = origin(Peer::Apns, 8);
    let mut asked = start(&origin, 20);
    let mut peer = loopback.accept(1).await;
    let first = peer.request().await;
    assert_eq!((standing(&origin).streams_in_use, standing(&origin).waiting), (1, 19));
    peer.announce(100).await;
    for _ in 1..20 {
        let stream = peer.request().await;
        peer.answer(stream).await;
    }
    peer.answer(first).await;
    while let Some(done) = asked.join_next().await {
        assert_eq!(done.expect("ended"), Ok(()));
    }
    assert_eq!(loopback.dialled(), 1, "another would have been opened too early");
    assert_eq!((standing(&origin).streams_in_use, standing(&origin).streams_announced), (0, 100));
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_opened_when_all_announced_streams_are_in_use_and_never_beyond_the_maximum() {
    for (connections_max, requests, opened) in [(8, 35, 4), (8, 30, 3), (8, 1, 1), (3, 35, 3)] {
        let (loopback, origin) = origin(Peer::Apns, connections_max);
        let _asked = start(&origin, requests);
        let mut peers = JoinSet::new();
        for _ in 0..opened {
            let peer = loopback.accept(10).await;
            peers.spawn(async move {
                let mut peer = peer;
                while peer.next().await.is_some() {}
            });
        }
        sent(&origin, requests.min(opened * 10)).await;
        let standing = standing(&origin);
        assert_eq!((loopback.dialled(), standing.connections), (opened, opened), "for {requests} requests");
        assert_eq!(standing.waiting, requests.saturating_sub(opened * 10));
        assert_eq!(standing.streams_announced, opened * 10);
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_in_turn() {
    let (loopback, origin) = origin(Peer::Apns, 1);
    let mut served = JoinSet::new();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    for number in 0..10 {
        let (origin, order) = (Arc::clone(&origin), Arc::clone(&order));
        served.spawn(async move {
            let stream = origin.stream().await.unwrap_or_else(|error| panic!("{error}"));
            order.lock().expect("not poisoned").push(number);
            tokio::task::yield_now().await;
            drop(stream);
        });
    }
    let _peer = loopback.accept(2).await;
    while let Some(done) = served.join_next().await {
        done.expect("ended");
    }
    assert_eq!(*order.lock().expect("not poisoned"), (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_frees_the_stream_and_the_place() {
    let (loopback, origin) = origin(Peer::Apns, 1);
    let asked = start(&origin, 25);
    let mut peer = loopback.accept(10).await;
    for _ in 0..10 {
        peer.request().await;
    }
    assert_eq!((standing(&origin).streams_in_use, standing(&origin).waiting), (10, 15));
    drop(asked);
    for _ in 0..10 {
        let frame = peer.next().await.expect("a reset");
        assert_eq!((frame.kind, frame.payload), (RST_STREAM, CANCEL.to_be_bytes().to_vec()));
    }
    sent(&origin, 0).await;
    assert_eq!((standing(&origin).streams_in_use, standing(&origin).waiting), (0, 0));
    let mut asked = start(&origin, 10);
    for _ in 0..10 {
        let stream = peer.request().await;
        peer.answer(stream).await;
    }
    while let Some(done) = asked.join_next().await {
        assert_eq!(done.expect("ended"), Ok(()));
    }
    assert_eq!(loopback.dialled(), 1);
}

#[tokio::test(start_paused = true)]
async fn places_of_those_who_gave_up_do_not_pile_up() {
    let (loopback, origin) = origin(Peer::Apns, 1);
    let _asked = start(&origin, 1);
    let mut peer = loopback.accept(1).await;
    peer.request().await;
    for _ in 0..1_000 {
        assert!(origin.stream().now_or_never().is_none());
    }
    assert!(origin.places() <= 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_stream_goes_to_another_connection_and_fails_only_if_refused_everywhere() {
    let (loopback, origin) = origin(Peer::Apns, 8);
    let mut asked = start(&origin, 3);
    let mut first = loopback.accept(100).await;
    let streams = [first.request().await, first.request().await, first.request().await];
    first.reset(streams[1], REFUSED_STREAM).await;
    let mut second = loopback.accept(100).await;
    let again = second.request().await;
    second.answer(again).await;
    first.answer(streams[0]).await;
    first.answer(streams[2]).await;
    while let Some(done) = asked.join_next().await {
        assert_eq!(done.expect("ended"), Ok(()));
    }
    assert_eq!(loopback.dialled(), 2);

    let mut refusing = start(&origin, 1);
    for peer in [&mut first, &mut second] {
        let stream = peer.request().await;
        peer.reset(stream, REFUSED_STREAM).await;
    }
    for _ in 2..=RESENDS_MAX {
        let mut peer = loopback.accept(100).await;
        let stream = peer.request().await;
        peer.reset(stream, REFUSED_STREAM).await;
    }
    let error = refusing.join_next().await.expect("one").expect("ended").expect_err("refused");
    assert!(matches!(error, Error::Connect(_)) && !error.may_have_acted(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_refuses_all_streams_does_not_fill_the_pool_with_useless_connections() {
    let (loopback, origin) = origin(Peer::Apns, 1);
    for _ in 0..2 {
        let mut asked = start(&origin, 1);
        for _ in 0..2 {
            let mut peer = loopback.accept(100).await;
            let stream = peer.request().await;
            peer.reset(stream, REFUSED_STREAM).await;
            assert_eq!(peer.next().await.expect("a goodbye").kind, GOAWAY);
        }
        assert!(asked.join_next().await.expect("one").expect("ended").is_err());
        assert_eq!(standing(&origin).connections, 0);
        crate::clock::Clock::System.sleep(Duration::from_secs(60)).await;
        let mut asked = start(&origin, 1);
        let mut peer = loopback.accept(100).await;
        let stream = peer.request().await;
        peer.answer(stream).await;
        assert_eq!(asked.join_next().await.expect("one").expect("ended"), Ok(()));
        peer.goodbye(stream, NO_ERROR, "").await;
        while standing(&origin).connections > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn one_origin_does_not_wait_for_another() {
    let stuck = Server::start(Manner { streams: 2, ..HTTP2 }, |_| Answer::Never).await;
    let lively = Server::start(HTTP2, |_| ok("{}")).await;
    let authorities = tempfile::NamedTempFile::new().expect("a file");
    let both = [stuck.certificate(), lively.certificate()].map(|file| std::fs::read_to_string(file).expect("there"));
    std::fs::write(authorities.path(), both.concat()).expect("writable");
    let config = Config { extra_ca: Some(authorities.path().to_owned()), connections_max: 1, ..Config::default() };
    let http = Arc::new(super::open(&config));
    let mut waiting = JoinSet::new();
    for _ in 0..50 {
        let (http, request) = (Arc::clone(&http), super::request(&stuck.url()));
        waiting.spawn(async move { http.send(request, Peer::Apns).await.map(|_| ()) });
    }
    while stuck.requests().len() < 2 {
        tokio::task::yield_now().await;
    }
    let url = lively.url();
    let replies = join_all((0..50).map(|_| http.send(super::request(&url), Peer::Apns))).await;
    assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    let standing = http.connections();
    assert_eq!((standing.len(), standing[0].origins, standing[0].connections), (1, 2, 2));
    assert_eq!((standing[0].streams_in_use, standing[0].waiting), (2, 48));
}
