//! From the agent to the server: nothing is lost, and nothing is told out of order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use parvis_beacons::report::Report;
use parvis_scanner::{
    queue::Queue,
    uplink::{Age, Now, Record},
};

use crate::{
    rig::Options,
    scene::{Scene, minor},
    server::Server,
};

const BEACONS: std::ops::Range<u16> = 100..130;

/// What waits on disk, from a copy, for the agent holds the folder.
fn waiting(queue: &Path) -> Vec<Record> {
    let copy = tempfile::tempdir().expect("a folder");
    let Ok(entries) = fs::read_dir(queue) else { return Vec::new() };
    for entry in entries.flatten() {
        // A file may be gone by now.
        let _ = fs::copy(entry.path(), copy.path().join(entry.file_name()));
    }
    let mut queue = Queue::open(copy.path(), 1 << 30).expect("opened");
    let mut records = Vec::new();
    while let Some((place, bytes)) = queue.oldest().expect("read") {
        records.push(Record::from_bytes(bytes).expect("a record"));
        queue.remove(place).expect("removed");
    }
    records
}

fn minors_waiting(queue: &Path) -> BTreeSet<u16> {
    waiting(queue).iter().flat_map(|record| record.heard.iter().map(minor)).collect()
}

impl Scene {
    /// The server is away until all these beacons wait on disk.
    async fn queue_up(&mut self) {
        self.server = None;
        for beacon in BEACONS {
            self.until("it scans", |scene| scene.advertise(beacon, -70).then_some(())).await;
        }
        let queue = self.queue();
        self.until("all wait on disk", |_| {
            BEACONS.collect::<BTreeSet<u16>>().is_subset(&minors_waiting(&queue)).then_some(())
        })
        .await;
    }

    async fn server_returns(&mut self, address: std::net::SocketAddr) {
        self.server = Some(Server::start_on(address, self.book.clone()).await);
    }

    async fn all_arrive(&mut self) -> Vec<Report> {
        let all = |scene: &mut Scene| {
            let told: BTreeSet<u16> = scene.book.heard().iter().map(minor).collect();
            BEACONS.collect::<BTreeSet<u16>>().is_subset(&told).then(|| scene.book.reports())
        };
        self.until("all are told", all).await
    }
}

/// In each row numbers grow, whatever the backlog.
fn rows_grow(reports: &[Report]) {
    let mut last = BTreeMap::new();
    for report in reports {
        let before = last.insert(&report.boot, report.seq);
        // The same one again is what a killed agent was not told the answer to.
        assert!(before.is_none_or(|before| before <= report.seq), "{} {} after {before:?}", report.boot, report.seq);
    }
}

fn in_order(reports: &[Report], run: &str) {
    let numbers: Vec<u64> = reports
        .iter()
        .filter(|report| report.boot == run && report.heard.iter().any(|heard| BEACONS.contains(&minor(heard))))
        .map(|report| report.seq)
        .collect();
    assert!(!numbers.is_empty() && numbers.is_sorted(), "{numbers:?}");
}

#[tokio::test]
async fn what_waits_survives_the_agents_death_and_arrives_in_order() {
    let mut scene = Scene::start(Options::default(), "", "").await;
    scene.is_heard(1).await;
    let address = scene.server.as_ref().expect("it runs").address;
    let run = scene.book.reports()[0].boot.clone();
    scene.queue_up().await;
    let records = waiting(&scene.queue());
    scene.agent.take().expect("it runs").kill();
    scene.server_returns(address).await;
    scene.start_agent();
    let reports = scene.all_arrive().await;
    rows_grow(&reports);
    in_order(&reports, &run);
    let late: Vec<&Report> =
        reports.iter().filter(|report| report.heard.iter().any(|heard| BEACONS.contains(&minor(heard)))).collect();
    for record in records {
        let told: Vec<_> =
            late.iter().filter(|report| (&report.boot, report.seq) == (&record.run, record.seq)).collect();
        assert_eq!(told.len(), 1, "each report arrives once");
        assert_eq!(told[0].heard.len(), record.heard.len());
        for (told, kept) in told[0].heard.iter().zip(&record.heard) {
            assert!(told.age_ms > kept.age_ms, "it has grown older: {told:?}");
        }
    }
    scene.until("the queue is empty", |scene| waiting(&scene.queue()).is_empty().then_some(())).await;
}

#[tokio::test]
async fn fresh_reports_pass_the_backlog() {
    let mut scene = Scene::start(Options::default(), "", "").await;
    scene.agent = None;
    let config = scene.rig.folder().join("scanner.toml");
    let text = fs::read_to_string(&config).expect("read");
    fs::write(&config, text.replace("rate_hz = 100.0", "rate_hz = 0.1")).expect("written");
    scene.start_agent();
    scene.is_heard(1).await;
    let address = scene.server.as_ref().expect("it runs").address;
    scene.server = None;
    // Over several seconds, so that several reports wait.
    let queue = scene.queue();
    let several = |scene: &mut Scene| {
        scene.advertise(100, -70);
        (waiting(&queue).len() >= 4).then_some(())
    };
    scene.until("several reports wait", several).await;
    scene.server_returns(address).await;
    scene.is_heard(2).await;
    assert!(waiting(&scene.queue()).len() >= 2, "most of the backlog still waits");
    scene.agent = None;
    fs::write(&config, text).expect("written");
    scene.start_agent();
    scene.until("the rest arrives", |scene| waiting(&scene.queue()).is_empty().then_some(())).await;
    let three = |scene: &mut Scene| {
        let rows: BTreeSet<String> = scene.book.reports().into_iter().map(|report| report.boot).collect();
        (rows.len() >= 3).then_some(())
    };
    scene.until("the backlog, what passed it, and what the next run made", three).await;
    rows_grow(&scene.book.reports());
}

#[tokio::test]
async fn a_busy_server_gets_the_same_report_again() {
    let mut scene = Scene::start(Options::default(), "", "").await;
    scene.is_heard(1).await;
    scene.book.answer_next(&[(503, None), (429, Some(0)), (500, None)]);
    scene.is_heard(2).await;
    assert_eq!(scene.book.refusals(), 3);
    let mut numbers: Vec<(String, u64)> =
        scene.book.reports().into_iter().map(|report| (report.boot, report.seq)).collect();
    let count = numbers.len();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), count, "no report is taken twice");
    rows_grow(&scene.book.reports());
}

#[tokio::test]
async fn a_report_that_the_server_refuses_is_dropped_and_counted() {
    let mut scene = Scene::start(Options::default(), "", "").await;
    scene.is_heard(1).await;
    scene.book.answer_next(&[(422, None), (400, None), (413, None)]);
    let dropped = |scene: &mut Scene| {
        scene.advertise(2, -63);
        let health = scene.book.reports().into_iter().rev().find_map(|report| report.health)?;
        (health.dropped == 3).then_some(health.queued)
    };
    assert_eq!(scene.until("three are dropped", dropped).await, 0);
}

#[tokio::test]
async fn a_key_that_is_not_taken_is_read_again_and_nothing_is_lost() {
    let mut scene = Scene::start(Options::default(), "", "").await;
    scene.is_heard(1).await;
    scene.book.answer_next(&[(401, None), (403, None)]);
    scene
        .until("it is refused", |scene| {
            scene.advertise(100, -70);
            (scene.book.refusals() > 0).then_some(())
        })
        .await;
    fs::write(scene.rig.folder().join("key"), "another-key\n").expect("written");
    let told = |scene: &mut Scene| scene.book.heard().iter().any(|heard| minor(heard) == 100).then_some(());
    scene.until("it is told", told).await;
    assert_eq!(scene.book.last_key().as_deref(), Some("Bearer another-key"));
    assert!(scene.agent().log().contains("check key and url"));
}

#[tokio::test]
async fn a_supervisor_ends_the_agent_and_nothing_is_lost() {
    let mut scene = Scene::start(Options::default(), "", "").await;
    scene.is_heard(1).await;
    scene.until("it scans", |scene| scene.advertise(100, -70).then_some(())).await;
    // What is on its way from the bus was not heard yet; what comes behind it shows that it was.
    scene.is_heard(2).await;
    let address = scene.server.as_ref().expect("it runs").address;
    scene.server = None;
    scene.until("it scans", |scene| scene.advertise(101, -70).then_some(())).await;
    let queue = scene.queue();
    let kept = |scene: &mut Scene| {
        scene.advertise(102, -70);
        minors_waiting(&queue).contains(&102).then_some(())
    };
    scene.until("it is kept", kept).await;
    let ended = scene.agent.take().expect("it runs").terminate();
    assert_eq!(ended.code(), Some(0));
    let told: BTreeSet<u16> = scene.book.heard().iter().map(minor).collect();
    let kept = minors_waiting(&scene.queue());
    assert!([100, 101, 102].iter().all(|minor| told.contains(minor) || kept.contains(minor)), "{told:?} {kept:?}");
    assert_eq!(scene.rig.stats("hci0")["discoverers"], 0);
    scene.server_returns(address).await;
}

/// A power cut in the middle of writing, and a reboot behind it.
#[tokio::test]
async fn a_cut_file_and_a_reboot_cost_only_what_was_being_written() {
    let mut scene = Scene::start(Options::default(), "", "").await;
    scene.is_heard(1).await;
    let address = scene.server.as_ref().expect("it runs").address;
    scene.queue_up().await;
    scene.agent.take().expect("it runs").kill();
    let records = waiting(&scene.queue());
    rewrite_as_of_another_boot(&scene.queue(), &records);
    scene.server_returns(address).await;
    scene.start_agent();
    let reports = scene.all_arrive().await;
    rows_grow(&reports);
    in_order(&reports, &records[0].run);
    let late = reports.iter().find(|report| report.boot == records[0].run && report.seq == records[0].seq);
    let age_ms = late.expect("it arrived").heard[0].age_ms;
    // The wall clocks bridge the reboot: an hour, to the second's precision of the server's clock.
    assert!((3_590_000..3_800_000).contains(&age_ms), "{age_ms}");
    let dropped = |scene: &mut Scene| {
        let health = scene.book.reports().into_iter().rev().find_map(|report| report.health)?;
        (health.queued == 0 && health.dropped == 2).then_some(())
    };
    scene.until("the ageless one and the half one are counted", dropped).await;
}

/// The same records, an hour before, of a boot that is over; a record of a host whose clock was never set; and half of
/// one more.
fn rewrite_as_of_another_boot(folder: &Path, records: &[Record]) {
    fs::remove_dir_all(folder).expect("removed");
    let mut queue = Queue::open(folder, 1 << 30).expect("opened");
    let boot = Some("another".to_owned());
    let ageless = Record { wall_ms: 0, ..records[0].clone() };
    for record in std::iter::once(&ageless).chain(records) {
        let wall_ms = record.wall_ms - if record.wall_ms == 0 { 0 } else { 3_600_000 };
        let earlier = Record { boot: boot.clone(), wall_ms, at_ms: 5, ..record.clone() };
        assert_ne!(
            earlier.age(Now { at: parvis_scanner::clock::Moment(9), boot: None, wall_ms: None }),
            Age::Known(std::time::Duration::ZERO)
        );
        queue.append(&earlier.to_bytes().expect("bytes")).expect("appended");
    }
    drop(queue);
    let last = fs::read_dir(folder)
        .expect("listed")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some());
    let last = last.max().expect("a segment");
    let mut bytes = fs::read(&last).expect("read");
    let begun = bytes[..40].to_vec();
    bytes.extend(begun);
    fs::write(&last, bytes).expect("written");
}
