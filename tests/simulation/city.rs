//! The city: a dozen fences of three shops, and what marketing wants. Its files are what the catalog reads; the
//! geometry and the rules stand here a second time, plainly, for the oracle.

use std::{fs, path::PathBuf, sync::OnceLock, time::Duration};

use parvis_engine::{
    decide::{self, Cap, Per},
    observation::Position,
    schedule::{QuietAction, QuietHours},
    time::Timestamp,
    world,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A Friday, early afternoon in Paris.
pub(crate) const START: &str = "2026-11-20T13:00:00+01:00";
/// The next day: from then on nothing goes wrong any more, and nobody does anything.
pub(crate) const CALM: &str = "2026-11-21T11:00:00+01:00";
/// By then everything must be settled.
pub(crate) const END: &str = "2026-11-21T12:30:00+01:00";

/// Everybody's quiet hours, as hours of the day; a campaign may have its own.
pub(crate) const QUIET: (i8, i8) = (21, 8);
/// When the shops are open.
pub(crate) const OPEN: (i8, i8) = (9, 20);
/// Offers of all campaigns together.
pub(crate) const CAP: (usize, Duration) = (4, Duration::from_secs(5 * 3600));

/// Where people are.
pub(crate) const ZONES: [&str; 2] = ["Europe/Paris", "Europe/Lisbon"];

/// What the oracle knows of a campaign.
pub(crate) struct Rule {
    pub(crate) id: &'static str,
    pub(crate) offer: bool,
    /// None: at any time.
    pub(crate) quiet: Option<(i8, i8)>,
    pub(crate) store_hours: bool,
    pub(crate) per_day: Option<usize>,
    pub(crate) cooldown: Option<Duration>,
    pub(crate) budget: Option<usize>,
    pub(crate) ttl: Duration,
}

const RULE: Rule = Rule {
    id: "",
    offer: true,
    quiet: Some(QUIET),
    store_hours: false,
    per_day: None,
    cooldown: None,
    budget: None,
    ttl: Duration::from_secs(20 * 60),
};

const HOUR: Duration = Duration::from_secs(3600);

/// Every campaign.
pub(crate) const RULES: [Rule; 11] = [
    Rule { id: "welcome", store_hours: true, cooldown: Some(HOUR.saturating_mul(2)), ..RULE },
    Rule { id: "linger", per_day: Some(2), ..RULE },
    Rule { id: "passing", quiet: Some((20, 9)), ..RULE },
    Rule { id: "farewell", cooldown: Some(HOUR), ttl: HOUR.saturating_mul(14), ..RULE },
    Rule { id: "come-in", ttl: Duration::from_secs(30), ..RULE },
    Rule { id: "thousandth", budget: Some(4), ..RULE },
    Rule { id: "night-owl", quiet: None, ..RULE },
    Rule { id: "order-news", offer: false, quiet: None, ttl: HOUR.saturating_mul(72), ..RULE },
    Rule { id: "pickup-here", offer: false, quiet: None, ttl: HOUR.saturating_mul(72), ..RULE },
    Rule { id: FLASH, quiet: None, ..RULE },
    Rule { id: RAFFLE, quiet: None, ..RULE },
];

/// The campaign that the operator pauses and resumes.
pub(crate) const FLASH: &str = "flash";
/// The campaign whose budget the operator changes.
pub(crate) const RAFFLE: &str = "raffle";
/// The fence that the operator moves.
pub(crate) const POPUP: &str = "popup";

/// The rule of a campaign.
pub(crate) fn rule(campaign: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.id == campaign)
}

const CAMPAIGNS: &str = r#"
[[campaign]]
id = "welcome"
purpose = "offer"
on = { transition = "enter", tags = ["shop"] }
schedule = { store_hours = true }
cooldown = "2h"
priority = 5
ttl = "20min"
content.en = { title = "welcome", body = "{{ region.id }} {{ transition }}" }

[[campaign]]
id = "linger"
purpose = "offer"
on = { transition = "dwell", tags = ["shop", "mall"] }
caps = [{ count = 2, per = "day" }]
priority = 8
ttl = "20min"
content.en = { title = "linger", body = "{{ region.id }} {{ transition }}" }

[[campaign]]
id = "passing"
purpose = "offer"
on = { transition = "pass", tags = ["shop"] }
quiet_hours = { from = "20:00", to = "09:00", action = "drop" }
ttl = "20min"
content.en = { title = "passing", body = "{{ region.id }} {{ transition }}" }

[[campaign]]
id = "farewell"
purpose = "offer"
on = { transition = "exit", tags = ["mall"] }
cooldown = "1h"
ttl = "14h"
content.en = { title = "farewell", body = "{{ region.id }} {{ transition }}" }

[[campaign]]
id = "come-in"
purpose = "offer"
on = { transition = "approach", tags = ["shop"] }
holdout_percent = 40
priority = 9
ttl = "30s"
content.en = { title = "come-in", body = "{{ region.id }} {{ transition }}" }

[[campaign]]
id = "thousandth"
purpose = "offer"
on = { transition = "enter", tags = ["mall"] }
budget = { total = 4 }
priority = 20
ttl = "20min"
content.en = { title = "thousandth", body = "{{ region.id }} {{ transition }}" }

[[campaign]]
id = "night-owl"
purpose = "offer"
on = { transition = "enter", tags = ["shop"] }
quiet_hours = "off"
priority = 1
ttl = "20min"
content.en = { title = "night-owl", body = "{{ region.id }} {{ transition }}" }

[[campaign]]
id = "order-news"
purpose = "order"
on = { order = ["registered", "shipped", "out_for_delivery", "ready_for_pickup", "delivered", "picked_up"] }
content.en = { title = "order-news", body = "{{ order.id }} {{ order.state }}" }

[[campaign]]
id = "pickup-here"
purpose = "order"
on = { pickup = "enter" }
content.en = { title = "pickup-here", body = "{{ order.id }} {{ region.id }}" }
"#;

const EARTH_RADIUS_M: f64 = 6_371_008.8;
const CENTER: Position = Position { lat: 48.86, lon: 2.35 };
/// Between the centres of neighbouring fences, metres.
const BLOCK_M: f64 = 450.0;

/// A fence, plainly.
#[derive(Clone, Debug)]
pub(crate) struct Fence {
    pub(crate) id: String,
    pub(crate) center: Position,
    shape: Shape,
    store: String,
    tag: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    Circle { radius_m: f64 },
    Square { half_m: f64 },
}

impl Fence {
    /// How deep inside a position is, metres; below zero outside. Good to a metre at the size of a city.
    pub(crate) fn depth_m(&self, position: Position) -> f64 {
        let (east, north) = offset_m(self.center, position);
        match self.shape {
            Shape::Circle { radius_m } => radius_m - east.hypot(north),
            Shape::Square { half_m } => {
                let (east, north) = (east.abs() - half_m, north.abs() - half_m);
                if east > 0.0 && north > 0.0 { -east.hypot(north) } else { -east.max(north) }
            }
        }
    }

    fn feature(&self) -> Value {
        let Position { lat, lon } = self.center;
        let mut properties = json!({ "store": self.store, "tags": [self.tag], "approach_m": 200.0, "dwell_s": 120 });
        let geometry = match self.shape {
            Shape::Circle { radius_m } => {
                properties["radius_m"] = json!(radius_m);
                json!({ "type": "Point", "coordinates": [lon, lat] })
            }
            Shape::Square { half_m } => {
                let corner = |east: f64, north: f64| {
                    let Position { lat, lon } = moved(self.center, east * half_m, north * half_m);
                    json!([lon, lat])
                };
                let ring =
                    [corner(-1.0, -1.0), corner(1.0, -1.0), corner(1.0, 1.0), corner(-1.0, 1.0), corner(-1.0, -1.0)];
                json!({ "type": "Polygon", "coordinates": [ring] })
            }
        };
        json!({ "type": "Feature", "id": self.id, "geometry": geometry, "properties": properties })
    }
}

/// Where the fence that moves stands at a place of its round: between the others.
pub(crate) fn popup(place: usize) -> Fence {
    let east_m = (f64::from(u8::try_from(place % 3).expect("below 3")) - 1.0) * BLOCK_M;
    let center = moved(CENTER, east_m, BLOCK_M / 2.0);
    Fence {
        id: POPUP.to_owned(),
        center,
        shape: Shape::Circle { radius_m: 70.0 },
        store: "store-0".to_owned(),
        tag: POPUP,
    }
}

/// What the operator puts: the fence that moves, as it stands there.
pub(crate) fn popup_json(place: usize) -> Value {
    popup(place).feature()
}

/// What the operator puts: a campaign that speaks or has ended long ago.
pub(crate) fn flash_json(speaks: bool) -> Value {
    let mut campaign = json!({
        "id": FLASH, "purpose": "offer", "on": { "transition": "enter", "tags": [POPUP] }, "quiet_hours": "off",
        "priority": 2, "ttl": "20min",
        "content": { "en": { "title": FLASH, "body": "{{ region.id }} {{ transition }}" } },
    });
    if !speaks {
        campaign["active"] = json!({ "until": "2020-01-01T00:00:00Z" });
    }
    campaign
}

/// What the operator puts: a campaign that may send so many.
pub(crate) fn raffle_json(total: u64) -> Value {
    json!({
        "id": RAFFLE, "purpose": "offer", "on": { "transition": "dwell", "tags": [POPUP] }, "quiet_hours": "off",
        "priority": 30, "ttl": "20min", "budget": { "total": total },
        "content": { "en": { "title": RAFFLE, "body": "{{ region.id }} {{ transition }}" } },
    })
}

/// East and north from one position to another, metres.
pub(crate) fn offset_m(from: Position, to: Position) -> (f64, f64) {
    let east = (to.lon - from.lon).to_radians() * from.lat.to_radians().cos() * EARTH_RADIUS_M;
    (east, (to.lat - from.lat).to_radians() * EARTH_RADIUS_M)
}

/// A position so far east and north of another.
pub(crate) fn moved(from: Position, east_m: f64, north_m: f64) -> Position {
    let lat = from.lat + (north_m / EARTH_RADIUS_M).to_degrees();
    let lon = from.lon + (east_m / EARTH_RADIUS_M / from.lat.to_radians().cos()).to_degrees();
    Position { lat, lon }
}

/// Every fence: four by three, shops and malls by turns, every third of them square.
pub(crate) fn fences() -> Vec<Fence> {
    (0_u32..12)
        .map(|number| {
            let (column, row) = (f64::from(number % 4), f64::from(number / 4));
            let size_m = 60.0 + f64::from(number % 5) * 15.0;
            Fence {
                id: format!("fence-{number}"),
                center: moved(CENTER, (column - 1.5) * BLOCK_M, (row - 1.0) * BLOCK_M),
                shape: if number % 3 == 0 {
                    Shape::Square { half_m: size_m }
                } else {
                    Shape::Circle { radius_m: size_m }
                },
                store: format!("store-{}", number % 3),
                tag: if number % 4 == 3 { "mall" } else { "shop" },
            }
        })
        .collect()
}

/// A time of the simulation.
pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// The folder with the catalog's files; made once for all runs.
pub(crate) fn folder() -> PathBuf {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = TempDir::new().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
        let features: Vec<Value> = fences().iter().map(Fence::feature).collect();
        write("geofences.geojson", &json!({ "type": "FeatureCollection", "features": features }).to_string());
        write("campaigns.toml", CAMPAIGNS);
        let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let (from, to) = OPEN;
        let hours: Vec<String> =
            days.iter().map(|day| format!("{day} = [[\"{from:02}:00\", \"{to:02}:00\"]]")).collect();
        let store = |number: usize| {
            format!(
                "[[store]]\nid = \"store-{number}\"\nname = \"Shop {number}\"\ntime_zone = \"Europe/Paris\"\n\
                 hours = {{ {} }}\n",
                hours.join(", ")
            )
        };
        write("stores.toml", &(0..3).map(store).collect::<String>());
        folder
    });
    folder.path().to_owned()
}

/// What the operator tuned.
pub(crate) fn settings() -> world::Settings {
    let hour = |hour: i8| format!("{hour:02}:00").parse().expect("a time of day");
    let quiet_hours = QuietHours { from: hour(QUIET.0), to: hour(QUIET.1), action: QuietAction::Defer };
    let cap = Cap { count: CAP.0 as u32, per: Per::Rolling(CAP.1) };
    let marketing = decide::Settings { quiet_hours: Some(quiet_hours), caps: vec![cap], ..decide::Settings::default() };
    world::Settings { marketing, ..world::Settings::default() }
}
