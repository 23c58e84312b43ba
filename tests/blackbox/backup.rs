//! A store is backed up while its daemon works, and is whole elsewhere; nothing of it is overwritten by mistake.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::rig::{self, Caller, Rig, new_key, run, text};

const LOADERS: usize = 3;

/// Orders whose news were answered, each with the messages that the answer named.
type Answered = Arc<Mutex<Vec<(String, Vec<String>)>>>;

/// Brings order news, one after the other, until there is enough.
async fn load(loader: usize, caller: Caller, answered: Answered, enough: Arc<AtomicBool>) {
    for number in 0.. {
        if enough.load(SeqCst) {
            return;
        }
        let order = format!("A-{loader}-{number}");
        let event = json!({ "event": "E-1", "at": rig::now(), "state": "shipped", "shopper": format!("C-{loader}"),
            "fulfilment": "delivery" });
        let reply = caller.call(Method::POST, &format!("/v1/orders/{order}/events"), &event).await;
        let reply = reply.expect("the daemon is there");
        assert!(reply.status.is_success(), "{}", reply.status);
        let answer = reply.json();
        let messages = answer["notifications"].as_array().expect("a list").iter();
        let messages = messages.map(|id| id.as_str().expect("text").to_owned()).collect();
        answered.lock().expect("no loader has panicked").push((order, messages));
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("plain letters")
}

/// Runs a command that must succeed and gives what it told.
async fn must(args: &[&str]) -> String {
    let output = run(args).await;
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs a command that must fail and gives why it did.
async fn refused(args: &[&str]) -> String {
    let output = run(args).await;
    assert!(!output.status.success(), "{args:?} must fail: {}", text(&output.stdout));
    text(&output.stderr)
}

async fn prepared() -> (Rig, PathBuf) {
    let mut rig = Rig::prepare(&[], &[]).await;
    let key = new_key(rig.folder.path(), "copies", "backup").await;
    let key_file = rig.folder.path().join("backup.key");
    fs::write(&key_file, key).expect("writable");
    rig.boot().await;
    let news = json!({ "purpose": "order", "on": { "order": ["shipped"] },
        "content": { "en": { "title": "{{ order.state }}", "body": "Order {{ order.id }}" } } });
    rig.put("/v1/campaigns/news", news).await;
    for loader in 0..LOADERS {
        rig.put_guest(&format!("C-{loader}"), &format!("phone-{loader}"), rig.fcm()).await;
    }
    (rig, key_file)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_has_everything_that_was_answered_before_it() {
    let (mut rig, key_file) = prepared().await;
    let (answered, enough) = (Answered::default(), Arc::new(AtomicBool::new(false)));
    let mut loaders = JoinSet::new();
    for loader in 0..LOADERS {
        loaders.spawn(load(loader, rig.caller(), answered.clone(), enough.clone()));
    }
    let count = || answered.lock().expect("no loader has panicked").len();
    rig::until("answers", async || (count() >= 150).then_some(())).await;
    let before = answered.lock().expect("no loader has panicked").clone();
    let (url, file) = (format!("http://{}", rig.address()), rig.folder.path().join("backup.ndjson.zst"));
    let args = ["backup", "--url", &url, "--key-file", path(&key_file), "--out", path(&file), "--zstd"];
    let told = must(&args).await;
    assert!(told.contains("shopper") && told.contains("notification"), "{told}");
    let during = count();
    rig::until("answers after the backup", async || (count() > during + 10).then_some(())).await;
    enough.store(true, SeqCst);
    loaders.join_all().await;
    rig.kill().await;
    assert_eq!(fs::metadata(&file).expect("is there").permissions().mode() & 0o777, 0o600);

    let mut elsewhere = Rig::prepare(&[], &[]).await;
    let told = must(&["restore", path(&file), "--config", path(elsewhere.folder.path())]).await;
    assert!(told.contains("shopper"), "{told}");
    elsewhere.boot().await;
    for (order, messages) in &before {
        let known = elsewhere.get(&format!("/v1/orders/{order}")).await;
        assert!(known["events"].get("E-1").is_some(), "{order} was answered and is lost");
        assert_eq!(messages.len(), 1, "{order}");
        for message in messages {
            let life = elsewhere.get(&format!("/v1/notifications/{message}")).await;
            assert!(life["milestones"].as_array().is_some_and(|steps| steps.len() >= 3), "{life}");
        }
    }
    elsewhere.get("/v1/campaigns/news").await;
    elsewhere.stop().await;
}

#[tokio::test]
async fn a_store_is_moved_by_commands_that_overwrite_nothing() {
    let (mut rig, key_file) = prepared().await;
    let config = path(rig.folder.path()).to_owned();
    let file = |name: &str| path(&rig.folder.path().join(name)).to_owned();
    let (out, copy, store) = (file("all.ndjson"), file("copy.ndjson"), file("parvis.redb"));
    let why = refused(&["export", "--config", &config, "--out", &out]).await;
    assert!(why.contains("in use by another process"), "{why}");
    let why = refused(&["restore", &out, "--config", &config, "--force"]).await;
    assert!(why.contains("in use by another process"), "{why}");
    let orders = path(&rig.folder.path().join("orders.key")).to_owned();
    fs::write(&orders, new_key(rig.folder.path(), "shop", "orders").await).expect("writable");
    rig.stop().await;
    rig.boot().await;
    let url = format!("http://{}", rig.address());
    let why = refused(&["backup", "--url", &url, "--key-file", &orders, "--out", &copy]).await;
    assert!(why.contains("lacks the scope `backup`") && !Path::new(&copy).exists(), "{why}");
    must(&["backup", "--url", &url, "--key-file", path(&key_file), "--out", &copy]).await;
    rig.stop().await;

    must(&["export", "--config", &config, "--out", &out]).await;
    let why = refused(&["export", "--config", &config, "--out", &out]).await;
    assert!(why.contains("is there already"), "{why}");
    let verified = must(&["verify", "--config", &config]).await;
    assert!(verified.contains("3 shopper"), "{verified}");
    let why = refused(&["import", &out, "--config", &config]).await;
    assert!(why.contains("not empty"), "{why}");
    let why = refused(&["restore", &out, "--config", &config]).await;
    assert!(why.contains("--force"), "{why}");
    assert_eq!(must(&["restore", &copy, "--config", &config, "--force"]).await, verified);

    fs::remove_file(&store).expect("is there");
    assert_eq!(must(&["import", &out, "--config", &config]).await, verified);
    let mut bytes = fs::read(&out).expect("is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&out, bytes).expect("writable");
    fs::remove_file(&store).expect("is there");
    let why = refused(&["restore", &out, "--config", &config]).await;
    assert!(why.contains("line") && !Path::new(&store).exists(), "{why}");
    let why = refused(&["verify", "--config", &config]).await;
    assert!(why.contains("there is no store at"), "{why}");
}

#[tokio::test]
async fn a_damaged_store_is_named_at_start_and_not_served() {
    let (mut rig, _) = prepared().await;
    rig.stop().await;
    rig.set("store.verify_at_start", "true");
    let store = rig.folder.path().join("parvis.redb");
    let whole = fs::read(&store).expect("is there");
    let cut = |part: usize| whole[..whole.len() / part].to_vec();
    let mut garbled = whole.clone();
    garbled[4_096..8 * 4_096].iter_mut().for_each(|byte| *byte ^= 0x55);
    let mut flipped = whole.clone();
    let at = whole.windows(8).position(|text| text == b"platform").expect("a shopper is in it");
    flipped[at] ^= 1;
    let other = b"a shopping list\n".repeat(1_000);
    for bytes in [cut(2), cut(10), garbled, flipped, other] {
        fs::write(&store, &bytes).expect("writable");
        let output = rig.serve_in_vain().await;
        let why = text(&output.stderr);
        assert!(output.status.code() == Some(1) && why.contains("corrupt") && why.contains("parvis.redb"), "{why}");
        assert_eq!(fs::read(&store).expect("is there"), bytes, "what is damaged stays as it is");
    }
    fs::write(&store, &whole).expect("writable");
    rig.boot().await;
    rig.get("/v1/campaigns/news").await;
    rig.stop().await;
}
