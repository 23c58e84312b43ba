//! `parvis sandbox`: the services by themselves, until they are told to stop.

use std::{
    future::Future,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::Context as _;

use super::{Credentials, Endpoints, Options, Sandbox};

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
    let credentials = sandbox.write_credentials(&args.dir).context("the sandbox cannot write its credentials")?;
    describe(&mut out, sandbox.endpoints(), &credentials).context("the sandbox cannot say where it is")?;
    end.await;
    let counts = sandbox.counts();
    sandbox.stop().await;
    writeln!(out, "{} messages accepted, {} refused", counts.accepted, counts.refused)?;
    Ok(())
}

fn describe(out: &mut impl Write, endpoints: &Endpoints, credentials: &Credentials) -> io::Result<()> {
    writeln!(out, "APNs, production   {}", endpoints.apns_production)?;
    writeln!(out, "APNs, sandbox      {}", endpoints.apns_sandbox)?;
    writeln!(out, "FCM                {}", endpoints.fcm)?;
    writeln!(out, "Web Push           {}", endpoints.webpush)?;
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
