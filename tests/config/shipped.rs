//! The files in `config/`: they are right, and `parvis.toml` tells the defaults as they are.

use std::{fs, path::PathBuf};

use parvis::config::{self, Config, Source};
use serde_json::Value;

use crate::{check, folder};

fn shipped() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn uncommented() -> String {
    let text = fs::read_to_string(shipped().join("parvis.toml")).expect("config/parvis.toml is there");
    let is_key = |rest: &&str| rest.starts_with(|c: char| c.is_ascii_lowercase()) && rest.contains(" = ");
    text.lines().map(|line| line.strip_prefix('#').filter(is_key).unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// The keys of a tree, dotted; empty tables have none.
fn keys(tree: &Value, prefix: &str, keys: &mut Vec<String>) {
    match tree.as_object() {
        Some(members) => {
            for (name, value) in members {
                let dot = if prefix.is_empty() { "" } else { "." };
                self::keys(value, &format!("{prefix}{dot}{name}"), keys);
            }
        }
        None => keys.push(prefix.to_owned()),
    }
}

#[test]
fn the_shipped_files_are_right() {
    let (lines, well) = check(&Source::new(shipped()));
    assert!(well, "{lines:#?}");
}

#[test]
fn the_shipped_configuration_tells_the_defaults() {
    let folder = folder(&[("parvis.toml", &uncommented())]);
    assert_eq!(config::load(&Source::new(folder.path())), Ok(Config::default()));
    assert_eq!(config::load(&Source::new(shipped())), Ok(Config::default()), "as it is shipped, nothing is changed");
}

#[test]
fn the_shipped_configuration_has_every_key() {
    let tree: Value = toml::from_str::<toml::Table>(&uncommented())
        .map(|table| serde_json::to_value(table).expect("finite numbers"))
        .expect("valid");
    let defaults = serde_json::to_value(Config::default()).expect("serialises");
    let (mut told, mut known) = (Vec::new(), Vec::new());
    keys(&tree, "", &mut told);
    keys(&defaults, "", &mut known);
    assert!(known.len() > 10);
    assert_eq!(told, known);
}
