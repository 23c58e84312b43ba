//! Credentials and apps that change while messages are under way.

use parvis::sandbox::Conditions;
use parvis_engine::notification::{Channel, Milestone};

use crate::rig::{Rig, app, hurried};

#[tokio::test]
async fn keys_change_under_load_and_nothing_is_lost_or_sent_twice() {
    let mut rig = Rig::new(&["default"], hurried()).await;
    let slow = Conditions { latency_ms: 10, ..Conditions::default() };
    rig.service("default").set_conditions(Channel::Apns, slow);
    rig.start().await;
    let phone = rig.phone("default");
    let offers = rig.offers("default", &phone, 1_500);
    let ids = rig.put(offers).await;
    for accepted in [100, 400, 700, 1_000] {
        rig.service("default").wait_for(accepted).await;
        rig.change_key("default");
        rig.reload(&["default"]).await;
    }
    assert!(rig.ends(&ids).await.iter().all(|end| *end == Milestone::Accepted));
    assert_eq!(rig.accepted("default").len(), 1_500, "each once");
    assert_eq!(rig.service("default").counts().refused, 0, "no key was refused");
    rig.stop().await;
}

#[tokio::test]
async fn apps_come_and_go_and_what_waits_for_one_that_is_gone_is_not_forgotten() {
    let mut rig = Rig::new(&["default", "loyalty"], hurried()).await;
    rig.start().await;
    rig.reload(&["default"]).await;
    let (one, other) = (rig.phone("default"), rig.phone("loyalty"));
    let stays = rig.offers("default", &one, 20);
    let waits = rig.offers("loyalty", &other, 20);
    let (stays, waits) = (rig.put(stays).await, rig.put(waits).await);
    assert!(rig.ends(&stays).await.iter().all(|end| *end == Milestone::Accepted));
    assert!(rig.accepted("loyalty").is_empty());
    let routes = rig.reporter().breakers();
    assert!(routes.iter().all(|(route, _)| route.app != app("loyalty")), "{routes:?}");
    rig.reload(&["default", "loyalty"]).await;
    assert!(rig.ends(&waits).await.iter().all(|end| *end == Milestone::Accepted));
    rig.stop().await;
}
