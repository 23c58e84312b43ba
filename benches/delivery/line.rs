//! From the outbox to settled: a whole node over the embedded store takes what waits there, has it accepted over TLS
//! and writes down what came of it. Also with a million messages waiting for later beside it.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::{fs, path::Path, sync::Arc, time::Duration, time::Instant};

use parvis::{
    app::App,
    clock::Clock,
    config::Source,
    entropy::Entropy,
    store::{Change, Claim, Commit, Committed, Durable, Queue, Store},
};
use parvis_engine::{
    id::AppId,
    notification::{Address, Channel, Notification, Purpose, Recipient},
    shopper::{ApnsEnvironment, Consent, Device, PushTarget, Shopper},
    time::Timestamp,
};
use tokio::runtime::Runtime;

use crate::{
    Scale,
    load::median,
    message::{message, name},
    sink::{Certificate, Sink},
};

const SHOPPERS: usize = 10_000;
const COMMIT: usize = 1_000;
const LATER: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a node did with what waited.
struct Played {
    settled_per_s: f64,
    resident_bytes: u64,
}

pub(crate) fn line(scale: &Scale) {
    let rates = (0..scale.rounds).map(|_| play(scale.due, 0).settled_per_s);
    println!("\n| from the outbox to settled, embedded store, APNs | messages/s |\n|---|---:|");
    println!("| {} messages | {:.0} |", scale.due, median(rates.collect()));
}

pub(crate) fn backlog(scale: &Scale) {
    let none = play(scale.due, 0);
    let many = play(scale.due, scale.backlog);
    let more = many.resident_bytes.saturating_sub(none.resident_bytes);
    println!(
        "\n| {} messages to send now, beside those for later | messages/s | resident |\n|---|---:|---:|",
        scale.due
    );
    for (backlog, played) in [(0, none), (scale.backlog, many)] {
        println!("| {backlog} | {:.0} | {} MB |", played.settled_per_s, played.resident_bytes >> 20);
    }
    println!("| more for each of those for later | | {} B |", more / scale.backlog as u64);
}

fn play(due: usize, backlog: usize) -> Played {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::new(folder.path());
    let sink = Sink::start(&certificate);
    lay_out(folder.path(), &certificate, &sink);
    // A runtime of its own, so that its memory is gone before the node begins.
    Runtime::new().expect("a runtime").block_on(fill(folder.path(), due, backlog));
    let played = Runtime::new().expect("a runtime").block_on(async {
        let source = Source::new(folder.path());
        let config = parvis::config::load(&source).expect("a configuration");
        let app = App::start(config, source, Clock::System, Entropy::System).await.expect("starts");
        while sink.requests() == 0 {
            Clock::System.sleep(Duration::from_millis(1)).await;
        }
        let (begun, before) = (Instant::now(), sink.requests());
        while sink.requests() < due {
            Clock::System.sleep(Duration::from_millis(1)).await;
        }
        let resident_bytes = resident_bytes();
        // Ends when what was accepted is settled.
        app.stop().await.expect("stops");
        Played { settled_per_s: (due - before) as f64 / begun.elapsed().as_secs_f64(), resident_bytes }
    });
    Runtime::new().expect("a runtime").block_on(async {
        let store = open(folder.path()).await;
        for purpose in [Purpose::Order, Purpose::Offer] {
            let queue = Queue::new(Channel::Apns, AppId::DEFAULT, Some(purpose));
            let claim = store.claim(queue, Clock::System.now(), 1, Duration::from_secs(60)).await;
            assert!(matches!(claim, Ok(Claim::NothingUntil(_))), "everything that was due is settled");
        }
        store.close().await.expect("closes");
    });
    played
}

fn lay_out(folder: &Path, certificate: &Certificate, sink: &Sink) {
    let key = rcgen::KeyPair::generate().expect("a key");
    fs::write(folder.join("key.pem"), key.serialize_pem()).expect("writes");
    let (authority, url) = (certificate.file.display(), sink.url());
    let config = format!(
        r#"
        [http]
        listen = "127.0.0.1:0"
        [delivery]
        extra_ca = "{authority}"
        [delivery.apns]
        key = "key.pem"
        key_id = "ABC123DEFG"
        team_id = "DEF123GHIJ"
        production_url = "{url}"
        sandbox_url = "{url}"
        "#
    );
    fs::write(folder.join("parvis.toml"), config).expect("writes");
}

async fn open(folder: &Path) -> Arc<dyn Store> {
    let config = parvis::config::load(&Source::new(folder)).expect("a configuration");
    parvis::store::open(config.store.below(folder)).await.expect("opens")
}

async fn fill(folder: &Path, due: usize, backlog: usize) {
    let store = open(folder).await;
    for first in (0..SHOPPERS).step_by(COMMIT) {
        let changes = (first..first + COMMIT).map(|number| {
            let shopper = Arc::new(shopper(number));
            let state = Durable::Replaced { shopper: Arc::clone(&shopper), wake: None };
            Change { version: 0, id: shopper.id.clone(), state, tracks: Default::default() }
        });
        commit(&*store, Commit { changes: changes.collect(), ..Commit::default() }).await;
    }
    for (first, count, wait) in [(0, backlog, LATER), (backlog, due, Duration::ZERO)] {
        for from in (first..first + count).step_by(COMMIT) {
            let outbox = (from..(from + COMMIT).min(first + count)).map(|number| waiting(number, wait)).collect();
            commit(&*store, Commit { outbox, ..Commit::default() }).await;
        }
    }
    store.close().await.expect("closes");
}

async fn commit(store: &dyn Store, commit: Commit) {
    assert_eq!(store.commit(commit).await, Ok(Committed::Done));
}

fn target(number: usize) -> PushTarget {
    PushTarget::Apns {
        token: format!("{number:064x}").into(),
        topic: "com.example.shop".into(),
        environment: ApnsEnvironment::Production,
    }
}

fn shopper(number: usize) -> Shopper {
    let mut shopper = Shopper::new(name(&format!("C-{number}")));
    let yes = Some(Consent { granted: true, at: Timestamp::from_millis(0), text: None });
    shopper.profile.consents.location.clone_from(&yes);
    shopper.profile.consents.offers = yes;
    let device = Device::new("ios".to_owned(), Some(target(number)), Timestamp::from_millis(0));
    shopper.devices.insert(name(&format!("phone-{number}")), device);
    shopper
}

fn waiting(number: usize, wait: Duration) -> Notification {
    let not_before = Clock::System.now().plus(wait);
    let owner = number % SHOPPERS;
    Notification {
        shopper: name(&format!("C-{owner}")),
        recipient: Recipient::Device(name(&format!("phone-{owner}"))),
        not_before,
        expires_at: not_before.plus(LATER),
        ..message(number, Channel::Apns, Address::Target(target(number)))
    }
}

fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}
