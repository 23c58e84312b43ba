//! More than can be taken at once: several nodes, full inboxes, floods.

use std::fs;

use crate::{
    became,
    broker::Broker,
    connection, furnish, inside, listening, open, outside, phone, prepared, put_guests,
    rig::{Rig, ago, now, until},
    told_once, until_became,
};

#[tokio::test]
async fn nodes_that_share_a_subscription_take_each_message_once() {
    const MESSAGES: usize = 200;
    let broker = Broker::start().await;
    let shared = |id: &str| connection(&broker, "").replace("\"node\"", id) + "shared = \"shop\"\n";
    let mut nodes = Vec::new();
    for id in ["\"node-a\"", "\"node-b\""] {
        let mut rig = prepared(&shared(id), &[]).await;
        rig.boot().await;
        put_guests(&rig, 1).await;
        let name = format!("parvis_mqtt_connected{{client_id={id}}}");
        until("the node to listen", async || (rig.metric(&name).await == 1.0).then_some(())).await;
        nodes.push(rig);
    }
    let begin = ago(300);
    let walk = (0..MESSAGES).map(|step| outside(begin.plus(std::time::Duration::from_secs(step as u64))));
    broker.publish_all(&phone(0), &walk.collect::<Vec<_>>()).await;
    let taken = async || [became(&nodes[0], "taken").await, became(&nodes[1], "taken").await];
    until("all to be taken", async || (taken().await.iter().sum::<f64>() >= MESSAGES as f64).then_some(())).await;
    let taken = taken().await;
    assert_eq!(taken.iter().sum::<f64>(), MESSAGES as f64);
    assert!(taken.iter().all(|taken| *taken > 0.0), "{taken:?}");
}

#[tokio::test]
async fn a_full_inbox_delays_and_loses_nothing() {
    const GUESTS: usize = 100;
    let broker = Broker::start().await;
    let narrow = [("shards.count", "1"), ("shards.inbox_max", "2"), ("shards.batch_max", "1")];
    let mut rig = prepared(&connection(&broker, ""), &narrow).await;
    rig.boot().await;
    furnish(&rig).await;
    put_guests(&rig, GUESTS).await;
    listening(&rig).await;
    rig.stop().await;
    for number in 0..GUESTS {
        broker.publish(&phone(number), &inside(now())).await;
    }
    rig.boot().await;
    told_once(&rig, 0..GUESTS).await;
    until_became(&rig, "taken", GUESTS as f64).await;
}

/// The most memory that the daemon has had, bytes.
fn memory_peak(rig: &Rig) -> u64 {
    let id = rig.process_id();
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel tells");
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kib * 1024
}

#[tokio::test]
async fn a_flood_stays_at_the_broker() {
    const MESSAGES: usize = 600;
    const BYTES: usize = 200_000;
    for version in ["5", "3.1.1"] {
        let broker = Broker::start().await;
        let bounds = "packet_max = \"256KiB\"\nwaiting_max = \"1MiB\"";
        let mut rig = open(&connection(&broker, &format!("version = \"{version}\"\n{bounds}"))).await;
        put_guests(&rig, 1).await;
        let before = memory_peak(&rig);
        rig.stop().await;
        // 120 MB that wait at the broker, nearly all of each a field that nobody reads.
        let padding = format!("{{\"padding\":\"{}\",", "x".repeat(BYTES));
        let flood: Vec<String> = (0..MESSAGES).map(|_| inside(now()).replacen('{', &padding, 1)).collect();
        broker.publish_all(&phone(0), &flood).await;
        rig.boot().await;
        until_became(&rig, "taken", MESSAGES as f64).await;
        let grown = memory_peak(&rig).saturating_sub(before);
        assert!(grown < 48 << 20, "{grown} bytes for {} at the broker", MESSAGES * BYTES);
    }
}
