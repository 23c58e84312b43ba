//! A shop, its campaigns, and a shopper who enters.

use std::sync::Arc;

use parvis_engine::{
    campaign::Campaign,
    matching::{Transition, TransitionCause, TransitionKind},
    region::Geofence,
    shopper::{Consent, Device, PushTarget, Shopper},
    store::Store,
    time::Timestamp,
    world::{Settings, World},
};

pub(crate) fn now() -> Timestamp {
    "2026-11-21T12:00:00+01:00".parse().expect("a time")
}

/// Of so many campaigns three answer who enters `rivoli`, if the shopper is in this segment.
pub(crate) fn world(campaigns: usize, segment: &str) -> World {
    let campaigns = (0..campaigns).map(|number| {
        let tag = if number < 3 { "tv".to_owned() } else { format!("tag-{number}") };
        let spec = serde_json::json!({
            "id": format!("campaign-{number}"), "purpose": "offer", "priority": number % 7,
            "on": {"transition": "enter", "tags": [tag]},
            "schedule": {"store_hours": true},
            "audience": {"all": [{"segment": segment}, {"not": {"attribute": {"name": "blocked", "equals": true}}}]},
            "quiet_hours": {"from": "21:00", "to": "08:00"},
            "caps": [{"count": 3, "per": "24h"}, {"count": 2, "per": "day"}],
            "cooldown": "7d", "holdout_percent": 0.0,
            "content": {
                "en": {"title": "Television week", "body": "{{ shopper.attributes.name | default('Hello') }}: floor {{ store.attributes.floor | default(0) }} of {{ store.name }}"},
                "fr": {"title": "Semaine de la télévision", "body": "Étage {{ store.attributes.floor | default(0) }}, {{ store.name }}"},
            },
        });
        Arc::new(Campaign::compile(serde_json::from_value(spec).expect("well formed")).expect("sound"))
    });
    let store = serde_json::json!({
        "id": "paris-1", "name": "Rivoli", "time_zone": "Europe/Paris", "attributes": {"floor": 2},
        "hours": {"sat": [["10:00", "19:00"]]},
    });
    let store = Store::compile(serde_json::from_value(store).expect("well formed")).expect("sound");
    let fence = serde_json::json!({
        "type": "Feature", "id": "rivoli", "geometry": {"type": "Point", "coordinates": [2.35, 48.86]},
        "properties": {"radius_m": 100.0, "store": "paris-1", "tags": ["tv"]},
    });
    let fence = Geofence::compile(serde_json::from_value(fence).expect("well formed")).expect("sound");
    World::new(1, vec![Arc::new(fence)], campaigns.collect(), vec![Arc::new(store)], Settings::default())
}

pub(crate) fn shopper() -> Arc<Shopper> {
    let mut shopper = Shopper::new("C-1001".parse().expect("an id"));
    let yes = Some(Consent { granted: true, at: Timestamp::from_millis(0), text: None });
    shopper.profile.consents.location.clone_from(&yes);
    shopper.profile.consents.offers = yes;
    shopper.profile.segments.insert("newsletter".to_owned());
    let device = Device {
        platform: "android".into(),
        app: None,
        target: Some(PushTarget::Fcm { token: Some("token".into()), fid: None }),
        locale: Some("fr-FR".into()),
        time_zone: Some("Europe/Paris".into()),
        preferred: false,
        registered_at: now(),
        presences: Vec::new(),
        left_at: None,
        linked_until: None,
        live: None,
    };
    shopper.devices.insert("phone".parse().expect("an id"), device);
    Arc::new(shopper)
}

pub(crate) fn enter() -> Transition {
    Transition {
        kind: TransitionKind::Enter,
        device: "phone".parse().expect("an id"),
        region: "rivoli".parse().expect("an id"),
        region_kind: Default::default(),
        store: Some("paris-1".parse().expect("an id")),
        at: now(),
        received_at: now(),
        confidence: 1.0,
        cause: TransitionCause::Fix,
        entered_at: Some(now()),
        replayed: false,
    }
}
