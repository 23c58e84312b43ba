//! The contract, one sentence a test.

use parvis::store::{
    Answer, Catalog, CatalogItem, Commit, Committed, Cursor, DeadQuery, End, Error, Horizon, JournalQuery, Life, Note,
    Queue, Step, note,
};
use parvis_engine::{
    id::{CampaignId, NotificationId, OrderId},
    notification::{Channel, Milestone},
};
use tokio_util::task::TaskTracker;

use crate::{
    moves::{
        an_import_goes_on_where_it_stopped, an_import_needs_an_empty_store, everything_moves_in, everything_moves_out,
        of_a_row_that_comes_twice_an_import_keeps_the_later,
    },
    rig::*,
};

macro_rules! contract {
    ($($sentence:ident),* $(,)?) => {
        mod redis {
            $(#[tokio::test] async fn $sentence() { super::$sentence(crate::rig::Rig::redis().await).await })*
        }
        mod redis_by_turns {
            $(#[tokio::test] async fn $sentence() { super::$sentence(crate::rig::Rig::by_turns().await).await })*
        }
        /// A cluster takes seconds to form, so that all sentences share one; keys of their own keep them apart.
        #[tokio::test]
        async fn every_sentence_holds_on_a_cluster() {
            let cluster = crate::rig::Rig::cluster().await;
            $(Box::pin($sentence(cluster.beside(stringify!($sentence)).await)).await;)*
        }

        mod memory {
            $(#[tokio::test] async fn $sentence() { super::$sentence(crate::rig::Rig::memory()).await })*
        }
        mod embedded {
            $(#[tokio::test] async fn $sentence() { super::$sentence(crate::rig::Rig::embedded().await).await })*
        }
        mod reopened {
            $(#[tokio::test] async fn $sentence() { super::$sentence(crate::rig::Rig::reopened().await).await })*
        }
    };
}

contract!(
    an_unknown_shopper_is_new,
    a_durable_change_counts_and_survives,
    an_unchanged_shopper_keeps_its_version_and_gets_new_tracks,
    of_a_stale_shopper_nothing_is_done_and_of_others_all,
    the_bound_change_together_or_not_at_all,
    of_concurrent_changes_to_one_version_one_wins,
    a_shopper_changes_once_in_a_commit,
    devices_and_orders_lead_to_their_shopper,
    an_order_of_two_shoppers_leads_to_the_least_id,
    a_device_passes_to_another_shopper_in_one_commit,
    a_device_is_not_taken_from_a_shopper_who_does_not_know,
    of_concurrent_registrations_of_a_device_one_wins,
    wakes_come_in_order_and_are_replaced,
    claims_come_in_order_of_due_time,
    nothing_is_due_before_the_next_due_time_or_lease_end,
    an_expired_lease_passes_on_and_its_settlement_is_ignored,
    what_was_leased_before_a_restart_is_leased_again,
    an_entry_comes_again_with_its_attempts,
    an_entry_may_come_before_what_was_claimed,
    a_message_is_stored_once,
    a_life_tells_every_step_and_ends_once,
    reports_are_kept_once_and_cannot_end_a_life,
    an_erased_shopper_leaves_nothing,
    an_erased_shopper_may_come_back,
    the_journal_gives_the_newest_rows_oldest_first,
    pruning_forgets_what_is_old_and_over,
    the_catalog_keeps_what_was_put,
    the_first_answer_stands,
    a_budget_is_never_overspent,
    sizes_count_what_is_there,
    growth_is_announced,
    a_queue_has_entries_and_leases_of_its_own,
    a_backlog_in_one_queue_holds_up_no_other,
    what_follows_is_stored_exactly_if_the_settlement_counts,
    what_follows_is_stored_once,
    what_was_given_up_is_listed_newest_first,
    the_list_of_what_was_given_up_forgets_with_the_lives,
    a_note_is_kept_if_nobody_was_faster,
    what_is_too_large_for_a_note_is_refused,
    everything_moves_out,
    everything_moves_in,
    an_import_goes_on_where_it_stopped,
    of_a_row_that_comes_twice_an_import_keeps_the_later,
    an_import_needs_an_empty_store,
);

async fn an_unknown_shopper_is_new(rig: Rig) {
    let records = rig.store().load(&[name("B"), name("A")]).await.expect("available");
    assert_eq!(records.iter().map(|record| record.shopper.id.as_str()).collect::<Vec<_>>(), ["B", "A"]);
    assert!(records.iter().all(|record| record.version == 0 && record.tracks.is_empty()));
}

async fn a_durable_change_counts_and_survives(mut rig: Rig) {
    for version in 0..5 {
        let mut shopper = with_device("A", "phone");
        shopper.orders.insert(name("o-1"), order("o-1"));
        shopper.profile = counted("A", i64::try_from(version).expect("small")).profile;
        assert_eq!(commit(rig.store(), vec![replaced(version, shopper.clone(), None)]).await, Committed::Done);
        rig.pause().await;
        let record = load(rig.store(), "A").await;
        assert_eq!((record.version, &*record.shopper), (version + 1, &shopper));
    }
}

async fn an_unchanged_shopper_keeps_its_version_and_gets_new_tracks(mut rig: Rig) {
    commit(rig.store(), vec![replaced(0, counted("A", 1), None)]).await;
    assert_eq!(commit(rig.store(), vec![tracked(1, "A", 250.0)]).await, Committed::Done);
    let record = load(rig.store(), "A").await;
    assert_eq!((record.version, count_of(&record)), (1, 1));
    assert_eq!(record.tracks, tracked(1, "A", 250.0).tracks);
    commit(rig.store(), vec![replaced(1, counted("A", 2), None)]).await;
    assert!(load(rig.store(), "A").await.tracks.is_empty(), "a change replaces all tracks");
    commit(rig.store(), vec![tracked(2, "A", 99.0)]).await;
    rig.restart().await;
    let record = load(rig.store(), "A").await;
    assert_eq!((record.version, count_of(&record), record.tracks.len()), (2, 2, 0), "tracks are volatile");
}

async fn of_a_stale_shopper_nothing_is_done_and_of_others_all(mut rig: Rig) {
    commit(rig.store(), vec![replaced(0, counted("A", 1), None), replaced(0, counted("B", 1), None)]).await;
    rig.pause().await;
    let changes = vec![
        replaced(0, counted("A", 2), Some(at(1))),
        replaced(1, counted("B", 2), Some(at(2))),
        replaced(7, counted("C", 2), Some(at(1))),
    ];
    let outbox = vec![message(1, "A", Channel::Fcm), message(2, "B", Channel::Fcm), message(1, "C", Channel::Fcm)];
    let events = vec![event(1, "A"), event(2, "B"), event(3, "C")];
    let result = rig.store().commit(Commit { changes, outbox, events, ..Commit::default() }).await;
    assert_eq!(result, Ok(Committed::Conflict(vec![name("A"), name("C")])));
    assert_eq!(commit(rig.store(), vec![tracked(0, "A", 1.0)]).await, Committed::Conflict(vec![name("A")]));
    assert_eq!(commit(rig.store(), vec![erased(0, "A")]).await, Committed::Conflict(vec![name("A")]));
    rig.pause().await;
    let [a, b, c] = [load(rig.store(), "A").await, load(rig.store(), "B").await, load(rig.store(), "C").await];
    assert_eq!((a.version, count_of(&a), a.tracks.len(), c.version), (1, 1, 0, 0));
    assert_eq!((b.version, count_of(&b)), (2, 2));
    assert_eq!(rig.store().due_wakes(at(9), 9).await, Ok((vec![name("B")], rig.until(9, None))));
    let claimed = claim(rig.store(), 9, 9).await;
    assert_eq!(claimed.iter().map(|it| it.notification.shopper.as_str()).collect::<Vec<_>>(), ["B"]);
    let query = JournalQuery { limit: 9, ..JournalQuery::default() };
    assert_eq!(rig.store().journal(query).await, Ok(vec![event(2, "B")]));
}

async fn the_bound_change_together_or_not_at_all(mut rig: Rig) {
    commit(rig.store(), vec![replaced(0, counted("A", 1), None), replaced(0, counted("D", 1), None)]).await;
    rig.pause().await;
    let changes = ["A", "B", "C", "D"].map(|id| replaced(u64::from(id == "A"), counted(id, 2), Some(at(1)))).to_vec();
    let outbox = vec![message(1, "A", Channel::Fcm), message(2, "C", Channel::Fcm), message(3, "D", Channel::Fcm)];
    let events = vec![event(1, "A"), event(2, "B"), event(3, "C")];
    let bonds = vec![vec![name("A"), name("B")], vec![name("C"), name("D")]];
    let result = rig.store().commit(Commit { changes, outbox, events, bonds }).await;
    assert_eq!(result, Ok(Committed::Conflict(vec![name("C"), name("D")])));
    rig.pause().await;
    let mut versions = Vec::new();
    for id in ["A", "B", "C", "D"] {
        versions.push(load(rig.store(), id).await.version);
    }
    assert_eq!(versions, [2, 1, 0, 1]);
    assert_eq!(rig.store().due_wakes(at(9), 9).await, Ok((vec![name("A"), name("B")], rig.until(9, None))));
    assert_eq!(claim(rig.store(), 9, 9).await.len(), 1);
    let query = JournalQuery { limit: 9, ..JournalQuery::default() };
    assert_eq!(rig.store().journal(query).await, Ok(vec![event(1, "A"), event(2, "B")]));
}

async fn of_concurrent_changes_to_one_version_one_wins(rig: Rig) {
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = rig.shared();
            TaskTracker::new().spawn(async move {
                for _ in 0..20 {
                    loop {
                        let record = load(&*store, "A").await;
                        let next = counted("A", count_of(&record) + 1);
                        match commit(&*store, vec![replaced(record.version, next, None)]).await {
                            Committed::Done => break,
                            Committed::Conflict(who) => assert_eq!(who, [name("A")]),
                        }
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("ends");
    }
    let record = load(rig.store(), "A").await;
    assert_eq!((record.version, count_of(&record)), (160, 160));
}

async fn a_shopper_changes_once_in_a_commit(mut rig: Rig) {
    for twice in [
        vec![replaced(0, counted("A", 1), None), replaced(0, counted("A", 2), None)],
        vec![replaced(0, counted("A", 1), None), erased(0, "A")],
        vec![tracked(0, "A", 1.0), tracked(0, "A", 2.0)],
    ] {
        assert_eq!(commit(rig.store(), twice).await, Committed::Conflict(vec![name("A")]));
        rig.pause().await;
        let record = load(rig.store(), "A").await;
        assert_eq!((record.version, record.tracks.len()), (0, 0));
    }
}

async fn an_order_of_two_shoppers_leads_to_the_least_id(mut rig: Rig) {
    let with_order = |id: &str, order_id: &str| {
        let mut shopper = shopper(id);
        shopper.orders.insert(name(order_id), order(order_id));
        shopper
    };
    for (id, order_id) in [("A", "o-1"), ("B", "o-1"), ("D", "o-2"), ("C", "o-2")] {
        commit(rig.store(), vec![replaced(load(rig.store(), id).await.version, with_order(id, order_id), None)]).await;
    }
    for _ in 0..2 {
        assert_eq!(rig.store().order_owner(&name::<OrderId>("o-1")).await, Ok(Some(name("A"))));
        assert_eq!(rig.store().order_owner(&name::<OrderId>("o-2")).await, Ok(Some(name("C"))));
        rig.restart().await;
    }
    commit(rig.store(), vec![replaced(1, shopper("B"), None)]).await;
    assert_eq!(rig.store().order_owner(&name::<OrderId>("o-1")).await, Ok(Some(name("A"))));
}

async fn devices_and_orders_lead_to_their_shopper(mut rig: Rig) {
    let mut shopper = with_device("A", "phone");
    shopper.orders.insert(name("o-1"), order("o-1"));
    commit(rig.store(), vec![replaced(0, shopper, None)]).await;
    rig.pause().await;
    let owners = rig.store().owners(&[name("tablet"), name("phone")]).await;
    assert_eq!(owners, Ok(vec![None, Some(name("A"))]));
    assert_eq!(rig.store().order_owner(&name::<OrderId>("o-1")).await, Ok(Some(name("A"))));
    commit(rig.store(), vec![replaced(1, with_device("A", "tablet"), None)]).await;
    rig.pause().await;
    let owners = rig.store().owners(&[name("tablet"), name("phone")]).await;
    assert_eq!(owners, Ok(vec![Some(name("A")), None]));
    assert_eq!(rig.store().order_owner(&name::<OrderId>("o-1")).await, Ok(None));
}

async fn a_device_passes_to_another_shopper_in_one_commit(mut rig: Rig) {
    commit(rig.store(), vec![replaced(0, with_device("A", "phone"), None)]).await;
    rig.pause().await;
    let changes = vec![replaced(0, with_device("B", "phone"), None), replaced(1, shopper("A"), None)];
    assert_eq!(bound(rig.store(), changes).await, Committed::Done);
    rig.pause().await;
    assert_eq!(owner(rig.store(), "phone").await, Some(name("B")));
    let changes = vec![erased(1, "B"), replaced(2, with_device("A", "phone"), None)];
    assert_eq!(bound(rig.store(), changes).await, Committed::Done);
    rig.pause().await;
    assert_eq!(owner(rig.store(), "phone").await, Some(name("A")));
}

async fn a_device_is_not_taken_from_a_shopper_who_does_not_know(mut rig: Rig) {
    commit(rig.store(), vec![replaced(0, with_device("A", "phone"), None)]).await;
    rig.pause().await;
    let taken = commit(rig.store(), vec![replaced(0, with_device("B", "phone"), None)]).await;
    assert_eq!(taken, Committed::Conflict(vec![name("B")]));
    let kept = vec![replaced(0, with_device("B", "phone"), None), replaced(1, with_device("A", "phone"), None)];
    assert_eq!(bound(rig.store(), kept).await, Committed::Conflict(vec![name("A"), name("B")]));
    let unbound = vec![replaced(0, with_device("B", "phone"), None), replaced(7, shopper("A"), None)];
    assert_eq!(commit(rig.store(), unbound).await, Committed::Conflict(vec![name("A"), name("B")]));
    assert_eq!((owner(rig.store(), "phone").await, load(rig.store(), "B").await.version), (Some(name("A")), 0));
    let own = commit(rig.store(), vec![replaced(1, with_device("A", "phone"), None)]).await;
    assert_eq!(own, Committed::Done);
}

async fn of_concurrent_registrations_of_a_device_one_wins(rig: Rig) {
    let mut tasks = Vec::new();
    for number in 0..8 {
        let store = rig.shared();
        tasks.push(TaskTracker::new().spawn(async move {
            let change = replaced(0, with_device(&format!("S-{number}"), "phone"), None);
            commit(&*store, vec![change]).await
        }));
    }
    let mut done = 0;
    for task in tasks {
        done += usize::from(task.await.expect("no panic") == Committed::Done);
    }
    assert_eq!(done, 1);
}

async fn wakes_come_in_order_and_are_replaced(mut rig: Rig) {
    let watch = rig.store().wakes_changed();
    let changes = [("A", 30), ("B", 10), ("C", 20), ("D", 90)];
    let changes = changes.map(|(id, second)| replaced(0, shopper(id), Some(at(second)))).to_vec();
    commit(rig.store(), changes).await;
    assert!(watch.has_changed().expect("the store lives"));
    rig.pause().await;
    assert_eq!(rig.store().due_wakes(at(9), 9).await, Ok((Vec::new(), rig.until(9, Some(at(10))))));
    assert_eq!(rig.store().due_wakes(at(30), 2).await, Ok((vec![name("B"), name("C")], rig.until(30, Some(at(30))))));
    commit(rig.store(), vec![replaced(1, shopper("B"), None), replaced(1, shopper("C"), Some(at(80)))]).await;
    rig.pause().await;
    assert_eq!(rig.store().due_wakes(at(30), 9).await, Ok((vec![name("A")], rig.until(30, Some(at(80))))));
    commit(rig.store(), vec![erased(1, "A")]).await;
    rig.pause().await;
    assert_eq!(rig.store().due_wakes(at(99), 9).await, Ok((vec![name("C"), name("D")], rig.until(99, None))));
}

async fn claims_come_in_order_of_due_time(mut rig: Rig) {
    let mut quiet = message(1, "A", Channel::Fcm);
    quiet.not_before = at(40);
    let outbox =
        vec![quiet, message(30, "A", Channel::Fcm), message(20, "B", Channel::Fcm), message(5, "A", Channel::Apns)];
    send(rig.store(), outbox).await;
    rig.pause().await;
    let titles = |entries: Vec<parvis::store::Entry>| {
        entries.into_iter().map(|entry| entry.notification.content().expect("words").title.clone()).collect::<Vec<_>>()
    };
    assert_eq!(titles(claim(rig.store(), 35, 1).await), ["Message 20"]);
    assert_eq!(titles(claim(rig.store(), 35, 9).await), ["Message 30"], "what is leased is not given again");
    assert_eq!(titles(claim(rig.store(), 40, 9).await), ["Message 1"]);
}

async fn nothing_is_due_before_the_next_due_time_or_lease_end(mut rig: Rig) {
    assert_eq!(nothing_until(rig.store(), 0).await, rig.until(0, None));
    send(rig.store(), vec![message(10, "A", Channel::Fcm), message(100, "B", Channel::Fcm)]).await;
    rig.pause().await;
    assert_eq!(nothing_until(rig.store(), 9).await, rig.until(9, Some(at(10))));
    assert_eq!(claim(rig.store(), 10, 9).await.len(), 1);
    assert_eq!(
        nothing_until(rig.store(), 11).await,
        rig.until(11, Some(at(40))),
        "the lease ends before the other is due"
    );
}

async fn an_expired_lease_passes_on_and_its_settlement_is_ignored(rig: Rig) {
    send(rig.store(), vec![message(10, "A", Channel::Fcm)]).await;
    let first = claim(rig.store(), 10, 1).await.remove(0);
    assert!(claim(rig.store(), 39, 1).await.is_empty());
    let second = claim(rig.store(), 40, 1).await.remove(0);
    assert_ne!(first.lease, second.lease);
    rig.store().settle(vec![settled(&first, 41, again(50, 1))]).await.expect("available");
    assert!(claim(rig.store(), 51, 1).await.is_empty(), "the entry is leased to the second");
    rig.store().settle(vec![settled(&second, 42, accepted(1))]).await.expect("available");
    rig.store().settle(vec![settled(&second, 43, again(50, 2))]).await.expect("available");
    assert_eq!(nothing_until(rig.store(), 999).await, rig.until(999, None));
}

async fn what_was_leased_before_a_restart_is_leased_again(mut rig: Rig) {
    send(rig.store(), vec![message(10, "A", Channel::Fcm)]).await;
    let before = claim(rig.store(), 10, 1).await.remove(0);
    rig.restart().await;
    let settle = async || rig.store().settle(vec![settled(&before, 11, accepted(1))]).await.expect("available");
    if rig.is_exclusive() {
        settle().await;
        let after = claim(rig.store(), 10, 1).await.remove(0);
        assert_eq!(before.notification, after.notification);
    } else {
        assert_eq!(claim(rig.store(), 39, 1).await, [], "another node may still work on it");
        let after = claim(rig.store(), 40, 1).await.remove(0);
        assert_eq!(before.notification, after.notification);
        settle().await;
    }
    assert_eq!(rig.store().sizes().await.expect("available").waiting[&Channel::Fcm], 1, "the settlement was ignored");
}

async fn an_entry_comes_again_with_its_attempts(mut rig: Rig) {
    send(rig.store(), vec![message(10, "A", Channel::Fcm)]).await;
    let entry = claim(rig.store(), 10, 1).await.remove(0);
    rig.store().settle(vec![settled(&entry, 11, again(60, 3))]).await.expect("available");
    rig.pause().await;
    assert_eq!(nothing_until(rig.store(), 59).await, rig.until(59, Some(at(60))));
    let entry = claim(rig.store(), 60, 1).await.remove(0);
    assert_eq!(entry.attempts, 3);
    let life = rig.store().life(entry.notification.id).await.expect("available").expect("known");
    assert_eq!(life.attempts, 3);
    let last = life.milestones.last().expect("steps");
    assert_eq!((last.milestone, last.at, last.detail.as_deref()), (Milestone::Attempted, at(11), Some("slow down")));
}

async fn an_entry_may_come_before_what_was_claimed(rig: Rig) {
    send(rig.store(), vec![message(20, "A", Channel::Fcm), message(30, "A", Channel::Fcm)]).await;
    let first = claim(rig.store(), 40, 1).await.remove(0);
    let second = claim(rig.store(), 40, 1).await.remove(0);
    assert!(claim(rig.store(), 41, 9).await.is_empty());
    send(rig.store(), vec![message(10, "A", Channel::Fcm)]).await;
    assert_eq!(claim(rig.store(), 41, 9).await.len(), 1);
    rig.store().settle(vec![settled(&second, 42, again(15, 1))]).await.expect("available");
    let earlier = claim(rig.store(), 42, 9).await;
    assert_eq!(earlier.iter().map(|entry| entry.notification.id).collect::<Vec<_>>(), [second.notification.id]);
    rig.store().settle(vec![settled(&earlier[0], 43, accepted(1))]).await.expect("available");
    let expired = claim(rig.store(), 71, 9).await;
    assert_eq!(expired.len(), 2, "the leases of the first and the third have ended");
    assert_eq!(expired[1].notification.id, first.notification.id);
}

async fn a_message_is_stored_once(mut rig: Rig) {
    let twice = message(10, "A", Channel::Fcm);
    send(rig.store(), vec![twice.clone(), twice.clone()]).await;
    rig.pause().await;
    send(rig.store(), vec![twice.clone()]).await;
    let entries = claim(rig.store(), 10, 9).await;
    assert_eq!(entries.len(), 1);
    rig.store().settle(vec![settled(&entries[0], 11, accepted(1))]).await.expect("available");
    rig.pause().await;
    send(rig.store(), vec![twice]).await;
    assert_eq!(nothing_until(rig.store(), 99).await, rig.until(99, None), "its life has ended");
}

async fn a_life_tells_every_step_and_ends_once(mut rig: Rig) {
    let sent = message(10, "A", Channel::Fcm);
    assert_eq!(rig.store().life(sent.id).await, Ok(None));
    send(rig.store(), vec![sent.clone()]).await;
    let entry = claim(rig.store(), 10, 1).await.remove(0);
    let dead = End::Terminal { milestone: Milestone::Dead, detail: Some("BadTopic".to_owned()), attempts: 1 };
    rig.store().settle(vec![settled(&entry, 12, dead), settled(&entry, 13, accepted(2))]).await.expect("available");
    rig.pause().await;
    let life = rig.store().life(sent.id).await.expect("available").expect("known");
    let steps: Vec<_> = life.milestones.iter().map(|step| (step.milestone, step.at)).collect();
    let expected = [
        (Milestone::Observed, at(10)),
        (Milestone::Decided, at(10)),
        (Milestone::Stored, at(10)),
        (Milestone::Attempted, at(12)),
        (Milestone::Dead, at(12)),
    ];
    assert_eq!(steps, expected);
    assert_eq!((life.notification, life.attempts), (sent, 1));
    assert_eq!(life.milestones[4].detail.as_deref(), Some("BadTopic"));
}

async fn reports_are_kept_once_and_cannot_end_a_life(mut rig: Rig) {
    let sent = message(10, "A", Channel::Fcm);
    let step = |milestone, second| Step { milestone, at: at(second), detail: None };
    assert_eq!(rig.store().report(sent.id, step(Milestone::Opened, 20)).await, Ok(false));
    send(rig.store(), vec![sent.clone()]).await;
    for (milestone, second) in [(Milestone::Opened, 20), (Milestone::Opened, 21), (Milestone::Accepted, 22)] {
        assert_eq!(rig.store().report(sent.id, step(milestone, second)).await, Ok(true));
        rig.pause().await;
    }
    let life = rig.store().life(sent.id).await.expect("available").expect("known");
    assert_eq!(life.milestones[3..], [step(Milestone::Opened, 20)]);
    assert_eq!(claim(rig.store(), 30, 1).await.len(), 1, "it is still to be sent");
}

async fn an_erased_shopper_leaves_nothing(mut rig: Rig) {
    let changes =
        vec![replaced(0, with_device("A", "phone"), Some(at(1))), replaced(0, with_device("B", "tablet"), None)];
    let outbox = vec![message(1, "A", Channel::Fcm), message(2, "A", Channel::Fcm), message(3, "B", Channel::Fcm)];
    let events = vec![event(1, "A"), event(1, "B"), event(2, "A")];
    rig.store()
        .commit(Commit { changes, outbox: outbox.clone(), events, ..Commit::default() })
        .await
        .expect("available");
    rig.pause().await;
    let leased = claim(rig.store(), 1, 1).await.remove(0);
    assert_eq!(leased.notification.id, outbox[0].id);
    assert_eq!(commit(rig.store(), vec![erased(1, "A")]).await, Committed::Done);
    rig.store().settle(vec![settled(&leased, 2, again(3, 1))]).await.expect("available");
    for _ in 0..2 {
        assert_eq!(load(rig.store(), "A").await.version, 0);
        assert_eq!(owner(rig.store(), "phone").await, None);
        assert_eq!(rig.store().due_wakes(at(9), 9).await, Ok((Vec::new(), rig.until(9, None))));
        assert_eq!(rig.store().life(outbox[0].id).await, Ok(None));
        assert_eq!(rig.store().life(outbox[1].id).await, Ok(None));
        let query = JournalQuery { limit: 9, ..JournalQuery::default() };
        assert_eq!(rig.store().journal(query).await, Ok(vec![event(1, "B")]));
        let sizes = rig.store().sizes().await.expect("available");
        assert_eq!((sizes.shoppers, sizes.waiting[&Channel::Fcm]), (1, 1));
        rig.restart().await;
    }
    let rest = claim(rig.store(), 9, 9).await;
    assert_eq!(rest.iter().map(|entry| entry.notification.id).collect::<Vec<_>>(), [outbox[2].id]);
    assert_eq!(owner(rig.store(), "tablet").await, Some(name("B")));
}

async fn an_erased_shopper_may_come_back(mut rig: Rig) {
    let again = message(1, "A", Channel::Fcm);
    let first = Commit {
        changes: vec![replaced(0, with_device("A", "phone"), None)],
        outbox: vec![again.clone()],
        events: vec![event(1, "A")],
        ..Commit::default()
    };
    rig.store().commit(first).await.expect("available");
    commit(rig.store(), vec![erased(1, "A")]).await;
    let second = Commit {
        changes: vec![replaced(0, with_device("A", "watch"), None)],
        outbox: vec![again.clone()],
        events: vec![event(2, "A")],
        ..Commit::default()
    };
    assert_eq!(rig.store().commit(second).await, Ok(Committed::Done));
    let version = load(rig.store(), "A").await.version;
    assert!(version > 0 && (rig.is_exclusive() || version > 1), "no version is given twice: {version}");
    for _ in 0..4 {
        rig.pause().await;
        assert_eq!(load(rig.store(), "A").await.version, version);
        assert_eq!(owner(rig.store(), "phone").await, None);
        assert_eq!(owner(rig.store(), "watch").await, Some(name("A")));
        assert!(rig.store().life(again.id).await.expect("available").is_some());
        let query = JournalQuery { shopper: Some(name("A")), limit: 9, ..JournalQuery::default() };
        assert_eq!(rig.store().journal(query).await, Ok(vec![event(2, "A")]));
        commit(rig.store(), vec![tracked(version, "A", 1.0)]).await;
    }
    assert_eq!(claim(rig.store(), 9, 9).await.len(), 1);
}

async fn the_journal_gives_the_newest_rows_oldest_first(mut rig: Rig) {
    for second in 0..10 {
        let events = vec![event(second, "A"), event(second, "B")];
        rig.store().commit(Commit { events, ..Commit::default() }).await.expect("available");
    }
    rig.pause().await;
    let query = |shopper: Option<&str>, since: Option<i64>, until: Option<i64>, limit| JournalQuery {
        shopper: shopper.map(name),
        since: since.map(at),
        until: until.map(at),
        limit,
    };
    let rows = rig.store().journal(query(None, None, None, 3)).await;
    assert_eq!(rows, Ok(vec![event(8, "B"), event(9, "A"), event(9, "B")]));
    let rows = rig.store().journal(query(Some("A"), Some(3), Some(6), 9)).await;
    assert_eq!(rows, Ok(vec![event(3, "A"), event(4, "A"), event(5, "A")]));
    let rows = rig.store().journal(query(Some("C"), None, None, 9)).await;
    assert_eq!(rows, Ok(Vec::new()));
    let rows = rig.store().journal(query(None, Some(6), Some(3), 9)).await;
    assert_eq!(rows, Ok(Vec::new()));
}

async fn pruning_forgets_what_is_old_and_over(mut rig: Rig) {
    let outbox: Vec<_> = [1, 2, 50].map(|n| message(n, "A", Channel::Fcm)).to_vec();
    let events = (0..60).map(|second| event(second, "A")).collect();
    rig.store().commit(Commit { outbox: outbox.clone(), events, ..Commit::default() }).await.expect("available");
    let entries = claim(rig.store(), 1, 1).await;
    rig.store().settle(vec![settled(&entries[0], 2, accepted(1))]).await.expect("available");
    let answer = Answer { status: 200, content_type: "text/plain".to_owned(), body: vec![1], request_hash: 7 };
    rig.store().keep_answer("old", answer.clone(), at(29)).await.expect("available");
    rig.store().keep_answer("new", answer.clone(), at(30)).await.expect("available");
    rig.pause().await;
    rig.store().prune(Horizon { rows: at(40), answers: at(30) }).await.expect("available");
    rig.pause().await;
    assert_eq!(rig.store().life(outbox[0].id).await, Ok(None), "it ended long ago");
    assert!(rig.store().life(outbox[1].id).await.expect("available").is_some(), "it still waits");
    assert!(rig.store().life(outbox[2].id).await.expect("available").is_some());
    assert_eq!(rig.store().answer("old").await, Ok(None));
    assert_eq!(rig.store().answer("new").await, Ok(Some(answer)));
    let query = JournalQuery { limit: 99, ..JournalQuery::default() };
    let rows = rig.store().journal(query).await.expect("available");
    assert_eq!((rows.len(), rows[0].recorded_at), (20, at(40)));
}

async fn the_catalog_keeps_what_was_put(mut rig: Rig) {
    let item = |kind: &str, id: &str, json: Option<&str>| CatalogItem {
        kind: kind.to_owned(),
        id: id.to_owned(),
        json: json.map(str::to_owned),
    };
    let items = vec![item("store", "s", Some("1")), item("geofence", "g", Some("2")), item("geofence", "h", Some("3"))];
    let changed = rig.store().catalog_changed();
    assert_eq!(rig.store().put_catalog(items, 0).await, Ok(Some(1)));
    assert!(changed.has_changed().expect("the store lives"));
    rig.pause().await;
    let items = vec![item("geofence", "g", None), item("geofence", "x", None), item("geofence", "h", Some("4"))];
    assert_eq!(rig.store().put_catalog(items.clone(), 0).await, Ok(None), "somebody was faster");
    assert_eq!(rig.store().put_catalog(items, 1).await, Ok(Some(2)));
    rig.pause().await;
    let items = vec![item("geofence", "h", Some("4")), item("store", "s", Some("1"))];
    assert_eq!(rig.store().catalog().await, Ok(Catalog { generation: 2, items }));
}

async fn the_first_answer_stands(mut rig: Rig) {
    let answer = |status| Answer {
        status,
        content_type: "application/json".to_owned(),
        body: b"{}".to_vec(),
        request_hash: u64::MAX,
    };
    assert_eq!(rig.store().answer("key").await, Ok(None));
    rig.store().keep_answer("key", answer(201), at(1)).await.expect("available");
    rig.pause().await;
    rig.store().keep_answer("key", answer(409), at(2)).await.expect("available");
    rig.pause().await;
    assert_eq!(rig.store().answer("key").await, Ok(Some(answer(201))));
}

async fn a_budget_is_never_overspent(mut rig: Rig) {
    let campaign: CampaignId = name("televisions");
    let takers: Vec<_> = (0..8)
        .map(|_| {
            let (store, campaign) = (rig.shared(), campaign.clone());
            TaskTracker::new().spawn(async move { store.lease_budget(&campaign, 100, 30).await.expect("available") })
        })
        .collect();
    let mut taken = Vec::new();
    for taker in takers {
        taken.push(taker.await.expect("ends"));
    }
    taken.sort_unstable();
    assert_eq!(taken, [0, 0, 0, 0, 10, 30, 30, 30]);
    rig.restart().await;
    assert_eq!(rig.store().lease_budget(&campaign, 100, 1).await, Ok(0), "what a crash loses stays spent");
    assert_eq!(rig.store().lease_budget(&campaign, 105, 30).await, Ok(5));
    assert_eq!(rig.store().lease_budget(&campaign, 50, 30).await, Ok(0));
}

async fn sizes_count_what_is_there(mut rig: Rig) {
    commit(rig.store(), vec![replaced(0, shopper("A"), None), tracked(0, "B", 1.0)]).await;
    send(rig.store(), vec![message(1, "A", Channel::Fcm), message(2, "A", Channel::Fcm)]).await;
    send(rig.store(), vec![message(2, "C", Channel::WebPush)]).await;
    rig.pause().await;
    let entries = claim(rig.store(), 1, 1).await;
    let sizes = rig.store().sizes().await.expect("available");
    let waiting = |channel| sizes.waiting[&channel];
    assert_eq!((sizes.shoppers, waiting(Channel::Fcm), waiting(Channel::WebPush)), (1, 2, 1));
    rig.store().settle(vec![settled(&entries[0], 2, accepted(1))]).await.expect("available");
    assert_eq!(rig.store().sizes().await.expect("available").waiting[&Channel::Fcm], 1);
}

async fn growth_is_announced(rig: Rig) {
    let mut grew = rig.store().outbox_grew();
    grew.mark_unchanged();
    commit(rig.store(), vec![replaced(0, shopper("A"), None)]).await;
    assert!(!grew.has_changed().expect("the store lives"), "no entry was added");
    send(rig.store(), vec![message(1, "A", Channel::Fcm)]).await;
    assert!(grew.has_changed().expect("the store lives"));
    let entries = claim(rig.store(), 1, 1).await;
    grew.mark_unchanged();
    rig.store().settle(vec![settled(&entries[0], 2, again(5, 1))]).await.expect("available");
    assert!(grew.has_changed().expect("the store lives"), "it is due before its lease would have ended");
}

fn ids(entries: &[parvis::store::Entry]) -> Vec<NotificationId> {
    entries.iter().map(|entry| entry.notification.id).collect()
}

async fn a_queue_has_entries_and_leases_of_its_own(mut rig: Rig) {
    // Of these numbers each is for another queue.
    let outbox: Vec<_> = (0..4).map(|n| varied(n, "A")).collect();
    let elsewhere = message(1, "B", Channel::Apns);
    send(rig.store(), outbox.iter().cloned().chain([elsewhere.clone()]).collect()).await;
    rig.pause().await;
    assert_eq!(queues().into_iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
    let mut claimed = Vec::new();
    for ((second, queue), message) in (10..).zip(queues()).zip(&outbox) {
        let entries = claim_from(rig.store(), queue, second, 9).await;
        assert_eq!(ids(&entries), [message.id], "{queue:?}");
        assert_eq!(claim_from(rig.store(), queue, second, 9).await, []);
        claimed.extend(entries);
    }
    assert_eq!(ids(&claim_from(rig.store(), Queue::of(&elsewhere), 20, 9).await), [elsewhere.id]);
    // The leases end one after the other.
    for second in [39, 41] {
        let free = outbox.iter().zip(40..).filter(|(_, end)| *end <= second).map(|(message, _)| message.id);
        assert_eq!(ids(&claim_all(rig.store(), second, 9).await), free.collect::<Vec<_>>(), "at {second}");
    }
    let ends = [settled(&claimed[2], 41, again(50, 1)), settled(&claimed[3], 41, accepted(1))];
    rig.store().settle(ends.to_vec()).await.expect("available");
    assert_eq!(claim_all(rig.store(), 49, 9).await, []);
    let back = claim_from(rig.store(), queues()[2], 50, 9).await;
    assert_eq!((ids(&back), back[0].attempts), (vec![outbox[2].id], 1), "it came back to its queue");
    let sizes = rig.store().sizes().await.expect("available");
    let waits = |queue: &Queue| sizes.queues.get(queue).copied();
    assert_eq!(queues().map(|queue| waits(&queue)), [Some(1), Some(1), Some(1), None]);
    assert_eq!((sizes.waiting[&Channel::Fcm], sizes.waiting[&Channel::Apns]), (3, 1));
}

async fn a_backlog_in_one_queue_holds_up_no_other(mut rig: Rig) {
    let orders = |n: i64| varied(n * 6 + 3, "A");
    for chunk in 0..4 {
        send(rig.store(), (0..60).map(|n| message(chunk * 60 + n, "B", Channel::Fcm)).collect()).await;
    }
    send(rig.store(), (40..45).map(orders).collect()).await;
    rig.pause().await;
    assert!(!claim(rig.store(), 300, 20).await.is_empty());
    let queue = Queue::of(&orders(0));
    for n in 40..45 {
        assert_eq!(ids(&claim_from(rig.store(), queue, 300, 1).await), [orders(n).id], "earliest due first");
        assert!(!claim(rig.store(), 300, 5).await.is_empty());
    }
    assert_eq!(claim_from(rig.store(), queue, 300, 1).await, []);
}

async fn what_follows_is_stored_exactly_if_the_settlement_counts(mut rig: Rig) {
    send(rig.store(), (1..5).map(|n| message(n, "A", Channel::Fcm)).collect()).await;
    let entries = claim(rig.store(), 10, 9).await;
    let follows = async |rig: &Rig, n| rig.store().life(follower(n, "A").id).await.expect("available").is_some();
    let with = |n: usize, end| {
        let second = i64::try_from(n).expect("small") + 1;
        settled_then(&entries[n], 11, end, vec![follower(second, "A")])
    };
    let mut stranger = with(3, accepted(1));
    stranger.lease += 1_000;
    let mut grew = rig.store().outbox_grew();
    grew.mark_unchanged();
    let settlements = vec![with(0, accepted(1)), with(1, dead(1)), with(2, again(60, 1)), stranger];
    rig.store().settle(settlements).await.expect("available");
    assert!(grew.has_changed().expect("the store lives"));
    for (n, expected) in [(1, true), (2, true), (3, true), (4, false)] {
        assert_eq!(follows(&rig, n).await, expected, "{n}");
    }
    let waiting = claim_from(rig.store(), Queue::of(&follower(1, "A")), 12, 9).await;
    assert_eq!(ids(&waiting), [1, 2, 3].map(|n| follower(n, "A").id));
    assert_eq!(waiting[0].notification, follower(1, "A"));
    // A lease that has passed on brings nothing, nor does one that was settled.
    let taken = claim(rig.store(), 45, 9).await;
    assert_eq!(ids(&taken), [entries[3].notification.id]);
    rig.store().settle(vec![with(3, accepted(1)), with(3, again(60, 1))]).await.expect("available");
    assert!(!follows(&rig, 4).await);
    rig.store().settle(vec![settled(&taken[0], 46, accepted(1)), with(3, accepted(2))]).await.expect("available");
    assert!(!follows(&rig, 4).await, "what ended without a consequence has none afterwards");
    rig.restart().await;
    assert!(follows(&rig, 1).await && !follows(&rig, 4).await);
}

async fn what_follows_is_stored_once(mut rig: Rig) {
    send(rig.store(), vec![message(1, "A", Channel::Fcm), message(2, "A", Channel::Fcm), follower(3, "A")]).await;
    let entries = claim(rig.store(), 10, 9).await;
    let then = || vec![follower(3, "A"), follower(4, "A"), follower(4, "A")];
    for _ in 0..2 {
        let settlements = entries.iter().map(|entry| settled_then(entry, 11, accepted(1), then())).collect();
        rig.store().settle(settlements).await.expect("available");
        rig.pause().await;
    }
    let queue = Queue::of(&follower(3, "A"));
    let waiting = claim_from(rig.store(), queue, 12, 9).await;
    assert_eq!(ids(&waiting), [3, 4].map(|n| follower(n, "A").id));
    assert_eq!(rig.store().sizes().await.expect("available").waiting[&Channel::WebPush], 2);
    let version = load(rig.store(), "A").await.version;
    commit(rig.store(), vec![replaced(version, shopper("A"), None)]).await;
    commit(rig.store(), vec![erased(version + 1, "A")]).await;
    assert_eq!(rig.store().life(follower(4, "A").id).await, Ok(None), "it was the shopper's");
    assert_eq!(rig.store().sizes().await.expect("available").waiting[&Channel::WebPush], 0);
}

/// Messages that were given up: number, shopper, when.
async fn give_up(rig: &Rig, all: &[(i64, &str, i64)]) {
    send(rig.store(), all.iter().map(|(n, shopper, _)| varied(*n, shopper)).collect()).await;
    let entries = claim_all(rig.store(), 100, 99).await;
    let end = |entry: &parvis::store::Entry| {
        let (_, _, at) =
            all.iter().find(|(n, shopper, _)| varied(*n, shopper).id == entry.notification.id).expect("it");
        settled(entry, *at, dead(1))
    };
    rig.store().settle(entries.iter().map(end).collect()).await.expect("available");
}

async fn listed(rig: &Rig, query: DeadQuery) -> Vec<Life> {
    rig.store().dead(query).await.expect("available")
}

async fn what_was_given_up_is_listed_newest_first(mut rig: Rig) {
    assert_eq!(listed(&rig, DeadQuery { limit: 9, ..DeadQuery::default() }).await, []);
    let all = [(1, "A", 300), (2, "B", 200), (3, "C", 200), (4, "D", 200), (5, "E", 200), (6, "F", 100)];
    give_up(&rig, &all).await;
    send(rig.store(), vec![message(7, "A", Channel::Fcm), varied(8, "A")]).await;
    let ended = claim(rig.store(), 100, 1).await;
    rig.store().settle(vec![settled(&ended[0], 400, accepted(1))]).await.expect("available");
    rig.pause().await;
    let mut expected: Vec<_> = all.iter().map(|(n, shopper, at)| (*at, varied(*n, shopper).id)).collect();
    expected.sort_unstable_by(|one, other| other.cmp(one));
    let expected: Vec<NotificationId> = expected.into_iter().map(|(_, id)| id).collect();
    let ids = |lives: &[Life]| lives.iter().map(|life| life.notification.id).collect::<Vec<_>>();
    for _ in 0..2 {
        let whole = listed(&rig, DeadQuery { limit: 9, ..DeadQuery::default() }).await;
        assert_eq!(ids(&whole), expected);
        for life in &whole {
            assert_eq!(rig.store().life(life.notification.id).await.as_ref(), Ok(&Some(life.clone())));
        }
        for limit in [1, 2, 4] {
            let (mut paged, mut before) = (Vec::new(), None);
            loop {
                let page = listed(&rig, DeadQuery { before, limit, ..DeadQuery::default() }).await;
                assert!(page.len() <= limit);
                let Some(last) = page.last() else { break };
                before = Some(Cursor::of(last).expect("it was given up").to_string().parse().expect("a cursor"));
                paged.extend(page);
            }
            assert_eq!(paged, whole, "in pages of {limit}");
        }
        let loyalty = DeadQuery { app: Some(name("loyalty")), limit: 2, ..DeadQuery::default() };
        let of_app: Vec<_> = whole.iter().filter(|life| life.notification.app.as_str() == "loyalty").cloned().collect();
        assert_eq!(of_app.len(), 3);
        assert_eq!(listed(&rig, loyalty.clone()).await, of_app[..2]);
        let rest = DeadQuery { before: Cursor::of(&of_app[1]), ..loyalty };
        assert_eq!(listed(&rig, rest).await, of_app[2..]);
        for (channel, count) in [(Channel::Fcm, 6), (Channel::Apns, 0)] {
            let query = DeadQuery { channel: Some(channel), limit: 9, ..DeadQuery::default() };
            assert_eq!(listed(&rig, query).await.len(), count);
        }
        assert_eq!(listed(&rig, DeadQuery::default()).await, [], "a limit of 0");
        // A report moves nothing in the list.
        let opened = Step { milestone: Milestone::Opened, at: at(900), detail: None };
        assert_eq!(rig.store().report(expected[3], opened).await, Ok(true));
        rig.restart().await;
    }
}

async fn the_list_of_what_was_given_up_forgets_with_the_lives(mut rig: Rig) {
    commit(rig.store(), vec![replaced(0, shopper("A"), None)]).await;
    give_up(&rig, &[(1, "A", 300), (2, "A", 301), (3, "B", 302), (4, "B", 303), (5, "C", 500)]).await;
    let listed = async |rig: &Rig| {
        let lives = listed(rig, DeadQuery { limit: 9, ..DeadQuery::default() }).await;
        lives.into_iter().map(|life| life.notification.shopper.to_string()).collect::<String>()
    };
    assert_eq!(listed(&rig).await, "CBBAA");
    commit(rig.store(), vec![erased(1, "A")]).await;
    rig.pause().await;
    assert_eq!(listed(&rig).await, "CBB");
    // Who comes back and is given up again stands there once.
    give_up(&rig, &[(1, "A", 600)]).await;
    assert_eq!(listed(&rig).await, "ACBB");
    rig.store().prune(Horizon { rows: at(303), answers: at(0) }).await.expect("available");
    rig.pause().await;
    assert_eq!(listed(&rig).await, "ACB");
    rig.restart().await;
    rig.store().prune(Horizon { rows: at(900), answers: at(0) }).await.expect("available");
    assert_eq!(listed(&rig).await, "");
}

async fn a_note_is_kept_if_nobody_was_faster(mut rig: Rig) {
    assert_eq!(rig.store().note("token").await, Ok(None));
    assert_eq!(rig.store().keep_note("token", b"early".to_vec(), 1).await, Ok(None), "there is none yet");
    assert_eq!(rig.store().keep_note("token", b"one".to_vec(), 0).await, Ok(Some(1)));
    rig.pause().await;
    assert_eq!(rig.store().keep_note("token", b"late".to_vec(), 0).await, Ok(None));
    assert_eq!(rig.store().note("token").await, Ok(Some(Note { version: 1, bytes: b"one".to_vec() })));
    let bytes: Vec<u8> = (0..=255).cycle().take(note::BYTES_MAX).collect();
    assert_eq!(rig.store().keep_note("token", bytes.clone(), 1).await, Ok(Some(2)));
    assert_eq!(rig.store().keep_note("other", Vec::new(), 0).await, Ok(Some(1)));
    let writers: Vec<_> = (0..6)
        .map(|n| {
            let store = rig.shared();
            TaskTracker::new().spawn(async move { store.keep_note("raced", vec![n], 0).await.expect("available") })
        })
        .collect();
    let mut kept = Vec::new();
    for writer in writers {
        kept.push(writer.await.expect("ends"));
    }
    let winner = kept.iter().position(|version| *version == Some(1)).expect("one wins");
    assert_eq!(kept.iter().flatten().count(), 1);
    rig.restart().await;
    assert_eq!(rig.store().note("token").await, Ok(Some(Note { version: 2, bytes })));
    assert_eq!(rig.store().note("other").await, Ok(Some(Note { version: 1, bytes: Vec::new() })));
    let raced = rig.store().note("raced").await.expect("available").expect("kept");
    assert_eq!(raced.bytes, [u8::try_from(winner).expect("small")]);
}

async fn what_is_too_large_for_a_note_is_refused(rig: Rig) {
    let long = "n".repeat(note::NAME_MAX_BYTES);
    assert_eq!(rig.store().keep_note(&long, vec![0; note::BYTES_MAX], 0).await, Ok(Some(1)));
    let (longer, larger) = (long + "n", vec![0; note::BYTES_MAX + 1]);
    for (name, bytes, said) in
        [("a", larger, "65537 bytes"), (longer.as_str(), Vec::new(), "129 bytes"), ("", Vec::new(), "no name")]
    {
        let refused = rig.store().keep_note(name, bytes, 0).await;
        assert!(matches!(&refused, Err(Error::Unavailable(why)) if why.contains(said)), "{refused:?}");
    }
    assert_eq!(rig.store().note("a").await, Ok(None));
}
