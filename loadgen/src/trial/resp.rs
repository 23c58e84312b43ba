//! The same on a server that speaks RESP: its fences are set, its points are set, its events are heard.

use std::cell::RefCell;

use anyhow::Context as _;
use clap::Args;
use parvis_loadgen::{city::City, scenario::Scenario};

use super::{next, publish};
use crate::{
    clock::Clock,
    drive::{self, Crowd, Street},
    measure::{arrivals::Arrivals, process::Process},
    options::{Output, Tried},
    report::{Around, Parameters, Report, Server as Told, Stretch, table},
    resp::{self, Pipe, Server, subscriber::Subscriber},
};

/// `parvis-loadgen resp`.
#[derive(Args, Debug)]
pub(crate) struct Other {
    #[command(flatten)]
    tried: Tried,
    #[command(flatten)]
    output: Output,
    /// Where the server is.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Its port.
    #[arg(long)]
    port: u16,
    /// What it is asked with first (AUTH).
    #[arg(long, env = "PARVIS_LOADGEN_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Sets hooks that call this endpoint (SETHOOK), in place of channels (SETCHAN).
    #[arg(long, value_name = "URL")]
    hook: Option<String>,
    /// Hears no events.
    #[arg(long)]
    no_subscriber: bool,
    /// The server's process on this machine, to tell what it uses.
    #[arg(long, value_name = "ID")]
    pid: Option<u32>,
}

impl Other {
    /// Tries it.
    ///
    /// # Errors
    /// If there is no server, or what it says is no RESP.
    pub(crate) async fn run(&self) -> anyhow::Result<()> {
        let scenario = self.tried.scenario()?;
        let clock = Clock::start();
        let city = City::build(&scenario.plan);
        let server = Server { address: format!("{}:{}", self.host, self.port), password: self.password.clone() };
        let set = resp::fences::set(&city, &server, self.hook.as_deref()).await;
        let set = set.context("the fences can't be set")?;
        if let Some(why) = &set.why {
            eprintln!("{} fences refused, the first with: {why}", set.failed);
        }
        let told = Told {
            kind: "resp".to_owned(),
            fences_set: Some(set.accepted),
            fences_refused: Some(set.failed),
            ..Told::default()
        };
        let arrivals = Arrivals::new(if self.no_subscriber { 0 } else { scenario.plan.phones });
        let stretches = if self.no_subscriber {
            self.stretches(&city, &server, &scenario, (clock, None)).await
        } else {
            let subscriber = Subscriber::open(&server).await?;
            let stretches = self.stretches(&city, &server, &scenario, (clock, Some(&arrivals)));
            tokio::pin!(stretches);
            tokio::select! { biased;
                stretches = &mut stretches => stretches,
                () = subscriber.hear(clock, &arrivals) => {
                    eprintln!("the server closed the subscriber's connection; events are no longer counted");
                    stretches.await
                }
            }
        };
        let report = Report::new(Parameters::new(&scenario, self.tried.streams, &[]), told, stretches);
        publish(&report, &self.output)
    }

    async fn stretches(
        &self,
        city: &City,
        server: &Server,
        scenario: &Scenario,
        (clock, arrivals): (Clock, Option<&Arrivals>),
    ) -> Vec<Stretch> {
        let crowd = RefCell::new(Crowd::new(city, scenario.batch, false));
        let street = Street { clock, city, crowd, arrivals };
        let mut pipes: Vec<_> = (0..scenario.load.connections).map(|_| Pipe::new(server)).collect();
        let process = self.pid.map(Process::new);
        let mut told: Vec<Stretch> = Vec::new();
        while let Some(stretch) = next(scenario, &told) {
            let before = (process.and_then(Process::usage), Process::own().usage());
            arrivals.map(Arrivals::take);
            let what = scenario.name;
            let run = drive::run(&street, stretch, &mut pipes, |second| table::progress(what, second)).await;
            table::end_progress();
            let after = (process.and_then(Process::usage), Process::own().usage());
            let arrived = arrivals.map(Arrivals::take);
            let around =
                Around { server: before.0.zip(after.0), own: before.1.zip(after.1), arrived, ..Around::default() };
            told.push(Stretch::new(stretch.shape, run, around));
        }
        told
    }
}
