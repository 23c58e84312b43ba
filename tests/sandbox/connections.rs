//! What can happen to a connection: limits, GOAWAY, silence, resets, delays, the end.

use std::{sync::Arc, time::Duration};

use http_body_util::BodyExt as _;
use parvis::sandbox::{Behaviour, Conditions, Sandbox};
use parvis_engine::notification::Channel;
use serde_json::json;
use tokio::net::TcpStream;

use crate::{
    client::{Ask, Client, agreed, pass, sandbox},
    fcm::{bearer, error_code},
};

/// FCM's service with one device.
struct Fixture {
    sandbox: Sandbox,
    client: Arc<Client>,
    token: String,
    bearer: String,
}

async fn fixture() -> Fixture {
    let sandbox = sandbox().await;
    let client = Client::connect(&sandbox.endpoints().fcm, &sandbox).await;
    let bearer = bearer(&sandbox, &client).await;
    let token = sandbox.register_fcm();
    Fixture { sandbox, client: Arc::new(client), token, bearer }
}

impl Fixture {
    fn push(&self) -> Ask {
        let message = json!({ "message": { "token": self.token, "data": { "title": "Hello" } } });
        Ask::post("/v1/projects/parvis-sandbox/messages:send", message.to_string())
            .with("authorization", self.bearer.clone())
    }

    async fn connect(&self) -> Client {
        Client::connect(&self.sandbox.endpoints().fcm, &self.sandbox).await
    }
}

#[tokio::test]
async fn a_stream_limit_is_announced_to_new_connections() {
    let f = fixture().await;
    f.sandbox.set_conditions(Channel::Fcm, Conditions { max_concurrent_streams: Some(3), ..Conditions::default() });
    let limited = f.connect().await;
    // The client looks at the server's settings when it begins a request, and has them after the first answer.
    for client in [&limited, &f.client] {
        for _ in 0..2 {
            assert_eq!(client.ask(f.push()).await.status.as_u16(), 200);
        }
    }
    assert_eq!((*limited.streams.borrow(), *f.client.streams.borrow()), (3, 1_000));
}

#[tokio::test]
async fn open_requests_are_answered_after_goaway() {
    let f = fixture().await;
    f.sandbox.set_behaviour(&f.token, Behaviour::Slow { delay_ms: 3_600_000 });
    let (client, push) = (Arc::clone(&f.client), f.push());
    let open = tokio_util::task::TaskTracker::new().spawn(async move { client.ask(push).await });
    f.sandbox.wait_for(1).await;
    f.sandbox.set_behaviour(&f.token, Behaviour::Normal);
    f.sandbox.go_away(Channel::Fcm);
    assert!(!open.is_finished());
    pass(Duration::from_secs(3_600)).await;
    assert_eq!(open.await.expect("no panic").status.as_u16(), 200);
    let client = Arc::into_inner(f.client).expect("the only one");
    client.connection.await.expect("the connection has ended");
    let again = Client::connect(&f.sandbox.endpoints().fcm, &f.sandbox).await;
    assert_eq!(again.ask(Ask::post("/v1/projects/parvis-sandbox/messages:send", "")).await.status.as_u16(), 401);
}

#[tokio::test]
async fn a_reset_comes_in_the_middle_of_an_answer_that_was_accepted() {
    let f = fixture().await;
    f.sandbox.set_behaviour(&f.token, Behaviour::Reset { times: Some(1) });
    let response = f.client.begin(f.push()).await.expect("the head comes");
    assert_eq!(response.status().as_u16(), 200);
    assert!(response.into_body().collect().await.is_err(), "the body is cut");
    assert_eq!(f.sandbox.counts().accepted, 1);
    assert_eq!(f.client.ask(f.push()).await.status.as_u16(), 200, "the connection goes on");
}

#[tokio::test]
async fn silence_lasts_until_the_end() {
    let f = fixture().await;
    f.sandbox.set_behaviour(&f.token, Behaviour::Silent { times: Some(1) });
    let (client, push) = (Arc::clone(&f.client), f.push());
    let open = tokio_util::task::TaskTracker::new().spawn(async move { client.try_ask(push).await });
    f.sandbox.wait_for(1).await;
    assert_eq!(f.client.ask(f.push()).await.status.as_u16(), 200, "others are answered");
    assert!(!open.is_finished());
    let address = f.sandbox.endpoints().fcm.replace("https://", "");
    f.sandbox.stop().await;
    assert!(open.await.expect("no panic").is_err());
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_sandbox_that_is_dropped_ends_too() {
    let f = fixture().await;
    drop(f.sandbox);
    assert!(f.client.try_ask(Ask::post("/", "")).await.is_err());
}

#[tokio::test]
async fn everybody_can_be_refused_or_made_to_wait() {
    let f = fixture().await;
    let down = Conditions { failing: Some(503), retry_after_s: Some(30), ..Conditions::default() };
    f.sandbox.set_conditions(Channel::Fcm, down);
    let answer = f.client.ask(f.push()).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, Some("30")));
    assert_eq!(error_code(&answer.json()["error"]), Some("UNAVAILABLE"));

    f.sandbox.set_conditions(Channel::Fcm, Conditions { latency_ms: 60_000, ..Conditions::default() });
    let (client, push) = (Arc::clone(&f.client), f.push());
    let open = tokio_util::task::TaskTracker::new().spawn(async move { client.ask(push).await });
    f.sandbox.wait_for(1).await;
    assert!(!open.is_finished());
    pass(Duration::from_secs(60)).await;
    assert_eq!(open.await.expect("no panic").status.as_u16(), 200);
}

#[tokio::test]
async fn apns_speaks_nothing_but_http_2() {
    let sandbox = sandbox().await;
    let endpoints = sandbox.endpoints().clone();
    for (url, speaks_http_1) in [
        (&endpoints.apns_production, false),
        (&endpoints.apns_sandbox, false),
        (&endpoints.fcm, true),
        (&endpoints.webpush, true),
    ] {
        assert_eq!(agreed(url, &sandbox, "h2").await.as_deref(), Some(b"h2".as_slice()));
        assert_eq!(agreed(url, &sandbox, "http/1.1").await.is_some(), speaks_http_1, "{url}");
    }
}
