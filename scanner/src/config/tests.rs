//! What the reader of the configuration takes and how it refuses.

use std::time::Duration;

use super::*;

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("key"), "secret\n").expect("written");
    folder
}

const LEAST: &str = r#"
[scanner]
id = "opera-3"
[server]
url = "https://parvis.example/base"
key_file = "key"
[beacons]
uuids = ["f7826da6-4fa2-4e98-8024-bc5b71e0893e"]
[queue]
folder = "queue"
"#;

fn refusals(text: &str) -> Vec<String> {
    let folder = folder();
    let problems = read(text, folder.path()).expect_err("refused");
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_least_is_enough() {
    let folder = folder();
    let config = read(LEAST, folder.path()).expect("read");
    assert_eq!((config.scanner.as_str(), config.server.url.path()), ("opera-3", "/base"));
    assert_eq!(config.queue.folder, folder.path().join("queue"));
    assert_eq!((config.reports.every, config.queue.size_max), (Duration::from_secs(2), Bytes(64 << 20)));
    assert_eq!(config.watchdog, Patience::default());
}

#[test]
fn every_problem_is_told_with_its_line() {
    let text = LEAST.replace("opera-3", "opera 3").replace("https:", "ftp:")
        + "size_max = \"1KiB\"\n[scan]\nadapters = [\"00:1a:7d:da:71:13\", \"x\"]\nmonitr = true\n\
           references = [\"f7826da6-4fa2-4e98-8024-bc5b71e0893e-7-1\", \"00112233445566778899-0a0b0c0d0e0f\"]\n\
           [watchdog]\nrestart_after = \"30\"\nexit_after = \"80s\"\n[beacon]\n";
    let expected = [
        "3: scanner.id: must have 1 to 64 letters, digits, dashes, underscores, dots and colons",
        "5: server.url: \"ftp://parvis.example/base\" must begin with https:// or http:// and name a host",
        "11: queue.size_max: must be at least 1024KiB",
        "13: scan.adapters: element 2: \"x\" is not a Bluetooth address of 12 hexadecimal digits",
        "14: scan.monitr: there is no such key",
        "17: watchdog.restart_after: \"30\" is not a duration such as \"30s\", \"500ms\" or \"2h\"",
        "18: watchdog.exit_after: must be longer than the step before it",
        "19: beacon: there is no such table",
    ];
    assert_eq!(refusals(&text), expected);
}

#[test]
fn what_is_missing_is_named() {
    let told = refusals("");
    for key in ["scanner.id", "server.url", "server.key_file", "queue.folder", "beacons.uuids"] {
        assert!(told.iter().any(|line| line.contains(key)), "{key} in {told:?}");
    }
    assert!(refusals(&LEAST.replace("\"key\"", "\"none\""))[0].starts_with("6: server.key_file: "));
}

#[test]
fn syntax_is_told_with_its_line() {
    assert!(refusals("[scanner]\nid = = 1\n")[0].starts_with("2: "));
    assert!(refusals("id = 1\n").iter().any(|line| line == "1: id: must stand in a table, such as [server]"));
}

#[test]
fn the_shipped_configuration_is_read() {
    let shipped = include_str!("../../../config/scanner.toml").replace("\"key\"", "\"secrets/key\"");
    let folder = folder();
    std::fs::create_dir(folder.path().join("secrets")).expect("a folder");
    std::fs::copy(folder.path().join("key"), folder.path().join("secrets/key")).expect("copied");
    let config = read(&shipped, folder.path()).expect("the shipped configuration is valid");
    let least = read(LEAST, folder.path()).expect("read");
    assert_eq!((config.scan, config.watchdog, config.reports), (least.scan, least.watchdog, least.reports));
}
