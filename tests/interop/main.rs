//! Independent clients of the npm and PyPI registries against the real binary. Each test runs one part of
//! `tests/interop/run`, which says what each client saw.

use std::process::Command;

#[track_caller]
fn run(name: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/run");
    let output = Command::new(script).arg(name).env("PARVIS", env!("CARGO_BIN_EXE_parvis")).output();
    let output = output.expect("the script is there");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    assert!(said.lines().count() > 1, "a client says what it saw: {said}");
}

#[test]
fn apns_takes_other_clients() {
    run("apns");
}

#[test]
fn fcm_takes_googles_client() {
    run("fcm");
}

#[test]
fn web_push_takes_other_clients() {
    run("webpush");
}

#[test]
fn others_decrypt_what_the_daemon_sends() {
    run("decrypt");
}

#[test]
fn a_browser_shows_what_the_daemon_sends() {
    run("browser");
}

#[test]
fn the_sandboxes_page_shows_what_a_phone_would() {
    run("page");
}
