//! What the city says, read and judged by the daemon itself.

mod bodies;
mod files;
mod people;

use std::{fs, sync::Arc};

use parvis::catalog;
use parvis_engine::world::{Settings, World};
use parvis_loadgen::{
    city::{City, Gait, Plan},
    world::{beacons, campaigns, geofences, stores},
};

/// A plan of a small city.
fn plan(fences: usize, phones: usize, gait: Gait) -> Plan {
    let (seed, polygon_share, vertices) = (7, 0.5, 30);
    Plan { seed, fences, polygon_share, vertices, hot_vertices: None, phones, beacons: 0, campaigns: 0, gait }
}

/// A city's files as the daemon reads them. Anything wrong in them ends the test with what the daemon says.
fn world(city: &City) -> Arc<World> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let mut fences = Vec::new();
    geofences(city, &mut fences).expect("memory takes everything");
    fs::write(path("geofences.geojson"), fences).expect("writes");
    fs::write(path("campaigns.toml"), campaigns(city)).expect("writes");
    for (name, text) in [("stores.toml", stores(city)), ("beacons.toml", beacons(city))] {
        if let Some(text) = text {
            fs::write(path(name), text).expect("writes");
        }
    }
    let sources = catalog::Sources {
        folder: folder.path().to_owned(),
        config: catalog::Config::default(),
        settings: Settings::default(),
    };
    catalog::world_of_files(&sources).unwrap_or_else(|findings| panic!("{:#?}", &findings[..findings.len().min(5)]))
}
