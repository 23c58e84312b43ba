//! The documented examples are sound, and they cover every state of an order.

use std::{collections::BTreeSet, fmt::Debug, fs, path::Path};

use parvis_engine::{
    campaign::{self, Campaign},
    order::OrderState,
    store::{self, Store},
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CampaignFile {
    campaign: Vec<campaign::Spec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoreFile {
    store: Vec<store::Spec>,
}

#[allow(clippy::disallowed_methods, reason = "a test reads the shipped files")]
fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name);
    fs::read_to_string(path).expect("an example")
}

fn sound<T, E: Debug>(compiled: Result<T, E>) -> T {
    compiled.expect("a sound example")
}

#[test]
fn campaigns_compile_and_tell_every_state_in_two_languages() {
    let file: CampaignFile = toml::from_str(&read("campaigns.toml")).expect("well formed");
    let mut told = BTreeSet::new();
    for spec in file.campaign {
        let languages: Vec<&str> = spec.content.keys().map(String::as_str).collect();
        assert_eq!(languages, ["en", "fr"], "{}", spec.id);
        told.extend(spec.on.order.iter().flat_map(|states| states.0.clone()));
        let written = toml::to_string(&spec).expect("can be written");
        assert_eq!(toml::from_str::<campaign::Spec>(&written).expect("reads back"), spec);
        sound(Campaign::compile(spec));
    }
    assert_eq!(told, OrderState::ALL.into());
}

#[test]
fn stores_compile() {
    let file: StoreFile = toml::from_str(&read("stores.toml")).expect("well formed");
    assert!(!file.store.is_empty());
    for spec in file.store {
        sound(Store::compile(spec));
    }
}
