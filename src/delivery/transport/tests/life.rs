//! Signs of life, rest and the end of connections. Time stands still until everybody waits for it.

use tokio::task::JoinSet;

use super::{
    super::*,
    frames::{GOAWAY, Loopback, PING, RST_STREAM},
    start,
    streams::{origin, over, standing},
};
use crate::{clock::Clock, delivery::testing};

async fn seconds(count: u64) {
    Clock::System.sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_found_by_a_ping() {
    let (loopback, origin) = origin(Peer::Apns, 1);
    let clock = Clock::simulated(testing::now());
    let mut asked = start(&origin, 5);
    let mut peer = loopback.accept(100).await;
    peer.answers_pings = false;
    for _ in 0..5 {
        peer.request().await;
    }
    assert_eq!(peer.next().await.expect("a ping").kind, PING);
    let pinged = clock.now().since(testing::now());
    assert!((10..=13).contains(&pinged.as_secs()), "{pinged:?}");
    while let Some(done) = asked.join_next().await {
        let error = done.expect("ended").expect_err("nobody answers");
        assert_eq!(error, Error::Closed("no answer to a ping".to_owned()));
    }
    let found = clock.now().since(testing::now()) - pinged;
    assert_eq!(found.as_secs(), 5);
    assert_eq!(standing(&origin).connections, 0);
    let mut again = start(&origin, 1);
    let mut peer = loopback.accept(100).await;
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(again.join_next().await.expect("one").expect("ended"), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_found_though_every_request_was_given_up_in_time() {
    let (loopback, origin) = origin(Peer::Apns, 1);
    let asked = start(&origin, 1);
    let mut peer = loopback.accept(100).await;
    peer.answers_pings = false;
    peer.request().await;
    drop(asked);
    while peer.next().await.expect("a ping").kind != PING {}
    seconds(6).await;
    assert_eq!(standing(&origin).connections, 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_peer_that_answers_pings_keeps_its_connection() {
    let (loopback, origin) = origin(Peer::Apns, 1);
    let mut asked = start(&origin, 1);
    let mut peer = loopback.accept(100).await;
    let stream = peer.request().await;
    for _ in 0..6 {
        assert_eq!(peer.next().await.expect("a ping").kind, PING);
    }
    peer.answer(stream).await;
    assert_eq!(asked.join_next().await.expect("one").expect("ended"), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn idle_providers_are_pinged_once_in_an_hour_and_kept() {
    let (loopback, origin) = origin(Peer::Apns, 1);
    let clock = Clock::simulated(testing::now());
    let mut asked = start(&origin, 1);
    let mut peer = loopback.accept(100).await;
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(asked.join_next().await.expect("one").expect("ended"), Ok(()));
    for hour in 1..=3 {
        assert_eq!(peer.next().await.expect("a ping").kind, PING);
        let since = clock.now().since(testing::now()).as_secs();
        assert!((hour * 3600..=hour * 3600 + 5).contains(&since), "{since} s");
    }
    assert_eq!((loopback.dialled(), standing(&origin).connections), (1, 1));
    // Silence is found then, too.
    peer.answers_pings = false;
    assert_eq!(peer.next().await.expect("a ping").kind, PING);
    seconds(6).await;
    assert_eq!(standing(&origin).connections, 0);
}

#[tokio::test(start_paused = true)]
async fn idle_push_services_are_left_after_a_while() {
    let (loopback, origin) = origin(Peer::Subscription, 1);
    let clock = Clock::simulated(testing::now());
    let mut asked = start(&origin, 1);
    let mut peer = loopback.accept(100).await;
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(asked.join_next().await.expect("one").expect("ended"), Ok(()));
    assert_eq!(peer.next().await.expect("a goodbye").kind, GOAWAY);
    let since = clock.now().since(testing::now()).as_secs();
    assert!((90..=95).contains(&since), "{since} s");
    assert!(peer.next().await.is_none());
    assert_eq!(standing(&origin).connections, 0);

    let mut again = start(&origin, 1);
    let mut peer = loopback.accept(100).await;
    let stream = peer.request().await;
    peer.answer(stream).await;
    assert_eq!(again.join_next().await.expect("one").expect("ended"), Ok(()));
    drop(again);
    drop(origin);
    assert_eq!(peer.next().await.expect("a goodbye").kind, GOAWAY, "with the transport its connections end");
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_free_stream_in_time_was_not_sent() {
    let (loopback, origin) = origin(Peer::Apns, 1);
    let mut asked = JoinSet::new();
    // Both run out at the same time, so that the stream becomes free when it is too late for the other.
    for _ in 0..2 {
        let origin = Arc::clone(&origin);
        asked.spawn(async move {
            ask(&origin, super::request("https://push.example/"), Duration::from_secs(5)).await.map(|_| ())
        });
    }
    let mut peer = loopback.accept(1).await;
    peer.request().await;
    let mut outcomes =
        [asked.join_next().await, asked.join_next().await].map(|done| done.expect("two").expect("ended"));
    outcomes.sort_by_key(|outcome| outcome.as_ref().is_err_and(|error| *error == Error::Timeout));
    assert_eq!(outcomes, [Err(Error::Connect("no free stream in time".to_owned())), Err(Error::Timeout)]);
    drop(origin);
    let rest = [peer.next().await, peer.next().await].map(|frame| frame.expect("a frame").kind);
    assert_eq!(rest, [RST_STREAM, GOAWAY], "the other was not sent");
}

#[tokio::test]
async fn subscriptions_have_a_bounded_number_of_origins() {
    let origins = Origins::default();
    let find = |peer: Peer, number: usize| {
        let uri: Uri = format!("https://push-{number}.example/x").parse().expect("a URL");
        let found = origins.find(peer, &uri, None, |authority| {
            let bounds = Bounds { connections_max: 1, connect_timeout: Duration::from_secs(1) };
            Ok(Origin::new(peer, authority, None, Loopback::new(true).1, bounds))
        });
        found.unwrap_or_else(|error| panic!("{error}"))
    };
    let provider = find(Peer::Apns, 0);
    let named: Vec<_> = (0..origins::SUBSCRIPTION_ORIGINS_MAX).map(|number| find(Peer::Subscription, number)).collect();
    assert!(Arc::ptr_eq(&find(Peer::Subscription, 0), &named[0]), "the first is used again");
    find(Peer::Subscription, 1_000);
    let standing = origins.standings();
    assert_eq!((standing[0].peer, standing[0].origins), (Peer::Apns, 1));
    assert_eq!((standing[1].peer, standing[1].origins), (Peer::Subscription, origins::SUBSCRIPTION_ORIGINS_MAX));
    assert!(Arc::ptr_eq(&find(Peer::Apns, 0), &provider));
    assert!(Arc::ptr_eq(&find(Peer::Subscription, 0), &named[0]));
    assert!(!Arc::ptr_eq(&find(Peer::Subscription, 1), &named[1]), "it was not used for longest");
}

#[tokio::test]
async fn an_origin_is_a_host_and_a_port_in_any_writing() {
    let origins = Origins::default();
    let find = |url: &str| {
        origins.find(Peer::Fcm, &url.parse().expect("a URL"), None, |authority| {
            Ok(over(Peer::Fcm, 1, Loopback::new(true).1)).inspect(|_| assert!(!authority.is_empty()))
        })
    };
    for url in ["https://push.example/a", "https://push.example:443/b", "https://PUSH.example/"] {
        assert!(find(url).is_ok());
    }
    assert_eq!(origins.standings()[0].origins, 1);
    assert!(matches!(find("http://push.example/a"), Err(Error::Connect(_))));
    assert!(matches!(find("/a"), Err(Error::Connect(_))));
}
