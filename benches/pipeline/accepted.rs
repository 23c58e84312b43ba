//! From a ping to the provider that accepts what it causes: whole nodes, real protocols, and pings that come at their
//! time whether or not the nodes keep up.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use parvis::{
    app::App,
    clock::Clock,
    sandbox::{self, Sandbox},
};
use parvis_engine::{shopper::PushTarget, time::Timestamp};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{
    Scale,
    caller::{Caller, new_key},
    city::{Phone, Walk, fence_file, known, node},
    shared::Server,
};

/// Connections over which pings come.
const CALLERS: usize = 64;
const CAMPAIGN: &str = r#"
[[campaign]]
id = "welcome"
purpose = "offer"
on = { transition = "enter" }
content.en = { title = "Welcome", body = "Ten percent on headphones today" }
"#;

pub(crate) fn part(scale: &Scale) {
    println!("\n| from ping to accepted, each ping an offer, at so many a second | messages | p50 | p99 |");
    println!("|---|---:|---:|---:|");
    for pace in scale.paces {
        row(scale, pace, ("embedded store", 1, ""));
        for (what, nodes) in [("Redis, one node", 1), ("Redis, two nodes", 2)] {
            let server = Server::start("everysec");
            row(scale, pace, (what, nodes, &server.section()));
        }
    }
}

fn row(scale: &Scale, pace: usize, (what, nodes, section): (&str, usize, &str)) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut waits = Runtime::new().expect("a runtime").block_on(play(scale, pace, (folder.path(), nodes, section)));
    waits.sort_unstable();
    let at = |part: f64| waits[((waits.len() - 1) as f64 * part) as usize];
    println!("| {what}, {pace} | {} | {} ms | {} ms |", waits.len(), at(0.5), at(0.99));
}

/// Milliseconds from each ping's own time to its acceptance.
async fn play(scale: &Scale, pace: usize, (folder, nodes, section): (&Path, usize, &str)) -> Vec<u128> {
    let phones = ((pace as f64 * scale.stretch.as_secs_f64()) as usize).max(CALLERS);
    let providers = Sandbox::start(sandbox::Options { capacity: phones * 2, ..sandbox::Options::default() });
    let providers = providers.await.expect("providers");
    let key = lay_out(folder, &providers, section);
    let tokens = register(folder, &providers, phones).await;
    let mut running = Vec::new();
    for _ in 0..nodes {
        running.push(node(folder).await);
    }
    let sent = send(&running, &key, pace, phones).await;
    let received = providers.wait_for(phones as u64).await;
    for app in running {
        app.stop().await.expect("stops");
    }
    providers.stop().await;
    // A message that is repeated counts once.
    let first: BTreeMap<_, _> = received.iter().rev().map(|it| (it.target.clone(), it.at)).collect();
    assert_eq!(first.len(), phones, "every ping is an offer");
    first.into_iter().map(|(token, at)| at.since(sent[tokens[&token]]).as_millis()).collect()
}

fn lay_out(folder: &Path, providers: &Sandbox, section: &str) -> String {
    let credentials = providers.write_credentials(folder).expect("credentials");
    let fragment = fs::read_to_string(credentials.fragment).expect("a configuration");
    let config = format!("[http]\nlisten = \"127.0.0.1:0\"\n{section}\n{fragment}");
    fs::write(folder.join("parvis.toml"), config).expect("writes");
    fs::write(folder.join("campaigns.toml"), CAMPAIGN).expect("writes");
    fence_file(folder, 23_000, None);
    new_key(folder)
}

/// Phones by their tokens.
async fn register(folder: &Path, providers: &Sandbox, phones: usize) -> BTreeMap<String, usize> {
    let tokens: Vec<String> = (0..phones).map(|_| providers.register_fcm()).collect();
    let shopper = |index: usize| {
        let mut shopper = Phone::new(index, Walk::Border).shopper();
        let target = PushTarget::Fcm { token: Some(tokens[index].as_str().into()), fid: None };
        shopper.devices.values_mut().for_each(|device| device.target = Some(target.clone()));
        shopper
    };
    let config = parvis::config::load(&parvis::config::Source::new(folder)).expect("a configuration");
    let store = parvis::store::open(config.store.below(folder)).await.expect("opens");
    known(&*store, (0..phones).map(shopper)).await;
    store.close().await.expect("closes");
    tokens.into_iter().enumerate().map(|(index, token)| (token, index)).collect()
}

/// Each phone enters its shop once, at its time; gives those times.
async fn send(nodes: &[App], key: &str, pace: usize, phones: usize) -> Vec<Timestamp> {
    let begin = Clock::System.now().plus(Duration::from_millis(200));
    let time = move |index: usize| begin.plus(Duration::from_secs_f64(index as f64 / pace as f64));
    let mut callers = JoinSet::new();
    for first in 0..CALLERS {
        let own = (first..phones).step_by(CALLERS).map(|index| Phone::new(index, Walk::Border)).collect();
        let mut caller = Caller::new(nodes[first % nodes.len()].address, key, own, false).await;
        callers.spawn(async move {
            for index in (first..phones).step_by(CALLERS) {
                Clock::System.sleep_until(Some(time(index))).await;
                caller.ping(time(index)).await;
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.expect("sends");
    }
    (0..phones).map(time).collect()
}
