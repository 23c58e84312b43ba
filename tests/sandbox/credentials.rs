//! What is written down, and the command.

use std::{fs, os::unix::fs::PermissionsExt as _};

use parvis::sandbox::{Options, Sandbox, cli};
use serde_json::Value;

use crate::client::sandbox;

#[tokio::test]
async fn credentials_are_written_for_their_owner_only() {
    let sandbox = sandbox().await;
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("deep").join("sandbox");
    let credentials = sandbox.write_credentials(&dir).expect("written");
    let files = [
        &credentials.ca_pem,
        &credentials.apns.key,
        &credentials.fcm.service_account,
        &credentials.webpush.vapid_key,
        &credentials.fragment,
    ];
    for path in files {
        assert_eq!(fs::metadata(path).expect("a file").permissions().mode() & 0o777, 0o600, "{path:?}");
    }
    let read = |path| fs::read_to_string(path).expect("text");
    assert_eq!(read(&credentials.ca_pem), sandbox.ca_pem());
    assert!(read(&credentials.apns.key).starts_with("-----BEGIN PRIVATE KEY-----"));
    assert_eq!(read(&credentials.webpush.vapid_key), sandbox.vapid_key_pem());
    let account: Value = serde_json::from_str(&read(&credentials.fcm.service_account)).expect("JSON");
    assert_eq!(account["token_uri"], sandbox.endpoints().fcm_token.as_str());
    let fragment: toml::Table = read(&credentials.fragment).parse().expect("TOML");
    let delivery = &fragment["delivery"];
    assert_eq!(delivery["apns"]["production_url"].as_str(), Some(sandbox.endpoints().apns_production.as_str()));
    assert_eq!(delivery["webpush"]["allow_private"].as_bool(), Some(true));
    sandbox.write_credentials(&dir).expect("written again");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_targets() {
    let (one, two) = (sandbox().await, sandbox().await);
    assert_eq!(one.register_fcm(), two.register_fcm());
    let keys = |sandbox: &Sandbox| sandbox.register_webpush().keys;
    assert_eq!(keys(&one), keys(&two));
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = sandbox().await;
    let port: u16 = first.endpoints().fcm.rsplit_once(':').expect("a port").1.parse().expect("a number");
    let error = Sandbox::start(Options { port_base: Some(port), ..Options::default() }).await.expect_err("taken");
    assert!(error.to_string().contains(&format!("APNs production listener has no port ({port} was asked for)")));
    let error = Sandbox::start(Options { port_base: Some(u16::MAX), ..Options::default() }).await;
    assert!(error.is_err(), "no room for five");
}

#[tokio::test]
async fn the_command_says_where_things_are() {
    let home = tempfile::tempdir().expect("a directory");
    let mut said = Vec::new();
    let (dir, conditions, fault, app) = (home.path().to_owned(), Vec::new(), Vec::new(), vec!["other".to_owned()]);
    let args = cli::Args { dir, port_base: 0, conditions, fault, app };
    cli::run_until(args, &mut said, async {}).await.expect("it runs and ends");
    let said = String::from_utf8(said).expect("text");
    assert!(said.starts_with("APNs, production   https://127.0.0.1:"), "{said}");
    assert!(said.ends_with("0 messages accepted, 0 refused\n"), "{said}");
    assert!(home.path().join("ca.pem").exists());
    let account = fs::read_to_string(home.path().join("other").join("service-account.json")).expect("text");
    let account: Value = serde_json::from_str(&account).expect("JSON");
    assert_eq!(account["project_id"], "other-sandbox");
}
