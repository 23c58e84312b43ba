//! Brokers that come and go, daemons that are killed, and messages that are none.

use crate::{
    became,
    broker::Broker,
    connected, connection, furnish, inside, listening, messages, open, outside, phone, prepared, put_guests,
    rig::{Rig, ago, now, until},
    told_once, until_became,
};

#[tokio::test]
async fn what_is_published_while_the_daemon_is_away_arrives_even_if_the_broker_restarts() {
    for version in ["5", "3.1.1"] {
        let mut broker = Broker::start().await;
        let mut rig = open(&connection(&broker, &format!("version = \"{version}\""))).await;
        put_guests(&rig, 3).await;
        rig.stop().await;
        broker.publish(&phone(0), &inside(now())).await;
        broker.stop().await;
        broker.boot().await;
        broker.publish(&phone(1), &inside(now())).await;
        rig.boot().await;
        listening(&rig).await;
        broker.publish(&phone(2), &inside(now())).await;
        told_once(&rig, 0..3).await;
        until_became(&rig, "taken", 3.0).await;
    }
}

#[tokio::test]
async fn a_broker_that_is_killed_is_found_again() {
    let mut broker = Broker::start().await;
    let rig = open(&connection(&broker, "")).await;
    put_guests(&rig, 2).await;
    broker.publish(&phone(0), &inside(now())).await;
    until_became(&rig, "taken", 1.0).await;
    broker.kill().await;
    until("the loss to be seen", async || (connected(&rig).await == 0.0).then_some(())).await;
    assert!(rig.metric("parvis_mqtt_ended_total{client_id=\"node\"}").await >= 1.0);
    broker.boot().await;
    listening(&rig).await;
    broker.publish(&phone(1), &inside(now())).await;
    told_once(&rig, 0..2).await;
}

#[tokio::test]
async fn a_broker_that_is_away_at_the_start_is_waited_for_by_a_node_that_is_ready() {
    let mut broker = Broker::prepare("allow_anonymous true\n");
    let mut rig = prepared(&connection(&broker, ""), &[]).await;
    rig.boot().await;
    furnish(&rig).await;
    put_guests(&rig, 1).await;
    let ended = "parvis_mqtt_ended_total{client_id=\"node\"}";
    until("several tries", async || (rig.metric(ended).await >= 3.0).then_some(())).await;
    assert!(rig.call(http::Method::GET, "/readyz", &serde_json::Value::Null).await.status.is_success());
    assert_eq!(connected(&rig).await, 0.0);
    broker.boot().await;
    listening(&rig).await;
    broker.publish(&phone(0), &inside(now())).await;
    told_once(&rig, 0..1).await;
}

/// Publishes that everybody enters, and lets something happen in the middle of it.
async fn interrupted(guests: usize, mut rig: Rig, broker: Broker, happens: impl AsyncFnOnce(&mut Rig)) -> Rig {
    put_guests(&rig, guests).await;
    let publish = async {
        for number in 0..guests {
            let walk = [outside(ago(60)), inside(now())];
            broker.publish_all(&phone(number), &walk).await;
        }
    };
    let happen = async {
        until("some to be taken", async || (became(&rig, "taken").await >= 20.0).then_some(())).await;
        happens(&mut rig).await;
    };
    tokio::join!(publish, happen);
    rig.boot().await;
    told_each_once(&rig, guests).await;
    rig
}

/// Nobody is told of two messages; a push whose acceptance was not settled may be repeated under its own id.
async fn told_each_once(rig: &Rig, guests: usize) {
    for number in 0..guests {
        let lives = rig.ended_lives(&format!("C-{number}"), 1).await;
        assert_eq!(crate::life::terminal(&lives[0]), ["accepted"], "{}", lives[0]);
    }
    let mut ids: Vec<String> = rig.accepted().iter().map(|received| crate::life::carried(received)).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), guests);
}

#[tokio::test]
async fn a_daemon_that_is_killed_under_load_goes_on_later() {
    let broker = Broker::start().await;
    let rig = open(&connection(&broker, "")).await;
    interrupted(60, rig, broker, async |rig| rig.kill().await).await;
}

/// A signal is noticed when the process next gets the processor.
fn stands_still(rig: &Rig) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{}/stat", rig.process_id())).expect("it is there");
    state.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

#[tokio::test]
async fn a_daemon_that_is_killed_gets_again_what_it_had_not_acknowledged() {
    for version in ["5", "3.1.1"] {
        let broker = Broker::start().await;
        let mut rig = open(&connection(&broker, &format!("version = \"{version}\""))).await;
        put_guests(&rig, 5).await;
        // The broker hands them out, and nobody is there to read them.
        rig.signal("STOP").await;
        until("the daemon to stand still", async || stands_still(&rig).then_some(())).await;
        for number in 0..5 {
            broker.publish(&phone(number), &inside(now())).await;
        }
        rig.kill().await;
        rig.boot().await;
        told_once(&rig, 0..5).await;
        until_became(&rig, "taken", 5.0).await;
    }
}

#[tokio::test]
async fn a_daemon_that_is_killed_again_and_again_while_it_catches_up_tells_everybody_once() {
    const GUESTS: usize = 40;
    let broker = Broker::start().await;
    let mut rig = open(&connection(&broker, "inflight_max = 8")).await;
    put_guests(&rig, GUESTS).await;
    rig.stop().await;
    for number in 0..GUESTS {
        broker.publish_all(&phone(number), &[outside(ago(60)), inside(now())]).await;
    }
    for _ in 0..4 {
        rig.boot().await;
        until("some to be taken", async || (became(&rig, "taken").await >= 1.0).then_some(())).await;
        rig.kill().await;
        // Something is left for the next life.
        broker.publish(&phone(0), &inside(now())).await;
    }
    rig.boot().await;
    told_each_once(&rig, GUESTS).await;
}

#[tokio::test]
async fn a_daemon_that_is_stopped_under_load_ends_well_and_goes_on_later() {
    let broker = Broker::start().await;
    let rig = open(&connection(&broker, "version = \"3.1.1\"")).await;
    interrupted(60, rig, broker, async |rig| rig.stop().await).await;
}

#[tokio::test]
async fn junk_and_what_is_too_large_is_done_with_and_does_not_come_again() {
    for version in ["5", "3.1.1"] {
        let broker = Broker::start().await;
        let lines = format!("version = \"{version}\"\npacket_max = \"1KiB\"");
        let mut rig = open(&connection(&broker, &lines)).await;
        put_guests(&rig, 1).await;
        for junk in ["", "nonsense", "{\"_type\":\"lwt\",\"tst\":1}", "[1,2]", "\u{1}\u{2}"] {
            broker.publish(&phone(0), junk).await;
        }
        broker.publish("owntracks/jane", "{}").await;
        broker.publish(&phone(0), &"x".repeat(100_000)).await;
        broker.publish(&phone(0), &inside(now())).await;
        until_became(&rig, "taken", 1.0).await;
        assert_eq!([became(&rig, "ignored").await, became(&rig, "unreadable").await], [5.0, 1.0]);
        // With MQTT 5 the broker knows the limit and keeps to it.
        let too_large = if version == "5" { 0.0 } else { 1.0 };
        assert_eq!(messages(&rig, "none", "too_large").await, too_large);
        assert_eq!(rig.metric("parvis_mqtt_ended_total{client_id=\"node\"}").await, 0.0);
        rig.stop().await;
        rig.boot().await;
        listening(&rig).await;
        broker.publish(&phone(0), &outside(now())).await;
        until_became(&rig, "taken", 1.0).await;
        let again = [became(&rig, "ignored").await, messages(&rig, "none", "too_large").await];
        assert_eq!(again, [0.0, 0.0], "all of it was acknowledged");
    }
}

#[tokio::test]
async fn a_subscription_that_is_no_more_leaves_messages_that_are_done_with() {
    let broker = Broker::start().await;
    let mut rig = open(&connection(&broker, "")).await;
    rig.stop().await;
    broker.publish(&phone(0), &inside(now())).await;
    let file = rig.folder.path().join("parvis.toml");
    let text = std::fs::read_to_string(&file).expect("readable");
    std::fs::write(&file, text.replace("owntracks/#", "elsewhere/owntracks/#")).expect("writable");
    rig.boot().await;
    let unexpected = async || (messages(&rig, "none", "unexpected").await == 1.0).then_some(());
    until("the old message to be done with", unexpected).await;
    listening(&rig).await;
}
