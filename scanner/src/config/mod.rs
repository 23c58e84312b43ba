//! The agent's configuration: `scanner.toml`, with a default for whatever can have one.
//!
//! The key stands in a file of its own; here is only the path to it, so a configuration can be shown as it is.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use http::Uri;
use parvis_beacons::{Identity, Mac, Namespace, Uuid};

mod reader;

pub use reader::{Bytes, Problem, Section};

use crate::radio::watchdog::Patience;

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// This host's id in the registry.
    pub scanner: String,
    /// Where reports go.
    pub server: Server,
    /// How is scanned.
    pub scan: Scan,
    /// What is done about silence.
    pub watchdog: Patience,
    /// Which beacons are told of.
    pub beacons: Beacons,
    /// How reports are made.
    pub reports: Reports,
    /// Where reports wait.
    pub queue: Queue,
    /// The filter of logs, as `RUST_LOG` has it.
    pub log: String,
}

/// Where reports go.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Scheme, host and port, and a path if the server stands behind one.
    pub url: Uri,
    /// Holds the key.
    pub key_file: PathBuf,
    /// PEM certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// How long an upload may take.
    pub timeout: Duration,
    /// The first wait after a failure; each further one is up to twice as long.
    pub retry_min: Duration,
    /// The longest wait after a failure.
    pub retry_max: Duration,
    /// The wait after the server did not take the key or knows no such path: somebody must do something.
    pub refused_wait: Duration,
}

/// How is scanned.
#[derive(Clone, Debug, PartialEq)]
pub struct Scan {
    /// The radios by their addresses; all if there are none.
    pub adapters: Vec<Mac>,
    /// What hears.
    pub source: Source,
    /// Whether an advertisement monitor is registered where one is offered.
    pub monitor: bool,
    /// Beacons that are always there, by which a radio is judged; any that are told of if there are none.
    pub references: Vec<Identity>,
    /// How long a reference must have been watched before a radio is judged.
    pub judge_after: Duration,
    /// The rate below which a radio is taken to filter duplicates, advertisements a second.
    pub reference_rate_min_hz: f64,
    /// How long each scan lasts when cycling.
    pub cycle: Duration,
    /// How long a call over the bus may take.
    pub call_timeout: Duration,
    /// The wait before scanning is tried again.
    pub retry: Duration,
}

/// What hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The Bluetooth daemon of Linux.
    Bluez,
    /// Whatever the system offers, through btleplug.
    Btleplug,
}

/// Which beacons are told of. Whatever is not named here stays on this host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Beacons {
    /// Proximity UUIDs of iBeacons and AltBeacons.
    pub uuids: BTreeSet<Uuid>,
    /// Namespaces of Eddystone-UIDs.
    pub namespaces: BTreeSet<Namespace>,
    /// Devices that are known by their address, such as Ruuvi tags.
    pub addresses: BTreeSet<Mac>,
    /// Whether ephemeral identifiers are told; they can't be listed, for they change.
    pub ephemeral: bool,
    /// The companies whose data are looked at; all others are dropped unread.
    pub companies: BTreeSet<u16>,
}

/// How reports are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Reports {
    /// How often what was heard is sent.
    pub every: Duration,
    /// How often the host's health is sent along.
    pub health_every: Duration,
}

/// Where reports wait.
#[derive(Clone, Debug, PartialEq)]
pub struct Queue {
    /// A folder of the agent's own.
    pub folder: PathBuf,
    /// The most that it may hold; the oldest reports are given up first.
    pub size_max: Bytes,
    /// How often what was written is made to last through a power cut.
    pub sync_every: Duration,
    /// How old a report may become.
    pub age_max: Duration,
    /// How many waiting reports are sent a second, at most.
    pub rate_hz: f64,
}

/// Apple's company number, whose data hold iBeacons.
const APPLE: u16 = 0x004c;

/// Reads a configuration file.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![Problem { line: 0, key: String::new(), message: format!("can't be read: {error}") }])?;
    let folder = path.parent().unwrap_or(Path::new(""));
    read(&text, folder)
}

/// Reads a configuration; `folder` is where the paths in it begin.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(text: &str, folder: &Path) -> Result<Config, Vec<Problem>> {
    let mut reader = reader::Reader::new(text);
    let scanner = scanner(reader.section("scanner"));
    let server = server(reader.section("server"), folder);
    let scan = scan(reader.section("scan"));
    let watchdog = patience(reader.section("watchdog"));
    let beacons = beacons(reader.section("beacons"));
    let reports = reports(reader.section("reports"));
    let queue = queue(reader.section("queue"), folder);
    let log = log(reader.section("log"));
    let problems = reader.finish();
    match (scanner, server, queue) {
        (Some(scanner), Some(server), Some(queue)) if problems.is_empty() => {
            Ok(Config { scanner, server, scan, watchdog, beacons, reports, queue, log })
        }
        (Some(_) | None, Some(_) | None, Some(_) | None) => Err(problems),
    }
}

fn at_least<T: PartialOrd + std::fmt::Debug>(least: T) -> impl Fn(&T) -> Result<(), String> {
    move |value| if *value >= least { Ok(()) } else { Err(format!("must be at least {least:?}")) }
}

fn scanner(mut section: Section<'_, '_>) -> Option<String> {
    let line = section.line_of("id");
    let id = section.required::<String>("id");
    let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if id.as_deref().is_some_and(|id| id.is_empty() || id.len() > 64 || !id.chars().all(usual)) {
        section.refuse(line, "id", "must have 1 to 64 letters, digits, dashes, underscores, dots and colons");
    }
    section.finish();
    id
}

fn server(mut section: Section<'_, '_>, folder: &Path) -> Option<Server> {
    let line = section.line_of("url");
    let url = section.required::<String>("url").and_then(|text| match address(&text) {
        Ok(url) => Some(url),
        Err(message) => {
            section.refuse(line, "url", message);
            None
        }
    });
    let line = section.line_of("key_file");
    let key_file = section.required::<PathBuf>("key_file").map(|path| folder.join(path));
    if let Some(Err(message)) = key_file.as_deref().map(crate::uplink::key) {
        section.refuse(line, "key_file", message);
    }
    let line = section.line_of("ca_file");
    let ca_file = section.optional::<PathBuf>("ca_file").map(|path| folder.join(path));
    if let Some(Err(message)) = ca_file.as_deref().map(crate::uplink::certificates) {
        section.refuse(line, "ca_file", message);
    }
    let second = Duration::from_secs(1);
    let timeout = section.checked("timeout", 10 * second, at_least(Duration::from_millis(100)));
    let retry_min = section.checked("retry_min", second, at_least(Duration::from_millis(10)));
    let line = section.line_of("retry_max");
    let retry_max = section.value("retry_max", 60 * second);
    if retry_max < retry_min {
        section.refuse(line, "retry_max", "must not be less than retry_min");
    }
    let refused_wait = section.checked("refused_wait", 300 * second, at_least(Duration::from_millis(100)));
    section.finish();
    Some(Server { url: url?, key_file: key_file?, ca_file, timeout, retry_min, retry_max, refused_wait })
}

fn address(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none_or(str::is_empty) {
        return Err(format!("{text:?} must begin with https:// or http:// and name a host"));
    }
    if url.query().is_some() || url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("must have neither a query nor a user".to_owned());
    }
    Ok(url)
}

fn scan(mut section: Section<'_, '_>) -> Scan {
    let second = Duration::from_secs(1);
    let line = section.line_of("source");
    let source = match section.optional::<String>("source").as_deref() {
        None => Source::usual(),
        Some("bluez") if cfg!(target_os = "linux") => Source::Bluez,
        Some("btleplug") if cfg!(any(feature = "btleplug", not(target_os = "linux"))) => Source::Btleplug,
        Some(other) => {
            section.refuse(line, "source", format!("{other:?} is not in this program"));
            Source::usual()
        }
    };
    let scan = Scan {
        adapters: section.value("adapters", Vec::new()),
        source,
        monitor: section.value("monitor", true),
        references: section.value("references", Vec::new()),
        judge_after: section.checked("judge_after", 60 * second, at_least(second)),
        reference_rate_min_hz: section.value("reference_rate_min_hz", 0.3),
        cycle: section.checked("cycle", Duration::from_millis(1_500), at_least(Duration::from_millis(100))),
        call_timeout: section.checked("call_timeout", 10 * second, at_least(Duration::from_millis(100))),
        retry: section.checked("retry", second, at_least(Duration::from_millis(10))),
    };
    section.finish();
    scan
}

impl Source {
    /// What the system usually has.
    pub fn usual() -> Source {
        if cfg!(target_os = "linux") { Source::Bluez } else { Source::Btleplug }
    }
}

fn patience(mut section: Section<'_, '_>) -> Patience {
    let Patience { restart_after, power_cycle_after, reopen_after, exit_after } = Patience::default();
    let restart_after = section.checked("restart_after", restart_after, at_least(Duration::from_millis(100)));
    let mut later = |key, default, than: Duration| {
        let line = section.line_of(key);
        let after = section.value(key, default);
        if after <= than {
            section.refuse(line, key, "must be longer than the step before it");
        }
        after
    };
    let power_cycle_after = later("power_cycle_after", power_cycle_after, restart_after);
    let reopen_after = later("reopen_after", reopen_after, power_cycle_after);
    let exit_after = later("exit_after", exit_after, reopen_after);
    section.finish();
    Patience { restart_after, power_cycle_after, reopen_after, exit_after }
}

fn beacons(mut section: Section<'_, '_>) -> Beacons {
    let line = section.line_of("uuids");
    let beacons = Beacons {
        uuids: section.value("uuids", Vec::new()).into_iter().collect(),
        namespaces: section.value("namespaces", Vec::new()).into_iter().collect(),
        addresses: section.value("addresses", Vec::new()).into_iter().collect(),
        ephemeral: section.value("ephemeral", false),
        companies: section.value("companies", vec![APPLE]).into_iter().collect(),
    };
    let Beacons { uuids, namespaces, addresses, ephemeral, companies: _ } = &beacons;
    if uuids.is_empty() && namespaces.is_empty() && addresses.is_empty() && !ephemeral {
        section.refuse(line, "uuids", "name at least one UUID, namespace or address, or nothing would be told");
    }
    section.finish();
    beacons
}

fn reports(mut section: Section<'_, '_>) -> Reports {
    let within = |least: Duration, most: Duration| {
        move |value: &Duration| match *value {
            value if value >= least && value <= most => Ok(()),
            _ => Err(format!("must be from {least:?} to {most:?}")),
        }
    };
    let second = Duration::from_secs(1);
    let reports = Reports {
        every: section.checked("every", 2 * second, within(second, 10 * second)),
        health_every: section.checked("health_every", 10 * second, within(second, 300 * second)),
    };
    section.finish();
    reports
}

fn queue(mut section: Section<'_, '_>, folder: &Path) -> Option<Queue> {
    let path = section.required::<PathBuf>("folder").map(|path| folder.join(path));
    let second = Duration::from_secs(1);
    let least = Bytes(4 * crate::queue::SEGMENT_BYTES_MAX);
    let small = format!("must be at least {}KiB", least.0 >> 10);
    let size_max =
        section.checked("size_max", Bytes(64 << 20), |size| if *size >= least { Ok(()) } else { Err(small) });
    let sync_every = section.checked("sync_every", 10 * second, at_least(second));
    let age_max = section.checked("age_max", 3 * 86_400 * second, at_least(60 * second));
    let rate_hz = section.checked("rate_hz", 10.0, at_least(0.1));
    section.finish();
    Some(Queue { folder: path?, size_max, sync_every, age_max, rate_hz })
}

fn log(mut section: Section<'_, '_>) -> String {
    let filter = section.checked("filter", "info".to_owned(), |filter: &String| {
        filter.parse::<tracing_subscriber::filter::Targets>().map(drop).map_err(|error| error.to_string())
    });
    section.finish();
    filter
}

#[cfg(test)]
mod tests;
