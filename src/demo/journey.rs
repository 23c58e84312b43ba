//! What happens in the demonstration, and which messages are to come of it: one afternoon in a shop in Paris.

use std::{ops::Range, time::Duration};

use http::Method;
use parvis_engine::{shopper::PushTarget, time::Timestamp};
use serde_json::{Value, json};

/// A shopper of the demonstration.
pub(super) struct Guest {
    pub(super) shopper: &'static str,
    pub(super) device: &'static str,
    pub(super) platform: &'static str,
    pub(super) locale: &'static str,
    pub(super) points: i64,
}

/// How often a phone and a scanner report.
const REPORT_EVERY_S: u32 = 10;

/// The cart of the demonstration, and who pushes it.
pub(super) const CART: (&str, &str) = ("opera-cart-1", "C-1002");

/// The television wall, as beacons and scanners know it.
pub(super) const ZONE: &str = "opera-tv-zone";

/// The proximity UUID of everything that the shop has hung up.
const UUID: &str = "f7826da6-4fa2-4e98-8024-bc5b71e0893e";

/// The shoppers, in the order of their targets: two iPhones, an Android phone, a browser.
pub(super) const GUESTS: [Guest; 4] = [
    Guest { shopper: "C-1001", device: "iphone-1", platform: "ios", locale: "fr-FR", points: 20 },
    Guest { shopper: "C-1002", device: "iphone-2", platform: "ios", locale: "fr-FR", points: 0 },
    Guest { shopper: "C-1003", device: "android-1", platform: "android", locale: "en-GB", points: 240 },
    Guest { shopper: "C-1004", device: "browser-1", platform: "web", locale: "en-GB", points: 0 },
];

/// The messages that are to be accepted, as channel and title, in any order.
pub(super) const EXPECTED: [(&str, &str); 10] = [
    ("apns", "Comparez les images"),
    ("apns", "La semaine de la télé"),
    ("apns", "Merci et à bientôt"),
    ("apns", "Nous vous avons vu arriver"),
    ("apns", "Votre commande vous attend"),
    ("fcm", "Need advice?"),
    ("fcm", "Welcome to Maison Lumière Opéra"),
    ("webpush", "Arriving today"),
    ("webpush", "Delivered"),
    ("webpush", "Your order is on its way"),
];

/// One call, so many seconds after the beginning.
pub(super) struct Step {
    pub(super) after_s: u32,
    pub(super) says: String,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Box<dyn Fn(Timestamp) -> Value>,
}

/// Who the guests are and where their messages go.
pub(super) fn registrations(targets: &[PushTarget; 4], now: Timestamp) -> Vec<(String, Value)> {
    let consent = json!({ "granted": true, "at": now, "text": "2026-01" });
    let mut calls = Vec::new();
    for (guest, target) in GUESTS.iter().zip(targets) {
        let Guest { shopper, device, platform, locale, points } = guest;
        calls.push((
            format!("/v1/shoppers/{shopper}"),
            json!({
                "locale": locale, "time_zone": "Europe/Paris", "loyalty": { "tier": "silver", "points": points },
                "consents": { "location": consent, "offers": consent, "orders": consent },
            }),
        ));
        calls.push((
            format!("/v1/devices/{device}"),
            json!({ "shopper": shopper, "platform": platform, "target": target, "locale": locale }),
        ));
    }
    calls
}

/// Everything that happens, in the order of time.
pub(super) fn steps() -> Vec<Step> {
    let signal = |at: Timestamp| json!({ "interest": "tv", "weight": 1.0, "source": "newsletter", "at": at });
    let mut steps = vec![Step {
        after_s: 1,
        says: "C-1001 taps on televisions in a newsletter".to_owned(),
        method: Method::POST,
        path: "/v1/shoppers/C-1001/signals".to_owned(),
        body: Box::new(signal),
    }];
    // Past the shop, 85 m south of its door; to the television wall, and out again; straight in for an order.
    walk(&mut steps, ("iphone-1", "walks past the shop"), 10, &[(-260.0, -85.0), (260.0, -85.0)]);
    let wall = (3.6, 12.5);
    let there =
        walk(&mut steps, ("android-1", "goes to the television wall"), 30, &[(-200.0, -20.0), (-10.0, -5.0), wall]);
    let done = stay(&mut steps, ("android-1", "looks at televisions"), there, wall);
    walk(&mut steps, ("android-1", "leaves"), done, &[wall, (200.0, -20.0)]);
    walk(&mut steps, ("iphone-2", "comes for the order"), 180, &[(200.0, 60.0), (0.0, -5.0)]);
    aisle(&mut steps, 345..415);
    for (after_s, state) in [(20, "registered"), (60, "confirmed"), (90, "preparing"), (140, "shipped")] {
        steps.push(order("A-2001", "C-1004", "delivery", after_s, state));
    }
    steps.push(order("A-2001", "C-1004", "delivery", 260, "out_for_delivery"));
    steps.push(order("A-2001", "C-1004", "delivery", 400, "delivered"));
    for (after_s, state) in [(40, "registered"), (70, "preparing"), (120, "ready_for_pickup")] {
        steps.push(order("A-2002", "C-1002", "pickup", after_s, state));
    }
    steps.push(order("A-2002", "C-1002", "pickup", 420, "picked_up"));
    steps.sort_by_key(|step| step.after_s);
    steps
}

/// A way between points given in metres east and north of the shop's centre, at a walker's pace; gives its end.
fn walk(steps: &mut Vec<Step>, who: (&'static str, &str), from_s: u32, way: &[(f64, f64)]) -> u32 {
    const PACE_MPS: f64 = 1.4;
    let mut after_s = from_s;
    for leg in way.windows(2) {
        let ((x0, y0), (x1, y1)) = (leg[0], leg[1]);
        let length_m = (x1 - x0).hypot(y1 - y0);
        let count = (length_m / (PACE_MPS * f64::from(REPORT_EVERY_S))).ceil().max(1.0) as u32;
        for part in 1..=count {
            let done = f64::from(part) / f64::from(count);
            steps.push(fix(who, after_s, (x0 + (x1 - x0) * done, y0 + (y1 - y0) * done)));
            after_s += REPORT_EVERY_S;
        }
    }
    after_s
}

/// Two minutes in one place; gives their end.
fn stay(steps: &mut Vec<Step>, who: (&'static str, &str), from_s: u32, place: (f64, f64)) -> u32 {
    steps.extend((0..12).map(|part| fix(who, from_s + part * REPORT_EVERY_S, place)));
    from_s + 12 * REPORT_EVERY_S
}

/// While the order is fetched: the phone hears the beacons of the television wall, and its scanner the cart.
fn aisle(steps: &mut Vec<Step>, span_s: Range<u32>) {
    let (cart, shopper) = CART;
    steps.push(Step {
        after_s: span_s.start - REPORT_EVERY_S,
        says: format!("{shopper} takes {cart}"),
        method: Method::PUT,
        path: format!("/v1/beacons/{cart}/link"),
        body: Box::new(move |at| json!({ "shopper": shopper, "until": at.plus(Duration::from_secs(3600)) })),
    });
    for (seq, after_s) in (1..).zip(span_s.step_by(REPORT_EVERY_S as usize)) {
        steps.push(heard_by_phone(after_s));
        steps.push(heard_by_scanner(after_s + 2, seq));
    }
}

/// What the phone has heard since its last report, second by second.
fn heard_by_phone(after_s: u32) -> Step {
    Step {
        after_s,
        says: "iphone-2 hears the beacons of the television wall".to_owned(),
        method: Method::POST,
        path: "/v1/observations".to_owned(),
        body: Box::new(|at| {
            let sighting = |age_s: u32, minor: u16| {
                json!({
                    "kind": "sighting", "at": at.minus(Duration::from_secs(age_s.into())),
                    "uuid": UUID, "major": 1, "minor": minor, "rssi_dbm": -62 - i32::from(minor),
                })
            };
            let seconds = (0..REPORT_EVERY_S).rev();
            let sightings: Vec<Value> =
                seconds.flat_map(|age_s| (1..=3).map(move |minor| sighting(age_s, minor))).collect();
            json!({ "device": "iphone-2", "observations": sightings })
        }),
    }
}

/// What the scanner above the wall has heard since its last report; it tells ages, so that its clock does not matter.
fn heard_by_scanner(after_s: u32, seq: u64) -> Step {
    Step {
        after_s,
        says: "opera-ceiling hears opera-cart-1".to_owned(),
        method: Method::POST,
        path: "/v1/ingest/scanners/parvis".to_owned(),
        body: Box::new(move |at| {
            let line = |age_s: u32| {
                json!({
                    "age_ms": age_s * 1000, "uuid": UUID, "major": 2, "minor": 1,
                    "rssi_dbm": -60, "rssi_min_dbm": -63, "rssi_max_dbm": -58, "count": 2,
                })
            };
            let heard: Vec<Value> = (0..REPORT_EVERY_S).rev().map(line).collect();
            json!({ "scanner": "opera-ceiling", "boot": "5c1f", "seq": seq, "sent_at": at, "heard": heard })
        }),
    }
}

fn fix((device, does): (&'static str, &str), after_s: u32, (east_m, north_m): (f64, f64)) -> Step {
    const CENTER: (f64, f64) = (48.8706, 2.3319);
    const DEGREE_M: f64 = 111_195.0;
    let lat = CENTER.0 + north_m / DEGREE_M;
    let lon = CENTER.1 + east_m / (DEGREE_M * CENTER.0.to_radians().cos());
    Step {
        after_s,
        says: format!("{device} {does}"),
        method: Method::POST,
        path: "/v1/observations".to_owned(),
        body: Box::new(move |at| {
            let fix = json!({ "kind": "fix", "at": at, "lat": lat, "lon": lon, "accuracy_m": 4.0 });
            json!({ "device": device, "observations": [fix] })
        }),
    }
}

fn order(
    order: &'static str,
    shopper: &'static str,
    fulfilment: &'static str,
    after_s: u32,
    state: &'static str,
) -> Step {
    Step {
        after_s,
        says: format!("order {order} becomes {state}"),
        method: Method::POST,
        path: format!("/v1/orders/{order}/events"),
        body: Box::new(move |at| {
            let store = (fulfilment == "pickup").then_some("opera");
            json!({
                "event": format!("E-{state}"), "at": at, "state": state, "shopper": shopper,
                "fulfilment": fulfilment, "store": store,
            })
        }),
    }
}
