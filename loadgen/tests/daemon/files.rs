//! The catalog's files and the registrations.

use parvis_engine::{change::Registration, id::DeviceId, shopper::PushTarget};
use parvis_loadgen::{
    city::{City, Gait, Plan, device_id, shopper_id},
    scenario,
    world::{Target, fence_id, phone_of_token, registration, token},
};

use crate::{plan, world};

#[test]
fn the_files_of_every_scenario_are_right() {
    for scenario in scenario::all() {
        let city = City::build(&scenario.at_scale(0.01).plan);
        let (plan, world) = (city.plan(), world(&city));
        assert_eq!(world.regions.len(), plan.fences, "{plan:?}");
        let campaigns = world.campaigns.iter().count();
        assert_eq!(campaigns, plan.campaigns);
    }
}

#[test]
fn outlines_are_sound_however_many_vertices_they_have() {
    for vertices in [3, 4, 10, 300, 10_000, 100_000] {
        let city = City::build(&Plan { vertices, polygon_share: 1.0, ..plan(2, 1, Gait::Stroll) });
        assert_eq!(world(&city).regions.len(), 2);
    }
    let city = City::build(&Plan { hot_vertices: Some(50_000), ..plan(3, 1, Gait::Rim) });
    let fence = fence_id(0).parse().expect("an id");
    let area_m2 = world(&city).regions.get(&fence).expect("the hot fence").area_m2();
    assert!((9e6..16e6).contains(&area_m2), "{area_m2}");
}

#[test]
fn shares_of_polygons_are_as_planned() {
    for polygon_share in [0.0, 0.3, 1.0] {
        let city = City::build(&Plan { polygon_share, ..plan(5_000, 1, Gait::Stroll) });
        let polygons = city.shops().iter().filter(|shop| shop.vertices.is_some()).count();
        assert!((polygons as f64 / 5_000.0 - polygon_share).abs() < 0.05, "{polygons}");
    }
}

#[test]
fn registrations_are_taken_and_lead_back_to_the_phone() {
    let city = City::build(&plan(10, 1_000, Gait::Stroll));
    let key = format!("B{}", "A".repeat(86));
    let browser = Target::WebPush { base_url: "https://push.example".to_owned(), p256dh: key, auth: "A".repeat(22) };
    for target in [Target::None, Target::Fcm, Target::Apns, browser] {
        let (path, body) = registration(&city, 77, target.clone());
        let read: Registration = serde_json::from_slice(&body).expect("a registration");
        assert_eq!(read.problems(), []);
        let device: DeviceId = path.strip_prefix("/v1/devices/").expect("the path").parse().expect("an id");
        assert_eq!(device.as_str(), device_id(77));
        assert_eq!(read.owner(&device).as_str(), shopper_id(77));
        let consents = read.consents.expect("consents");
        assert!(consents.allow_location() && consents.offers.is_some_and(|offers| offers.granted));
        let token = match read.target {
            None => {
                assert_eq!(target, Target::None);
                continue;
            }
            Some(PushTarget::Fcm { token, .. }) => token.expect("a token"),
            Some(PushTarget::Apns { token, .. }) => token,
            Some(PushTarget::WebPush { subscription }) => {
                subscription.endpoint.as_str().rsplit('/').next().expect("a last part").into()
            }
        };
        assert_eq!(phone_of_token(&token), Some(77));
    }
}

#[test]
fn only_a_phones_own_token_is_its_token() {
    for phone in [0, 1, 999_999, u32::MAX] {
        assert_eq!(phone_of_token(&token(phone)), Some(phone));
    }
    for text in ["", "0000", "zzzzzzzz", &token(5)[..40], "é0000000000"] {
        assert_eq!(phone_of_token(text), None, "{text}");
    }
}
