//! A provider that fails for all, and what is asked of it meanwhile and afterwards.

use std::time::Duration;

use parvis::{
    delivery::breaker::State,
    lane::{self, budget},
    sandbox::Behaviour,
};
use parvis_engine::notification::{Milestone, Purpose};

use crate::rig::{FAILING, Rig, hurried};

#[tokio::test]
async fn a_storm_is_weathered_with_few_attempts_and_nothing_is_lost() {
    let mut rig = Rig::new(&["default"], hurried()).await;
    let phone = rig.phone("default");
    rig.behave("default", &phone, FAILING);
    rig.start().await;
    let offers = rig.offers("default", &phone, 1_000);
    let ids = rig.put(offers).await;
    rig.until("the breaker to open", || rig.breaker("default") == State::Open).await;
    let tried = rig.service("default").counts().refused;
    // What is needed to open it, a window that was under way then, and some probes since.
    assert!((20..=64 + 20 + 16).contains(&tried), "{tried} attempts");
    rig.until("some probes", || rig.service("default").counts().refused >= tried + 3).await;
    assert!(rig.service("default").counts().refused < 200, "one at a time");
    rig.behave("default", &phone, Behaviour::Normal);
    assert!(rig.ends(&ids).await.iter().all(|end| *end == Milestone::Accepted));
    assert_eq!(rig.accepted("default").len(), 1_000, "each once");
    assert_eq!(rig.breaker("default"), State::Closed);
    rig.stop().await;
}

#[tokio::test]
async fn what_expires_in_a_storm_is_never_sent() {
    let mut rig = Rig::new(&["default"], hurried()).await;
    let phone = rig.phone("default");
    rig.behave("default", &phone, FAILING);
    rig.start().await;
    let offers = (0..300).map(|_| rig.message("default", &phone, Purpose::Offer, Duration::from_millis(500)));
    let offers: Vec<_> = offers.collect();
    let expiry = offers.iter().map(|offer| offer.expires_at).max().expect("some");
    let ids = rig.put(offers).await;
    rig.until("the last to expire", || rig.clock.now() >= expiry).await;
    rig.behave("default", &phone, Behaviour::Normal);
    assert!(rig.ends(&ids).await.iter().all(|end| *end == Milestone::Expired));
    assert!(rig.accepted("default").is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn repetitions_stay_within_their_budget_and_are_put_off_not_dropped() {
    let retries = budget::Config { share: 0.0, per_minute_min: 5 };
    // It never opens: the budget alone holds back.
    let breaker = parvis::delivery::breaker::Config { recent: 10_000, recent_min: 10_000, ..hurried().breaker };
    let mut rig = Rig::new(&["default"], lane::Config { retries, breaker, ..hurried() }).await;
    let phone = rig.phone("default");
    rig.behave("default", &phone, FAILING);
    rig.start().await;
    let orders = (0..50).map(|_| rig.message("default", &phone, Purpose::Order, Duration::from_secs(4)));
    let orders: Vec<_> = orders.collect();
    let ids = rig.put(orders).await;
    assert!(rig.ends(&ids).await.iter().all(|end| *end == Milestone::Expired), "put off until they had expired");
    // A test that crosses a minute gets five more.
    let refused = rig.service("default").counts().refused;
    assert!((50..=60).contains(&refused), "{refused} attempts of 50 messages");
    rig.stop().await;
}
