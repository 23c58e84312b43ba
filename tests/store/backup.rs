//! A store as a file: what is written is read back, what was altered is refused by its line, and what is written while
//! others commit is of one moment.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use aws_lc_rs::digest;
use parvis::{
    backup::{Reading, Section, Writing, import, survey},
    entropy::Entropy,
    report::{Event, What},
    store::{
        Answer, CatalogItem, Commit, Committed, Error, Store,
        rows::{Contents, Row},
    },
};
use parvis_engine::{
    decide::Suppression,
    id::{CampaignId, RegionId},
    matching::{Transition, TransitionCause, TransitionKind},
    notification::{Cause, Channel, Milestone, Notification},
    region::RegionKind,
    shopper::{Attribute, Interest, Shopper},
};
use tokio::task::JoinSet;

use crate::{moves, rig::*};

async fn written(store: &dyn Store) -> Vec<u8> {
    let mut writing = Writing::new(store.export().await.expect("available"), at(0), &Entropy::System);
    let mut bytes = Vec::new();
    while let Some(section) = writing.next().await {
        bytes.extend(section);
    }
    assert_eq!(writing.failure(), None);
    bytes
}

/// Every row of a file, or what is wrong with it.
async fn read(bytes: &[u8]) -> Result<Vec<Row>, String> {
    let mut reading = Reading::begin(bytes).await.map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    loop {
        match reading.next().await.map_err(|error| error.to_string())? {
            Section::Rows(lines) => rows.extend(lines.rows().map_err(|error| error.to_string())?),
            Section::End(_) => return Ok(rows),
        }
    }
}

async fn take_in(store: &dyn Store, bytes: &[u8]) -> Result<u64, String> {
    let mut reading = Reading::begin(bytes).await.map_err(|error| error.to_string())?;
    import(store, &mut reading).await.map(|taken| taken.before).map_err(|error| error.to_string())
}

/// A file's rows, without the lines that name the time and sum up.
fn rows_of(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(bytes).expect("JSON is text");
    let is_row = |line: &&str| !["{\"format\"", "{\"check\"", "{\"end\""].iter().any(|mark| line.starts_with(mark));
    text.lines().filter(is_row).map(str::to_owned).collect()
}

/// Draws what a store can hold.
struct Chance(Entropy);

impl Chance {
    fn below(&self, bound: u64) -> u64 {
        self.0.bits() % bound
    }

    fn second(&self) -> i64 {
        i64::try_from(self.below(10_000)).expect("small")
    }

    fn number(&self) -> f64 {
        let number = f64::from_bits(self.0.bits());
        if number.is_finite() { number } else { 0.1 + self.below(1_000) as f64 }
    }

    fn shopper(&self, id: &str) -> Shopper {
        let mut shopper = with_device(id, &format!("phone-{id}"));
        let attribute = match self.below(3) {
            0 => Attribute::Number(self.number()),
            1 => Attribute::Flag(true),
            _ => Attribute::Text("\u{65e5}\u{672c} \"\\\n\u{0} 1.0".to_owned()),
        };
        shopper.profile.attributes.insert("a".to_owned(), attribute);
        let interest = Interest { weight: self.number(), at: at(self.second()), signals: vec![self.0.bits()] };
        shopper.interests.insert("tv".to_owned(), interest);
        let mut order = order(&format!("o-{id}"));
        order.lines =
            vec![serde_json::json!({"n": self.number(), "big": u64::MAX, "low": i64::MIN, "deep": [null, {}]})];
        shopper.orders.insert(order.id.clone(), order);
        shopper
    }

    fn event(&self, id: &str) -> Event {
        let (time, received) = (at(self.second()), at(self.second()));
        let campaign: CampaignId = name("c");
        let cause = Cause::Transition { transition: TransitionKind::Dwell, region: name::<RegionId>("shop") };
        let what = match self.below(3) {
            0 => What::Transition(Transition {
                kind: TransitionKind::Enter,
                device: name("phone"),
                region: name("shop"),
                region_kind: RegionKind::Geofence,
                store: None,
                at: time,
                received_at: received,
                confidence: self.number(),
                cause: TransitionCause::Timeout,
                entered_at: Some(time),
                replayed: false,
            }),
            1 => What::Decision {
                campaign,
                device: None,
                cause,
                notification: None,
                not_before: Some(time),
                suppressed: Some(Suppression::Expired { expires_at: time }),
            },
            _ => What::Milestone {
                notification: message(self.second(), id, Channel::Fcm).id,
                milestone: Milestone::Dead,
                detail: Some("why".to_owned()),
            },
        };
        Event { at: time, recorded_at: received, shopper: name(id), what }
    }

    async fn fill(&self, store: &dyn Store) {
        for n in 0..self.below(60) {
            let id = format!("C-{}", self.below(40));
            let version = load(store, &id).await.version;
            let wake = (self.below(2) == 0).then(|| at(self.second()));
            let change = match self.below(8) {
                0 => erased(version, &id),
                _ => replaced(version, self.shopper(&id), wake),
            };
            let channel = Channel::PUSH[usize::try_from(self.below(3)).expect("small")];
            let plain = (0..self.below(3)).map(|_| message(self.second(), &id, channel));
            let outbox = plain.chain((0..self.below(2)).map(|_| varied(self.second(), &id))).collect();
            let events = (0..self.below(4)).map(|_| self.event(&id)).collect();
            let commit = Commit { changes: vec![change], outbox, events, ..Commit::default() };
            store.commit(commit).await.expect("available");
            let entries = claim(store, self.second(), 2).await;
            let end = match self.below(4) {
                0 => again(self.second(), 1),
                1 => dead(1),
                _ => accepted(1),
            };
            let settlements = entries.iter().map(|entry| settled(entry, self.second(), end.clone())).collect();
            store.settle(settlements).await.expect("available");
            let body = (0..self.below(50)).map(|_| self.0.bits() as u8).collect();
            let answer = Answer { status: 200, content_type: "x".to_owned(), body, request_hash: self.0.bits() };
            store.keep_answer(&format!("k-{n}"), answer, at(self.second())).await.expect("available");
            let note = format!("note-{}", self.below(4));
            let version = store.note(&note).await.expect("available").map_or(0, |note| note.version);
            store.keep_note(&note, self.0.bits().to_le_bytes().to_vec(), version).await.expect("available");
            let campaign = name(&format!("c-{}", self.below(5)));
            store.lease_budget(&campaign, 1_000, self.below(3) + 1).await.expect("available");
            let generation = store.catalog().await.expect("available").generation;
            let json = (self.below(4) > 0).then(|| format!("{{\"lat\":{}}}", self.number()));
            let item = CatalogItem { kind: "store".to_owned(), id: format!("s-{}", self.below(9)), json };
            store.put_catalog(vec![item], generation).await.expect("available");
        }
    }
}

#[tokio::test]
async fn what_is_exported_and_imported_is_exported_again_alike() {
    for seed in 0..8 {
        let origin = Rig::embedded().await;
        Chance(Entropy::seeded(seed)).fill(origin.store()).await;
        let first = written(origin.store()).await;
        assert_eq!(read(&first).await.as_ref(), Ok(&moves::rows(origin.store()).await), "seed {seed}");
        let mut elsewhere = Rig::embedded().await;
        assert_eq!(take_in(elsewhere.store(), &first).await, Ok(0));
        elsewhere.restart().await;
        let second = written(elsewhere.store()).await;
        assert_eq!(rows_of(&second), rows_of(&first), "seed {seed}");
        let memory = Rig::memory();
        take_in(memory.store(), &second).await.expect("takes it all");
        let sorted = |bytes: &[u8]| {
            let mut rows = rows_of(bytes);
            rows.sort_unstable();
            rows
        };
        assert_eq!(sorted(&written(memory.store()).await), sorted(&first), "seed {seed}");
        assert_eq!(survey(memory.store()).await, survey(origin.store()).await);
    }
}

#[tokio::test]
async fn no_byte_of_a_file_can_be_altered() {
    let rig = Rig::memory();
    moves::fill(rig.store()).await;
    let whole = written(rig.store()).await;
    let line_of = |at: usize| 1 + whole[..at].iter().filter(|byte| **byte == b'\n').count();
    for at in (0..whole.len()).step_by(13) {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        let why = read(&altered).await.expect_err("altered");
        let numbers: Vec<usize> = why
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse().ok())
            .take(if why.starts_with("lines") { 2 } else { 1 })
            .collect();
        let (first, last) = (numbers[0], numbers[numbers.len() - 1]);
        let line = line_of(at);
        // What a line is can itself be altered: then the next checksum tells.
        assert!(why.starts_with("line") && last + 1 >= line, "byte {at} in line {line}: {why}");
        // The end that is none any more is missed after it.
        let is_end = line == line_of(whole.len() - 1) && first == line + 1;
        assert!(first <= line || first == 2 || line == 1 || is_end, "byte {at} in line {line}: {why}");
    }
    for cut in (0..whole.len()).step_by(17) {
        let why = read(&whole[..cut]).await.expect_err("cut");
        assert!(why.starts_with("line"), "cut at {cut}: {why}");
    }
    let why = read(&[&whole[..], b"{}\n"].concat()).await.expect_err("longer");
    assert!(why.contains("follows the end"), "{why}");
    assert!(read(b"a shopping list\n").await.expect_err("something else").contains("no export of a store"));
}

/// The same file as the version before would have written it.
fn of_version_1(bytes: &[u8]) -> Vec<u8> {
    let mut older = Vec::new();
    for (number, line) in std::str::from_utf8(bytes).expect("text").lines().enumerate() {
        let mut value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        if number == 0 {
            value["version"] = 1.into();
        }
        for mark in ["check", "end"] {
            if let Some(mark) = value.get_mut(mark) {
                let sum = digest::digest(&digest::SHA256, &older);
                mark["sha256"] = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into();
            }
        }
        serde_json::to_writer(&mut older, &value).expect("is written");
        older.push(b'\n');
    }
    older
}

#[tokio::test]
async fn a_file_of_the_version_before_is_taken() {
    let origin = Rig::memory();
    moves::fill(origin.store()).await;
    let mut rows = moves::rows(origin.store()).await;
    rows.retain(|row| !matches!(row, Row::Note(_)));
    let before = Rig::memory();
    moves::import(before.store(), &rows).await;
    let newest = written(before.store()).await;
    assert_eq!(read(&of_version_1(&newest)).await, Ok(rows));
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_in_a_sentence() {
    let rig = Rig::memory();
    let whole = String::from_utf8(written(rig.store()).await).expect("text");
    let newer = whole.replacen("\"version\":2", "\"version\":9", 1);
    let why = read(newer.as_bytes()).await.expect_err("newer");
    assert!(why.contains("version 9") && why.contains("newer Parvis"), "{why}");
}

#[tokio::test]
async fn an_interrupted_import_is_repeated_and_nothing_else_is_let_in() {
    let origin = Rig::memory();
    let events = (0..2_000).map(|n| event(n, "A")).collect();
    origin.store().commit(Commit { events, ..Commit::default() }).await.expect("available");
    moves::fill(origin.store()).await;
    let whole = written(origin.store()).await;
    let mut rig = Rig::embedded().await;
    let why = take_in(rig.store(), &whole[..whole.len() / 2]).await.expect_err("cut");
    assert!(why.contains("the file is cut here"), "{why}");
    let Ok(Contents::Part { rows, .. }) = rig.store().contents().await else { panic!("a part is there") };
    assert!(rows > 500, "{rows}");
    let why = take_in(rig.store(), &written(Rig::memory().store()).await).await.expect_err("another file");
    assert!(why.contains("import of another file"), "{why}");
    rig.store().close().await.expect("closes");
    let refused = rig.try_open().await;
    assert!(matches!(&refused, Some(Error::Unavailable(why)) if why.contains("has not ended")), "{refused:?}");
    rig.open_to_import().await;
    assert_eq!(take_in(rig.store(), &whole).await, Ok(rows));
    rig.restart().await;
    assert_eq!(survey(rig.store()).await, survey(origin.store()).await);
    let why = take_in(rig.store(), &whole).await.expect_err("not empty");
    assert!(why.contains("not empty"), "{why}");
}

#[tokio::test]
async fn an_export_that_its_file_closes_ends_and_keeps_nobody_from_opening_it() {
    let mut rig = Rig::embedded().await;
    let events = (0..2_000).map(|n| event(n, "A")).collect();
    rig.store().commit(Commit { events, ..Commit::default() }).await.expect("available");
    let mut export = rig.store().export().await.expect("available");
    assert!(!export.next().await.expect("available").is_empty());
    rig.restart().await;
    let ended = export.next().await;
    assert!(matches!(&ended, Err(Error::Unavailable(why)) if why.contains("was closed")), "{ended:?}");
    assert_eq!(load(rig.store(), "A").await.version, 0);
}

const WRITERS: usize = 4;
const EACH: i64 = 25;

/// Changes shoppers of its own, each time with a message and an event, until it is told to stop.
async fn write(store: Arc<dyn Store>, writer: usize, stop: Arc<AtomicBool>, commits: Arc<AtomicU64>) {
    for round in 0.. {
        if stop.load(SeqCst) {
            return;
        }
        let changes = (0..EACH).map(|n| {
            let id = format!("W{writer}-{n}");
            replaced(u64::try_from(round).expect("not negative"), counted(&id, round + 1), None)
        });
        let ids = || (0..EACH).map(|n| format!("W{writer}-{n}"));
        let outbox = ids().map(|id| message(round, &id, Channel::Fcm)).collect();
        let events = ids().map(|id| event(round, &id)).collect();
        let commit = Commit { changes: changes.collect(), outbox, events, ..Commit::default() };
        assert_eq!(store.commit(commit).await, Ok(Committed::Done));
        commits.fetch_add(1, SeqCst);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_export_while_four_write_is_of_one_moment_and_holds_up_none() {
    let rig = Rig::embedded().await;
    let (stop, commits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        writers.spawn(write(rig.shared(), writer, stop.clone(), commits.clone()));
    }
    let more = async |number: u64| {
        let goal = commits.load(SeqCst) + number;
        while commits.load(SeqCst) < goal {
            tokio::task::yield_now().await;
        }
    };
    more(40).await;
    let before = commits.load(SeqCst);
    let mut export = rig.store().export().await.expect("available");
    let (mut pages, mut rows) = (0, Vec::new());
    loop {
        let page = export.next().await.expect("available");
        if page.is_empty() {
            break;
        }
        rows.extend(page);
        pages += 1;
        // If the export held up commits, this would not end.
        more(4).await;
    }
    assert!(commits.load(SeqCst) >= before + 4 * pages && pages > 5, "{pages} pages");
    stop.store(true, SeqCst);
    while let Some(ended) = writers.join_next().await {
        ended.expect("no writer fails");
    }
    assert_one_moment(&rows, before);
}

/// Every shopper has as many messages and events as changes, and those of one writer as many as one another.
fn assert_one_moment(rows: &[Row], before: u64) {
    let mut counted: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
    for row in rows {
        match row {
            Row::Shopper(shopper) => counted.entry(shopper.state.id.to_string()).or_default().0 += shopper.version,
            Row::Notification(sent) => {
                let Notification { shopper, .. } = &sent.life.notification;
                counted.entry(shopper.to_string()).or_default().1 += 1;
            }
            Row::Event(event) => counted.entry(event.shopper.to_string()).or_default().2 += 1,
            Row::Generation(_) | Row::Object(_) | Row::Note(_) | Row::Budget(_) | Row::Answer(_) => {}
        }
    }
    assert_eq!(counted.len(), WRITERS * usize::try_from(EACH).expect("small"));
    for (id, (versions, messages, events)) in &counted {
        assert!(versions == messages && messages == events, "{id}: {versions} {messages} {events}");
        let writer = id.split_once('-').map(|(writer, _)| writer).expect("named so");
        let first = &counted[&format!("{writer}-0")];
        assert_eq!((versions, messages, events), (&first.0, &first.1, &first.2), "{id}");
    }
    let rounds: u64 = (0..WRITERS).map(|writer| counted[&format!("W{writer}-0")].0).sum();
    assert!(rounds >= before, "{rounds} commits are in it and {before} were answered before");
}
