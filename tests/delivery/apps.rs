//! Several apps side by side, and what comes first.

use std::time::Duration;

use parvis::{
    delivery::breaker::State,
    lane,
    sandbox::{Behaviour, Conditions},
};
use parvis_engine::notification::{Channel, Milestone, Purpose};

use crate::rig::{FAILING, Rig, hurried};

#[tokio::test]
async fn a_dead_app_holds_up_no_other() {
    let mut rig = Rig::new(&["default", "dead"], hurried()).await;
    let (dead, alive) = (rig.phone("dead"), rig.phone("default"));
    rig.behave("dead", &dead, FAILING);
    rig.start().await;
    let (dying, living) = (rig.offers("dead", &dead, 300), rig.offers("default", &alive, 300));
    let dying = rig.put(dying).await;
    rig.until("the breaker to open", || rig.breaker("dead") != State::Closed).await;
    let living = rig.put(living).await;
    assert!(rig.ends(&living).await.iter().all(|end| *end == Milestone::Accepted));
    assert_eq!((rig.breaker("default"), rig.accepted("default").len()), (State::Closed, 300));
    assert!(rig.accepted("dead").is_empty());
    rig.behave("dead", &dead, Behaviour::Normal);
    assert!(rig.ends(&dying).await.iter().all(|end| *end == Milestone::Accepted));
    rig.stop().await;
}

#[tokio::test]
async fn order_news_go_before_offers_and_find_room_beside_them() {
    let mut rig = Rig::new(&["default"], lane::Config { window: 8, ..hurried() }).await;
    let slow = Conditions { latency_ms: 20, ..Conditions::default() };
    rig.service("default").set_conditions(Channel::Apns, slow);
    let phone = rig.phone("default");
    let offers = rig.offers("default", &phone, 100);
    let order = |rig: &mut Rig| rig.message("default", &phone, Purpose::Order, Duration::from_secs(3_600));
    let orders: Vec<_> = (0..20).map(|_| order(&mut rig)).collect();
    // The offers were there first.
    let offers = rig.put(offers).await;
    let orders = rig.put(orders).await;
    rig.start().await;
    rig.ends(&[offers.clone(), orders.clone()].concat()).await;
    let accepted = rig.accepted("default");
    let place = |id: &_| accepted.iter().position(|it| *it == format!("{id}")).expect("accepted");
    let last_order = orders.iter().map(place).max().expect("some");
    assert!(last_order < 20 + 7, "of what is under way at most seven are offers: {last_order}");
    rig.stop().await;
}

#[tokio::test]
async fn what_has_expired_is_settled_without_a_provider() {
    let mut rig = Rig::new(&["default"], hurried()).await;
    let phone = rig.phone("default");
    let offers = (0..500).map(|_| rig.message("default", &phone, Purpose::Offer, Duration::ZERO)).collect();
    let ids = rig.put(offers).await;
    rig.start().await;
    assert!(rig.ends(&ids).await.iter().all(|end| *end == Milestone::Expired));
    assert!(rig.service("default").received().is_empty());
    assert_eq!(rig.life(ids[0]).await.attempts, 0);
    rig.stop().await;
}
