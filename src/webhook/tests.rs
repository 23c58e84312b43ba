//! Who is told what, how a call is signed, and what a reply means.

use http::{HeaderMap, StatusCode};
use parvis_engine::{notification::Milestone, order::OrderState};
use tempfile::TempDir;

use super::*;
use crate::report::What;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn folder() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    std::fs::write(folder.path().join("secret"), SECRET).expect("writable");
    folder
}

fn config(text: &str) -> Config {
    toml::from_str(text).expect("a configuration")
}

fn webhooks(text: &str) -> Webhooks {
    Webhooks::read(&config(text), folder().path()).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn caller(webhooks: &Webhooks) -> Caller {
    Caller(Arc::clone(&webhooks.0.load()[0]))
}

fn event(what: What) -> Event {
    let at = Timestamp::from_millis(1_700_000_000_000);
    Event { at, recorded_at: at.plus(Duration::from_millis(5)), shopper: "C-1".parse().expect("an id"), what }
}

fn shipped() -> Event {
    event(What::Order { order: "O-7".parse().expect("an id"), state: OrderState::Shipped })
}

fn accepted() -> Event {
    let notification = NotificationId::from_u128(9);
    event(What::Milestone { notification, milestone: Milestone::Accepted, detail: None })
}

const TWO: &str = r#"
    [crm]
    url = "https://crm.example/hooks?from=parvis"
    secret = "secret"
    events = ["order."]
    [lake]
    url = "https://lake.example:8443/"
    secret = "secret"
    retry_for = "1h"
"#;

#[test]
fn everybody_is_told_what_they_want_to_hear_and_once() {
    let webhooks = webhooks(TWO);
    let told = webhooks.tell(&[shipped(), accepted()]);
    let who = |entry: &Notification| match (&entry.recipient, &entry.origin) {
        (Recipient::Endpoint(endpoint), Origin::Event { event }) => format!("{endpoint} {event}"),
        other => panic!("{other:?}"),
    };
    let all: Vec<String> = told.iter().map(who).collect();
    assert_eq!(all, ["crm order.state_changed", "lake order.state_changed", "lake notification.accepted"]);
    let again = webhooks.tell(&[shipped(), accepted()]);
    assert_eq!(again, told, "deciding again tells the same");
    let later = Event { recorded_at: shipped().recorded_at.plus(Duration::from_secs(9)), ..shipped() };
    assert_eq!(webhooks.tell(&[later])[0].id, told[0].id, "when it was recorded makes it no other event");
    assert_eq!(Webhooks::default().tell(&[shipped()]), []);
}

#[test]
fn the_waits_between_attempts_add_up() {
    let webhooks = webhooks(TWO);
    let attempts = |endpoint: &str| webhooks.couriers()[endpoint].1.attempts_max;
    // Three quarters of 5 s, 10 s ... 2560 s are 3836 s, more than an hour; up to 1280 s they are less.
    assert_eq!(attempts("lake"), 11);
    // Thirteen waits that double make 8.5 hours, and fifteen more of four and a half hours make three days.
    assert_eq!(attempts("crm"), 29);
    assert_eq!(patience(Duration::ZERO).attempts_max, 1);
}

#[test]
fn a_call_is_signed_and_says_what_happened() {
    let webhooks = webhooks(TWO);
    let entry = webhooks.tell(&[shipped()]).remove(0);
    let address = Address::Endpoint("crm".parse().expect("an id"));
    let now = Timestamp::from_millis(1_700_000_060_999);
    let request = caller(&webhooks).request(&entry, &address, "", now).expect("a call");
    assert_eq!(request.uri(), "https://crm.example/hooks?from=parvis");
    let header = |name: &str| request.headers()[name].to_str().expect("text").to_owned();
    assert_eq!(header("webhook-id"), entry.id.to_string());
    assert_eq!(header("webhook-timestamp"), "1700000060");
    let body = std::str::from_utf8(request.body()).expect("text");
    assert_eq!(
        body,
        r#"{"data":{"order":"O-7","recorded_at":"2023-11-14T22:13:20.005Z","shopper":"C-1","state":"shipped"},"timestamp":"2023-11-14T22:13:20.000Z","type":"order.state_changed"}"#
    );
    let expected =
        Secrets::parse(SECRET).expect("a secret").sign(&header("webhook-id"), 1_700_000_060, body.as_bytes());
    assert_eq!(header("webhook-signature"), expected);
}

#[test]
fn replies_have_a_meaning() {
    let webhooks = webhooks(TWO);
    let outcome = |status: u16| {
        let status = StatusCode::from_u16(status).expect("a status");
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", http::HeaderValue::from_static("30"));
        caller(&webhooks).meaning(&Reply { status, headers, body: Bytes::new() }, Timestamp::MIN).outcome
    };
    let retry_after = Some(Duration::from_secs(30));
    for status in [200, 201, 202, 204] {
        assert_eq!(outcome(status), Outcome::Accepted);
    }
    assert_eq!(outcome(410), Outcome::Rejected { reason: "http_410".to_owned() });
    assert_eq!(outcome(429), Outcome::Throttled { retry_after, reason: "http_429".to_owned() });
    for status in [301, 400, 401, 404, 500, 502, 503] {
        assert_eq!(outcome(status), Outcome::Unavailable { retry_after, reason: format!("http_{status}") });
    }
}

#[test]
fn endpoints_that_would_share_a_queue_are_told_apart_by_name() {
    let queue = |name: &str| Queue::new(Channel::Webhook, name, None);
    let twin = (0..100_000).map(|n| format!("e{n}")).find(|name| queue(name) == queue("crm")).expect("names collide");
    let text =
        format!("[crm]\nurl = \"https://a\"\nsecret = \"secret\"\n[{twin}]\nurl = \"https://b\"\nsecret = \"secret\"");
    let problems = config(&text).problems(folder().path());
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].path == format!("/{twin}") && problems[0].message.contains("with crm"), "{problems:?}");
}

#[test]
fn every_mistake_is_named_by_its_place() {
    let text = r#"
        [crm]
        url = "http://crm.example"
        secret = "missing"
        events = ["order.", "ordre."]
        retry_for = "1s"
        [user]
        url = "https://me:word@crm.example/"
        secret = "secret"
        [none]
        url = "crm"
        secret = "secret"
    "#;
    let problems = config(text).problems(folder().path());
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["/crm/url", "/crm/secret", "/crm/events", "/crm/retry_for", "/none/url", "/user/url"]);
    assert!(toml::from_str::<Config>("[crm]\nurl = \"https://a\"\nsecret = \"s\"\nsecrets = 1").is_err());
}
