//! The command line.

#![allow(clippy::print_stderr, reason = "a command line reports to whoever typed it")]

use std::{
    fs::File,
    io::{self, BufReader, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use parvis::{
    app::App,
    backup, calibrate, catalog, check,
    client::Client,
    clock::Clock,
    config::{self, Source},
    dead_letters, demo,
    document::Finding,
    entropy::Entropy,
    fleet, keys,
    replay::{Print, Replay},
    sandbox,
    walk::Truth,
};
use parvis_engine::world::World;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes in phone locations, decides by marketing rules, and has offers and order news accepted by push services.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the daemon until it is told to stop.
    Serve(Configured),
    /// Plays an afternoon in a shop: real calls, real pushes at sandbox providers.
    Demo {
        /// End after the journey, with success only if exactly the expected messages were accepted.
        #[arg(long)]
        once: bool,
        /// How many seconds pass in one.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=120))]
        speed: u32,
    },
    /// Prints every problem of the configuration, the geofences, the stores and the campaigns.
    Check(Configured),
    /// Runs recorded observations through the engine: no network, no store, the observations' own time.
    Replay {
        #[command(flatten)]
        configured: Configured,
        /// NDJSON: one observation with its `device` a line.
        #[arg(long)]
        observations: PathBuf,
        /// NDJSON: one shopper a line; devices of nobody count as consenting.
        #[arg(long)]
        shoppers: Option<PathBuf>,
        /// What to print.
        #[arg(long, value_enum, default_value_t = Print::Transitions)]
        print: Print,
        /// NDJSON: where devices truly were, `device`, `from`, `until` and `zone` a line. Prints how well zones were
        /// told: accuracy, switches, delay and the confusion matrix.
        #[arg(long, conflicts_with = "print")]
        truth: Option<PathBuf>,
    },
    /// Learns offsets of scanners and power of beacons from a recorded walk, and prints them for the registry.
    Calibrate {
        #[command(flatten)]
        configured: Configured,
        /// NDJSON: one sighting with its `device` a line.
        #[arg(long)]
        observations: PathBuf,
        /// NDJSON: where devices truly were, `device`, `from`, `until` and `zone` or `plan` a line.
        #[arg(long)]
        truth: PathBuf,
    },
    /// Asks a running daemon why a shopper would or would not get a campaign.
    Explain {
        /// The daemon.
        #[arg(long, default_value = "http://127.0.0.1:8080", env = "PARVIS_URL")]
        url: String,
        /// A file that holds a key with the scope `marketing`.
        #[arg(long, env = "PARVIS_KEY_FILE")]
        key_file: PathBuf,
        /// Whom.
        #[arg(long)]
        shopper: String,
        /// Which campaign.
        #[arg(long)]
        campaign: String,
        /// What happens, as JSON, such as `{"transition":"enter","region":"opera-store"}`.
        #[arg(long)]
        transition: Option<String>,
    },
    /// Lists the scanners or beacons of a running daemon and how they fare.
    Fleet(fleet::cli::Args),
    /// Lists messages that a running daemon has given up, or tries them anew.
    DeadLetters(dead_letters::Args),
    #[command(flatten)]
    Move(Move),
    /// Makes and lists API keys.
    Keys(keys::Args),
    /// Runs providers that behave like the real ones, on loopback.
    Sandbox(sandbox::cli::Args),
}

/// What becomes of the store as a whole.
#[derive(Subcommand)]
enum Move {
    /// Writes everything in the store of a stopped daemon to a file.
    Export {
        #[command(flatten)]
        configured: Configured,
        /// The file, which must not be there yet; `-` for standard output.
        #[arg(long)]
        out: PathBuf,
        /// Compresses it.
        #[arg(long)]
        zstd: bool,
    },
    /// Takes such a file into an empty store; an import that was interrupted goes on where it stopped.
    Import {
        /// The file; `-` for standard input.
        file: PathBuf,
        #[command(flatten)]
        configured: Configured,
    },
    /// Writes everything in the store of a running daemon to a file, as it was at one moment.
    Backup {
        /// The daemon.
        #[arg(long, default_value = "http://127.0.0.1:8080", env = "PARVIS_URL")]
        url: String,
        /// A file that holds a key with the scope `backup`.
        #[arg(long, env = "PARVIS_KEY_FILE")]
        key_file: PathBuf,
        /// The file, which must not be there yet; `-` for standard output.
        #[arg(long)]
        out: PathBuf,
        /// Compresses it.
        #[arg(long)]
        zstd: bool,
    },
    /// Makes the embedded store of such a file: beside, verified, then renamed into place.
    Restore {
        /// The file; `-` for standard input.
        file: PathBuf,
        #[command(flatten)]
        configured: Configured,
        /// Replaces the store that is there.
        #[arg(long)]
        force: bool,
    },
    /// Reads every page and every row of the store of a stopped daemon.
    Verify(Configured),
}

#[derive(Args)]
struct Configured {
    /// A `parvis.toml`, or the folder that holds it.
    #[arg(long, default_value = "config")]
    config: PathBuf,
    /// Sets a key, such as `--set http.listen=127.0.0.1:9000`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    settings: Vec<(String, String)>,
}

impl Configured {
    fn source(self) -> Source {
        Source { path: self.config, environment: std::env::vars().collect(), flags: self.settings }
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("parvis: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let mut out = io::stdout().lock();
    match cli.command {
        Command::Serve(configured) => in_runtime(serve(configured.source())),
        Command::Demo { once, speed } => in_runtime(demo::run(demo::Options { once, speed }, &mut out)),
        Command::Check(configured) => {
            let well = check::run(&configured.source(), &mut out)?;
            return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Replay { configured, observations, shoppers, print, truth } => {
            let world = world(&configured.source())?;
            match truth {
                Some(truth) => judge(&mut out, &world, &observations, shoppers.as_deref(), &truth),
                None => replay(out, &world, &observations, shoppers.as_deref(), print),
            }
        }
        Command::Calibrate { configured, observations, truth } => {
            let world = world(&configured.source())?;
            let truth = Truth::read(open(&truth)?, &world.registry)?;
            calibrate::run(&world, || open(&observations), &truth, &mut out)
        }
        Command::Explain { url, key_file, shopper, campaign, transition } => {
            in_runtime(explain(&mut out, url, &key_file, (shopper, campaign, transition)))
        }
        Command::Fleet(args) => in_runtime(fleet::cli::run(args, &mut out)),
        Command::DeadLetters(args) => in_runtime(dead_letters::run(args, &mut out)),
        Command::Move(command) => {
            // What is written there comes from another thread.
            drop(out);
            in_runtime(move_store(command))
        }
        Command::Keys(args) => keys::run(args, &mut out),
        Command::Sandbox(args) => in_runtime(sandbox::cli::run(args, &mut out)),
    }
    .map(|()| ExitCode::SUCCESS)
}

fn in_runtime<T>(task: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(task)
}

/// Runs until SIGTERM or SIGINT; a second one ends the process at once. SIGHUP reads the files again.
async fn serve(source: Source) -> Result<()> {
    let config = config::load(&source).or_else(told)?;
    parvis::log::start(&config.log);
    let (mut terminate, mut interrupt, mut hangup) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    let app = App::start(config, source, Clock::System, Entropy::System).await?;
    // Not before: a garbled file of the store makes its library panic, which is caught and told by the file's name.
    end_on_panic();
    tracing::info!(http.address = %app.address, "listening on {}", app.address);
    loop {
        tokio::select! { biased;
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => match app.reload().await {
                Ok(()) => tracing::info!("read the files again"),
                Err(error) => tracing::error!("kept what was: {error:#}"),
            }
        }
    }
    tracing::info!("stopping");
    tokio::select! { biased;
        _ = terminate.recv() => bail!("stopped at once by a second signal"),
        _ = interrupt.recv() => bail!("stopped at once by a second signal"),
        stopped = app.stop() => stopped,
    }
}

async fn move_store(command: Move) -> Result<()> {
    let told = &mut io::stdout();
    match command {
        Move::Export { configured, out, zstd } => backup::cli::export(&configured.source(), &out, zstd, told).await,
        Move::Import { file, configured } => backup::cli::import(&configured.source(), &file, told).await,
        Move::Backup { url, key_file, out, zstd } => backup::cli::backup(url, &key_file, &out, zstd, told).await,
        Move::Restore { file, configured, force } => {
            backup::cli::restore(&configured.source(), &file, force, told).await
        }
        Move::Verify(configured) => backup::cli::verify(&configured.source(), told).await,
    }
}

/// Prints what is wrong in the files, and fails.
fn told<T>(findings: Vec<Finding>) -> Result<T> {
    findings.iter().for_each(|finding| eprintln!("{finding}"));
    let number = findings.len();
    bail!("the configuration has {number} problem{}", if number == 1 { "" } else { "s" })
}

/// State is in the store, so a restart is the way out of a bug; a half-dead process is not.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(70);
    }));
}

/// The world of the files.
fn world(source: &Source) -> Result<Arc<World>> {
    let config = config::load(source).or_else(told)?;
    catalog::world_of_files(&config.catalog_sources(source)).or_else(told)
}

fn open(path: &Path) -> Result<BufReader<File>> {
    File::open(path).map(BufReader::new).with_context(|| format!("can't open {}", path.display()))
}

fn replay(out: impl Write, world: &World, observations: &Path, shoppers: Option<&Path>, print: Print) -> Result<()> {
    let mut replay = Replay::new(world, print, io::BufWriter::new(out));
    if let Some(shoppers) = shoppers {
        replay.shoppers(open(shoppers)?)?;
    }
    replay.observations(open(observations)?)?;
    replay.finish()
}

/// Plays a recorded walk and prints how well zones were told.
fn judge(
    out: &mut impl Write,
    world: &World,
    observations: &Path,
    shoppers: Option<&Path>,
    truth: &Path,
) -> Result<()> {
    let truth = Truth::read(open(truth)?, &world.registry)?;
    let mut replay = Replay::judged(world, &truth);
    if let Some(shoppers) = shoppers {
        replay.shoppers(open(shoppers)?)?;
    }
    replay.observations(open(observations)?)?;
    Ok(replay.verdict()?.write(out)?)
}

async fn explain(
    out: &mut impl Write,
    url: String,
    key_file: &std::path::Path,
    (shopper, campaign, transition): (String, String, Option<String>),
) -> Result<()> {
    let key = std::fs::read_to_string(key_file).with_context(|| format!("can't read {}", key_file.display()))?;
    let mut question = serde_json::json!({ "shopper": shopper, "campaign": campaign });
    if let Some(transition) = transition {
        question["transition"] = serde_json::from_str(&transition).context("the transition is not JSON")?;
    }
    let answer = Client::new(url, key.trim()).must(http::Method::POST, "/v1/explain", &question).await?;
    writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?;
    Ok(())
}
