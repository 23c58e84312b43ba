//! What a node is told of the city before anything moves: the catalog's files, and the registration of phones.

use std::{fmt::Write as _, io};

use serde_json::json;

use crate::city::{BEACONS_PER_SHOP, City, Gait, Shop, ZONES_PER_SHOP, device_id};

/// The proximity UUID of every beacon; the major is the shop's number, the minor the beacon's within it.
pub const BEACON_UUID: &str = "7d2f3f5e-50b3-4c1e-9d0a-6f1c2b9e8a41";

/// The tag that every shop has.
const SHOP_TAG: &str = "shop";

/// What shops sell, as tags: each shop has one of these.
const TRADES: [&str; 12] = [
    "books",
    "coffee",
    "electronics",
    "flowers",
    "food",
    "furniture",
    "garden",
    "optics",
    "pharmacy",
    "shoes",
    "sports",
    "toys",
];

/// Shops of one brand, whose tag most campaigns listen to.
const BRAND_SHOPS: usize = 20;

/// Where the messages of a phone go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere.
    None,
    /// To Firebase Cloud Messaging.
    Fcm,
    /// To Apple.
    Apns,
    /// To a browser's push service.
    WebPush {
        /// Where the push service is, an https URL without a slash at the end; the phone's [`token`] follows.
        base_url: String,
        /// The public key that messages are encrypted with, P-256, uncompressed, base64url. One for all phones does.
        p256dh: String,
        /// The authentication secret, 16 bytes, base64url.
        auth: String,
    },
}

/// Writes the geofences as one GeoJSON file.
///
/// # Errors
/// Those of the writer.
pub fn geofences(city: &City, out: &mut impl io::Write) -> io::Result<()> {
    let mut line = String::new();
    out.write_all(b"{\"type\":\"FeatureCollection\",\"features\":[\n")?;
    for (number, shop) in city.shops().iter().enumerate() {
        line.clear();
        feature(&mut line, city, number, shop);
        if number + 1 < city.shops().len() {
            line.push(',');
        }
        line.push('\n');
        out.write_all(line.as_bytes())?;
    }
    out.write_all(b"]}\n")
}

fn feature(line: &mut String, city: &City, number: usize, shop: &Shop) {
    let plain = city.plan().gait == Gait::Border;
    let mut properties = json!({"tags": tags(city, number)});
    if number < city.shops_with_beacons() {
        properties["store"] = store_id(number).into();
    }
    // Where every move is to be an enter or an exit, nothing else is to happen.
    if !plain {
        properties["dwell_s"] = 120.into();
        if number.is_multiple_of(5) {
            properties["approach_m"] = 150.into();
        }
    }
    let id = fence_id(number);
    // Writing to a `String` does not fail.
    let _ = write!(line, "{{\"type\":\"Feature\",\"id\":\"{id}\",\"geometry\":");
    if shop.vertices.is_some() {
        line.push_str("{\"type\":\"Polygon\",\"coordinates\":[[");
        let mut first = None;
        for (x_m, y_m) in shop.outline(city, number) {
            let (lat, lon) = city.position(shop.town, shop.x_m + x_m, shop.y_m + y_m);
            first.get_or_insert((lat, lon));
            let _ = write!(line, "[{lon:.9},{lat:.9}],");
        }
        let (lat, lon) = first.unwrap_or_default();
        let _ = write!(line, "[{lon:.9},{lat:.9}]]]}}");
    } else {
        let (lat, lon) = city.position(shop.town, shop.x_m, shop.y_m);
        properties["radius_m"] = ((f64::from(shop.radius_m) * 10.0).round() / 10.0).into();
        let _ = write!(line, "{{\"type\":\"Point\",\"coordinates\":[{lon:.7},{lat:.7}]}}");
    }
    let _ = write!(line, ",\"properties\":{properties}}}");
}

/// What a fence is called.
pub fn fence_id(number: usize) -> String {
    format!("fence-{number}")
}

/// What the store of a shop is called; only shops with beacons have one.
pub fn store_id(number: usize) -> String {
    format!("store-{number}")
}

fn tags(city: &City, number: usize) -> [String; 3] {
    let mixed = mixed(number as u64);
    let brand = mixed as usize % brands(city);
    [SHOP_TAG.to_owned(), TRADES[(mixed >> 40) as usize % TRADES.len()].to_owned(), format!("brand-{brand}")]
}

fn brands(city: &City) -> usize {
    (city.shops().len() / BRAND_SHOPS).max(1)
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014): which brand a shop is of looks like chance.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// The campaigns as a TOML file. The first greets everybody who enters anywhere, every time, so that there is something
/// to measure; the others listen to a brand or a trade, and keep to caps, cooldowns and slots.
pub fn campaigns(city: &City) -> String {
    let mut text = String::new();
    for number in 0..city.plan().campaigns {
        campaign(&mut text, city, number);
    }
    text
}

fn campaign(text: &mut String, city: &City, number: usize) {
    if number == 0 {
        text.push_str(
            "[[campaign]]\nid = \"welcome\"\npurpose = \"offer\"\non = { transition = \"enter\" }\nquiet_hours = \"off\"\n\
             content.en = { title = \"Welcome\", body = \"Good to see you.\" }\n",
        );
        return;
    }
    // The tags of some shop, so that the campaign has a place to run in.
    let [_, trade, brand] = tags(city, number * 7 % city.shops().len());
    let tag = if number.is_multiple_of(20) { trade } else { brand };
    let transition = ["enter", "enter", "dwell", "exit"][number % 4];
    let _ = write!(
        text,
        "\n[[campaign]]\nid = \"campaign-{number}\"\npurpose = \"offer\"\npriority = {}\n\
         on = {{ transition = \"{transition}\", tags = [\"{tag}\"] }}\ncooldown = \"1d\"\nquiet_hours = \"off\"\n\
         caps = [{{ count = 1, per = \"day\" }}]\nholdout_percent = 5.0\n\
         content.en = {{ title = \"Only today\", body = \"{{{{ region.id }}}}: 10 % off.\" }}\n",
        number % 10 + 1,
    );
}

/// The shops that have beacons, as stores in a TOML file; none if there are no beacons. Beacons and zones name them.
pub fn stores(city: &City) -> Option<String> {
    let mut text = String::new();
    for number in 0..city.shops_with_beacons() {
        let id = store_id(number);
        let _ = write!(text, "[[store]]\nid = \"{id}\"\nname = \"Shop {number}\"\ntime_zone = \"Europe/Paris\"\n\n");
    }
    (!text.is_empty()).then_some(text)
}

/// Beacons, their zones, and a beacon region for each shop, as a TOML file; none if there are no beacons.
pub fn beacons(city: &City) -> Option<String> {
    let mut text = String::new();
    for number in 0..city.shops_with_beacons() {
        let store = store_id(number);
        for zone in 0..ZONES_PER_SHOP {
            let _ = write!(
                text,
                "[[zone]]\nid = \"{store}-zone-{zone}\"\nstore = \"{store}\"\ntags = [\"aisle\"]\ndwell_s = 8\n\n"
            );
        }
        let _ = write!(
            text,
            "[[beacon_region]]\nid = \"{store}-indoors\"\nstore = \"{store}\"\nuuid = \"{BEACON_UUID}\"\n\
             major = {number}\ntags = [\"indoors\"]\nexit_after_s = 60\n\n"
        );
    }
    for beacon in 0..city.plan().beacons {
        let (shop, minor) = (beacon / BEACONS_PER_SHOP, beacon % BEACONS_PER_SHOP);
        let Some(place) = city.shops().get(shop) else { break };
        let (lat, lon) = city.position(place.town, place.x_m, place.y_m);
        let _ = write!(
            text,
            "[[beacon]]\nid = \"beacon-{beacon}\"\nstore = \"{store}\"\nzone = \"{store}-zone-{zone}\"\n\
             uuid = \"{BEACON_UUID}\"\nmajor = {shop}\nminor = {minor}\n\
             position = {{ lat = {lat:.7}, lon = {lon:.7} }}\nmeasured_power_dbm = -59.0\n\n",
            store = store_id(shop),
            zone = minor / 3,
        );
    }
    (!text.is_empty()).then_some(text)
}

/// The request that registers a phone: path, and JSON body of a `PUT`. The phone's shopper is anonymous and consents to
/// the use of locations and to offers.
pub fn registration(city: &City, phone: u32, target: Target) -> (String, Vec<u8>) {
    let consent = json!({"granted": true, "at": "2026-01-01T00:00:00Z"});
    debug_assert!((phone as usize) < city.plan().phones, "a phone of this city");
    let platform = match &target {
        Target::None | Target::Fcm => "android",
        Target::Apns => "ios",
        Target::WebPush { .. } => "web",
    };
    let mut body = json!({"platform": platform, "locale": "en", "consents": {"location": consent, "offers": consent}});
    let token = token(phone);
    match target {
        Target::None => {}
        Target::Fcm => body["target"] = json!({"channel": "fcm", "token": token}),
        Target::Apns => body["target"] = json!({"channel": "apns", "token": token, "topic": "com.example.shop"}),
        Target::WebPush { base_url, p256dh, auth } => {
            let keys = json!({"p256dh": p256dh, "auth": auth});
            let subscription = json!({"endpoint": format!("{base_url}/{token}"), "keys": keys});
            body["target"] = json!({"channel": "webpush", "subscription": subscription});
        }
    }
    (format!("/v1/devices/{}", device_id(phone)), body.to_string().into_bytes())
}

/// The push token of a phone: 64 hexadecimal digits, as Apple's are, of which the first eight are the phone's number.
pub fn token(phone: u32) -> String {
    let [one, two, three] = [1, 2, 3].map(|part| mixed(u64::from(phone) << 8 | part));
    format!("{phone:08x}{one:016x}{two:016x}{three:016x}{:08x}", three as u32 ^ one as u32)
}

/// The phone that a token belongs to; none if no phone of a city has it.
pub fn phone_of_token(text: &str) -> Option<u32> {
    let phone = u32::from_str_radix(text.get(..8)?, 16).ok()?;
    (token(phone) == text).then_some(phone)
}
