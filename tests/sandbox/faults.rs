//! What can be told to go wrong: for everybody, for an app, a topic, a target; and what a connection is told.

use std::{sync::Arc, time::Duration};

use parvis::sandbox::{Behaviour, Conditions, NewTarget, Reachable, Sandbox, Scope};
use parvis_engine::{
    notification::Channel,
    shopper::{ApnsEnvironment::Production, PushTarget},
};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    apns::{TOPIC, jwt, push},
    client::{Answer, Ask, Client, pass, sandbox, seconds},
    signing,
};

struct Fixture {
    sandbox: Sandbox,
    token: String,
    jwt: String,
}

async fn fixture() -> Fixture {
    let sandbox = sandbox().await;
    let token = sandbox.register_apns(TOPIC, Production);
    let jwt = jwt(&sandbox, &sandbox.apns_key(), seconds(&sandbox));
    Fixture { sandbox, token, jwt }
}

impl Fixture {
    fn push(&self) -> Ask {
        push(&self.token, &self.jwt)
    }

    async fn connect(&self) -> Client {
        Client::connect(&self.sandbox.endpoints().apns_production, &self.sandbox).await
    }

    fn set(&self, conditions: Conditions) {
        self.sandbox.set_conditions(Channel::Apns, conditions);
    }
}

fn told(answer: &Answer) -> (u16, Option<String>) {
    (answer.status.as_u16(), answer.json()["reason"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn one_apps_provider_fails_alone() {
    let f = fixture().await;
    let other = f.sandbox.add_app("other").await.expect("an app");
    let new = NewTarget::Apns {
        app: Some("other".to_owned()),
        topic: "com.example.other".to_owned(),
        environment: Production,
        purpose: parvis::sandbox::TokenPurpose::Device,
    };
    let Ok(PushTarget::Apns { token, .. }) = f.sandbox.register(new) else { panic!("a target") };
    let header = json!({ "alg": "ES256", "kid": other.apns_key.key_id });
    let claims = json!({ "iss": other.apns_team_id, "iat": seconds(&f.sandbox) });
    let theirs = signing::es256(&other.apns_key.pem, &header, &claims);
    let theirs = || push(&token, &theirs).with("apns-topic", "com.example.other");
    let (own_client, their_client) = (f.connect().await, f.connect().await);
    let only = |scope: Scope| {
        f.sandbox.set_fault("down", scope, Behaviour::Unavailable { times: None, retry_after_s: Some(9) })
    };
    let text = |text: &str| Some(text.to_owned());
    for scope in [
        Scope { app: text("other"), ..Scope::default() },
        Scope { topic: text("com.example.other"), ..Scope::default() },
        Scope { target: text(&token[..9]), channel: Some(Channel::Apns), ..Scope::default() },
    ] {
        only(scope.clone()).expect("a fault");
        let answer = their_client.ask(theirs()).await;
        assert_eq!(told(&answer), (503, text("ServiceUnavailable")), "{scope:?}");
        assert_eq!(answer.header("retry-after"), Some("9"));
        assert_eq!(own_client.ask(f.push()).await.status.as_u16(), 200, "{scope:?}");
    }
    assert!(f.sandbox.clear_fault("down") && !f.sandbox.clear_fault("down"));
    assert_eq!(their_client.ask(theirs()).await.status.as_u16(), 200);
}

#[tokio::test]
async fn every_behaviour_is_seen_on_the_wire() {
    let f = fixture().await;
    let client = f.connect().await;
    let since = "2026-11-20T08:00:00Z".parse().expect("a time");
    let cases: [(Behaviour, u16, Option<&str>); 5] = [
        (Behaviour::Unregistered { since: Some(since) }, 410, Some("Unregistered")),
        (Behaviour::Expired { since: Some(since) }, 410, Some("ExpiredToken")),
        (Behaviour::Unavailable { times: None, retry_after_s: None }, 503, Some("ServiceUnavailable")),
        (Behaviour::Throttled { times: None, retry_after_s: None }, 429, Some("TooManyRequests")),
        (Behaviour::Garbled { status: 502, body: "<html>".to_owned(), times: None }, 502, None),
    ];
    for (behaviour, status, reason) in cases {
        let expected = (status, reason.map(str::to_owned));
        f.sandbox.set_behaviour(&f.token, behaviour.clone());
        let answer = client.ask(f.push()).await;
        assert_eq!(told(&answer), expected, "{behaviour:?}");
        assert_eq!(answer.header("retry-after"), None);
        if status == 410 {
            assert_eq!(answer.json()["timestamp"], since.as_millis());
        }
        f.sandbox.set_behaviour(&f.token, Behaviour::Normal);
        f.sandbox.set_fault("same", Scope::default(), behaviour.clone()).expect("a fault");
        assert_eq!(told(&client.ask(f.push()).await), expected, "by scope: {behaviour:?}");
        f.sandbox.clear_fault("same");
    }
    f.sandbox.set_behaviour(&f.token, Behaviour::Varying { from_ms: 1_000, to_ms: 2_000 });
    let client = Arc::new(client);
    let (asking, push) = (Arc::clone(&client), f.push());
    let open = tokio_util::task::TaskTracker::new().spawn(async move { asking.ask(push).await });
    f.sandbox.wait_for(1).await;
    assert!(!open.is_finished());
    pass(Duration::from_secs(2)).await;
    assert_eq!(open.await.expect("no panic").status.as_u16(), 200);
}

#[tokio::test]
async fn a_refused_stream_was_not_looked_at() {
    let f = fixture().await;
    let client = f.connect().await;
    f.sandbox.set_behaviour(&f.token, Behaviour::RefusedStream { times: Some(1) });
    let error = client.try_ask(f.push()).await.expect_err("reset");
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    assert_eq!(cause.and_then(h2::Error::reason), Some(h2::Reason::REFUSED_STREAM));
    assert!(f.sandbox.received().is_empty());
    assert_eq!(client.ask(f.push()).await.status.as_u16(), 200, "the connection goes on");
}

#[tokio::test]
async fn streams_are_few_until_a_token_was_accepted() {
    let f = fixture().await;
    f.set(Conditions { streams_before_token: Some(1), max_concurrent_streams: Some(50), ..Conditions::default() });
    let client = f.connect().await;
    let refused = client.ask(f.push().without("authorization")).await;
    assert_eq!(refused.status.as_u16(), 403);
    assert_eq!(client.ask(f.push().without("authorization")).await.status.as_u16(), 403);
    assert_eq!(*client.streams.borrow(), 1, "nobody is known yet");
    assert_eq!(client.ask(f.push()).await.status.as_u16(), 200);
    for _ in 0..3 {
        assert_eq!(client.ask(f.push()).await.status.as_u16(), 200, "the connection takes the new settings");
    }
    assert_eq!(*client.streams.borrow(), 50);
}

#[tokio::test]
async fn goaway_comes_after_so_many_requests_and_says_why() {
    let f = fixture().await;
    f.set(Conditions { goaway_after: Some(3), goaway_reason: Some("Shutdown".to_owned()), ..Conditions::default() });
    let client = f.connect().await;
    for _ in 0..3 {
        assert_eq!(client.ask(f.push()).await.status.as_u16(), 200);
    }
    assert!(client.try_ask(f.push()).await.is_err() || f.sandbox.counts().accepted == 4);
    let again = f.connect().await;
    assert_eq!(again.ask(f.push()).await.status.as_u16(), 200);
    f.set(Conditions::default());
    f.sandbox.go_away_because(Channel::Apns, "Overloaded");
    ended(again, br#"{"reason":"Overloaded"}"#).await;
    ended(client, br#"{"reason":"Shutdown"}"#).await;
}

/// Waits until the connection has ended, and looks for what was said.
async fn ended(mut client: Client, said: &[u8]) {
    (&mut client.connection).await.expect("no panic");
    assert!(client.heard(said), "{}", String::from_utf8_lossy(said));
}

#[tokio::test]
async fn an_idle_connection_is_ended() {
    let f = fixture().await;
    f.set(Conditions { idle_timeout_ms: Some(60_000), ..Conditions::default() });
    let client = f.connect().await;
    assert_eq!(client.ask(f.push()).await.status.as_u16(), 200);
    pass(Duration::from_secs(61)).await;
    ended(client, br#"{"reason":"IdleTimeout"}"#).await;
}

#[tokio::test]
async fn a_port_can_be_closed_for_a_while() {
    let f = fixture().await;
    let address = f.sandbox.endpoints().apns_production.replace("https://", "");
    let client = f.connect().await;
    assert_eq!(client.ask(f.push()).await.status.as_u16(), 200);
    f.set(Conditions { reachable: Reachable::Refused, for_ms: Some(5_000), ..Conditions::default() });
    client.connection.await.expect("what was open is cut");
    // The listener's task closes the port on its own turn.
    while TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    pass(Duration::from_secs(6)).await;
    while TcpStream::connect(&address).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(f.connect().await.ask(f.push()).await.status.as_u16(), 200);
    f.set(Conditions { reachable: Reachable::Closed, ..Conditions::default() });
    let socket = TcpStream::connect(&address).await.expect("it is taken");
    let mut byte = [0];
    let read = tokio::io::AsyncReadExt::read(&mut { socket }, &mut byte).await;
    assert!(matches!(read, Ok(0) | Err(_)), "and cut");
    f.set(Conditions::default());
    assert_eq!(f.connect().await.ask(f.push()).await.status.as_u16(), 200);
}

#[tokio::test]
async fn one_target_gets_so_many_requests_a_minute() {
    let f = fixture().await;
    f.set(Conditions { target_requests_per_minute: Some(2), ..Conditions::default() });
    let client = f.connect().await;
    for _ in 0..2 {
        assert_eq!(client.ask(f.push()).await.status.as_u16(), 200);
    }
    assert_eq!(told(&client.ask(f.push()).await), (429, Some("TooManyRequests".to_owned())));
    let other = f.sandbox.register_apns(TOPIC, Production);
    assert_eq!(client.ask(push(&other, &f.jwt)).await.status.as_u16(), 200, "another device");
    pass(Duration::from_secs(61)).await;
    assert_eq!(client.ask(f.push()).await.status.as_u16(), 200);
}

#[tokio::test]
async fn latency_lies_in_its_range() {
    let f = fixture().await;
    f.set(Conditions { latency_ms: 60_000, latency_max_ms: Some(120_000), ..Conditions::default() });
    let client = Arc::new(f.connect().await);
    let (asking, push) = (Arc::clone(&client), f.push());
    let open = tokio_util::task::TaskTracker::new().spawn(async move { asking.ask(push).await });
    f.sandbox.wait_for(1).await;
    assert!(!open.is_finished());
    pass(Duration::from_secs(120)).await;
    assert_eq!(open.await.expect("no panic").status.as_u16(), 200);
}

#[tokio::test]
async fn two_clients_at_once_do_not_disturb_each_other() {
    let f = fixture().await;
    let second = f.sandbox.register_apns(TOPIC, Production);
    f.sandbox.set_behaviour(&f.token, Behaviour::Failing { status: 500, reason: None, times: None });
    let (one, two) = (f.connect().await, f.connect().await);
    let asks = 50;
    let bad = futures_util::future::join_all((0..asks).map(|_| one.ask(f.push())));
    let good = futures_util::future::join_all((0..asks).map(|_| two.ask(push(&second, &f.jwt))));
    let (bad, good): (Vec<Answer>, Vec<Answer>) = futures_util::future::join(bad, good).await;
    assert!(bad.iter().all(|answer| told(answer) == (500, Some("InternalServerError".to_owned()))));
    assert!(good.iter().all(|answer| answer.status.as_u16() == 200));
    let counts = f.sandbox.counts();
    assert_eq!((counts.accepted, counts.refused), (asks, asks));
    let sequences: Vec<u64> = f.sandbox.received().iter().map(|received| received.sequence).collect();
    assert!(sequences.is_sorted() && sequences.len() as u64 == 2 * asks);
    let _: Value = one.ask(f.push()).await.json();
}
