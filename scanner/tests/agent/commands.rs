//! What the program says to whoever types its commands.

use std::process::{Command, Output};

use crate::{rig::Options, scene::Scene};

fn check(scene: &Scene) -> Output {
    let config = scene.rig.folder().join("scanner.toml");
    let program = env!("CARGO_BIN_EXE_parvis-scanner");
    Command::new(program).args(["check", "--config"]).arg(config).output().expect("it starts")
}

#[tokio::test]
async fn check_tells_every_problem_and_its_line() {
    let mut scene = Scene::start(Options::default(), "", "").await;
    scene.agent = None;
    let good = check(&scene);
    assert_eq!((good.status.code(), &good.stderr[..]), (Some(0), &b""[..]));
    let config = scene.rig.folder().join("scanner.toml");
    let text = std::fs::read_to_string(&config).expect("read");
    let broken = text.replace("retry_max = \"400ms\"", "retry_max = 4").replace("[scan]", "[scan]\ncycel = \"1s\"");
    std::fs::write(&config, broken).expect("written");
    let told = check(&scene);
    assert_eq!(told.status.code(), Some(1));
    let lines = String::from_utf8(told.stderr).expect("text");
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("scanner.toml:8: server.retry_max: must be a duration"), "{lines:?}");
    assert!(lines[1].contains("scanner.toml:11: scan.cycel: there is no such key"), "{lines:?}");
}

#[tokio::test]
async fn two_agents_do_not_share_a_queue() {
    let mut scene = Scene::start(Options::default(), "", "").await;
    scene.is_heard(1).await;
    let first = scene.agent.take();
    scene.start_agent();
    let ended = scene.until("the second one ends", |scene| scene.agent().ended()).await;
    assert_eq!(ended.code(), Some(1));
    assert!(scene.agent().log().contains("another process uses this queue"));
    scene.agent = first;
    scene.is_heard(2).await;
}
