//! What the engine alone needs for a ping of the scenario `country`, where people walk in the midst of shops: the same
//! city and the same phones as the load generator's, without server, shards and store.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]
#![allow(clippy::print_stdout, reason = "a bench tells whoever runs it")]

use std::{sync::Arc, time::Instant};

use parvis_engine::{
    id::DeviceId,
    matching::{self, Subject},
    observation::{Fix, Position},
    region::{Collection, Geofence},
    shopper::{Presence, Track},
    time::Timestamp,
    track,
    world::{self, World},
};
use parvis_loadgen::{city, scenario};

/// Between two pings of a phone, milliseconds.
const STEP_MS: i64 = 10_000;
const START_MS: i64 = 1_800_000_000_000;

struct Phone {
    id: DeviceId,
    walker: city::Phone,
    presences: Vec<Presence>,
    track: Track,
}

fn main() {
    let (phones, rounds) =
        if std::env::args().any(|argument| argument == "--bench") { (20_000, 60) } else { (200, 10) };
    let mut plan = scenario::find("country").expect("a scenario").plan;
    plan.phones = phones;
    if phones < 1_000 {
        plan.fences = 1_000;
    }
    let city = city::City::build(&plan);
    let world = World::new(1, fences(&city), Vec::new(), Vec::new(), world::Settings::default());
    let mut phones: Vec<Phone> = (0..phones)
        .map(|index| Phone {
            id: city::device_id(index as u32).parse().expect("a name"),
            walker: city.phone(index),
            presences: Vec::new(),
            track: Track::default(),
        })
        .collect();
    let mut at_ms = START_MS;
    println!("| ping | ns | transitions | presences | marks | calm |\n|---:|---:|---:|---:|---:|---:|");
    for round in 0..rounds {
        at_ms += STEP_MS;
        let pings: Vec<Fix> = phones.iter_mut().map(|phone| fix(phone.walker.step(&city, at_ms))).collect();
        let begun = Instant::now();
        let transitions: usize = phones.iter_mut().zip(pings).map(|(phone, fix)| pass(&world, phone, fix)).sum();
        let took = begun.elapsed();
        let all = phones.len() as f64;
        let mean = |of: fn(&Phone) -> usize| phones.iter().map(of).sum::<usize>() as f64 / all;
        if round % 10 == 9 || round == 0 {
            println!(
                "| {} | {:.0} | {:.3} | {:.2} | {:.2} | {:.2} |",
                round + 1,
                took.as_nanos() as f64 / all,
                transitions as f64 / all,
                mean(|phone| phone.presences.len()),
                mean(|phone| phone.track.marks.len()),
                mean(|phone| usize::from(phone.track.calm.is_some())),
            );
        }
    }
}

fn fences(city: &city::City) -> Vec<Arc<Geofence>> {
    let mut text = Vec::new();
    parvis_loadgen::world::geofences(city, &mut text).expect("writes");
    let collection: Collection = serde_json::from_slice(&text).expect("GeoJSON");
    collection.features.into_iter().map(|feature| Arc::new(Geofence::compile(feature).expect("sound"))).collect()
}

fn fix(ping: city::Ping) -> Fix {
    Fix {
        at: Timestamp::from_millis(ping.at_ms),
        position: Position { lat: ping.lat, lon: ping.lon },
        accuracy_m: f64::from(ping.accuracy_m),
        speed_mps: None,
        course_deg: None,
        floor: None,
    }
}

fn pass(world: &World, phone: &mut Phone, fix: Fix) -> usize {
    let now = fix.at;
    let movement = track::advance(&mut phone.track, fix, &world.settings.track);
    let subject = Subject { device: &phone.id, presences: &phone.presences, left_at: None, track: &mut phone.track };
    let matched = matching::transitions(world, subject, &movement, now);
    if let Some(presences) = matched.presences {
        phone.presences = presences;
    }
    matched.transitions.len()
}
