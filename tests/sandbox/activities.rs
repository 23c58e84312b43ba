//! Live Activities from start to end, and broadcast channels.

use http::Method;
use parvis::sandbox::Sandbox;
use parvis_engine::shopper::ApnsEnvironment::Production;
use serde_json::{Value, json};

use crate::{
    apns::{TOPIC, jwt},
    client::{Answer, Ask, Client, sandbox, seconds},
};

struct Fixture {
    sandbox: Sandbox,
    client: Client,
    bearer: String,
}

async fn fixture() -> Fixture {
    let sandbox = sandbox().await;
    let client = Client::connect(&sandbox.endpoints().apns_production, &sandbox).await;
    let bearer = format!("bearer {}", jwt(&sandbox, &sandbox.apns_key(), seconds(&sandbox)));
    sandbox.register_apns(TOPIC, Production);
    Fixture { sandbox, client, bearer }
}

fn aps(event: &str, timestamp: i64, more: Value) -> Value {
    let mut aps = json!({ "timestamp": timestamp, "event": event, "content-state": { "step": event } });
    aps.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({ "aps": aps })
}

fn start() -> Value {
    let more = json!({
        "attributes-type": "Order", "attributes": { "order": "O-1" }, "alert": { "title": "Order", "body": "taken" },
        "input-push-token": 1,
    });
    aps("start", 1, more)
}

impl Fixture {
    fn push(&self, token: &str, payload: &Value) -> Ask {
        Ask::post(&format!("/3/device/{token}"), payload.to_string())
            .with("authorization", self.bearer.clone())
            .with("apns-push-type", "liveactivity")
            .with("apns-topic", format!("{TOPIC}.push-type.liveactivity"))
            .with("apns-priority", "10")
    }

    async fn send(&self, token: &str, payload: &Value) -> Answer {
        self.client.ask(self.push(token, payload)).await
    }

    fn channels(&self, method: Method, call: &str) -> Ask {
        let ask = Ask { method, ..Ask::post(&format!("/1/apps/{TOPIC}/{call}"), "") };
        ask.with("authorization", self.bearer.clone())
    }

    fn create(&self, settings: &Value) -> Ask {
        Ask { body: settings.to_string().into_bytes(), ..self.channels(Method::POST, "channels") }
    }

    async fn channel(&self, policy: u8) -> String {
        let settings = json!({ "message-storage-policy": policy, "push-type": "LiveActivity" });
        let answer = self.client.ask(self.create(&settings)).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (201, 0), "{answer:?}");
        answer.header("apns-channel-id").expect("an id").to_owned()
    }

    fn broadcast(&self, channel: &str, payload: &Value) -> Ask {
        Ask::post(&format!("/4/broadcasts/apps/{TOPIC}"), payload.to_string())
            .with("authorization", self.bearer.clone())
            .with("apns-push-type", "liveactivity")
            .with("apns-channel-id", channel)
            .with("apns-expiration", "0")
            .with("apns-priority", "5")
    }
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, reason: &str, case: &str) {
    assert_eq!((answer.status.as_u16(), answer.json()["reason"].as_str()), (status, Some(reason)), "{case} {answer:?}");
}

#[tokio::test]
async fn an_activity_lives_from_start_to_end() {
    let f = fixture().await;
    let starting = f.sandbox.register_activity_start(TOPIC, Production);
    assert_eq!(starting.len(), 160);
    assert_eq!(f.send(&starting, &start()).await.status.as_u16(), 200);
    let activity = f.sandbox.activities().pop().expect("one");
    assert_eq!((activity.start_token.as_str(), activity.attributes_type.as_str()), (starting.as_str(), "Order"));
    let updating = activity.update_token.expect("a token");
    for (event, timestamp) in [("update", 3), ("update", 2), ("end", 4)] {
        assert_eq!(f.send(&updating, &aps(event, timestamp, json!({}))).await.status.as_u16(), 200, "{event}");
    }
    let activity = f.sandbox.activities().pop().expect("one");
    assert_eq!((activity.timestamp, activity.ended), (4, true));
    assert_eq!(activity.state, json!({ "step": "end" }));
    let cards: Vec<String> =
        f.sandbox.received().iter().filter_map(|r| Some(r.message.activity.as_ref()?.card.clone())).collect();
    assert_eq!(cards, vec![updating; 4], "one card");
}

#[tokio::test]
async fn each_token_takes_what_it_is_for() {
    let f = fixture().await;
    let starting = f.sandbox.register_activity_start(TOPIC, Production);
    let device = f.sandbox.register_apns(TOPIC, Production);
    let refused = f.send(&starting, &aps("update", 1, json!({}))).await;
    assert_refused(&refused, 400, "InvalidLiveActivity", "an update for a start token");
    assert_eq!(refused.json()["detail"], "event: not one of start");
    let alert = f
        .push(&starting, &json!({ "aps": { "alert": "x" } }))
        .with("apns-push-type", "alert")
        .with("apns-topic", TOPIC);
    assert_refused(&f.client.ask(alert).await, 400, "InvalidPushType", "an alert for a start token");
    for event in ["update", "end"] {
        assert_eq!(f.send(&device, &aps(event, 1, json!({}))).await.status.as_u16(), 200, "{event}");
    }
    assert!(f.sandbox.activities().is_empty());
    for name in ["timestamp", "content-state", "attributes", "attributes-type", "alert"] {
        let mut payload = start();
        payload["aps"].as_object_mut().expect("an object").remove(name);
        let refused = f.send(&starting, &payload).await;
        assert_refused(&refused, 400, "InvalidLiveActivity", name);
        assert!(refused.json()["detail"].as_str().is_some_and(|detail| detail.starts_with(name)), "{name}");
    }
}

#[tokio::test]
async fn channels_are_made_read_listed_and_ended() {
    let f = fixture().await;
    let (first, second) = (f.channel(0).await, f.channel(1).await);
    let read = f.client.ask(f.channels(Method::GET, "channels").with("apns-channel-id", second.clone())).await;
    assert_eq!(read.status.as_u16(), 200);
    assert_eq!(read.json(), json!({ "message-storage-policy": 1, "push-type": "LiveActivity" }));
    let id = "eabeae54-14a8-11e5-b60b-1697f925ec7b";
    let list = f.client.ask(f.channels(Method::GET, "all-channels").with("apns-request-id", id)).await;
    assert_eq!(list.header("apns-request-id"), Some(id));
    let mut all = [first.clone(), second.clone()];
    all.sort();
    assert_eq!(list.json(), json!({ "channels": all }));
    let end = |id: &str| f.channels(Method::DELETE, "channels").with("apns-channel-id", id);
    assert_eq!(f.client.ask(end(&first)).await.status.as_u16(), 204);
    assert_refused(&f.client.ask(end(&first)).await, 400, "ChannelNotRegistered", "twice");
    let list = f.client.ask(f.channels(Method::GET, "all-channels")).await;
    assert_eq!(list.json(), json!({ "channels": [second] }));
}

#[tokio::test]
async fn every_fault_about_a_channel_has_its_reason() {
    let f = fixture().await;
    let channel = f.channel(0).await;
    let settings = |policy: Value, push_type: Value| {
        f.create(&json!({ "message-storage-policy": policy, "push-type": push_type }))
    };
    let get = || f.channels(Method::GET, "channels");
    let other =
        Ask { path: "/1/apps/com.example.nobody/channels".to_owned(), ..settings(json!(0), json!("LiveActivity")) };
    let unknown = "dHN0LXNyY2gtY2hubA==";
    let cases = [
        ("no token", get().without("authorization"), 403, "MissingProviderToken"),
        ("another app", other, 400, "TopicDisallowed"),
        ("another method", Ask { method: Method::PUT, ..get() }, 405, "MethodNotAllowed"),
        (
            "a list is read",
            Ask { method: Method::POST, ..f.channels(Method::GET, "all-channels") },
            405,
            "MethodNotAllowed",
        ),
        ("another path", f.channels(Method::GET, "others"), 404, "BadPath"),
        ("no id", get(), 400, "MissingChannelId"),
        ("a bad id", get().with("apns-channel-id", "x"), 400, "BadChannelId"),
        ("an unknown id", get().with("apns-channel-id", unknown), 400, "ChannelNotRegistered"),
        ("no type", f.create(&json!({ "message-storage-policy": 0 })), 400, "MissingPushType"),
        ("another type", settings(json!(0), json!("alert")), 400, "InvalidPushType"),
        ("another policy", settings(json!(2), json!("LiveActivity")), 400, "CannotCreateChannelConfig"),
        ("no JSON", Ask { body: b"{".to_vec(), ..get() }.with("apns-channel-id", channel.clone()), 200, ""),
        ("no settings", Ask { body: b"{".to_vec(), ..f.channels(Method::POST, "channels") }, 400, "PayloadEmpty"),
    ];
    for (case, ask, status, reason) in cases {
        let answer = f.client.ask(ask).await;
        let told = answer.json()["reason"].as_str().unwrap_or_default().to_owned();
        assert_eq!((answer.status.as_u16(), told.as_str()), (status, reason), "{case}");
    }
    let paths: Vec<String> = f.sandbox.received().into_iter().map(|received| received.target.clone()).collect();
    assert_eq!(paths, [""], "but for the unknown path, none of it is a message");
}

#[tokio::test]
async fn broadcasts_have_rules_of_their_own() {
    let f = fixture().await;
    let (forgetful, storing) = (f.channel(0).await, f.channel(1).await);
    let update = aps("update", 1, json!({}));
    let good = || f.broadcast(&forgetful, &update);
    let sized = |length: usize| {
        let frame = aps("update", 1, json!({ "x": "" })).to_string().len();
        f.broadcast(&forgetful, &aps("update", 1, json!({ "x": "x".repeat(length - frame) })))
    };
    let cases = [
        ("no token", good().without("authorization"), 403, "MissingProviderToken"),
        ("no channel", good().without("apns-channel-id"), 400, "MissingChannelId"),
        ("a bad channel", good().with("apns-channel-id", "x"), 400, "BadChannelId"),
        ("an unknown channel", good().with("apns-channel-id", "dHN0LXNyY2gtY2hubA=="), 400, "ChannelNotRegistered"),
        ("a bad id", good().with("apns-request-id", "x"), 400, "BadMessageId"),
        ("no type", good().without("apns-push-type"), 400, "MissingPushType"),
        ("another type", good().with("apns-push-type", "alert"), 400, "InvalidPushType"),
        ("no priority", good().without("apns-priority"), 400, "BadPriority"),
        ("another priority", good().with("apns-priority", "7"), 400, "BadPriority"),
        ("no expiration", good().without("apns-expiration"), 400, "BadExpirationDate"),
        ("stored where nothing is", good().with("apns-expiration", "1800000000"), 400, "BadExpirationDate"),
        ("5121 bytes", sized(5_121), 413, "PayloadTooLarge"),
        ("a start", f.broadcast(&forgetful, &start()), 400, "InvalidLiveActivity"),
        ("no JSON", Ask { body: b"{".to_vec(), ..good() }, 400, "PayloadEmpty"),
    ];
    for (case, ask, status, reason) in cases {
        assert_refused(&f.client.ask(ask).await, status, reason, case);
    }
    assert_eq!(f.client.ask(sized(5_120)).await.status.as_u16(), 200);
    let stored = f.broadcast(&storing, &update).with("apns-expiration", "1800000000");
    assert_eq!(f.client.ask(stored).await.status.as_u16(), 200);
    let received = f.sandbox.received();
    assert_eq!(received.last().expect("one").target, format!("broadcasts/{TOPIC}/{storing}"));
}

#[tokio::test]
async fn an_activity_can_listen_to_a_channel() {
    let f = fixture().await;
    let channel = f.channel(0).await;
    let starting = f.sandbox.register_activity_start(TOPIC, Production);
    let mut payload = start();
    let aps_of = payload["aps"].as_object_mut().expect("an object");
    aps_of.remove("input-push-token");
    aps_of.insert("input-push-channel".to_owned(), json!(channel));
    assert_eq!(f.send(&starting, &payload).await.status.as_u16(), 200);
    assert_eq!(f.client.ask(f.broadcast(&channel, &aps("end", 9, json!({})))).await.status.as_u16(), 200);
    let activity = f.sandbox.activities().pop().expect("one");
    assert_eq!((activity.update_token, activity.ended, activity.timestamp), (None, true, 9));
}
