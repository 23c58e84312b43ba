//! Reads the catalog's files: `geofences.geojson`, `stores.toml`, `beacons.toml` or CSV, `campaigns.toml`, and the keys
//! of beacons.
//!
//! Finds everything that is wrong in all of them. What stands in files names only what stands in files, so that the
//! files can be checked without a running daemon.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest;
use parvis_engine::problem::Problem;
use serde_json::Value;

use super::{
    Config, Kind,
    claims::{self, Claims},
    csv,
    eid_keys::{self, EidKeys},
    geojson,
    objects::{self, Entry, Objects},
    relations,
};
use crate::document::{self, Document, Finding, LineBreaks, Place};

/// The most problems of one file that are told; a file with more has one cause that the first ones show.
const FINDINGS_MAX: usize = 1_000;

/// What stands in the files.
#[derive(Debug)]
pub struct Read {
    /// The objects that are right.
    pub objects: Objects,
    /// The keys of beacons that change their identity.
    pub eid_keys: Arc<EidKeys>,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
    /// What may be right but looks odd without what the API has put.
    pub notes: Vec<Finding>,
    /// A hash of the files' text, in the order in which they are named.
    pub contents: digest::Digest,
}

/// Reads every file of the catalog below a folder.
pub fn read(config: &Config, folder: &Path) -> Read {
    let mut reading = Reading {
        objects: Objects::default(),
        sources: BTreeMap::new(),
        findings: Vec::new(),
        contents: digest::Context::new(&digest::SHA256),
    };
    for list in config.lists() {
        for path in list.paths {
            let told = reading.findings.len();
            reading.file(list.kinds, folder, path, list.may_lack(path));
            reading.findings.truncate(told + FINDINGS_MAX);
        }
    }
    reading.check_names();
    let (eid_keys, mut notes) = reading.check_keys(config, folder);
    reading.findings.sort();
    notes.sort();
    let Reading { objects, findings, contents, .. } = reading;
    Read { objects, eid_keys: Arc::new(eid_keys), findings, notes, contents: contents.finish() }
}

struct Reading {
    objects: Objects,
    sources: BTreeMap<Arc<Path>, Source>,
    findings: Vec<Finding>,
    contents: digest::Context,
}

/// A file's text or tree, to find lines in.
enum Source {
    Toml { document: Document, prefixes: BTreeMap<(Kind, String), String> },
    GeoJson { text: String, breaks: LineBreaks, begins: BTreeMap<String, usize> },
    Csv { lines: BTreeMap<String, usize> },
}

impl Source {
    fn line(&self, kind: Kind, id: &str, pointer: &str) -> Option<usize> {
        match self {
            Source::Toml { document, prefixes } => {
                document.line(&format!("{}{pointer}", prefixes.get(&(kind, id.to_owned()))?))
            }
            Source::GeoJson { text, breaks, begins } => {
                let at = *begins.get(id)?;
                Some(breaks.line(at + document::position(&text[at..], pointer)))
            }
            Source::Csv { lines } => lines.get(id).copied(),
        }
    }
}

impl Reading {
    fn file(&mut self, kinds: &[Kind], folder: &Path, name: &PathBuf, may_be_missing: bool) {
        let path: Arc<Path> = folder.join(name).into();
        let read = document::read(&path);
        if let Ok(Some(text)) = &read {
            self.contents.update(&text.len().to_le_bytes());
            self.contents.update(text.as_bytes());
        }
        match read {
            Ok(Some(text)) if kinds == [Kind::Geofence] => self.geojson(path, text),
            Ok(Some(text)) if kinds.contains(&Kind::Beacon) && is_csv(name) => self.csv(path, &text),
            Ok(Some(text)) => self.toml(kinds, path, &text),
            Ok(None) if may_be_missing => {}
            Ok(None) => self.findings.push(Finding::new(Place::file(&path), "there is no such file")),
            Err(finding) => self.findings.push(finding),
        }
    }

    fn toml(&mut self, kinds: &[Kind], path: Arc<Path>, text: &str) {
        let document = match Document::from_toml(&path, text) {
            Ok(document) => document,
            Err(findings) => return self.findings.extend(findings),
        };
        let mut prefixes = BTreeMap::new();
        for (key, value) in document.tree.as_object().into_iter().flatten() {
            let whole = format!("/{key}");
            let kind = kinds.iter().copied().find(|kind| kind.name() == key);
            let Some((kind, elements)) = kind.zip(value.as_array()) else {
                let place = document.line(&whole).map_or(Place::file(&path), |line| Place::line(&path, line));
                let tables: Vec<String> = kinds.iter().map(|kind| format!("[[{}]]", kind.name())).collect();
                let message = format!("this file holds only {}", tables.join(", "));
                self.findings.push(Finding { place, subject: key.clone(), message });
                continue;
            };
            for (index, element) in elements.iter().enumerate() {
                let prefix = format!("{whole}/{index}");
                let line = |pointer: &str| document.line(&format!("{prefix}{pointer}"));
                let compiled = Entry::compile(kind, element.clone(), Some(path.clone()));
                let written = Written { path: &path, subject: subject(kind, element, index), line: &line };
                if let Some(id) = self.take(kind, written, compiled) {
                    prefixes.insert((kind, id), prefix);
                }
            }
        }
        self.sources.insert(path, Source::Toml { document, prefixes });
    }

    fn csv(&mut self, path: Arc<Path>, text: &str) {
        let rows = match csv::rows(text) {
            Ok(rows) => rows,
            Err(broken) => {
                let finding = |it: csv::Broken| Finding::new(Place::line(&path, it.line), it.message);
                return self.findings.extend(broken.into_iter().map(finding));
            }
        };
        let mut lines = BTreeMap::new();
        for (index, row) in rows.into_iter().enumerate() {
            let line = |_: &str| Some(row.line);
            let written = Written { path: &path, subject: subject(Kind::Beacon, &row.beacon, index), line: &line };
            if let Some(id) = self.take(Kind::Beacon, written, row.compile(Some(path.clone()))) {
                lines.insert(id, row.line);
            }
        }
        self.sources.insert(path, Source::Csv { lines });
    }

    fn geojson(&mut self, path: Arc<Path>, text: String) {
        let features = match geojson::features(&text) {
            Ok(features) => features,
            Err(error) => {
                let (line, column) = (error.line(), error.column());
                let at = |number: usize| (number > 0).then_some(number);
                let place = Place::File { path: path.to_path_buf(), line: at(line), column: at(column) };
                let suffix = format!(" at line {line} column {column}");
                let message = error.to_string();
                let message = message.strip_suffix(&suffix).unwrap_or(&message);
                return self.findings.push(Finding::new(place, message));
            }
        };
        let breaks = LineBreaks::of(&text);
        let mut begins = BTreeMap::new();
        for (index, (feature, compiled)) in features.iter().zip(compile_all(&features, &path)).enumerate() {
            let line = |pointer: &str| Some(breaks.line(feature.at + document::position(feature.text, pointer)));
            let subject = match &compiled {
                Ok((id, _)) => format!("{} {id:?}", Kind::Geofence),
                Err(_) => {
                    let value = serde_json::from_str(feature.text).unwrap_or_default();
                    subject(Kind::Geofence, &value, index)
                }
            };
            let written = Written { path: &path, subject, line: &line };
            if let Some(id) = self.take(Kind::Geofence, written, compiled) {
                begins.insert(id, feature.at);
            }
        }
        self.sources.insert(path, Source::GeoJson { text, breaks, begins });
    }

    /// Takes one object in; gives its id back if it was taken.
    fn take(&mut self, kind: Kind, object: Written<'_>, compiled: Compiled) -> Option<String> {
        let (id, entry) = match compiled {
            Ok(compiled) => compiled,
            Err(problems) => {
                self.findings.extend(problems.iter().take(FINDINGS_MAX).map(|problem| object.finding(problem)));
                return None;
            }
        };
        if let Some(other) = self.objects.of(kind).get(&id) {
            let whence = match &other.file {
                Some(file) if file != object.path => format!("stands in {} already", file.display()),
                Some(_) | None => "stands in this file already".to_owned(),
            };
            self.findings.push(object.finding(&Problem::new("/id", whence)));
            return None;
        }
        if let Some(problem) = claims::region_problem(&self.objects, kind, &id) {
            self.findings.push(object.finding(&problem));
            return None;
        }
        self.objects.of_mut(kind).insert(id.clone(), Arc::new(entry));
        Some(id.to_string())
    }

    fn check_names(&mut self) {
        let (tags, claims) = (self.objects.tags(), Claims::of(&self.objects));
        for kind in Kind::ALL {
            for (id, entry) in self.objects.of(kind).iter() {
                let Some(path) = &entry.file else { continue };
                let mut problems = self.objects.unknown_names(entry, &tags);
                problems.extend(relations::problems(&self.objects, entry));
                problems.extend(claims.problems(id, entry));
                for problem in problems {
                    let line = |pointer: &str| self.sources.get(path)?.line(kind, id, pointer);
                    let written = Written { path, subject: format!("{kind} {id:?}"), line: &line };
                    self.findings.push(written.finding(&problem));
                }
            }
        }
    }

    /// The keys of beacons, and what is to be said of those that no beacon of a file has use for.
    fn check_keys(&mut self, config: &Config, folder: &Path) -> (EidKeys, Vec<Finding>) {
        let file = config.eid_keys.display();
        let written = match eid_keys::read(config, folder) {
            Ok(written) => written,
            Err(findings) => {
                self.findings.extend(findings);
                return (EidKeys::default(), Vec::new());
            }
        };
        for (id, entry) in eid_keys::without_key(&self.objects, &written.keys) {
            let Some(path) = &entry.file else { continue };
            let line = |pointer: &str| self.sources.get(path)?.line(Kind::Beacon, id, pointer);
            let object = Written { path, subject: format!("{} {id:?}", Kind::Beacon), line: &line };
            self.findings.push(object.finding(&Problem::new("/eid", format!("{file} holds no key for it"))));
        }
        let path = folder.join(&config.eid_keys);
        let note = |id: &parvis_engine::id::BeaconId| Finding {
            place: written.place(&path, id.as_str()),
            subject: format!("{} {:?}", Kind::Beacon, id.as_str()),
            message: "no file holds a beacon of this name with eid; the key is of use only to one of the API"
                .to_owned(),
        };
        let notes = eid_keys::without_beacon(&self.objects, &written.keys).map(note).collect();
        (written.keys, notes)
    }
}

fn is_csv(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
}

/// An object as it stands in a file.
struct Written<'a> {
    path: &'a Arc<Path>,
    /// As messages name it.
    subject: String,
    /// The line of what a pointer into the object points to.
    line: &'a dyn Fn(&str) -> Option<usize>,
}

impl Written<'_> {
    fn finding(&self, problem: &Problem) -> Finding {
        let subject = &self.subject;
        let place = (self.line)(&problem.path).map_or(Place::file(self.path), |line| Place::line(self.path, line));
        let key = document::dotted(&problem.path);
        let between = if key.is_empty() { "" } else { ": " };
        // Some sentences begin with the object, for readers who do not see where they stand.
        let message = problem.message.strip_prefix(subject.as_str()).unwrap_or(&problem.message);
        let message = message.trim_start_matches([':', ',', ' ']).to_owned();
        Finding { place, subject: format!("{subject}{between}{key}"), message }
    }
}

/// An object as messages name it: by its id, or by its place if it has none.
fn subject(kind: Kind, value: &Value, index: usize) -> String {
    match objects::id(kind, value) {
        Some(id) => format!("{kind} {id:?}"),
        None => format!("{kind} number {}", index + 1),
    }
}

type Compiled = Result<(Arc<str>, Entry), Vec<Problem>>;

/// Compiles on all cores, because a hundred thousand polygons are to be there within two seconds.
fn compile_all(features: &[geojson::Written<'_>], path: &Arc<Path>) -> Vec<Compiled> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = features.len().div_ceil(cores).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = features
            .chunks(share)
            .map(|part| {
                scope.spawn(move || {
                    part.iter().map(|feature| Entry::compile_feature(feature.text, path.clone())).collect::<Vec<_>>()
                })
            })
            .collect();
        let join = |part: std::thread::ScopedJoinHandle<'_, Vec<Compiled>>| match part.join() {
            Ok(compiled) => compiled,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        parts.into_iter().flat_map(join).collect()
    })
}
