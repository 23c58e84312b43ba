//! The file is full, garbled, too new or in use: each is said by name, and nothing that was acknowledged is lost.

use std::{path::Path, process::Command};

use parvis::{
    backup::{Reading, Section, Writing},
    entropy::Entropy,
    store::{Commit, Committed, Error, JournalQuery, Step},
};
use parvis_engine::{
    notification::{Channel, Milestone},
    shopper::Attribute,
};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::{moves, rig::*};

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("shoppers_log");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const MESSAGES: TableDefinition<'_, u128, (u64, u64, &[u8])> = TableDefinition::new("messages");
const LIVES: TableDefinition<'_, u128, (i64, i64, &[u8])> = TableDefinition::new("lives");
const JOURNAL: TableDefinition<'_, (i64, u64), &[u8]> = TableDefinition::new("journal");
const ERASURES: TableDefinition<'_, u64, u64> = TableDefinition::new("erasures");

/// Tells the child which folder is its own; without it the child has nothing to do.
const FOLDER: &str = "PARVIS_STORE_FULL_FOLDER";

async fn filled(folder: &Path) {
    let store = open(folder).await;
    for n in 0..200 {
        let id = format!("C-{n}");
        commit(&*store, vec![replaced(0, with_device(&id, &format!("device-{n}")), None)]).await;
    }
    store.close().await.expect("closes");
}

async fn refusal(folder: &Path) -> Error {
    let config = parvis::store::Config { verify_at_start: true, ..config(folder) };
    match parvis::store::open(config).await {
        Ok(_) => panic!("it must not open"),
        Err(error) => error,
    }
}

fn file(folder: &Path) -> std::path::PathBuf {
    config(folder).path
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(file(folder.path()), "a shopping list\n".repeat(1_000)).expect("writes");
    let error = refusal(folder.path()).await;
    assert!(matches!(&error, Error::Corrupt(why) if why.contains("store.redb")), "{error}");
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    for part in [3, 10, 30] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        filled(folder.path()).await;
        let bytes = std::fs::read(file(folder.path())).expect("reads");
        std::fs::write(file(folder.path()), &bytes[..bytes.len() / part]).expect("writes");
        let error = refusal(folder.path()).await;
        assert!(matches!(&error, Error::Corrupt(why) if why.contains("store.redb")), "1/{part}: {error}");
    }
}

#[tokio::test]
async fn a_garbled_shopper_is_not_taken_for_true() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    filled(folder.path()).await;
    let mut bytes = std::fs::read(file(folder.path())).expect("reads");
    let mut garbled = 0;
    for start in 0..bytes.len() - 8 {
        if &bytes[start..start + 8] == b"platform" {
            bytes[start] = b'x';
            garbled += 1;
        }
    }
    assert!(garbled >= 200, "the shoppers are in the file as they are");
    std::fs::write(file(folder.path()), bytes).expect("writes");
    let error = refusal(folder.path()).await;
    assert!(matches!(&error, Error::Corrupt(_)), "{error}");
}

/// What is made of a file after its bytes were changed: the reason of its refusal, or every row of it.
async fn made_of(folder: &Path, bytes: &[u8]) -> Result<Vec<parvis::store::rows::Row>, String> {
    std::fs::write(file(folder), bytes).expect("writes");
    let config = parvis::store::Config { verify_at_start: true, ..config(folder) };
    match parvis::store::open(config).await {
        Err(Error::Corrupt(why)) => Err(why),
        Err(Error::Unavailable(why)) => panic!("damage is called something else: {why}"),
        Ok(store) => {
            let rows = moves::rows(&*store).await;
            store.close().await.expect("closes");
            Ok(rows)
        }
    }
}

#[tokio::test]
async fn no_page_can_be_damaged_and_taken_for_true() {
    const PAGE_BYTES: usize = 4_096;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path()).await;
    moves::fill(&*store).await;
    let expected = moves::rows(&*store).await;
    store.close().await.expect("closes");
    let whole = std::fs::read(file(folder.path())).expect("reads");
    let (mut refused, mut unused, mut pages) = (0, 0, 0);
    for start in (0..whole.len()).step_by(PAGE_BYTES) {
        let page = start..(start + PAGE_BYTES).min(whole.len());
        let Some(first) = whole[page.clone()].iter().position(|byte| *byte != 0) else { continue };
        let last = whole[page.clone()].iter().rposition(|byte| *byte != 0).unwrap_or(first);
        pages += 1;
        let mut damaged: Vec<Vec<u8>> = [first, first + (last - first) / 2, last]
            .map(|at| {
                let mut bytes = whole.clone();
                bytes[start + at] ^= 1 << (start / PAGE_BYTES % 8);
                bytes
            })
            .to_vec();
        let mut zeroed = whole.clone();
        zeroed[page].fill(0);
        damaged.push(zeroed);
        for bytes in damaged {
            match made_of(folder.path(), &bytes).await {
                Err(why) => {
                    assert!(why.contains("store.redb"), "the file is not named: {why}");
                    refused += 1;
                }
                Ok(rows) => {
                    assert_eq!(rows, expected, "page {}", start / PAGE_BYTES);
                    unused += 1;
                }
            }
        }
    }
    assert!(pages > 20 && refused > pages, "of {pages} pages {refused} damages refused and {unused} without effect");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    filled(folder.path()).await;
    edit(folder.path(), |transaction| {
        let mut log = transaction.open_table(LOG).expect("the log");
        let (row, mut bytes) =
            log.first().expect("reads").map(|(row, bytes)| (row.value(), bytes.value().to_vec())).expect("a row");
        let body = bytes.windows(2).position(|pair| pair == b"id").expect("the first field") - 1;
        bytes[body] = 0xc1;
        log.insert(row, bytes.as_slice()).expect("writes");
    });
    let error = refusal(folder.path()).await;
    assert!(matches!(&error, Error::Corrupt(why) if why.contains("shopper C-0 in row")), "{error}");
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    filled(folder.path()).await;
    edit(folder.path(), |transaction| {
        transaction.open_table(META).expect("the table").insert("format", 1_000).expect("writes");
    });
    let error = refusal(folder.path()).await;
    assert!(matches!(&error, Error::Corrupt(why) if why.contains("newer version")), "{error}");
}

#[tokio::test]
async fn a_file_in_use_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path()).await;
    let error = refusal(folder.path()).await;
    assert!(matches!(&error, Error::Unavailable(why) if why.contains("in use by another process")), "{error}");
    store.close().await.expect("closes");
    let late = store.commit(Commit { events: vec![event(1, "A")], ..Commit::default() }).await;
    assert!(matches!(late, Err(Error::Unavailable(_))), "{late:?}");
    open(folder.path()).await.close().await.expect("closes");
}

#[tokio::test]
async fn an_erased_shopper_is_in_no_table() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path()).await;
    for (version, n) in [(0, 1), (1, 2), (2, 3)] {
        let changes =
            vec![replaced(version, with_device("Erika", "phone"), None), replaced(version, shopper("B"), None)];
        let outbox = vec![message(n, "Erika", Channel::Fcm), message(n, "B", Channel::Fcm)];
        store
            .commit(Commit { changes, outbox, events: vec![event(n, "Erika"), event(n, "B")], ..Commit::default() })
            .await
            .expect("available");
    }
    store.close().await.expect("closes");
    assert!(appears(folder.path(), "Erika"), "the search finds what is there");
    let store = open(folder.path()).await;
    commit(&*store, vec![erased(3, "Erika")]).await;
    // Every transaction removes a part.
    for version in 3..20 {
        commit(&*store, vec![replaced(version, shopper("B"), None)]).await;
    }
    let query = JournalQuery { limit: 9, ..JournalQuery::default() };
    assert_eq!(store.journal(query).await.expect("available").len(), 3, "others are untouched");
    assert!(store.life(message(1, "B", Channel::Fcm).id).await.expect("available").is_some());
    store.close().await.expect("closes");
    assert!(!appears(folder.path(), "Erika"));
    let store = open(folder.path()).await;
    assert_eq!(load(&*store, "B").await.version, 20);
    assert_eq!(load(&*store, "Erika").await.version, 0);
}

#[tokio::test]
async fn the_log_does_not_grow_with_every_change() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path()).await;
    let bulk = "x".repeat(2_000);
    for round in 0..120 {
        // Half of the shoppers change rarely, so that cleaning has something to move.
        let changes = (0..500).filter(|n| n % 2 == 0 || round % 40 == 0).map(|n| {
            let mut next = counted(&format!("C-{n}"), round);
            next.profile.attributes.insert("bulk".to_owned(), Attribute::Text(bulk.clone()));
            let version = if n % 2 == 0 { round } else { round / 40 };
            replaced(u64::try_from(version).expect("small"), next, None)
        });
        assert_eq!(commit(&*store, changes.collect()).await, Committed::Done);
    }
    store.close().await.expect("closes");
    let database = Database::open(file(folder.path())).expect("opens");
    let log = database.begin_read().expect("reads").open_table(LOG).expect("the log");
    let bytes: usize = log.range::<u64>(..).expect("reads").map(|row| row.expect("reads").1.value().len()).sum();
    let live = 500 * 2_100;
    assert!(bytes < 2 * live + (6 << 20), "{bytes} bytes for {live} that count, after 60 MB were written");
    drop((log, database));
    let store = open(folder.path()).await;
    for n in 0..500 {
        let expected = if n % 2 == 0 { 119 } else { 80 };
        assert_eq!(count_of(&load(&*store, &format!("C-{n}")).await), expected, "shopper {n}");
    }
}

#[tokio::test]
async fn an_unreadable_life_or_message_stops_no_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path()).await;
    let sent: Vec<_> = (1..=4).map(|n| message(n, "A", Channel::Fcm)).collect();
    send(&*store, sent.clone()).await;
    store.close().await.expect("closes");
    edit(folder.path(), |transaction| {
        let mut lives = transaction.open_table(LIVES).expect("lives");
        lives.insert(sent[1].id.as_u128(), (i64::MAX, sent[1].not_before.as_millis(), &[0xc1][..])).expect("writes");
        let mut messages = transaction.open_table(MESSAGES).expect("messages");
        messages.insert(sent[0].id.as_u128(), (1, 1, &[0xc1][..])).expect("writes");
    });
    let store = open(folder.path()).await;
    let entries = claim(&*store, 10, 9).await;
    let claimed: Vec<_> = entries.iter().map(|entry| entry.notification.id).collect();
    assert_eq!(claimed, [sent[1].id, sent[2].id, sent[3].id], "the first can't be read");
    let ends = [again(20, 1), accepted(1), accepted(1)];
    let settlements = entries.iter().zip(ends).map(|(entry, end)| settled(entry, 11, end)).collect();
    assert_eq!(store.settle(settlements).await, Ok(()));
    let again = claim(&*store, 30, 9).await;
    assert_eq!((again.len(), again[0].attempts), (1, 1));
    assert_eq!(store.settle(vec![settled(&again[0], 31, accepted(2))]).await, Ok(()));
    assert_eq!(nothing_until(&*store, 99).await, None);
    let opened = |second| Step { milestone: Milestone::Opened, at: at(second), detail: None };
    let (unreadable, known) = tokio::join!(store.report(sent[1].id, opened(40)), store.report(sent[2].id, opened(40)));
    assert!(matches!(&unreadable, Err(Error::Corrupt(why)) if why.contains("the life of")), "{unreadable:?}");
    assert_eq!(known, Ok(true));
    assert!(matches!(store.life(sent[1].id).await, Err(Error::Corrupt(_))));
    let life = store.life(sent[2].id).await.expect("available").expect("known");
    assert!(life.milestones.iter().any(|step| step.milestone == Milestone::Accepted));
}

#[tokio::test]
async fn an_export_names_what_it_cannot_read_and_is_no_whole_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = open(folder.path()).await;
    send(&*store, vec![message(1, "A", Channel::Fcm), message(2, "A", Channel::Fcm)]).await;
    store.close().await.expect("closes");
    let id = message(2, "A", Channel::Fcm).id;
    edit(folder.path(), |transaction| {
        let mut messages = transaction.open_table(MESSAGES).expect("messages");
        messages.insert(id.as_u128(), (1, 1, &[0xc1][..])).expect("writes");
    });
    let store = open(folder.path()).await;
    let mut writing = Writing::new(store.export().await.expect("available"), at(0), &Entropy::System);
    let mut bytes = Vec::new();
    while let Some(section) = writing.next().await {
        bytes.extend(section);
    }
    assert!(writing.failure().is_some_and(|why| why.contains(&id.to_string())));
    let mut reading = Reading::begin(&bytes[..]).await.expect("a header");
    let why = loop {
        match reading.next().await {
            Ok(Section::Rows(_)) => {}
            Ok(Section::End(_)) => panic!("it is not whole"),
            Err(why) => break why.to_string(),
        }
    };
    assert!(why.contains("could not go on") && why.contains(&id.to_string()), "{why}");
}

#[test]
fn a_full_disk_is_survived() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // A limit on the size of files stands in for a full disk: no privilege is needed, and it can be lifted.
    let script = "trap '' XFSZ; ulimit -S -f 8192; exec \"$0\" damage::child --exact --nocapture";
    let output = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(std::env::current_exe().expect("this test's file"))
        .env(FOLDER, folder.path())
        .output()
        .expect("starts itself");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// Not a test of its own: the process whose disk is full.
#[tokio::test]
async fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let store = open(Path::new(&folder)).await;
    let filler = |n: i64| {
        let mut next = counted(&format!("C-{n}"), n);
        next.profile.attributes.insert("bulk".to_owned(), Attribute::Text("x".repeat(50_000)));
        let outbox = vec![message(n, &format!("C-{n}"), Channel::Fcm)];
        Commit { changes: vec![replaced(0, next, None)], outbox, ..Commit::default() }
    };
    let mut acknowledged = 0;
    let error = loop {
        match store.commit(filler(acknowledged)).await {
            Ok(done) => assert_eq!(done, Committed::Done),
            Err(error) => break error,
        }
        acknowledged += 1;
        assert!(acknowledged < 1_000, "the limit is never reached");
    };
    assert!(matches!(error, Error::Unavailable(_)), "{error}");
    assert!(acknowledged > 10, "only {acknowledged} before {error}");
    let full = store.commit(filler(acknowledged)).await;
    assert!(matches!(full, Err(Error::Unavailable(_))), "{full:?}");
    assert_eq!(load(&*store, &format!("C-{acknowledged}")).await.version, 0);
    assert_eq!(commit(&*store, vec![tracked(1, "C-0", 1.0)]).await, Committed::Done, "needs no disk");

    let lifted =
        Command::new("prlimit").args(["--fsize=unlimited:", "--pid", &std::process::id().to_string()]).status();
    assert!(lifted.expect("prlimit, of util-linux, is installed").success());
    assert_eq!(store.commit(filler(acknowledged)).await, Ok(Committed::Done));
    for n in 0..=acknowledged {
        assert_eq!(count_of(&load(&*store, &format!("C-{n}")).await), n);
    }
    let entries = claim(&*store, 10_000, 10_000).await;
    assert_eq!(entries.len(), usize::try_from(acknowledged + 1).expect("small"));
    store.close().await.expect("closes");
    let store = open(Path::new(&folder)).await;
    for n in 0..=acknowledged {
        assert_eq!(count_of(&load(&*store, &format!("C-{n}")).await), n);
    }
}

fn edit(folder: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = Database::open(file(folder)).expect("opens");
    let transaction = database.begin_write().expect("writes");
    change(&transaction);
    transaction.commit().expect("commits");
}

/// Whether a text occurs in a row of any table that holds what is known of shoppers.
fn appears(folder: &Path, text: &str) -> bool {
    let database = Database::open(file(folder)).expect("opens");
    let transaction = database.begin_read().expect("reads");
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let log = transaction.open_table(LOG).expect("log");
    let mut found = log.iter().expect("reads").any(|row| holds(row.expect("reads").1.value()));
    let messages = transaction.open_table(MESSAGES).expect("messages");
    found |= messages.iter().expect("reads").any(|row| holds(row.expect("reads").1.value().2));
    let journal = transaction.open_table(JOURNAL).expect("journal");
    found |= journal.iter().expect("reads").any(|row| holds(row.expect("reads").1.value()));
    let lives = transaction.open_table(LIVES).expect("lives").iter().expect("reads").count();
    let erasures = transaction.open_table(ERASURES).expect("erasures").iter().expect("reads").count();
    found || lives != messages.iter().expect("reads").count() || erasures > 0
}
