//! What goes wrong with radios in the field, and that scanning goes on.

use crate::{
    rig::{HCI0, Options},
    scene::Scene,
};

/// A ladder that nobody climbs: what goes on, goes on by what the bus tells.
const PATIENT: &str = "[watchdog]\nrestart_after = \"1h\"\npower_cycle_after = \"2h\"\nreopen_after = \"3h\"\n\
                       exit_after = \"4h\"\n";
/// A ladder that is climbed quickly.
const HURRIED: &str = "[watchdog]\nrestart_after = \"500ms\"\npower_cycle_after = \"1500ms\"\nreopen_after = \"2500ms\"\n\
                       exit_after = \"3500ms\"\n";

async fn scanning(rest: &str) -> Scene {
    let mut scene = Scene::start(Options { monitor: true, ..Options::default() }, "", rest).await;
    scene.is_heard(1).await;
    scene
}

#[tokio::test]
async fn the_bluetooth_daemon_crashes_and_comes_back() {
    let mut scene = scanning(PATIENT).await;
    scene.rig.kill_bluez();
    scene.rig.start_bluez();
    scene.is_heard(2).await;
    let monitor = |scene: &mut Scene| (!scene.rig.stats("hci0")["monitors"].as_array()?.is_empty()).then_some(());
    scene.until("the monitor is registered again", monitor).await;
}

#[tokio::test]
async fn the_bluetooth_daemon_comes_after_the_agent() {
    let mut scene = scanning(PATIENT).await;
    scene.agent = None;
    scene.rig.kill_bluez();
    scene.start_agent();
    scene.until("it waits", |scene| scene.agent().log().contains("started").then_some(())).await;
    scene.rig.start_bluez();
    scene.is_heard(2).await;
}

#[tokio::test]
async fn somebody_else_stops_discovery() {
    let mut scene = scanning(PATIENT).await;
    for minor in 2..5 {
        scene.rig.stop_discovery("hci0");
        scene.is_heard(minor).await;
    }
}

#[tokio::test]
async fn the_adapter_is_pulled_out_and_plugged_in_under_another_number() {
    let mut scene = scanning(PATIENT).await;
    scene.rig.unplug("hci0");
    scene.rig.plug("hci3", HCI0);
    let heard = |scene: &mut Scene| {
        let data = crate::rig::ibeacon(crate::scene::UUID, 7, 2);
        scene.rig.advertise_to("hci3", crate::scene::TAG, (crate::rig::APPLE, &data), Some(-60));
        scene.book.heard().into_iter().find(|heard| crate::scene::minor(heard) == 2)
    };
    scene.until("it is heard again", heard).await;
}

#[tokio::test]
async fn the_adapter_is_switched_off_and_on() {
    let mut scene = scanning(PATIENT).await;
    scene.rig.power("hci0", false);
    scene.rig.power("hci0", true);
    scene.is_heard(2).await;
    scene.rig.power("hci0", false);
    scene.is_heard(3).await;
}

#[tokio::test]
async fn the_bus_is_gone() {
    let mut scene = scanning(PATIENT).await;
    scene.rig.kill_bus();
    let ended = scene.until("the agent ends", |scene| scene.agent().ended()).await;
    assert_eq!(ended.code(), Some(1));
    let log = scene.agent().log();
    assert!(log.contains("the message bus is lost") && !log.contains("panicked"), "{log}");
}

/// Calls over the bus have deadlines, or the ladder would end at the first one that is not answered.
#[tokio::test]
async fn the_bluetooth_daemon_hangs() {
    let ladder = PATIENT.replacen("1h", "500ms", 1);
    let mut scene = Scene::start(Options::default(), "call_timeout = \"300ms\"", &ladder).await;
    scene.is_heard(1).await;
    scene.rig.freeze_bluez(true);
    scene.until("it is noticed", |scene| scene.agent().log().contains("no answer over the bus").then_some(())).await;
    scene.rig.freeze_bluez(false);
    scene.is_heard(2).await;
}

#[tokio::test]
async fn starting_fails_in_the_usual_ways() {
    let mut scene = scanning(PATIENT).await;
    for (minor, (method, error)) in [
        (2, ("StartDiscovery", "InProgress")),
        (3, ("StartDiscovery", "NotReady")),
        (4, ("SetDiscoveryFilter", "NotReady")),
        (5, ("Powered", "Failed")),
        (6, ("StopDiscovery", "Failed")),
    ] {
        scene.rig.fail(method, error);
        scene.rig.stop_discovery("hci0");
        scene.is_heard(minor).await;
    }
}

#[tokio::test]
async fn starting_fails_until_the_adapter_is_powered_off_and_on() {
    let mut scene = scanning(PATIENT).await;
    for _ in 0..4 {
        scene.rig.fail("StartDiscovery", "InProgress");
    }
    scene.rig.stop_discovery("hci0");
    scene.is_heard(2).await;
    assert!(scene.rig.stats("hci0")["off"].as_u64() > Some(0));
}

#[tokio::test]
async fn silence_climbs_the_ladder_to_its_end() {
    let mut scene = scanning(HURRIED).await;
    let ended = scene.until("the agent ends", |scene| scene.agent().ended()).await;
    assert_eq!(ended.code(), Some(1));
    let log = scene.agent().log();
    for sign in ["step=Restart", "step=PowerCycle", "opened anew", "nothing was heard for too long, though"] {
        assert!(log.contains(sign), "{sign} is not in\n{log}");
    }
    assert!(!log.contains("panicked"), "{log}");
    let stats = scene.rig.stats("hci0");
    assert!(stats["off"].as_u64() > Some(0) && stats["start"].as_u64() > Some(2), "{stats}");
    assert_eq!(stats["discoverers"], 0, "nothing is left behind");
}

#[tokio::test]
async fn restarts_are_counted_in_the_health() {
    let mut scene = scanning(PATIENT).await;
    scene.rig.stop_discovery("hci0");
    scene.is_heard(2).await;
    let restarts = |scene: &mut Scene| {
        let health = scene.book.reports().into_iter().rev().find_map(|report| report.health)?;
        health.adapters.into_iter().find(|adapter| adapter.restarts > 0 && adapter.rate_hz > 0.0)
    };
    scene.until("restarts", restarts).await;
}
