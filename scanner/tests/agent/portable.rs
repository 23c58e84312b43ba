//! The radio of other systems, on Linux, where it can be tried.

use crate::{rig::Options, scene::Scene};

#[tokio::test]
async fn btleplug_hears_too() {
    let mut scene = Scene::start(Options::default(), "source = \"btleplug\"", "").await;
    let heard = scene.is_heard(1).await;
    assert_eq!((heard.rssi_dbm, heard.measured_power_dbm), (-63.0, Some(-59.0)));
}

#[tokio::test]
async fn silence_ends_the_process_here_too() {
    let ladder = "[watchdog]\nrestart_after = \"300ms\"\npower_cycle_after = \"600ms\"\nreopen_after = \"900ms\"\n\
                  exit_after = \"2s\"\n";
    let mut scene = Scene::start(Options::default(), "source = \"btleplug\"", ladder).await;
    let ended = scene.until("the agent ends", |scene| scene.agent().ended()).await;
    assert_eq!(ended.code(), Some(1));
    assert!(scene.agent().log().contains("nothing was heard for too long, though"));
}
