//! What durability costs and how soon a store is back: commits beside the synchronisations of the same disk, and opening a
//! file with many shoppers after a clean end and after a kill.
//!
//! Prints a table a part; `cargo bench --bench store -- reopen` prints only that one. Each part compares things measured in
//! the same run on the same disk, for a disk's speed changes with whoever else uses it.

#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a bench measures real time and tells it")]

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use parvis::{
    report::{Event, What},
    store::{Change, Commit, Committed, Config, Durable, Store},
};
use parvis_engine::{
    id::ShopperId,
    matching::{Transition, TransitionCause, TransitionKind},
    region::RegionKind,
    shopper::{Consent, Device, Interest, Presence, PresenceState, PushTarget, Shopper, Witness},
    time::Timestamp,
};
use tokio::{runtime::Runtime, task::JoinSet};

/// The daemon's: what is measured here allocates much.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tells the child which file to open.
const OPEN: &str = "PARVIS_BENCH_OPEN";

/// How much is measured.
struct Scale {
    crowds: [usize; 2],
    span: Duration,
    changes: usize,
    /// Committers and the shoppers of each of their commits.
    shapes: [(usize, usize); 3],
}

const WHOLE: Scale = Scale {
    crowds: [100_000, 1_000_000],
    span: Duration::from_secs(4),
    changes: 200_000,
    shapes: [(64, 1), (8, 100), (8, 500)],
};

/// A part's name and what measures it.
type Part = (&'static str, fn(&Scale));

/// Shows that everything still runs; measures nothing.
const SMOKE: Scale =
    Scale { crowds: [100, 2_000], span: Duration::from_millis(20), changes: 8, shapes: [(2, 1), (1, 2), (2, 2)] };

fn main() {
    if let Ok(path) = std::env::var(OPEN) {
        return open_once(Path::new(&path));
    }
    // Only `cargo bench` says this.
    let scale = if std::env::args().any(|argument| argument == "--bench") { &WHOLE } else { &SMOKE };
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let parts: [Part; 3] = [("commits", commits), ("changes", changes), ("reopen", reopen)];
    for (name, part) in parts {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            part(scale);
        }
    }
}

/// Committers that each wait for their commit, as shards do, beside a file that gets the same bytes.
fn commits(scale: &Scale) {
    println!(
        "\n| committers | shoppers a commit | commits/s | shoppers/s | p50 | p99 | raw syncs/s | raw p50 | raw p99 |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (committers, batch) in [(1, 1), (8, 1), (64, 1), (1, 100), (8, 100), (8, 500)] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let before = raw(folder.path(), batch, scale.span / 4);
        let runtime = Runtime::new().expect("a runtime");
        let (mut waits, span_s) = runtime.block_on(async {
            let store = open(&folder.path().join("store.redb")).await;
            let begun = Instant::now();
            let mut tasks = JoinSet::new();
            for committer in 0..committers {
                tasks.spawn(commit_for(store.clone(), committer, batch, scale.span));
            }
            let waits: Vec<f64> = tasks.join_all().await.into_iter().flatten().collect();
            let span_s = begun.elapsed().as_secs_f64();
            store.close().await.expect("closes");
            (waits, span_s)
        });
        let after = raw(folder.path(), batch, scale.span / 4);
        let mut syncs: Vec<f64> = before.into_iter().chain(after).collect();
        let rate = waits.len() as f64 / span_s;
        let raw_rate = syncs.len() as f64 / syncs.iter().sum::<f64>() * 1e3;
        println!(
            "| {committers} | {batch} | {rate:.0} | {:.0} | {} | {} | {raw_rate:.0} | {} | {} |",
            rate * batch as f64,
            at_part(&mut waits, 0.5),
            at_part(&mut waits, 0.99),
            at_part(&mut syncs, 0.5),
            at_part(&mut syncs, 0.99),
        );
    }
}

async fn commit_for(store: Arc<dyn Store>, committer: usize, batch: usize, span: Duration) -> Vec<f64> {
    let (begun, mut waits, mut turn) = (Instant::now(), Vec::new(), 0);
    while waits.is_empty() || begun.elapsed() < span {
        turn += 1;
        let first = turn * batch;
        let ids: Vec<ShopperId> =
            (first..first + batch).map(|n| name(&format!("C-{committer}-{}", n % 5_000))).collect();
        let now = at(i64::try_from(turn).expect("small"));
        let records = store.load(&ids).await.expect("available");
        let commit = crowd(records.into_iter().map(|record| (record.shopper.id.clone(), record.version)), now);
        let asked = Instant::now();
        assert_eq!(store.commit(commit).await, Ok(Committed::Done));
        waits.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    waits
}

/// How long each synchronisation of a file takes that gets a commit's bytes: what no store can beat without sharing.
fn raw(folder: &Path, batch: usize, span: Duration) -> Vec<f64> {
    let mut file = File::create(folder.join("raw")).expect("a file");
    let bytes = vec![7_u8; rmp_serde::to_vec_named(&shopper(name("C-0-0"), 0, at(0))).expect("encodes").len() * batch];
    let (begun, mut waits) = (Instant::now(), Vec::new());
    while waits.is_empty() || begun.elapsed() < span {
        let asked = Instant::now();
        file.write_all(&bytes).expect("writes");
        file.sync_data().expect("synchronises");
        waits.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    waits
}

/// What a change costs the store beyond the wait: commits that were made before and only have to be taken.
fn changes(scale: &Scale) {
    println!(
        "\n| committers | shoppers a commit | shoppers/s | processor a change | of it the writer's | bytes a change |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    for (committers, batch) in scale.shapes {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runtime = Runtime::new().expect("a runtime");
        let row = runtime.block_on(async {
            let store = open(&folder.path().join("store.redb")).await;
            let turns = (scale.changes / committers / batch).max(2);
            let crowds: Vec<Vec<Commit>> = (0..committers)
                .map(|committer| (0..turns).map(|turn| moved(committer, batch, turn)).collect())
                .collect();
            let changes = (committers * batch * turns) as f64;
            let (begun, before) = (Instant::now(), Spent::now());
            let mut tasks = JoinSet::new();
            for commits in crowds {
                let store = store.clone();
                tasks.spawn(async move {
                    for commit in commits {
                        assert_eq!(store.commit(commit).await, Ok(Committed::Done));
                    }
                });
            }
            drop(tasks.join_all().await);
            let (took_s, after) = (begun.elapsed().as_secs_f64(), Spent::now());
            store.close().await.expect("closes");
            format!(
                "{:.0} | {:.2} µs | {:.2} µs | {:.0}",
                changes / took_s,
                (after.all_us - before.all_us) / changes,
                (after.writer_us - before.writer_us) / changes,
                (after.bytes - before.bytes) / changes,
            )
        });
        println!("| {committers} | {batch} | {row} |");
    }
}

/// A commit of a crowd of 5,000 for each committer: each has entered or left since the last time.
fn moved(committer: usize, batch: usize, turn: usize) -> Commit {
    let ids =
        (turn * batch..(turn + 1) * batch).map(|n| (name(&format!("C-{committer}-{}", n % 5_000)), (n / 5_000) as u64));
    crowd(ids, at(i64::try_from(turn).expect("small")))
}

/// Processor time and bytes handed to the disk by this process so far (Linux).
struct Spent {
    all_us: f64,
    writer_us: f64,
    bytes: f64,
}

impl Spent {
    fn now() -> Spent {
        let writer = fs::read_dir("/proc/self/task")
            .into_iter()
            .flatten()
            .flatten()
            .map(|task| task.path())
            .find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == "store-writer"));
        let told = writer.and_then(|task| fs::read_to_string(task.join("schedstat")).ok()).unwrap_or_default();
        let writer_us = told.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e3;
        let all_us = processor_s() * 1e6;
        let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
        let bytes = io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok()).unwrap_or(0.0);
        Spent { all_us, writer_us, bytes }
    }
}

/// Opening in a process of its own, whose memory is then nothing but the store's.
fn reopen(scale: &Scale) {
    println!("\n| shoppers | file | after | open | processor | resident |\n|---:|---:|---|---:|---:|---:|");
    for crowd_size in scale.crowds {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, killed) = (folder.path().join("store.redb"), folder.path().join("killed.redb"));
        Runtime::new().expect("a runtime").block_on(async {
            let store = open(&path).await;
            for first in (0..crowd_size).step_by(500) {
                let ids = (first..crowd_size.min(first + 500)).map(|n| (name(&format!("C-{n}")), 0));
                assert_eq!(store.commit(crowd(ids, at(0))).await, Ok(Committed::Done));
            }
            // Between two commits the file is what a kill would leave.
            fs::copy(&path, &killed).expect("copies");
            store.close().await.expect("closes");
        });
        for (path, after) in [(&path, "a clean end"), (&path, "a clean end, again"), (&killed, "a kill")] {
            let size_mib = fs::metadata(path).expect("is there").len() >> 20;
            let child = Command::new(std::env::current_exe().expect("this bench")).env(OPEN, path).output();
            let child = child.expect("starts itself");
            assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
            print!("| {crowd_size} | {size_mib} MiB | {after} | {}", String::from_utf8_lossy(&child.stdout));
        }
    }
}

/// The child: opens the file and says how long it took.
fn open_once(path: &Path) {
    Runtime::new().expect("a runtime").block_on(async {
        let begun = Instant::now();
        let store = open(path).await;
        let took = begun.elapsed().as_secs_f64();
        println!("{took:.2} s | {:.2} s | {} MiB |", processor_s(), resident_bytes() >> 20);
        store.close().await.expect("closes");
    });
}

async fn open(path: &Path) -> Arc<dyn Store> {
    let config = Config { path: path.to_owned(), ..Config::default() };
    parvis::store::open(config).await.expect("opens")
}

/// One commit: these shoppers have entered a shop.
fn crowd(ids: impl Iterator<Item = (ShopperId, u64)>, now: Timestamp) -> Commit {
    let mut commit = Commit::default();
    for (id, version) in ids {
        commit.events.push(entered(&id, now));
        let state = Durable::Replaced {
            shopper: Arc::new(shopper(id.clone(), version, now)),
            wake: Some(now.plus(Duration::from_secs(1_800))),
        };
        commit.changes.push(Change { version, id, state, tracks: Default::default() });
    }
    commit
}

/// Of sorted milliseconds, the one at this part.
fn at_part(waits: &mut [f64], part: f64) -> String {
    waits.sort_by(f64::total_cmp);
    format!("{:.2} ms", waits[((waits.len() - 1) as f64 * part) as usize])
}

/// Processor time of this process so far, which says more than a clock where others use the machine (Linux).
fn processor_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    // User and system time, in ticks of a hundredth of a second.
    let ticks = behind_name.split_ascii_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4_096
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + second * 1_000)
}

fn name<T: std::str::FromStr<Err = String>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

/// An ordinary shopper: one phone inside one shop, two consents, two interests.
fn shopper(id: ShopperId, version: u64, now: Timestamp) -> Shopper {
    let phone = name(&format!("phone-of-{id}"));
    let mut shopper = Shopper::new(id);
    shopper.profile.locale = Some("fr-FR".into());
    let consent = || Some(Consent { granted: true, at: at(0), text: Some("2026-1".into()) });
    (shopper.profile.consents.location, shopper.profile.consents.offers) = (consent(), consent());
    for interest in ["television", "sofa"] {
        let interest_in = Interest { weight: 0.5 + version as f64, at: at(0), signals: Vec::new() };
        shopper.interests.insert(interest.to_owned(), interest_in);
    }
    let target = PushTarget::Fcm { token: Some("f".repeat(140).into()), fid: None };
    let mut device = Device::new("android".to_owned(), Some(target), at(0));
    device.presences.push(Presence {
        region: name("shop-117"),
        state: PresenceState::Inside,
        since: now,
        seen: now,
        dwelled: false,
        witness: Witness::Position,
    });
    shopper.devices.insert(phone, device);
    shopper
}

fn entered(shopper: &ShopperId, now: Timestamp) -> Event {
    let transition = Transition {
        kind: TransitionKind::Enter,
        device: name("phone"),
        region: name("shop-117"),
        region_kind: RegionKind::Geofence,
        store: None,
        at: now,
        received_at: now,
        confidence: 0.93,
        cause: TransitionCause::Fix,
        entered_at: Some(now),
        replayed: false,
    };
    Event { at: now, recorded_at: now, shopper: shopper.clone(), what: What::Transition(transition) }
}
