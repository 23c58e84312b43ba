//! The process dies at any moment: what was acknowledged is there, and nothing is half there.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};
use tokio_util::task::TaskTracker;

use parvis::{
    entropy::Entropy,
    store::{Commit, Committed, Store},
};
use parvis_engine::{
    id::NotificationId,
    notification::{Channel, Milestone},
    shopper::{Attribute, Shopper},
};

use crate::rig::*;

/// Tells the child which folder is its own; without it the child has nothing to do.
const FOLDER: &str = "PARVIS_STORE_CRASH_FOLDER";
const COMMITTERS: usize = 4;

/// What the child said before it died.
#[derive(Default)]
struct Told {
    committed: BTreeMap<usize, i64>,
    settled: BTreeSet<NotificationId>,
}

#[tokio::test]
async fn what_was_acknowledged_survives_being_killed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let entropy = Entropy::System;
    let mut told = Told::default();
    for round in 0..6 {
        run_and_kill(folder.path(), 20 + entropy.bits() % 300, &mut told);
        let store = open(folder.path()).await;
        let context = format!("round {round}");
        check(&*store, &told, &context).await;
        store.close().await.expect("closes");
    }
    assert!(!told.settled.is_empty(), "the child settled something");
}

/// Lets a child work until it has said so much, then kills it.
fn run_and_kill(folder: &Path, lines: u64, told: &mut Told) {
    let mut child = Command::new(std::env::current_exe().expect("this test's file"))
        .args(["crash::child", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts itself");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let mut heard = 0;
    for line in output.lines() {
        // The last line may have been cut by the kill.
        let Ok(line) = line else { break };
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["committed", committer, count, "."] => {
                told.committed.insert(committer.parse().expect("a number"), count.parse().expect("a number"));
            }
            ["settled", id, "."] => drop(told.settled.insert(id.parse().expect("an id"))),
            [..] => continue,
        }
        heard += 1;
        if heard == lines {
            child.kill().expect("can be killed");
        }
    }
    let status = child.wait().expect("ends");
    assert!(!status.success() && heard >= lines, "the child ended by itself after {heard} lines: {status}");
}

async fn check(store: &dyn Store, told: &Told, context: &str) {
    let mut waiting = 0;
    for (committer, acknowledged) in &told.committed {
        let record = load(store, &format!("C-{committer}-0")).await;
        let count = count_of(&record);
        assert!(count >= *acknowledged, "{context}: {acknowledged} was acknowledged, {count} is there");
        assert!(count <= *acknowledged + 1, "{context}: one commit at a time may be unacknowledged");
        for n in 1..10 {
            let sibling = load(store, &format!("C-{committer}-{n}")).await;
            assert_eq!((count_of(&sibling), sibling.version), (count, record.version), "{context}: a commit is whole");
        }
        for n in 1..=count {
            let id = sent(*committer, n).id;
            let life = store.life(id).await.expect("available").expect("its commit is there");
            let ended = life.milestones.iter().filter(|step| step.milestone == Milestone::Accepted).count();
            assert!(ended >= usize::from(told.settled.contains(&id)), "{context}: a settlement was lost");
            assert!(ended <= 1, "{context}: a life ends once");
            waiting += u64::from(ended == 0);
        }
    }
    let sizes = store.sizes().await.expect("available");
    assert_eq!(sizes.waiting[&Channel::Fcm], waiting, "{context}: what has not ended waits");
}

fn sent(committer: usize, n: i64) -> parvis_engine::notification::Notification {
    message(n, &format!("C-{committer}-0"), Channel::Fcm)
}

/// Not a test of its own: the process that is killed.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = open(Path::new(&folder)).await;
        let committers: Vec<_> = (0..COMMITTERS)
            .map(|committer| TaskTracker::new().spawn(commit_for_ever(store.clone(), committer)))
            .collect();
        for committer in committers {
            committer.await.expect("never ends");
        }
    });
}

async fn commit_for_ever(store: Arc<dyn Store>, committer: usize) {
    let mut count = count_of(&load(&*store, &format!("C-{committer}-0")).await);
    loop {
        count += 1;
        let mut changes = Vec::new();
        for n in 0..10 {
            let id = format!("C-{committer}-{n}");
            let version = load(&*store, &id).await.version;
            changes.push(replaced(version, bulky(&id, count), Some(at(count))));
        }
        let outbox = vec![sent(committer, count)];
        let done = store.commit(Commit { changes, outbox, events: vec![event(count, "C")], ..Commit::default() }).await;
        assert_eq!(done, Ok(Committed::Done));
        say(&format!("committed {committer} {count} ."));
        if count % 3 == 0 {
            for entry in claim(&*store, 1_000_000, 2).await {
                store.settle(vec![settled(&entry, count, accepted(1))]).await.expect("available");
                say(&format!("settled {} .", entry.notification.id));
            }
        }
    }
}

/// Large enough that the log is being cleaned when the process dies.
fn bulky(id: &str, count: i64) -> Shopper {
    let mut shopper = counted(id, count);
    shopper.profile.attributes.insert("bulk".to_owned(), Attribute::Text("x".repeat(4_000)));
    shopper
}

/// In one write, with a line break before it: the test runner has begun a line of its own.
fn say(line: &str) {
    std::io::stdout().write_all(format!("\n{line}\n").as_bytes()).expect("the parent listens");
}
