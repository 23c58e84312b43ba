//! A scenario from beginning to end: the daemon, its world, its phones, the load, the report.

pub(crate) mod resp;

use std::{
    cell::RefCell,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use clap::Args;
use parvis_loadgen::{
    city::City,
    scenario::{Providers, Scenario, Shape},
    world,
};

use crate::{
    clock::Clock,
    connection::{Endpoint, Link, poster::Poster},
    drive::{self, Crowd, Street, Stretch},
    measure::{arrivals::Arrivals, process::Process},
    node::{self, Launch, Node},
    options::{Output, Tried},
    plot,
    registration::{self, Mark},
    report::{Around, Parameters, Report, Server, Stretch as Told, table},
    sink::{Manner, Sink},
};

/// How often it is looked whether messages still wait.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A saturated stretch that only finds the rate to halve takes a third of the time, within these bounds.
const SATURATED_S: (f64, f64) = (1.0, 20.0);
/// How often it is looked whether every phone has reported, seconds.
const WARM_UP_S: f64 = 1.0;

/// `parvis-loadgen run`.
#[derive(Args, Debug)]
pub(crate) struct Parvis {
    #[command(flatten)]
    tried: Tried,
    #[command(flatten)]
    output: Output,
    /// The daemon to start; the `parvis` beside this program if absent.
    #[arg(long, value_name = "FILE")]
    daemon: Option<PathBuf>,
    /// Keeps the daemon's folder, so that a second run need not register the phones again.
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data: Option<PathBuf>,
    /// A setting for the daemon, KEY=VALUE, as `parvis serve --set` takes it.
    #[arg(long = "set", value_name = "KEY=VALUE", conflicts_with = "url")]
    settings: Vec<String>,
    /// Goes into the daemon's parvis.toml, such as a [store.redis] section.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config_fragment: Option<PathBuf>,
    /// Drives a daemon that runs already and knows the city's fences, in place of starting one.
    #[arg(long, requires = "key_file", conflicts_with = "daemon")]
    url: Option<String>,
    /// The file with that daemon's key, which must have the scope `ingest`.
    #[arg(long, requires = "url", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// That daemon's process on this machine, to tell what it uses.
    #[arg(long, requires = "url", value_name = "ID")]
    pid: Option<u32>,
    /// Registers no phones: the daemon knows them already. It believes nobody who has not consented.
    #[arg(long)]
    no_register: bool,
    /// Has every phone report once before anything is measured: who is heard for the first time enters all fences around.
    #[arg(long)]
    warm_up: bool,
    /// So long messages may take to leave the daemon after the load has ended, seconds.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    drain: u32,
    /// Only lays out the daemon's folder (--data) with the city's files, and starts nothing.
    #[arg(long, requires = "data")]
    lay_out: bool,
}

impl Parvis {
    /// Tries it.
    ///
    /// # Errors
    /// If it can't be tried, nothing was accepted, or the daemon did not end well.
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let scenario = self.tried.scenario()?;
        let clock = Clock::start();
        let city = City::build(&scenario.plan);
        let temporary = tempfile::tempdir().context("no temporary folder")?;
        let folder = self.data.as_deref().unwrap_or(temporary.path());
        let arrivals = self.arrivals(&scenario);
        let sink = match &arrivals {
            Some(arrivals) => {
                fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
                Some(Sink::start(folder, manner(&scenario, clock, arrivals))?)
            }
            None => None,
        };
        if self.url.is_none() {
            self.lay_out(&city, folder, sink.as_ref())?;
        }
        if self.lay_out {
            return Ok(());
        }
        let node = self.node(folder, clock).await?;
        let mut server = Server {
            kind: "parvis".to_owned(),
            version: node.version.clone(),
            start_ms: node.start_ms,
            ..Server::default()
        };
        self.register(&city, &node, (&scenario, folder, clock), &mut server).await?;
        let stretches = self.stretches(&city, &node, &scenario, (clock, arrivals.as_deref())).await?;
        let ended = node.stop(clock).await;
        server.exit_code = ended.as_ref().ok().copied().flatten();
        drop(sink);
        let report = Report::new(Parameters::new(&scenario, self.tried.streams, &self.settings), server, stretches);
        publish(&report, &self.output)?;
        ended?;
        verdict(&report)
    }

    /// Providers are played only for a daemon that is started here: another one has its own.
    fn arrivals(&self, scenario: &Scenario) -> Option<Arc<Arrivals>> {
        let plays = scenario.providers != Providers::None && self.url.is_none() && !self.lay_out;
        plays.then(|| Arc::new(Arrivals::new(scenario.plan.phones)))
    }

    fn lay_out(&self, city: &City, folder: &Path, sink: Option<&Sink>) -> anyhow::Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
        let mut config = sink.map(|sink| sink.config.clone()).unwrap_or_default();
        if let Some(file) = &self.config_fragment {
            let fragment = fs::read_to_string(file);
            config.push_str(&fragment.with_context(|| format!("{} can't be read", file.display()))?);
        }
        let write = |name: &str, text: Option<String>| {
            let text = text.unwrap_or_default();
            fs::write(folder.join(name), text).with_context(|| format!("{name} can't be written"))
        };
        write("parvis.toml", Some(config))?;
        write("campaigns.toml", Some(world::campaigns(city)))?;
        write("stores.toml", world::stores(city))?;
        write("beacons.toml", world::beacons(city))?;
        let file = fs::File::create(folder.join("geofences.geojson")).context("geofences.geojson can't be written")?;
        let mut file = std::io::BufWriter::new(file);
        world::geofences(city, &mut file).and_then(|()| file.flush()).context("geofences.geojson can't be written")
    }

    async fn node(&self, folder: &Path, clock: Clock) -> anyhow::Result<Node> {
        if let (Some(url), Some(key_file)) = (&self.url, &self.key_file) {
            let key = fs::read_to_string(key_file);
            let key = key.with_context(|| format!("{} can't be read", key_file.display()))?;
            return Ok(Node::running(Endpoint::parse(url)?.with_key(&key)?, self.pid));
        }
        let daemon = self.daemon.clone().map_or_else(Launch::beside, Ok)?;
        Launch { daemon, folder: folder.to_owned(), settings: self.settings.clone() }.start(clock).await
    }

    async fn register(
        &self,
        city: &City,
        node: &Node,
        (scenario, folder, clock): (&Scenario, &Path, Clock),
        server: &mut Server,
    ) -> anyhow::Result<()> {
        let plan = &scenario.plan;
        let reachable = scenario.providers != Providers::None;
        if self.no_register {
            return Ok(());
        }
        let mark = Mark { phones: plan.phones, reachable };
        server.registered = Some(plan.phones);
        if self.data.is_some() && mark.is_kept(folder) {
            return Ok(());
        }
        let tell = |so_far: usize| eprintln!("registering: {so_far} of {} phones", plan.phones);
        server.registration_s = Some(registration::register(city, &node.endpoint, (reachable, clock), tell).await?);
        if self.data.is_some() { mark.keep(folder) } else { Ok(()) }
    }

    async fn stretches(
        &self,
        city: &City,
        node: &Node,
        scenario: &Scenario,
        (clock, arrivals): (Clock, Option<&Arrivals>),
    ) -> anyhow::Result<Vec<Told>> {
        let Scenario { load, batch, format, .. } = scenario;
        let endpoint = Endpoint { http2: load.http2, keep_alive: load.keep_alive, ..node.endpoint.clone() };
        let crowd = RefCell::new(Crowd::new(city, *batch, format.is_of_one_phone()));
        let street = Street { clock, city, crowd, arrivals };
        let links = Link::several(&endpoint, load.connections, self.tried.streams);
        let mut posters: Vec<_> =
            links.into_iter().map(|link| Poster { endpoint: &endpoint, link, format: *format }).collect();
        if self.warm_up {
            warm_up(&street, scenario, &mut posters).await?;
            self.drained(node, clock, arrivals).await;
        }
        let mut told: Vec<Told> = Vec::new();
        while let Some(stretch) = next(scenario, &told) {
            let transitions_before = transitions(node).await;
            let before = (node.process.and_then(Process::usage), Process::own().usage());
            arrivals.map(Arrivals::take);
            let what = scenario.name;
            let run = drive::run(&street, stretch, &mut posters, |second| table::progress(what, second)).await;
            table::end_progress();
            let after = (node.process.and_then(Process::usage), Process::own().usage());
            let transitions_after = transitions(node).await;
            let waiting = if arrivals.is_some() { self.drained(node, clock, arrivals).await } else { None };
            let transitions = transitions_after.zip(transitions_before).map(|(after, before)| after - before);
            let arrived = arrivals.map(Arrivals::take);
            let around =
                Around { server: before.0.zip(after.0), own: before.1.zip(after.1), transitions, waiting, arrived };
            told.push(Told::new(stretch.shape, run, around));
        }
        Ok(told)
    }

    /// Waits until nothing waits in the daemon any more; gives how much still does.
    async fn drained(&self, node: &Node, clock: Clock, arrivals: Option<&Arrivals>) -> Option<f64> {
        let until_us = clock.now_us() + u64::from(self.drain) * 1_000_000;
        let mut seen = None;
        loop {
            let waiting = waiting(node).await;
            let arrived = arrivals.map(Arrivals::count);
            if waiting == Some(0.0) && seen == arrived || clock.now_us() >= until_us {
                return waiting;
            }
            seen = arrived;
            clock.sleep(LOOK_EVERY).await;
        }
    }
}

/// Has every phone report once.
async fn warm_up(street: &Street<'_>, scenario: &Scenario, posters: &mut [Poster<'_>]) -> anyhow::Result<()> {
    let stretch = Stretch { shape: Shape::Saturate, seconds: WARM_UP_S, batch: scenario.batch };
    let mut reported = 0;
    while reported < scenario.plan.phones as u64 {
        let run = drive::run(street, stretch, posters, |second| table::progress("warming up", second)).await;
        table::end_progress();
        let why = run.tally.failures.keys().next().map_or("nothing was believed", String::as_str);
        ensure!(run.tally.accepted > 0, "nothing was accepted while warming up: {why}");
        reported += if scenario.format.is_of_one_phone() { run.tally.requests } else { run.tally.sent };
    }
    Ok(())
}

/// What comes next: a scenario at half of its saturated rate is saturated first.
pub(crate) fn next(scenario: &Scenario, told: &[Told]) -> Option<Stretch> {
    let seconds = f64::from(scenario.load.seconds);
    let batch = scenario.batch;
    match (scenario.load.shape, told) {
        (Shape::HalfOfSaturated, []) => {
            let seconds = (seconds / 3.0).clamp(SATURATED_S.0, SATURATED_S.1);
            Some(Stretch { shape: Shape::Saturate, seconds, batch })
        }
        (Shape::HalfOfSaturated, [saturated]) => {
            let per_s = (saturated.pings_per_s / 2.0).max(1.0);
            Some(Stretch { shape: Shape::Steady { per_s }, seconds, batch })
        }
        (Shape::HalfOfSaturated, _) => None,
        (shape, []) => Some(Stretch { shape, seconds, batch }),
        (_, _) => None,
    }
}

/// Writes the report to where it is wanted.
///
/// # Errors
/// If a file can't be written.
pub(crate) fn publish(report: &Report, output: &Output) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(report).context("the report can't be written")? + "\n";
    let to_stdout = output.json.as_deref() == Some(Path::new("-"));
    if let Some(file) = output.json.as_ref().filter(|_| !to_stdout) {
        fs::write(file, &json).with_context(|| format!("{} can't be written", file.display()))?;
    }
    if let Some(folder) = &output.plots {
        fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
        for (name, svg) in plot::all(report) {
            let file = folder.join(name);
            fs::write(&file, svg).with_context(|| format!("{} can't be written", file.display()))?;
        }
    }
    let told = if to_stdout { json } else { table::text(report) };
    std::io::stdout().write_all(told.as_bytes()).context("the report can't be shown")
}

fn manner(scenario: &Scenario, clock: Clock, arrivals: &Arc<Arrivals>) -> Manner {
    let answer_ms = match scenario.providers {
        Providers::None | Providers::Fast => 0,
        Providers::Slow { answer_ms } => answer_ms,
    };
    Manner {
        clock,
        arrivals: Arc::clone(arrivals),
        answer_after: Duration::from_millis(u64::from(answer_ms)),
        phone_of_token: world::phone_of_token,
    }
}

/// Transitions so far. A counter that has counted nothing yet is on no page.
async fn transitions(node: &Node) -> Option<f64> {
    Some(node::total(&metrics(node).await?, "parvis_transitions_total").unwrap_or(0.0))
}

async fn waiting(node: &Node) -> Option<f64> {
    node::total(&metrics(node).await?, "parvis_outbox_waiting")
}

async fn metrics(node: &Node) -> Option<String> {
    let answer = node.get("/metrics").await.ok().filter(|answer| answer.status == 200)?;
    String::from_utf8(answer.body.into()).ok()
}

/// What was not worth measuring is no success.
fn verdict(report: &Report) -> anyhow::Result<()> {
    for stretch in &report.stretches {
        let why = stretch.failures.keys().next().map(String::as_str).unwrap_or("nothing was believed");
        ensure!(stretch.accepted > 0, "nothing was accepted in {} of {}: {why}", stretch.load, report.scenario.name);
    }
    let code = report.server.exit_code.unwrap_or(0);
    ensure!(code == 0, "the daemon ended with {code}");
    Ok(())
}
