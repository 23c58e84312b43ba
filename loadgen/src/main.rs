//! The command line of the load generator.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line reports to whoever typed it")]

mod clock;
mod connection;
mod drive;
mod measure;
mod node;
mod options;
mod plot;
mod registration;
mod report;
mod resp;
mod sink;
mod trial;

use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand};
use parvis_loadgen::scenario;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Drives Parvis, or another geofence server, with the phones of a synthetic city, and tells how it fares.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tells what can be tried.
    List,
    /// Tries a scenario on Parvis.
    Run(Box<trial::Parvis>),
    /// Tries a scenario on a geofence server that speaks the plain Redis protocol.
    Resp(Box<trial::resp::Other>),
}

fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    // One thread: what the generator takes, the daemon on the same machine does not have.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match (command, runtime) {
        (Command::List, _) => {
            list();
            return ExitCode::SUCCESS;
        }
        (Command::Run(trial), Ok(runtime)) => runtime.block_on(unless_stopped(trial.run())),
        (Command::Resp(trial), Ok(runtime)) => runtime.block_on(unless_stopped(trial.run())),
        (Command::Run(_) | Command::Resp(_), Err(error)) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parvis-loadgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A trial that is given up when it is told to stop. What it began ends with it: the daemon, the folder.
async fn unless_stopped(trial: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! { biased;
        _ = terminate.recv() => bail!("stopped by a signal"),
        _ = interrupt.recv() => bail!("stopped by a signal"),
        ended = trial => ended,
    }
}

fn list() {
    for scenario in scenario::all() {
        println!("{:<16} {}", scenario.name, scenario.about);
    }
}
