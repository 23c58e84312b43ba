//! The files in `config/`: they are right, and `parvis.toml` tells the defaults as they are.

use std::{fs, path::PathBuf};

use parvis::config::{self, Config, Source};
use serde_json::Value;

use crate::{check, folder};

fn shipped() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config")
}

/// Which of the keys that are commented out are to be read.
#[derive(Clone, Copy, PartialEq)]
enum Shown {
    /// Those that show a default.
    Defaults,
    /// Also those that have none, and sections that are absent by default.
    All,
}

/// The shipped configuration with `#key = value` lines read. A key without a default ends with `# no default`, a
/// section that is absent by default begins with `#[`.
fn uncommented(shown: Shown) -> String {
    let text = fs::read_to_string(shipped().join("parvis.toml")).expect("config/parvis.toml is there");
    let is_key = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase()) && rest.contains(" = ");
    let mut lines = Vec::new();
    let mut absent = false;
    for line in text.lines() {
        let rest = line.strip_prefix('#').unwrap_or(line);
        if rest.starts_with('[') {
            absent = line.starts_with('#') && shown == Shown::Defaults;
        }
        let read = is_key(rest) || rest.starts_with('[');
        let default = !absent && (shown == Shown::All || !line.ends_with("# no default"));
        if read && default {
            lines.push(rest);
        }
    }
    lines.join("\n")
}

/// The keys of a tree that have a value, dotted.
fn keys(tree: &Value, prefix: &str, keys: &mut Vec<String>) {
    match tree.as_object() {
        Some(members) => {
            for (name, value) in members {
                let dot = if prefix.is_empty() { "" } else { "." };
                self::keys(value, &format!("{prefix}{dot}{name}"), keys);
            }
        }
        None if tree.is_null() => {}
        None => keys.push(prefix.to_owned()),
    }
}

#[test]
fn the_shipped_files_are_right() {
    for folder in [shipped(), shipped().join("demo")] {
        let (lines, well) = check(&Source::new(folder));
        assert!(well, "{lines:#?}");
        let none = lines.last().is_some_and(|summary| summary.split(", ").any(|count| count.starts_with("0 ")));
        assert!(!none, "of every kind there is one to learn from: {lines:?}");
    }
}

#[test]
fn the_shipped_configuration_tells_the_defaults() {
    let folder = folder(&[("parvis.toml", &uncommented(Shown::Defaults))]);
    assert_eq!(config::load(&Source::new(folder.path())), Ok(Config::default()));
    assert_eq!(config::load(&Source::new(shipped())), Ok(Config::default()), "as it is shipped, nothing is changed");
}

#[test]
fn the_shipped_configuration_has_every_key() {
    let tree: Value = toml::from_str::<toml::Table>(&uncommented(Shown::Defaults))
        .map(|table| serde_json::to_value(table).expect("finite numbers"))
        .expect("valid");
    let defaults = serde_json::to_value(Config::default()).expect("serialises");
    let (mut told, mut known) = (Vec::new(), Vec::new());
    keys(&tree, "", &mut told);
    keys(&defaults, "", &mut known);
    assert!(known.len() > 10);
    assert_eq!(told, known);
}

#[test]
fn the_shipped_configuration_tells_no_key_that_does_not_exist() {
    let text = uncommented(Shown::All);
    toml::from_str::<toml::Table>(&text).expect("no key stands twice");
    let folder = folder(&[("parvis.toml", &text)]);
    let (_, findings) = config::read(&Source::new(folder.path()));
    let unknown: Vec<String> = findings
        .iter()
        .filter(|finding| {
            finding.message.starts_with("unknown field") || finding.message.starts_with("there is no such section")
        })
        .map(ToString::to_string)
        .collect();
    assert_eq!(unknown, Vec::<String>::new());
}
