//! A small world for tests: one shop in Paris, its fence, and a shopper who allows everything.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    campaign::{Campaign, Spec},
    decide::{Budgets, Decision, Settings, Verdict},
    matching::{Transition, TransitionCause, TransitionKind},
    notification::Notification,
    order::OrderEvent,
    region::{Geofence, RegionKind},
    shopper::{Consent, Device, Presence, PresenceState, PushTarget, Shopper, Witness},
    store::Store,
    time::Timestamp,
    world::World,
};

/// A Saturday, noon in Paris.
pub(crate) const NOON: &str = "2026-11-21T12:00:00+01:00";

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

pub(crate) fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

/// An offer for entering a fence tagged `tv`, with more fields.
pub(crate) fn offer(id: &str, more: &str) -> Arc<Campaign> {
    compiled(&format!(
        r#"{{"id":"{id}","purpose":"offer","on":{{"transition":"enter","tags":["tv"]}},
            "content":{{"en":{{"title":"Offer","body":"For you"}}}}{more}}}"#
    ))
}

/// Order news for these states.
pub(crate) fn news(id: &str, states: &str) -> Arc<Campaign> {
    compiled(&format!(
        r#"{{"id":"{id}","purpose":"order","on":{{"order":{states}}},
            "content":{{"en":{{"title":"Order {{{{ order.id }}}}","body":"It is {{{{ order.state }}}}."}}}}}}"#
    ))
}

pub(crate) fn spec(json: &str) -> Spec {
    serde_json::from_str(json).expect("a well formed campaign")
}

pub(crate) fn compiled(json: &str) -> Arc<Campaign> {
    Arc::new(Campaign::compile(spec(json)).expect("a sound campaign"))
}

pub(crate) fn world(campaigns: Vec<Arc<Campaign>>) -> World {
    world_with(campaigns, Settings::default())
}

pub(crate) fn world_with(campaigns: Vec<Arc<Campaign>>, marketing: Settings) -> World {
    let store = r#"{"id":"paris-1","name":"Rivoli","time_zone":"Europe/Paris",
        "hours":{"sat":[["10:00","19:00"]]},"attributes":{"floor":2}}"#;
    let store = Store::compile(serde_json::from_str(store).expect("well formed")).expect("sound");
    let fences = vec![fence("rivoli", Some("paris-1"), &["tv"]), fence("kiosk", None, &["tv"])];
    let settings = crate::world::Settings { marketing, ..Default::default() };
    World::new(1, fences, campaigns, vec![Arc::new(store)], settings)
}

pub(crate) fn fence(id: &str, store: Option<&str>, tags: &[&str]) -> Arc<Geofence> {
    let feature = serde_json::json!({
        "type": "Feature",
        "id": id,
        "geometry": {"type": "Point", "coordinates": [2.35, 48.86]},
        "properties": {"radius_m": 100.0, "store": store, "tags": tags},
    });
    Arc::new(Geofence::compile(serde_json::from_value(feature).expect("well formed")).expect("sound"))
}

pub(crate) fn shopper(id: &str) -> Arc<Shopper> {
    let mut shopper = Shopper::new(id.parse().expect("an id"));
    let yes = Some(Consent { granted: true, at: Timestamp::from_millis(0), text: None });
    shopper.profile.consents.location.clone_from(&yes);
    shopper.profile.consents.offers.clone_from(&yes);
    shopper.profile.consents.orders = yes;
    shopper.profile.time_zone = Some("Europe/Paris".into());
    shopper.devices.insert("phone".parse().expect("an id"), device("t1", NOON));
    Arc::new(shopper)
}

pub(crate) fn device(token: &str, registered_at: &str) -> Device {
    Device {
        platform: "android".into(),
        app: None,
        target: Some(PushTarget::Fcm { token: Some(token.into()), fid: None }),
        locale: None,
        time_zone: None,
        preferred: false,
        registered_at: at(registered_at),
        presences: Vec::new(),
        left_at: None,
        linked_until: None,
        live: None,
    }
}

/// Puts the phone into a region.
pub(crate) fn inside(shopper: &mut Arc<Shopper>, region: &str, since: Timestamp) {
    let region = region.parse().expect("an id");
    let presence = Presence {
        region,
        state: PresenceState::Inside,
        since,
        seen: since,
        dwelled: false,
        witness: Witness::Position,
    };
    Arc::make_mut(shopper).devices.get_mut("phone").expect("a phone").presences.push(presence);
}

pub(crate) fn enters(region: &str, when: Timestamp) -> Transition {
    transition(TransitionKind::Enter, region, when)
}

pub(crate) fn transition(kind: TransitionKind, region: &str, when: Timestamp) -> Transition {
    Transition {
        kind,
        device: "phone".parse().expect("an id"),
        region: region.parse().expect("an id"),
        region_kind: RegionKind::Geofence,
        store: None,
        at: when,
        received_at: when,
        confidence: 1.0,
        cause: TransitionCause::Fix,
        entered_at: Some(when),
        replayed: false,
    }
}

pub(crate) fn event(name: &str, when: &str, state: &str) -> OrderEvent {
    let json = serde_json::json!({"event": name, "at": when, "state": state, "shopper": "C-1"});
    serde_json::from_value(json).expect("well formed")
}

/// Decides for one enter at noon.
pub(crate) fn decide(world: &World, shopper: &mut Arc<Shopper>, now: Timestamp) -> Vec<Decision> {
    let mut budgets = Budgets::new();
    crate::decide::campaigns(world, shopper, &[enters("rivoli", now)], &mut budgets, now).decisions
}

/// What was decided, campaign by campaign: `send`, `defer` or the reason's name.
pub(crate) fn verdicts(decisions: &[Decision]) -> BTreeMap<String, &'static str> {
    let name = |decision: &Decision| match &decision.verdict {
        Verdict::Send(message) if message.not_before > message.decided_at => "defer",
        Verdict::Send(_) => "send",
        Verdict::Suppress(reason) => reason.name(),
    };
    decisions.iter().map(|decision| (decision.campaign.to_string(), name(decision))).collect()
}

/// The only message that was decided.
pub(crate) fn message(decisions: &[Decision]) -> Notification {
    let sent = decisions.iter().filter_map(|decision| match &decision.verdict {
        Verdict::Send(message) => Some(message.as_ref().clone()),
        Verdict::Suppress(_) => None,
    });
    let sent: Vec<Notification> = sent.collect();
    assert_eq!(sent.len(), 1, "{decisions:?}");
    sent[0].clone()
}
