//! The daemon's configuration: defaults in code < `parvis.toml` < environment < command line.
//!
//! Each component defines and checks its own section; here they are only put together. Secrets stand in files of their
//! own, and sections hold only paths to them, so a configuration can be printed as it is.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use parvis_engine::{problem::Problem, world};
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod engine;
mod node;
pub mod size;

pub use node::Node;

use crate::{
    catalog, delivery,
    document::{self, Document, Finding, Place},
    fleet, lane, log, mqtt, report, shard, store,
};

/// The name of the configuration file in its folder.
pub const FILE: &str = "parvis.toml";

/// What an environment variable that sets a key begins with; sections and keys are joined by two underscores too, as
/// in `PARVIS__ENGINE__TRACK__SPEED_MAX_MPS`.
pub const ENVIRONMENT_PREFIX: &str = "PARVIS__";

/// Puts the sections together. A line is: name, type, and what checks one, given the folder that file names start from.
macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $problems:expr;)*) => {
        /// Everything that can be configured.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Config {
            $($(#[$doc])* pub $name: $type,)*
        }

        impl Config {
            /// The names of the sections.
            pub const SECTIONS: &[&str] = &[$(stringify!($name)),*];

            fn from_sections(sections: &mut Sections) -> Config {
                Config { $($name: sections.take::<$type>(stringify!($name), $problems),)* }
            }
        }
    };
}

sections! {
    /// This process.
    node: Node => |node, _| node.problems();
    /// The API and those who may use it.
    http: crate::http::Config => |http, folder| http.problems(folder);
    /// The brokers that are listened to.
    mqtt: mqtt::Config => |mqtt, folder| mqtt.problems(folder);
    /// Those who decide.
    shards: shard::Config => |shards, _| shards.problems();
    /// Those who send.
    lanes: lane::Config => |lanes, _| lanes.problems();
    /// The push services.
    delivery: delivery::Config => |delivery, folder| delivery.problems(folder);
    /// The retailer's own systems that are told what happens.
    webhooks: crate::webhook::Config => |webhooks, folder| webhooks.problems(folder);
    /// Where everything is kept.
    store: store::Config => |store, folder| store.problems(folder);
    /// Where geofences, stores and campaigns are.
    catalog: catalog::Config => |catalog, _| catalog.problems();
    /// How observations are judged.
    engine: world::Settings => |settings, _| engine::problems(settings);
    /// When a scanner or a beacon counts as unwell.
    fleet: fleet::Config => |fleet, _| fleet.problems();
    /// What is told of what happened.
    report: report::Config => |report, _| report.problems();
    /// How logs are written.
    log: log::Config => |log, _| log.problems();
}

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// A `parvis.toml`, or the folder that holds it.
    pub path: PathBuf,
    /// Environment variables; those that do not begin with [`ENVIRONMENT_PREFIX`] are passed over.
    pub environment: Vec<(String, String)>,
    /// Keys as `section.key` with values, from the command line.
    pub flags: Vec<(String, String)>,
}

impl Source {
    /// A file or folder, and nothing else.
    pub fn new(path: impl Into<PathBuf>) -> Source {
        Source { path: path.into(), environment: Vec::new(), flags: Vec::new() }
    }

    /// The configuration file.
    pub fn file(&self) -> PathBuf {
        if self.path.is_dir() { self.path.join(FILE) } else { self.path.clone() }
    }

    /// The folder that relative names in the configuration start from.
    pub fn folder(&self) -> PathBuf {
        if self.path.is_dir() {
            return self.path.clone();
        }
        match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            Some(_) | None => PathBuf::from("."),
        }
    }
}

impl Config {
    /// What can't work together, though each section alone could.
    fn problems_between(&self) -> Vec<Problem> {
        let deadline = self.delivery.deadline;
        if self.lanes.lease > deadline {
            return Vec::new();
        }
        let deadline = parvis_engine::time::duration::format(deadline);
        let message = format!("must be longer than delivery.deadline ({deadline}), or a message would be sent twice");
        vec![Problem::new("/lanes/lease", message)]
    }

    /// Where the catalog's files are, for [`catalog::Catalog::open`].
    pub fn catalog_sources(&self, source: &Source) -> catalog::Sources {
        catalog::Sources { folder: source.folder(), config: self.catalog.clone(), settings: self.engine.clone() }
    }
}

/// Reads the configuration.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(source: &Source) -> Result<Config, Vec<Finding>> {
    let (config, findings) = read(source);
    if findings.is_empty() { Ok(config) } else { Err(findings) }
}

/// Reads the configuration as far as it can be read, and everything that is wrong with it. What is wrong is left at
/// its default.
pub fn read(source: &Source) -> (Config, Vec<Finding>) {
    let mut findings = Vec::new();
    let path = source.file();
    let document = match document::read(&path) {
        Ok(Some(text)) => Document::from_toml(&path, &text).unwrap_or_else(|errors| {
            findings.extend(errors);
            Document::empty()
        }),
        Ok(None) if source.path.is_dir() => Document::empty(),
        Ok(None) => {
            findings.push(Finding::new(Place::file(&path), "there is no such file"));
            Document::empty()
        }
        Err(finding) => {
            findings.push(finding);
            Document::empty()
        }
    };
    let mut sections = Sections { path, folder: source.folder(), document, overlays: BTreeMap::new(), findings };
    sections.overlay(source);
    let config = Config::from_sections(&mut sections);
    config.problems_between().into_iter().for_each(|problem| sections.refuse(problem));
    sections.refuse_unknown();
    sections.findings.sort();
    (config, sections.findings)
}

/// Whether a file that the configuration names, such as a secret, is there and can be read.
///
/// # Errors
/// A sentence that says why not.
pub fn readable(folder: &Path, file: &Path) -> Result<(), String> {
    let path = folder.join(file);
    let told = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
    let length = std::fs::File::open(&path).and_then(|file| file.metadata()).map_err(told)?.len();
    if length == 0 { Err(format!("{} is empty", path.display())) } else { Ok(()) }
}

/// The sections as they are read one after the other.
struct Sections {
    path: PathBuf,
    folder: PathBuf,
    document: Document,
    /// What was set outside the file: where, and as which text.
    overlays: BTreeMap<String, (Place, String)>,
    findings: Vec<Finding>,
}

impl Sections {
    fn overlay(&mut self, source: &Source) {
        let variables = source.environment.iter().filter_map(|(name, text)| {
            let key = name.strip_prefix(ENVIRONMENT_PREFIX)?.to_lowercase();
            Some((format!("/{}", key.replace("__", "/")), Place::Environment(name.clone()), text))
        });
        let flags = source
            .flags
            .iter()
            .map(|(key, text)| (format!("/{}", key.replace('.', "/")), Place::Flag(key.clone()), text));
        for (pointer, place, text) in variables.chain(flags) {
            if document::insert(&mut self.document.tree, &pointer, value(text)) {
                self.overlays.insert(pointer, (place, text.clone()));
            } else {
                let message = "a value stands where this needs a table".to_owned();
                self.findings.push(Finding { place, subject: document::dotted(&pointer), message });
            }
        }
    }

    /// Takes a section out of the tree and checks it.
    fn take<T: Default + serde::de::DeserializeOwned>(
        &mut self,
        name: &str,
        problems: impl FnOnce(&T, &Path) -> Vec<Problem>,
    ) -> T {
        let tree = self.document.tree.as_object_mut().and_then(|sections| sections.remove(name));
        let Some(tree) = tree else { return T::default() };
        let prefix = format!("/{name}");
        if !tree.is_object() {
            self.refuse(Problem::new(prefix, format!("must be a table, [{name}]")));
            return T::default();
        }
        // A text such as 007 reads as a number, but some keys want it as text.
        let mut texts = BTreeMap::new();
        for (pointer, (_, text)) in &self.overlays {
            if let Some(inner) = pointer.strip_prefix(&prefix) {
                texts.insert(inner.to_owned(), Value::String(text.clone()));
            }
        }
        let document::Typed { value, problems: mut found, .. } = document::typed::<T>(tree, &mut texts);
        let value = value.unwrap_or_default();
        found.extend(problems(&value, &self.folder));
        for problem in found {
            self.refuse(problem.under(&prefix));
        }
        value
    }

    fn refuse_unknown(&mut self) {
        let unknown: Vec<String> =
            self.document.tree.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
        for name in unknown {
            let message = format!("there is no such section; there are {}", Config::SECTIONS.join(", "));
            self.refuse(Problem::new(format!("/{name}"), message));
        }
    }

    fn refuse(&mut self, problem: Problem) {
        let Problem { path: pointer, message } = problem;
        let around = self.overlays.iter().find(|(set, _)| document::within(&pointer, set));
        let inside = self.overlays.iter().find(|(set, _)| document::within(set, &pointer));
        let place = match (around, self.document.line(&pointer), inside) {
            (Some((_, (place, _))), _, _) | (None, None, Some((_, (place, _)))) => place.clone(),
            (None, Some(line), _) => Place::line(&self.path, line),
            (None, None, None) => Place::file(&self.path),
        };
        self.findings.push(Finding { place, subject: document::dotted(&pointer), message });
    }
}

/// A value from outside the file: as TOML writes it, or else plain text.
fn value(text: &str) -> Value {
    let path = Path::new("");
    let document = Document::from_toml(path, &format!("value = {text}")).ok();
    let single = document.filter(|document| document.tree.as_object().is_some_and(|tree| tree.len() == 1));
    single.and_then(|mut document| document.tree.get_mut("value").map(Value::take)).unwrap_or_else(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_from_outside_are_toml_or_text() {
        assert_eq!(value("5"), Value::from(5));
        assert_eq!(value("true"), Value::from(true));
        assert_eq!(value("[\"a\", \"b\"]"), serde_json::json!(["a", "b"]));
        assert_eq!(value("30s"), Value::from("30s"));
        assert_eq!(value("\"30s\""), Value::from("30s"));
        assert_eq!(value("1\nnode.name = 2"), Value::from("1\nnode.name = 2"));
        assert_eq!(value(""), Value::from(""));
    }

    #[test]
    fn a_default_configuration_has_no_problems() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(load(&Source::new(folder.path())), Ok(Config::default()));
        let tree = serde_json::to_value(Config::default()).expect("serialises");
        let mut sections = Sections {
            path: PathBuf::new(),
            folder: PathBuf::new(),
            document: Document::unwritten(tree),
            overlays: BTreeMap::new(),
            findings: Vec::new(),
        };
        assert_eq!(Config::from_sections(&mut sections), Config::default());
        assert_eq!(sections.findings, []);
    }

    #[test]
    fn a_readable_file_is_there_and_not_empty() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("full"), "key").expect("writable");
        std::fs::write(folder.path().join("empty"), "").expect("writable");
        assert_eq!(readable(folder.path(), Path::new("full")), Ok(()));
        assert!(readable(folder.path(), Path::new("empty")).is_err());
        assert!(readable(folder.path(), Path::new("none")).is_err());
    }

    #[test]
    fn the_folder_of_a_bare_file_name_is_here() {
        assert_eq!(Source::new("parvis.toml").folder(), Path::new("."));
        assert_eq!(Source::new("config/parvis.toml").folder(), Path::new("config"));
    }
}
