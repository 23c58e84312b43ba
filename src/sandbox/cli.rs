//! `parvis sandbox`: the services by themselves, until they are told to stop.

use std::{
    future::Future,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::Context as _;
use parvis_engine::notification::Channel;
use serde::de::DeserializeOwned;

use super::{Conditions, Credentials, Endpoints, Fault, Options, Sandbox};

/// The command's options.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where the certificate, the keys and a fragment of configuration are written to.
    #[arg(long, default_value = "sandbox")]
    pub dir: PathBuf,
    /// First of five consecutive ports: APNs production, APNs sandbox, FCM, Web Push, control; 0 for any
    /// free ones.
    #[arg(long, default_value_t = 7443)]
    pub port_base: u16,
    /// How a service answers everybody, as `PUT /sandbox/conditions` takes it: apns='{"latency_ms": 20}'.
    #[arg(long, value_name = "CHANNEL=JSON", value_parser = conditions)]
    pub conditions: Vec<(Channel, Conditions)>,
    /// How the services answer for what a scope fits, as `PUT /sandbox/faults/{name}` takes it:
    /// slow='{"scope": {"app": "parvis"}, "behaviour": {"kind": "slow", "delay_ms": 500}}'.
    #[arg(long, value_name = "NAME=JSON", value_parser = fault)]
    pub fault: Vec<(String, Fault)>,
    /// Another app with an APNs team, a Firebase project and a Web Push key of its own; its credentials go into a folder
    /// of its name.
    #[arg(long, value_name = "NAME")]
    pub app: Vec<String>,
}

/// Runs the sandbox until ctrl-c; tells `out` where things are.
///
/// # Errors
/// If a port is taken, a file cannot be written, or `out` takes nothing.
pub async fn run(args: Args, out: impl Write) -> anyhow::Result<()> {
    run_until(args, out, async {
        // Without a signal handler ctrl-c ends the process by itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
    .await
}

/// Runs the sandbox until `end`.
///
/// # Errors
/// If a port is taken, a file cannot be written, or `out` takes nothing.
pub async fn run_until(args: Args, mut out: impl Write, end: impl Future<Output = ()>) -> anyhow::Result<()> {
    let port_base = (args.port_base != 0).then_some(args.port_base);
    let options = Options { port_base, ..Options::default() };
    let sandbox = Sandbox::start(options).await.context("the sandbox cannot start")?;
    for (channel, conditions) in args.conditions {
        sandbox.set_conditions(channel, conditions);
    }
    for (name, Fault { scope, behaviour }) in args.fault {
        let set = sandbox.set_fault(&name, scope, behaviour);
        set.map_err(|problem| anyhow::anyhow!("--fault {name}: {problem}"))?;
    }
    for app in &args.app {
        sandbox.add_app(app).await.with_context(|| format!("--app {app}"))?;
        sandbox.write_credentials_of(app, &args.dir.join(app)).context("the sandbox cannot write its credentials")?;
    }
    // The last thing that is written tells that all is there.
    let credentials = sandbox.write_credentials(&args.dir).context("the sandbox cannot write its credentials")?;
    describe(&mut out, sandbox.endpoints(), &credentials).context("the sandbox cannot say where it is")?;
    end.await;
    let counts = sandbox.counts();
    sandbox.stop().await;
    writeln!(out, "{} messages accepted, {} refused", counts.accepted, counts.refused)?;
    Ok(())
}

fn conditions(text: &str) -> Result<(Channel, Conditions), String> {
    let (channel, conditions) = named::<Conditions>(text)?;
    let known = Channel::ALL.into_iter().find(|known| known.name() == channel);
    let known = known.ok_or_else(|| format!("{channel:?} is not one of apns, fcm, webpush"))?;
    conditions.problem().map_or(Ok((known, conditions)), Err)
}

fn fault(text: &str) -> Result<(String, Fault), String> {
    let (name, fault) = named::<Fault>(text)?;
    Ok((name.to_owned(), fault))
}

fn named<T: DeserializeOwned>(text: &str) -> Result<(&str, T), String> {
    let (name, json) = text.split_once('=').ok_or("not of the form NAME=JSON")?;
    Ok((name, serde_json::from_str(json).map_err(|error| error.to_string())?))
}

fn describe(out: &mut impl Write, endpoints: &Endpoints, credentials: &Credentials) -> io::Result<()> {
    writeln!(out, "APNs, production   {}", endpoints.apns_production)?;
    writeln!(out, "APNs, sandbox      {}", endpoints.apns_sandbox)?;
    writeln!(out, "FCM                {}", endpoints.fcm)?;
    writeln!(out, "Web Push           {}", endpoints.webpush)?;
    writeln!(out, "push for Firefox   {}", endpoints.autopush)?;
    writeln!(out, "received messages  {}", endpoints.control)?;
    writeln!(out)?;
    writeln!(out, "CA certificate     {}", credentials.ca_pem.display())?;
    writeln!(out, "configuration      {}", credentials.fragment.display())?;
    writeln!(out)?;
    writeln!(out, "A target for a device:")?;
    writeln!(out, "  curl -s {}/sandbox/targets --json '{{\"channel\":\"fcm\"}}'", endpoints.control)?;
    writeln!(out, "Press ctrl-c to stop.")?;
    out.flush()
}
