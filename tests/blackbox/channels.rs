//! From a registration to an accepted push on all three channels, and everything that can be seen of it.

use std::collections::BTreeSet;

use http::Method;
use parvis_engine::notification::Channel;
use serde_json::json;

use crate::rig::{self, Rig, ago, circle, names, north, profile};

/// Shopper, device, platform, locale, channel, and the title that is to come.
const GUESTS: [(&str, &str, &str, &str, &str, &str); 3] = [
    ("C-1", "iphone", "ios", "fr-FR", "apns", "Bienvenue chez Maison Opéra"),
    ("C-2", "pixel", "android", "de-DE", "fcm", "Welcome to Maison Opéra"),
    ("C-3", "browser", "web", "en-GB", "webpush", "Welcome to Maison Opéra"),
];

async fn open_shop(rig: &Rig) {
    rig.put("/v1/stores/opera", json!({ "name": "Maison Opéra", "time_zone": "Europe/Paris" })).await;
    rig.put_shop(json!({ "store": "opera", "tags": ["store"] })).await;
    rig.put("/v1/geofences/park", circle(north(5_000.0), 50.0, json!({ "tags": ["park"] }))).await;
    let welcome = json!({
        "purpose": "offer", "on": { "transition": "enter", "tags": ["store"] }, "cooldown": "1d",
        "deep_link": "https://shop.example/{{ store.id }}",
        "content": {
            "fr": { "title": "Bienvenue chez {{ store.name }}", "body": "Entrez." },
            "en": { "title": "Welcome to {{ store.name }}", "body": "Come in." },
        },
    });
    rig.put("/v1/campaigns/welcome", welcome).await;
    let elsewhere = json!({ "purpose": "offer", "on": { "transition": "enter", "tags": ["park"] },
        "content": { "en": { "title": "Never", "body": "Nobody goes there." } } });
    rig.put("/v1/campaigns/elsewhere", elsewhere).await;
}

async fn register(rig: &Rig) {
    for (shopper, device, platform, locale, channel, _) in GUESTS {
        let target = match channel {
            "apns" => rig.apns(),
            "fcm" => rig.fcm(),
            _ => rig.webpush(),
        };
        rig.put(&format!("/v1/shoppers/{shopper}"), profile(locale)).await;
        let body = json!({ "shopper": shopper, "platform": platform, "target": target });
        assert_eq!(rig.put(&format!("/v1/devices/{device}"), body).await["shopper"], shopper);
        let known = rig.get(&format!("/v1/devices/{device}")).await;
        assert_eq!((&known["channel"], known.get("target")), (&json!(channel), None), "the target is a secret");
    }
}

#[tokio::test]
async fn three_phones_walk_in_and_each_gets_one_message() {
    let rig = Rig::start().await;
    open_shop(&rig).await;
    register(&rig).await;
    let stream = rig.caller().follow("").await;
    for (_, device, ..) in GUESTS {
        assert!(rig.ping(device, ago(60), north(400.0)).await.is_empty());
        assert_eq!(rig.ping(device, ago(10), north(0.0)).await, ["enter shop"]);
    }
    for (shopper, device, _, locale, channel, title) in GUESTS {
        let life = rig.ended_lives(shopper, 1).await.remove(0);
        assert_eq!(rig::milestones(&life), ["observed", "decided", "stored", "attempted", "accepted"]);
        let message = &life["notification"];
        assert_eq!((&message["device"], &message["channel"]), (&json!(device), &json!(channel)));
        let language = if locale == "fr-FR" { "fr" } else { "en" };
        assert_eq!(message["content"]["locale"], language);
        assert_eq!(rig.get(&format!("/v1/notifications/{}", rig::id(&life))).await, life);
        let received: Vec<_> =
            rig.accepted().into_iter().filter(|received| rig::carried(received) == rig::id(&life)).collect();
        assert_eq!(received.len(), 1);
        let received = &received[0];
        assert_eq!((received.channel.name(), received.message.title.as_deref()), (channel, Some(title)));
        assert_eq!(received.message.collapse.as_deref(), message["collapse"].as_str());
        let from_payload = received.message.payload.contains("https://shop.example/opera");
        assert!(from_payload, "the deep link travels: {}", received.message.payload);
    }
    assert_eq!(rig.accepted().len(), GUESTS.len(), "and nothing else");
    assert_eq!(rig.sandbox.counts().refused, 0);
    told(&stream).await;
    counted(&rig).await;
    explained(&rig).await;
    reported(&rig, &stream).await;
}

async fn told(stream: &rig::Followed) {
    let mut ids = BTreeSet::new();
    for kind in ["shopper.entered_geofence", "notification.decided", "notification.accepted"] {
        let events = stream.wait_for(kind, GUESTS.len()).await;
        assert_eq!(events.len(), GUESTS.len(), "{kind}");
        let mut subjects: Vec<_> = events.iter().map(|event| event["subject"].as_str().expect("text")).collect();
        subjects.sort_unstable();
        assert_eq!(subjects, ["C-1", "C-2", "C-3"], "{kind}");
        for event in &events {
            assert_eq!(event["specversion"], "1.0");
            assert!(ids.insert(event["id"].as_str().expect("text").to_owned()), "an id of its own: {event}");
            assert!(!event.to_string().contains("\"lat\""), "no positions: {event}");
        }
    }
}

async fn counted(rig: &Rig) {
    assert_eq!(rig.metric(r#"parvis_observations_total{result="accepted"}"#).await, 6.0);
    assert_eq!(rig.metric(r#"parvis_transitions_total{kind="enter"}"#).await, 3.0);
    for channel in Channel::PUSH {
        for milestone in ["stored", "accepted"] {
            let name = format!(r#"parvis_notifications_total{{channel="{}",milestone="{milestone}"}}"#, channel.name());
            assert_eq!(rig.metric(&name).await, 1.0, "decided = accepted: {name}");
        }
        rig.nothing_waits(channel.name()).await;
    }
    assert_eq!(rig.metric("parvis_shoppers").await, 3.0);
}

async fn explained(rig: &Rig) {
    let question = |campaign: &str| json!({ "shopper": "C-1", "campaign": campaign, "transition": { "transition": "enter", "region": "shop" } });
    let answer = rig.post("/v1/explain", question("welcome")).await;
    let gates: Vec<&str> =
        answer["gates"].as_array().expect("a list").iter().map(|gate| gate["gate"].as_str().expect("text")).collect();
    assert_eq!(gates.len(), parvis_engine::gates::GATES.len(), "{answer}");
    assert_eq!(answer["verdict"]["verdict"], "suppress", "a second one would be too much: {answer}");
    assert!(answer["verdict"]["why"].to_string().contains("cooldown"), "{answer}");
    assert_eq!(rig.post("/v1/explain", question("elsewhere")).await["verdict"]["verdict"], "not_triggered");
    rig.call(Method::POST, "/v1/explain", &question("nothing")).await.problem("not_found");
}

async fn reported(rig: &Rig, stream: &rig::Followed) {
    let path = format!("/v1/notifications/{}/receipts", rig::id(&rig.lives("C-1").await[0]));
    for _ in 0..2 {
        rig.post(&path, json!({ "milestone": "opened" })).await;
    }
    rig.post(&path, json!({ "milestone": "redeemed", "detail": "till 4" })).await;
    let life = rig.lives("C-1").await.remove(0);
    assert_eq!(rig::milestones(&life)[4..], ["accepted", "opened", "redeemed"], "a repeat adds nothing");
    stream.wait_for("notification.redeemed", 1).await;
    assert_eq!(stream.of("notification.opened").len(), 1);
    assert_eq!(rig.metric(r#"parvis_notifications_total{channel="apns",milestone="opened"}"#).await, 1.0);
    rig.call(Method::POST, &path, &json!({ "milestone": "accepted" })).await.problem("malformed");
}

#[tokio::test]
async fn who_did_not_consent_gets_nothing_and_is_told_why() {
    let rig = Rig::start().await;
    open_shop(&rig).await;
    let mut silent = profile("en");
    silent["consents"]["offers"]["granted"] = false.into();
    rig.put("/v1/shoppers/C-9", silent).await;
    rig.put("/v1/devices/phone", json!({ "shopper": "C-9", "platform": "ios", "target": rig.apns() })).await;
    assert_eq!(rig.ping("phone", ago(10), north(0.0)).await, ["enter shop"]);
    let held = rig.get("/v1/shoppers/C-9").await;
    let suppressed = rig::rows(&held, "decision");
    assert_eq!(suppressed.len(), 1);
    assert!(suppressed[0]["suppressed"].to_string().contains("no_consent"), "{}", suppressed[0]);

    let mut hidden = profile("en");
    hidden["consents"]["location"]["granted"] = false.into();
    rig.put("/v1/shoppers/C-9", hidden).await;
    let answer = rig.post("/v1/observations", rig::report("phone", ago(5), north(400.0))).await;
    assert_eq!((&answer["accepted"], &answer["rejected"][0]["reason"]), (&json!(0), &json!("no_consent")));
    assert!(names(&answer["transitions"]).is_empty());
    assert!(rig.sandbox.received().is_empty());
}
