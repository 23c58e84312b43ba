//! Messages that a back end hands in, over the real daemon: sums that agree at any moment, crashes in the middle, dead
//! letters by command line.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use parvis::{
    clock::Clock,
    sandbox::{Behaviour, Conditions},
};
use parvis_engine::{notification::Channel, shopper::ApnsEnvironment};
use serde_json::{Value, json};

use crate::rig::{self, Rig, TOPIC, run, text};

const CHANNELS: [&str; 3] = ["apns", "fcm", "webpush"];
const ENDS: [&str; 5] = ["accepted", "unregistered", "dead", "expired", "suppressed"];

/// Some of every kind of trouble, at every service.
fn behaviours() -> Vec<Behaviour> {
    let failing = |status, times| Behaviour::Failing { status, reason: None, times };
    vec![
        Behaviour::Normal,
        Behaviour::Normal,
        Behaviour::Slow { delay_ms: 30 },
        Behaviour::Unregistered { since: None },
        failing(503, Some(1)),
        failing(400, None),
        Behaviour::Reset { times: Some(1) },
    ]
}

/// Targets of every channel, each with a service that treats it in one of those ways.
fn targets(rig: &Rig, count: usize) -> Vec<Value> {
    let behaviours = behaviours();
    (0..count)
        .map(|number| {
            let (address, target) = match number % 3 {
                0 => {
                    let token = rig.sandbox.register_apns(TOPIC, ApnsEnvironment::Production);
                    (token.clone(), json!({ "channel": "apns", "token": token, "topic": TOPIC }))
                }
                1 => {
                    let token = rig.sandbox.register_fcm();
                    (token.clone(), json!({ "channel": "fcm", "token": token }))
                }
                _ => {
                    let subscription = serde_json::to_value(rig.sandbox.register_webpush()).expect("JSON");
                    let endpoint = subscription["endpoint"].as_str().expect("text").to_owned();
                    (endpoint, json!({ "channel": "webpush", "subscription": subscription }))
                }
            };
            rig.sandbox.set_behaviour(&address, behaviours[number / 3 % behaviours.len()].clone());
            json!({ "target": target })
        })
        .collect()
}

fn call(request: &str, targets: &[Value]) -> Value {
    json!({ "request": request, "ttl": "1h", "message": { "title": "Ready", "body": "Come in." }, "targets": targets })
}

fn ids(answer: &Value) -> Vec<String> {
    let results = answer["results"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let ids = results.iter().flat_map(|result| result["notifications"].as_array().into_iter().flatten());
    ids.map(|id| id.as_str().expect("text").to_owned()).collect()
}

/// The sums of every channel, which must agree; gives how many wait.
async fn waiting(rig: &Rig) -> u64 {
    let sums = rig.get("/v1/notifications/sums").await;
    let mut waiting = 0;
    for channel in CHANNELS {
        let of = |name: &str| sums["channels"][channel][name].as_u64().unwrap_or_else(|| panic!("{channel}: {sums}"));
        let others: u64 = ENDS.iter().chain(&["waiting", "erased"]).map(|name| of(name)).sum();
        assert_eq!(of("stored"), others, "{channel}: {sums}");
        waiting += of("waiting");
    }
    let page = rig.call(Method::GET, "/metrics", &Value::Null).await;
    let page = String::from_utf8(page.body.to_vec()).expect("text");
    for channel in CHANNELS {
        let of = |became: &str| -> f64 {
            let name = format!(r#"parvis_outbox_messages{{channel="{channel}",became="{became}"}} "#);
            let value = page.lines().find_map(|line| line.strip_prefix(&name)).expect("on the page");
            value.parse().expect("a number")
        };
        let others: f64 = ENDS.iter().chain(&["waiting", "erased"]).map(|name| of(name)).sum();
        assert!((of("stored") - others).abs() < 0.5, "{channel}: {page}");
    }
    waiting
}

async fn all_ended(rig: &Rig) {
    let looks = rig::until("every message to end", async || {
        let waiting = waiting(rig).await;
        (waiting == 0).then_some(())
    });
    looks.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sums_agree_at_any_moment_and_every_life_ends_once_whatever_happens() {
    let mut rig = Rig::start_with(&[], &[("http.lines_at_once", "100")]).await;
    let targets = targets(&rig, 2_100);
    for channel in Channel::PUSH {
        rig.sandbox.set_conditions(channel, Conditions { latency_ms: 5, ..Conditions::default() });
    }
    let mut stored = BTreeSet::new();
    for (number, part) in targets.chunks(300).enumerate() {
        stored.extend(ids(&rig.post("/v1/notifications", call(&format!("r-{number}"), part)).await));
        waiting(&rig).await;
        if number == 3 {
            // In the middle of a call, whose answer nobody gets.
            let caller = rig.caller().apart();
            let body = call("r-cut", &targets[..900]);
            let cut = tokio::join!(caller.call(Method::POST, "/v1/notifications", &body), async {
                Clock::System.sleep(std::time::Duration::from_millis(15)).await;
                rig.kill().await;
            });
            drop(cut);
            rig.boot().await;
            waiting(&rig).await;
            let again = ids(&rig.post("/v1/notifications", call("r-cut", &targets[..900])).await);
            assert_eq!(again.len(), 900);
            stored.extend(again);
        }
    }
    assert_eq!(stored.len(), 3_000);
    all_ended(&rig).await;
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    for id in &stored {
        let life = rig.get(&format!("/v1/notifications/{id}")).await;
        let end = rig::terminal(&life);
        assert_eq!(end.len(), 1, "{life}");
        *ends.entry(end[0].clone()).or_default() += 1;
    }
    eprintln!("3000 messages, killed once in between: {ends:?}");
    let received: BTreeSet<String> = rig.accepted().iter().map(|received| rig::carried(received)).collect();
    assert!(received.is_subset(&stored), "nothing was sent that was not stored");
    let accepted = ends.get("accepted").copied().unwrap_or(0);
    assert!(accepted > 1_500 && received.len() >= accepted, "{ends:?}, {} received", received.len());
    assert!(ends.contains_key("unregistered") && ends.contains_key("dead"), "{ends:?}");
}

#[tokio::test]
async fn a_repeat_after_a_crash_reaches_nobody_twice() {
    let mut rig = Rig::start().await;
    let tokens: Vec<String> = (0..30).map(|_| rig.sandbox.register_apns(TOPIC, ApnsEnvironment::Production)).collect();
    let targets: Vec<Value> =
        tokens.iter().map(|token| json!({ "target": { "channel": "apns", "token": token, "topic": TOPIC } })).collect();
    let first = ids(&rig.post("/v1/notifications", call("r-1", &targets[..20])).await);
    rig.kill().await;
    rig.boot().await;
    let again = ids(&rig.post("/v1/notifications", call("r-1", &targets)).await);
    assert_eq!((again.len(), &again[..20]), (30, &first[..]));
    all_ended(&rig).await;
    for token in &tokens {
        assert_eq!(rig.sandbox.shown(token).len(), 1, "shown once");
    }
}

#[tokio::test]
async fn dead_letters_are_listed_and_tried_anew_from_the_command_line() {
    let rig = Rig::start().await;
    let token = rig.sandbox.register_apns(TOPIC, ApnsEnvironment::Production);
    let once = Behaviour::Failing { status: 400, reason: Some("PayloadEmpty".to_owned()), times: Some(1) };
    assert!(rig.sandbox.set_behaviour(&token, once));
    let target = json!({ "target": { "channel": "apns", "token": token, "topic": TOPIC } });
    let id = ids(&rig.post("/v1/notifications", call("r-1", &[target])).await).remove(0);
    all_ended(&rig).await;
    let key_file = rig.folder.path().join("send.key");
    std::fs::write(&key_file, &rig.key).expect("writable");
    let url = format!("http://{}", rig.address());
    let key_file = key_file.to_str().expect("plain letters");
    let command = async |words: &[&str]| {
        let daemon = ["--url", url.as_str(), "--key-file", key_file];
        run(&[&["dead-letters"], words, &daemon].concat()).await
    };
    let listed = command(&["list", "--channel", "apns"]).await;
    let listed = text(&listed.stdout);
    let row = listed.lines().nth(1).unwrap_or_else(|| panic!("{listed}"));
    assert!(row.contains(&id) && row.contains("PayloadEmpty") && !row.contains(&token), "{listed}");
    let empty = text(&command(&["list", "--app", "another"]).await.stdout);
    assert_eq!(empty.lines().count(), 1, "{empty}");
    let replayed = command(&["replay", "--all", "--ttl", "2h"]).await;
    assert!(replayed.status.success(), "{}", text(&replayed.stderr));
    let told = text(&replayed.stdout);
    assert!(told.starts_with(&format!("{id}  replayed  ")), "{told}");
    all_ended(&rig).await;
    let new = told.trim().rsplit(' ').next().expect("an id");
    let life = rig.get(&format!("/v1/notifications/{new}")).await;
    assert_eq!((rig::terminal(&life), &life["notification"]["replays"]), (vec!["accepted".to_owned()], &json!(id)));
    assert_eq!(rig.sandbox.shown(&token).len(), 1);
    let refused = command(&["replay", new]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stdout).contains("not_dead"), "{}", text(&refused.stdout));
    let nothing = command(&["replay"]).await;
    assert_eq!(nothing.status.code(), Some(2), "what to replay must be said");
}

#[tokio::test]
async fn a_broadcast_channel_is_created_followed_by_messages_and_deleted() {
    let rig = Rig::start().await;
    rig.sandbox.register_apns(TOPIC, ApnsEnvironment::Production);
    let path = "/v1/apps/default/broadcast-channels";
    let channel = rig.post(path, json!({ "bundle": TOPIC, "stored": true })).await;
    let send = async |request: &str, step: u32| {
        let aps = json!({ "event": "update", "timestamp": step, "content-state": { "step": step } });
        let body = json!({ "request": request, "ttl": "1h", "targets": [{ "apns_channel": channel }],
            "message": { "push": "liveactivity", "apns": { "aps": aps } } });
        let answer = rig.post("/v1/notifications", body).await;
        assert_eq!(answer["stored"], 1, "{answer}");
        all_ended(&rig).await;
        let id = ids(&answer).remove(0);
        let life = rig.get(&format!("/v1/notifications/{id}")).await;
        (id, life)
    };
    let (id, life) = send("first", 1).await;
    assert_eq!(rig::terminal(&life), ["accepted"], "{life}");
    let accepted = rig.accepted();
    assert_eq!(accepted.len(), 1, "{accepted:?}");
    assert_eq!(accepted[0].message.id, id);
    assert!(accepted[0].target.ends_with(channel["channel"].as_str().expect("an id")), "{}", accepted[0].target);
    let encoded = channel["channel"].as_str().expect("an id").replace('+', "%2B").replace('/', "%2F");
    let one = format!("{path}/{encoded}?bundle={TOPIC}");
    assert_eq!(rig.get(&one).await, channel);
    assert_eq!(rig.call(Method::DELETE, &one, &Value::Null).await.status, 204);
    let (_, life) = send("second", 2).await;
    let end = life["milestones"].as_array().and_then(|all| all.last()).expect("an end");
    assert_eq!(
        (rig::terminal(&life), &end["detail"]),
        (vec!["unregistered".to_owned()], &json!("ChannelNotRegistered")),
        "{life}"
    );
    assert_eq!(rig.accepted().len(), 1);
}
