//! The disk fails: what can't be made durable is not answered as done, and nothing that was answered is lost.

use super::*;
use crate::store::embedded::tests::{
    disk::{Call, Cut},
    load::{observe, step},
};

const STEPS: i64 = 44;

fn is_unavailable<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Unavailable(_)))
}

#[tokio::test]
async fn a_commit_that_was_refused_leaves_no_trace() {
    let disk = Disk::new();
    let store = begin(&disk);
    assert_eq!(change(&store, 0).await, Ok(Committed::Done));
    disk.fail(Fault { times: usize::MAX, error: io::ErrorKind::StorageFull, ..fault(Call::Write, Damage::None) });
    for _ in 0..3 {
        assert!(is_unavailable(&change(&store, 1).await));
        assert_eq!(version(&store).await, 1);
    }
    disk.obey();
    assert_eq!(change(&store, 1).await, Ok(Committed::Done), "there is room again: no restart is needed");
    store.close().await.expect("closes");
    assert_eq!(version(&begin(&disk)).await, 2);
}

/// Whatever call of a kind fails, and however often: the store is what was answered, and works again.
#[tokio::test]
async fn a_disk_that_fails_for_a_while_costs_no_answer() {
    for (call, times) in [(Call::Write, 1), (Call::Write, 9), (Call::Length, 1), (Call::Read, 1), (Call::Read, 5)] {
        for after in [0, 1, 2, 5, 11, 30] {
            let disk = Disk::new();
            let store = begin(&disk);
            let (mut seen, mut failed) = (observe(&store, STEPS), 0);
            for n in 0..STEPS {
                if n % 10 == 4 {
                    disk.fail(Fault { after, times, error: io::ErrorKind::StorageFull, ..fault(call, Damage::None) });
                }
                let result = step(&store, n).await;
                disk.obey();
                match result {
                    Ok(()) => {}
                    Err(Error::Unavailable(_)) => {
                        failed += 1;
                        reopened(&store).await;
                        let now = observe(&store, STEPS);
                        assert_eq!(now, seen, "{call:?} after {after}: a refused step leaves no trace");
                    }
                    Err(error) => panic!("{call:?} after {after}: {error}"),
                }
                reopened(&store).await;
                seen = observe(&store, STEPS);
            }
            drop(store.close().await);
            assert_eq!(observe(&begin(&Disk::of(disk.platter(Cut::Nothing))), STEPS), seen);
            assert!(failed < 5, "{call:?} after {after}: {failed} steps failed, which is more than were made to");
        }
    }
}

/// Waits until the writer has opened the file again, which it does as soon as it is told of a failure.
async fn reopened(store: &Embedded) {
    for _ in 0..10_000 {
        if store.catalog().await.is_ok() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the file stays closed");
}

#[tokio::test]
async fn after_a_failed_synchronisation_nothing_is_answered_as_done() {
    for seed in 0..24 {
        let disk = Disk::new();
        let store = begin(&disk);
        let mut seen = vec![observe(&store, STEPS)];
        for n in 0..22 {
            step(&store, n).await.expect("a good disk");
            seen.push(observe(&store, STEPS));
        }
        let cut = [Cut::Nothing, Cut::Everything, Cut::Head, Cut::Tail, Cut::Torn(512, seed), Cut::Torn(4_096, seed)]
            [usize::try_from(seed % 6).expect("small")];
        disk.fail(fault(Call::Sync, Damage::Lost(cut)));
        let error = step(&store, 22).await.expect_err("the disk fails");
        assert!(matches!(error, Error::Unavailable(_)), "{error}");
        let syncs = disk.syncs();
        for n in 23..27 {
            let late = store.lease_budget(&"late".parse().expect("a name"), 10, n).await;
            assert!(matches!(&late, Err(Error::Unavailable(why)) if why.contains("restart")), "{late:?}");
        }
        assert_eq!(disk.syncs(), syncs, "nothing is tried again on pages that are not what they seem");
        let known = store.load(&["C-3".parse().expect("a name")]).await.expect("needs no disk");
        assert!(known[0].version > 0);
        assert!(is_unavailable(&store.catalog().await), "what is read may not be on the disk");
        drop(store.close().await);

        // The process is started again: the kernel still remembers what is not on the disk.
        let store = begin(&disk);
        let now = observe(&store, STEPS);
        let differs = seen[22].iter().zip(&now).find(|(left, right)| left != right);
        let may_be_kept = !matches!(cut, Cut::Nothing | Cut::Head);
        assert!(now == seen[22] || may_be_kept, "{cut:?}: everything answered is there: {differs:#?}");
        for n in 30..STEPS {
            step(&store, n).await.expect("a good disk");
        }
        let now = observe(&store, STEPS);
        let left = begin(&Disk::of(disk.platter(Cut::Nothing)));
        assert_eq!(observe(&left, STEPS), now, "{cut:?}: and what is answered from now on");
    }
}

#[tokio::test]
async fn a_commit_whose_synchronisation_failed_is_seen_after_a_restart_if_it_was_written() {
    let disk = Disk::new();
    let store = begin(&disk);
    // The file grows at first, which is synchronised on its own.
    for version in 0..4 {
        assert_eq!(change(&store, version).await, Ok(Committed::Done));
    }
    disk.fail(fault(Call::Sync, Damage::Lie));
    assert!(is_unavailable(&change(&store, 4).await));
    assert_eq!(version(&store).await, 4, "it was not answered");
    drop(store.close().await);
    let store = begin(&disk);
    assert_eq!(version(&store).await, 5);
    assert!(matches!(change(&store, 4).await, Ok(Committed::Conflict(_))));
    assert_eq!(change(&store, 5).await, Ok(Committed::Done));
}

#[tokio::test]
async fn a_file_that_cannot_be_synchronised_is_not_opened() {
    let disk = Disk::new();
    let store = begin(&disk);
    assert_eq!(change(&store, 0).await, Ok(Committed::Done));
    let crashed = Disk::of(disk.platter(Cut::Nothing));
    crashed.fail(fault(Call::Sync, Damage::None));
    let error = start(&crashed).expect_err("it is not known what the disk holds");
    assert!(matches!(&error, Error::Unavailable(why) if why.contains("can't be opened")), "{error}");
    assert_eq!(version(&begin(&crashed)).await, 1);
}

#[tokio::test]
async fn a_failed_read_is_mended_without_anybody_writing() {
    let disk = Disk::new();
    let store = begin(&disk);
    for n in 0..9 {
        step(&store, n).await.expect("a good disk");
    }
    store.close().await.expect("closes");
    // Without memory for pages, every one is read from the disk.
    let store = start_with(&disk, 0).expect("starts");
    disk.fail(fault(Call::Read, Damage::None));
    let query = || JournalQuery { limit: 1_000, ..JournalQuery::default() };
    let unread = store.journal(query()).await;
    assert!(is_unavailable(&unread), "{unread:?}");
    assert!(!store.journal(query()).await.expect("the disk is well again").is_empty());
}
