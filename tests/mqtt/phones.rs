//! OwnTracks over a broker, in both versions of the protocol.

use parvis_engine::time::Timestamp;

use crate::{
    became,
    broker::Broker,
    connection, inside, open, outside, phone, put_guests,
    rig::{Rig, ago, now},
    told_once, until_became,
};

async fn walks_in(version: &str) {
    let broker = Broker::start().await;
    let rig = open(&connection(&broker, &format!("version = \"{version}\""))).await;
    put_guests(&rig, 1).await;
    broker.publish(&phone(0), &outside(ago(60))).await;
    broker.publish(&phone(0), &inside(now())).await;
    told_once(&rig, 0..1).await;
    until_became(&rig, "taken", 2.0).await;
    let crossing = format!(r#"{{"_type":"transition","tst":{},"desc":"shop","event":"leave"}}"#, seconds(now()) + 1);
    broker.publish(&format!("{}/event", phone(0)), &crossing).await;
    until_became(&rig, "taken", 3.0).await;
    assert_eq!(transitions(&rig, "exit").await, 1.0);
}

fn seconds(at: Timestamp) -> i64 {
    at.as_millis() / 1_000
}

async fn transitions(rig: &Rig, kind: &str) -> f64 {
    rig.metric(&format!("parvis_transitions_total{{kind=\"{kind}\"}}")).await
}

#[tokio::test]
async fn a_location_over_mqtt_5_becomes_an_accepted_push() {
    walks_in("5").await;
}

#[tokio::test]
async fn a_location_over_mqtt_3_1_1_becomes_an_accepted_push() {
    walks_in("3.1.1").await;
}

#[tokio::test]
async fn the_order_of_a_topic_is_kept() {
    let broker = Broker::start().await;
    let rig = open(&connection(&broker, "")).await;
    put_guests(&rig, 1).await;
    let begin = ago(400);
    let walk = (0..40_u64).map(|step| {
        let at = begin.plus(std::time::Duration::from_secs(10 * step));
        if step % 2 == 0 { outside(at) } else { inside(at) }
    });
    broker.publish_all(&phone(0), &walk.collect::<Vec<_>>()).await;
    until_became(&rig, "taken", 40.0).await;
    assert_eq!([transitions(&rig, "enter").await, transitions(&rig, "exit").await], [20.0, 19.0]);
}

#[tokio::test]
async fn the_topic_says_who_speaks() {
    let broker = Broker::start().await;
    let rig = open(&connection(&broker, "")).await;
    put_guests(&rig, 1).await;
    let forged = inside(now()).replace("{\"_type\"", "{\"topic\":\"owntracks/jane/phone-0\",\"_type\"");
    broker.publish("owntracks/mallory/phone-0", &forged).await;
    until_became(&rig, "rejected", 1.0).await;
    assert_eq!(became(&rig, "taken").await, 0.0);
    assert_eq!(rig.metric("parvis_observations_total{result=\"unknown_device\"}").await, 1.0);
}

#[tokio::test]
async fn what_the_broker_keeps_counts_only_while_it_is_news() {
    let broker = Broker::start().await;
    broker.publish_as(&phone(0), &inside(ago(3_600)), &["-r"]).await;
    broker.publish_as(&phone(1), &inside(now()), &["-r"]).await;
    let mut rig = crate::prepared(&connection(&broker, ""), &[]).await;
    // Devices are registered first: what the broker keeps is told once.
    let configuration = std::fs::read_to_string(rig.folder.path().join("parvis.toml")).expect("readable");
    let (without, _) = configuration.split_once("[[mqtt").expect("it is there");
    std::fs::write(rig.folder.path().join("parvis.toml"), without).expect("writable");
    rig.boot().await;
    crate::furnish(&rig).await;
    put_guests(&rig, 2).await;
    rig.stop().await;
    std::fs::write(rig.folder.path().join("parvis.toml"), &configuration).expect("writable");
    rig.boot().await;
    until_became(&rig, "taken", 1.0).await;
    until_became(&rig, "rejected", 1.0).await;
    assert_eq!(rig.metric("parvis_observations_total{result=\"stale\"}").await, 1.0);
    assert_eq!(rig.ended_lives("C-1", 1).await.len(), 1);
}
