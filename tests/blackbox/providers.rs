//! Providers in trouble: what is tried again, what is given up, and that a person never hears of it twice.

use parvis::sandbox::{Behaviour, Conditions};
use parvis_engine::notification::Channel;
use serde_json::{Value, json};

use crate::rig::{self, Rig, ago, circle, north};

/// Two fences far from each other, and a greeting at both.
async fn open() -> Rig {
    let rig = Rig::start().await;
    rig.put_shop(json!({})).await;
    rig.put("/v1/geofences/arcade", circle(north(1_000.0), 100.0, json!({}))).await;
    rig.put("/v1/campaigns/hello", rig::greeting("enter")).await;
    rig
}

/// What a provider calls the target.
fn address(target: &Value) -> String {
    let text = target["token"].as_str().or_else(|| target["subscription"]["endpoint"].as_str());
    text.expect("a target").to_owned()
}

/// One shopper for each channel whose provider treats the target like this, and who has just come in.
async fn guests(rig: &Rig, targets: &[(&'static str, Value)], behaviour: &Behaviour) {
    for (channel, target) in targets {
        rig.put_guest(channel, &format!("{channel}-phone"), target.clone()).await;
        assert!(rig.sandbox.set_behaviour(&address(target), behaviour.clone()));
        let transitions = rig.ping(&format!("{channel}-phone"), ago(400), north(0.0)).await;
        assert_eq!(transitions, ["enter shop"]);
    }
}

fn all(rig: &Rig) -> Vec<(&'static str, Value)> {
    vec![("apns", rig.apns()), ("fcm", rig.fcm()), ("webpush", rig.webpush())]
}

/// The services that may be asked again at once after trouble; Google's wants to be left in peace for longer.
fn patient(rig: &Rig) -> Vec<(&'static str, Value)> {
    vec![("apns", rig.apns()), ("webpush", rig.webpush())]
}

fn details(life: &Value) -> Vec<String> {
    let steps = life["milestones"].as_array().expect("a list");
    steps.iter().filter_map(|step| step["detail"].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn a_target_that_is_gone_is_removed_and_not_asked_again() {
    let rig = open().await;
    let targets = all(&rig);
    guests(&rig, &targets, &Behaviour::Unregistered { since: None }).await;
    for (channel, _) in &targets {
        let device = format!("/v1/devices/{channel}-phone");
        let life = rig.ended_lives(channel, 1).await.remove(0);
        assert_eq!(rig::terminal(&life), ["unregistered"], "{channel}");
        assert_eq!(rig.get(&device).await.get("channel"), None, "{channel}: the target is gone");
        let transitions = rig.ping(&format!("{channel}-phone"), ago(300), north(1_000.0)).await;
        assert_eq!(transitions.len(), 2, "out of the one and into the other: {transitions:?}");
        let held = rig.get(&format!("/v1/shoppers/{channel}")).await;
        assert!(held["journal"].to_string().contains("no_target"), "{channel}: {held}");
    }
    assert_eq!(rig.sandbox.counts().refused, 3, "each was asked once");
    assert!(rig.accepted().is_empty());
    // The app is installed again.
    rig.put("/v1/devices/apns-phone", json!({ "shopper": "apns", "platform": "ios", "target": rig.apns() })).await;
    assert_eq!(rig.ping("apns-phone", ago(200), north(500.0)).await, ["exit arcade"]);
    assert_eq!(rig.ping("apns-phone", ago(100), north(0.0)).await, ["enter shop"]);
    let lives = rig.ended_lives("apns", 2).await;
    assert_eq!(rig::terminal(&lives[1]), ["accepted"]);
}

#[tokio::test]
async fn who_throttles_is_left_in_peace_as_long_as_asked() {
    let rig = open().await;
    let targets = patient(&rig);
    guests(&rig, &targets, &Behaviour::Throttled { times: Some(1), retry_after_s: Some(2) }).await;
    for (channel, target) in &targets {
        let life = rig.ended_lives(channel, 1).await.remove(0);
        assert_eq!((rig::terminal(&life), &life["attempts"]), (vec!["accepted".to_owned()], &json!(2)), "{channel}");
        let address = address(target);
        let times: Vec<_> = rig.sandbox.received().into_iter().filter(|it| it.target == address).collect();
        assert_eq!(
            times.iter().map(|it| it.refused.as_ref().map(|why| why.status)).collect::<Vec<_>>(),
            [Some(429), None]
        );
        let waited = times[1].at.since(times[0].at);
        // Times are told in whole milliseconds.
        assert!(waited.as_millis() >= 1_999, "{channel}: asked again after {waited:?}");
    }
}

#[tokio::test]
async fn who_is_slow_is_waited_for() {
    let rig = open().await;
    let targets = all(&rig);
    guests(&rig, &targets, &Behaviour::Slow { delay_ms: 700 }).await;
    for (channel, _) in &targets {
        let life = rig.ended_lives(channel, 1).await.remove(0);
        assert_eq!((rig::terminal(&life), &life["attempts"]), (vec!["accepted".to_owned()], &json!(1)), "{channel}");
    }
    assert_eq!(rig.sandbox.counts().accepted, 3);
}

#[tokio::test]
async fn what_fails_is_tried_again_until_it_works() {
    let rig = open().await;
    let targets = patient(&rig);
    guests(&rig, &targets, &Behaviour::Failing { status: 503, reason: None, times: Some(3) }).await;
    for (channel, target) in &targets {
        let life = rig.ended_lives(channel, 1).await.remove(0);
        assert_eq!((rig::terminal(&life), &life["attempts"]), (vec!["accepted".to_owned()], &json!(4)), "{channel}");
        assert_eq!(details(&life).len(), 3, "each failure is named: {life}");
        assert_eq!(rig.sandbox.shown(&address(target)).len(), 1, "{channel}: shown once");
    }
    for channel in ["apns", "webpush"] {
        let failed = format!(r#"parvis_attempts_total{{channel="{channel}",outcome="unavailable"}}"#);
        assert_eq!(rig.metric(&failed).await, 3.0);
    }
}

#[tokio::test]
async fn what_can_never_work_is_given_up_by_name() {
    let rig = open().await;
    let reasons = [("BadCollapseId", 400), ("INVALID_ARGUMENT", 400), ("too large", 413)];
    let targets = all(&rig);
    for (target, (reason, status)) in targets.iter().zip(reasons) {
        let failing = Behaviour::Failing { status, reason: Some(reason.to_owned()), times: None };
        guests(&rig, std::slice::from_ref(target), &failing).await;
    }
    for (channel, _) in &targets {
        let life = rig.ended_lives(channel, 1).await.remove(0);
        assert_eq!(
            (rig::terminal(&life), &life["attempts"]),
            (vec!["dead".to_owned()], &json!(1)),
            "{channel}: {life}"
        );
        assert!(!details(&life).is_empty(), "{channel}: {life}");
        assert_eq!(rig.get(&format!("/v1/devices/{channel}-phone")).await["channel"], *channel, "the target stays");
    }
}

#[tokio::test]
async fn a_lost_answer_repeats_the_same_message() {
    let rig = open().await;
    let targets = patient(&rig);
    guests(&rig, &targets, &Behaviour::Silent { times: Some(1) }).await;
    for (channel, target) in &targets {
        let life = rig.ended_lives(channel, 1).await.remove(0);
        assert_eq!((rig::terminal(&life), &life["attempts"]), (vec!["accepted".to_owned()], &json!(2)), "{channel}");
        let address = address(target);
        assert_eq!(ids(&rig, &address), vec![rig::id(&life); 2], "{channel}: the same message twice");
        assert_eq!(rig.sandbox.shown(&address).len(), 1, "{channel}: and shown once");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_costs_nothing() {
    let rig = open().await;
    let targets = patient(&rig);
    guests(&rig, &targets, &Behaviour::Reset { times: Some(1) }).await;
    for (channel, target) in &targets {
        let life = rig.ended_lives(channel, 1).await.remove(0);
        assert_eq!(rig::terminal(&life), ["accepted"], "{channel}");
        let address = address(target);
        assert!(ids(&rig, &address).iter().all(|id| *id == rig::id(&life)), "{channel}: never another message");
        assert_eq!(rig.sandbox.shown(&address).len(), 1, "{channel}: and shown once");
    }
}

/// The messages that were taken for a target.
fn ids(rig: &Rig, address: &str) -> Vec<String> {
    rig.accepted().iter().filter(|it| it.target == address).map(|it| rig::carried(it)).collect()
}

#[tokio::test]
async fn what_nobody_wants_any_more_is_not_sent() {
    let rig = open().await;
    let down = Conditions { failing: Some(503), ..Conditions::default() };
    rig.sandbox.set_conditions(Channel::WebPush, down);
    for shopper in ["says-no", "leaves", "stays"] {
        rig.put_guest(shopper, &format!("{shopper}-phone"), rig.webpush()).await;
        assert_eq!(rig.ping(&format!("{shopper}-phone"), ago(100), north(0.0)).await, ["enter shop"]);
    }
    let mut profile = rig::profile("en-GB");
    profile["consents"]["offers"]["granted"] = false.into();
    rig.put("/v1/shoppers/says-no", profile).await;
    assert_eq!(rig.ping("leaves-phone", ago(50), north(400.0)).await, ["exit shop"]);
    for (shopper, why) in [("says-no", "no_consent"), ("leaves", "left")] {
        let life = rig.ended_lives(shopper, 1).await.remove(0);
        assert_eq!(rig::terminal(&life), ["suppressed"], "{shopper}: {life}");
        assert!(details(&life).contains(&why.to_owned()), "{shopper}: {life}");
    }
    rig.sandbox.set_conditions(Channel::WebPush, Conditions::default());
    let life = rig.ended_lives("stays", 1).await.remove(0);
    assert_eq!(rig.accepted().iter().map(|it| rig::carried(it)).collect::<Vec<_>>(), [rig::id(&life)]);
}

#[tokio::test]
async fn what_comes_too_late_is_not_sent() {
    let rig = open().await;
    let mut brief = rig::greeting("enter");
    brief["ttl"] = "10s".into();
    rig.put("/v1/campaigns/hello", brief).await;
    rig.sandbox.set_conditions(Channel::Apns, Conditions { failing: Some(503), ..Conditions::default() });
    rig.put_guest("C-1", "phone", rig.apns()).await;
    assert_eq!(rig.ping("phone", ago(8), north(0.0)).await, ["enter shop"]);
    let life = rig.ended_lives("C-1", 1).await.remove(0);
    assert_eq!(rig::terminal(&life), ["expired"], "{life}");
    let asked = rig.sandbox.counts().refused;
    rig.sandbox.set_conditions(Channel::Apns, Conditions::default());
    // The next one goes out, and the expired one is not with it.
    assert_eq!(rig.ping("phone", rig::now(), north(350.0)).await, ["exit shop"]);
    rig.put_guest("C-2", "phone-2", rig.apns()).await;
    assert_eq!(rig.ping("phone-2", rig::now(), north(0.0)).await, ["enter shop"]);
    let other = rig.ended_lives("C-2", 1).await.remove(0);
    assert_eq!(rig.accepted().iter().map(|it| rig::carried(it)).collect::<Vec<_>>(), [rig::id(&other)]);
    assert_eq!(rig.sandbox.counts().refused, asked);
}
