//! An afternoon in a shop, played against the real daemon over HTTP, with sandbox providers at the other end.

mod journey;

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::civil::time;
use parvis_engine::{shopper::ApnsEnvironment, shopper::PushTarget, time::Timestamp};
use serde_json::Value;

use crate::{
    app::App,
    client::Client,
    clock::Clock,
    config::{self, Source},
    entropy::Entropy,
    http::auth::{KeyFile, Scope, new_key},
    sandbox::{self, Received, Sandbox},
};

/// How long the last messages are waited for, in the time of the afternoon: seconds on the wall even at full speed.
const LAST_WAIT: Duration = Duration::from_secs(600);

/// How the demonstration is played.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// End after the journey.
    pub once: bool,
    /// How many seconds pass in one.
    pub speed: u32,
}

/// Plays the journey.
///
/// # Errors
/// If anything can't be started, a call fails, or with `once` the accepted messages are not exactly the expected ones or
/// the cart was not heard.
pub async fn run(options: Options, out: &mut impl Write) -> Result<()> {
    let folder = Folder::new()?;
    let clock = Clock::hurried(this_afternoon(), options.speed);
    let providers = sandbox::Options { clock: clock.clone(), ..sandbox::Options::default() };
    let providers = Sandbox::start(providers).await?;
    let key = write_config(&folder.0, &providers)?;
    let source = Source::new(&folder.0);
    let config = config::load(&source).map_err(|findings| anyhow::anyhow!("{findings:?}"))?;
    let app = App::start(config, source, clock.clone(), Entropy::System).await?;
    writeln!(out, "The daemon listens on http://{}, the providers on loopback.\n", app.address)?;

    let client = Client::new(format!("http://{}", app.address), key.clone());
    let received = play(&client, &providers, &clock, out).await?;
    let as_expected = summary(&received, out)? & cart(&client, out).await?;
    if !options.once {
        writeln!(out, "\nEverything stays up. Try:\n  curl -H 'Authorization: Bearer {key}' \\")?;
        writeln!(out, "    http://{}/v1/shoppers/C-1001", app.address)?;
        writeln!(out, "and the same with /v1/fleet/scanners or /v1/devices/{}. Ctrl-C ends it.", journey::CART.0)?;
        tokio::signal::ctrl_c().await?;
    }
    app.stop().await?;
    providers.stop().await;
    if options.once && !as_expected {
        bail!("what happened is not exactly what was expected");
    }
    Ok(())
}

/// Makes the calls at their times, and shows what is accepted as it comes.
async fn play(client: &Client, providers: &Sandbox, clock: &Clock, out: &mut impl Write) -> Result<Vec<Received>> {
    let targets = [
        apns(providers),
        apns(providers),
        PushTarget::Fcm { token: Some(providers.register_fcm().into()), fid: None },
        PushTarget::WebPush { subscription: Box::new(providers.register_webpush()) },
    ];
    for (path, body) in journey::registrations(&targets, clock.now()) {
        client.must(Method::PUT, &path, &body).await?;
    }
    let steps = journey::steps();
    let progress = ProgressBar::new(steps.len() as u64)
        .with_style(ProgressStyle::with_template("{bar:30} {pos:>3}/{len} {msg}").context("the template is fixed")?);
    let begin = clock.now();
    let mut shown = 0;
    for step in steps {
        clock.sleep_until(Some(begin.plus(Duration::from_secs(u64::from(step.after_s))))).await;
        progress.set_message(step.says.clone());
        client.must(step.method, &step.path, &(step.body)(clock.now())).await?;
        progress.inc(1);
        shown = show(providers, shown, &progress, out)?;
    }
    let late = clock.now().plus(LAST_WAIT);
    while accepted(providers).len() < journey::EXPECTED.len() && clock.now() < late {
        clock.sleep(Duration::from_secs(1)).await;
    }
    show(providers, shown, &progress, out)?;
    progress.finish_and_clear();
    Ok(accepted(providers))
}

fn apns(providers: &Sandbox) -> PushTarget {
    let topic = "com.example.shop";
    let environment = ApnsEnvironment::Production;
    PushTarget::Apns { token: providers.register_apns(topic, environment).into(), topic: topic.into(), environment }
}

fn accepted(providers: &Sandbox) -> Vec<Received> {
    providers.received().iter().filter(|message| message.refused.is_none()).map(|message| (**message).clone()).collect()
}

fn show(providers: &Sandbox, shown: usize, progress: &ProgressBar, out: &mut impl Write) -> Result<usize> {
    let accepted = accepted(providers);
    for message in &accepted[shown..] {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let line = format!(
            "{}  {:<7}  {} | {}",
            message.at,
            message.channel.name(),
            text(&message.message.title),
            text(&message.message.body)
        );
        progress.suspend(|| writeln!(out, "{line}"))?;
    }
    Ok(accepted.len())
}

/// Compares what came with what was to come.
fn summary(received: &[Received], out: &mut impl Write) -> Result<bool> {
    let mut balance: BTreeMap<(&str, &str), i32> = BTreeMap::new();
    for expected in journey::EXPECTED {
        *balance.entry(expected).or_insert(0) -= 1;
    }
    for message in received {
        let title = message.message.title.as_deref().unwrap_or_default();
        *balance.entry((message.channel.name(), title)).or_insert(0) += 1;
    }
    balance.retain(|_, surplus| *surplus != 0);
    writeln!(out, "\n{} messages accepted, {} expected.", received.len(), journey::EXPECTED.len())?;
    for ((channel, title), surplus) in &balance {
        let what = if *surplus < 0 { "missing" } else { "not expected" };
        writeln!(out, "  {what}: {channel} {title:?}, {} times", surplus.abs())?;
    }
    Ok(balance.is_empty())
}

/// Shows what was heard in the aisle and what became of it; gives whether the cart was there as its shopper's phone was.
async fn cart(client: &Client, out: &mut impl Write) -> Result<bool> {
    let (cart, shopper) = journey::CART;
    let held = client.must(Method::GET, &format!("/v1/shoppers/{shopper}"), &Value::Null).await?;
    writeln!(out, "\n{shopper} in front of the televisions, with a phone and a cart:")?;
    let (mut heard, mut lines) = (false, Vec::new());
    for row in held["journal"].as_array().into_iter().flatten() {
        let text = |at: &str| row.pointer(at).and_then(Value::as_str);
        let line = match (text("/data/region"), text("/data/campaign")) {
            (Some(journey::ZONE), _) => {
                let (device, transition) = (text("/data/device"), text("/data/transition").unwrap_or_default());
                heard |= device == Some(cart) && transition == "dwell";
                format!("{:<12}  {transition} {}", device.unwrap_or_default(), journey::ZONE)
            }
            (_, Some(campaign)) if text("/data/cause/region") == Some(journey::ZONE) => {
                format!("{campaign:<12}  {}", text("/data/suppressed/reason").unwrap_or("sent"))
            }
            _ => continue,
        };
        lines.push(format!("{}  {line}", text("/at").unwrap_or_default()));
    }
    lines.sort();
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(heard)
}

/// Three o'clock in Paris today: the shop is open whenever this is played.
fn this_afternoon() -> Timestamp {
    let now = Clock::System.now();
    let Ok(paris) = jiff::tz::TimeZone::get("Europe/Paris") else { return now };
    let afternoon = now.in_zone(&paris).date().to_datetime(time(15, 0, 0, 0)).to_zoned(paris);
    afternoon.map_or(now, |afternoon| afternoon.timestamp().into())
}

/// Writes everything that the daemon reads, and gives a key that may do everything.
fn write_config(folder: &Path, providers: &Sandbox) -> Result<String> {
    let credentials = providers.write_credentials(folder)?;
    let (key, record) = new_key(&Entropy::System, "demo", Scope::ALL.into());
    let fragment = fs::read_to_string(&credentials.fragment)?;
    let files: [(&str, String); 6] = [
        ("parvis.toml", format!("{}\n{fragment}", include_str!("../../config/demo/parvis.toml"))),
        ("geofences.geojson", include_str!("../../config/demo/geofences.geojson").to_owned()),
        ("stores.toml", include_str!("../../config/demo/stores.toml").to_owned()),
        ("beacons.toml", include_str!("../../config/demo/beacons.toml").to_owned()),
        ("campaigns.toml", include_str!("../../config/demo/campaigns.toml").to_owned()),
        ("keys.toml", toml::to_string(&KeyFile { keys: vec![record] })?),
    ];
    for (name, content) in files {
        let path = folder.join(name);
        fs::write(&path, content).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(key)
}

/// A folder of its own that goes with the demonstration.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        let path = std::env::temp_dir().join(format!("parvis-demo-{:016x}", Entropy::System.bits()));
        fs::create_dir(&path).with_context(|| format!("can't make {}", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is in the system's own folder for such things.
        let _ = fs::remove_dir_all(&self.0);
    }
}
