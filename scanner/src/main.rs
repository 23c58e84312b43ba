//! The command line.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line reports to whoever typed it")]

use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use parvis_scanner::{
    agent,
    clock::Clock,
    config::{self, Config, Problem},
    probe,
};
use tokio_util::sync::CancellationToken;
use tracing::info;
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Hears beacons by Bluetooth and sends what it heard to Parvis.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Scans and sends until it is told to stop.
    Run(Configured),
    /// Prints every problem of the configuration.
    Check(Configured),
    /// Scans for a while and prints what the radios are, how they scan and how much they hear. Sends nothing.
    Probe {
        #[command(flatten)]
        configured: Configured,
        /// How long, seconds.
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
    },
}

#[derive(Args)]
struct Configured {
    /// The configuration file.
    #[arg(long, default_value = "/etc/parvis-scanner/scanner.toml")]
    config: PathBuf,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check(configured) => load(&configured).map_or(ExitCode::FAILURE, |config| {
            println!("{}: nothing is wrong with it (scanner {})", configured.config.display(), config.scanner);
            ExitCode::SUCCESS
        }),
        Command::Run(configured) => load(&configured).map_or(ExitCode::FAILURE, |config| {
            log(&config.log);
            within_runtime(run(config))
        }),
        Command::Probe { configured, seconds } => load(&configured).map_or(ExitCode::FAILURE, |config| {
            log("warn");
            within_runtime(look(config, Duration::from_secs(seconds)))
        }),
    }
}

fn load(configured: &Configured) -> Option<Config> {
    let shown = configured.config.display();
    let told = |problem: Problem| eprintln!("{shown}:{}{problem}", if problem.line == 0 { " " } else { "" });
    config::load(&configured.config).map_err(|problems| problems.into_iter().for_each(told)).ok()
}

fn log(filter: &str) {
    let filter = filter.parse::<Targets>().unwrap_or_default();
    // The supervisor's journal adds the time, and a host without a network has none worth telling.
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false).without_time();
    tracing_subscriber::registry().with(layer.with_filter(filter)).init();
}

fn within_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(work);
            // A bus that hangs must not keep the process.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("the runtime does not start: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> ExitCode {
    let shutdown = CancellationToken::new();
    let agent = agent::run(config, Clock::system(), shutdown.clone());
    let told = async {
        told_to_stop().await;
        info!("told to stop");
        shutdown.cancel();
        std::future::pending::<ExitCode>().await
    };
    let ended = async {
        match agent.await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("parvis-scanner: {error:#}");
                ExitCode::FAILURE
            }
        }
    };
    tokio::select! {
        biased;
        code = told => code,
        code = ended => code,
    }
}

#[cfg(unix)]
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(not(unix))]
async fn told_to_stop() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

async fn look(config: Config, span: Duration) -> ExitCode {
    match probe::run(config.scan, span, Clock::system()).await {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("parvis-scanner: {error}");
            ExitCode::FAILURE
        }
    }
}
