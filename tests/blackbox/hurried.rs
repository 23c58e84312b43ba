//! What takes hours, played faster: the same node in this process, on a clock that runs ahead, with the providers on it.

use std::{fs, path::Path, time::Duration};

use parvis::{
    app::App,
    client::Client,
    clock::Clock,
    config::{self, Source},
    entropy::Entropy,
    http::auth::{KeyFile, Scope, new_key},
    sandbox::{Behaviour, Options, Sandbox},
};
use parvis_engine::time::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rig;

const SPEED: u32 = 240;

/// A node that can be stopped and started again on the same folder and the same clock.
struct Node {
    folder: TempDir,
    sandbox: Sandbox,
    clock: Clock,
    client: Client,
    key: String,
    app: Option<App>,
}

impl Node {
    async fn start(begin: &str, config: &str) -> Node {
        let clock = Clock::hurried(begin.parse().expect("a time"), SPEED);
        let options = Options { clock: clock.clone(), ..Options::default() };
        let sandbox = Sandbox::start(options).await.expect("free ports on loopback");
        let folder = tempfile::tempdir().expect("a folder");
        let key = write_config(folder.path(), &sandbox, config);
        let client = Client::new("http://127.0.0.1:1", "");
        let mut node = Node { folder, sandbox, clock, client, key, app: None };
        node.boot().await;
        node
    }

    async fn boot(&mut self) {
        let flags = ["request", "connect"].map(|what| (format!("delivery.{what}_timeout"), "2s".to_owned()));
        let source = Source { flags: flags.to_vec(), ..Source::new(self.folder.path()) };
        let config = config::load(&source).expect("a good configuration");
        let app = App::start(config, source, self.clock.clone(), Entropy::System).await.expect("it starts");
        self.client = Client::new(format!("http://{}", app.address), self.key.clone());
        self.app = Some(app);
    }

    async fn stop(&mut self) {
        self.app.take().expect("it runs").stop().await.expect("a good end");
    }

    async fn put(&self, path: &str, body: Value) {
        self.client.must(http::Method::PUT, path, &body).await.expect("taken");
    }

    /// A shopper with a phone who comes into the shop.
    async fn come_in(&self, shopper: &str, token: &str) {
        let yes = json!({ "granted": true, "at": self.clock.now() });
        let consents = json!({ "location": yes, "offers": yes, "orders": yes });
        let profile = json!({ "time_zone": "Europe/Paris", "consents": consents });
        self.put(&format!("/v1/shoppers/{shopper}"), profile).await;
        let target = json!({ "channel": "fcm", "token": token });
        let device = json!({ "shopper": shopper, "platform": "android", "target": target });
        self.put(&format!("/v1/devices/{shopper}-phone"), device).await;
        let report = rig::report(&format!("{shopper}-phone"), self.clock.now(), rig::SHOP);
        let answer = self.client.must(http::Method::POST, "/v1/observations", &report).await.expect("taken");
        assert_eq!(rig::names(&answer["transitions"]), ["enter shop"], "{answer}");
    }

    async fn lives(&self, shopper: &str) -> Vec<Value> {
        let path = format!("/v1/notifications?shopper={shopper}");
        let (_, page) = self.client.call(http::Method::GET, &path, None).await.expect("an answer");
        page["items"].as_array().expect("a list").clone()
    }

    async fn ended(&self, shopper: &str) -> Value {
        rig::until("the message to end", async || {
            let life = self.lives(shopper).await.pop()?;
            (!rig::terminal(&life).is_empty()).then_some(life)
        })
        .await
    }
}

fn write_config(folder: &Path, sandbox: &Sandbox, config: &str) -> String {
    let credentials = sandbox.write_credentials(folder).expect("writable");
    let fragment = fs::read_to_string(credentials.fragment).expect("written");
    let (key, record) = new_key(&Entropy::System, "tests", Scope::ALL.into());
    let keys = toml::to_string(&KeyFile { keys: vec![record] }).expect("plain data");
    let shop = rig::circle(rig::SHOP, 100.0, json!({}));
    let mut feature = shop;
    feature["id"] = "shop".into();
    let fences = json!({ "type": "FeatureCollection", "features": [feature] });
    let campaign = "[[campaign]]\nid = \"hello\"\npurpose = \"offer\"\non = { transition = \"enter\" }\nttl = \"12h\"\n\
                    [campaign.content.en]\ntitle = \"Hello\"\nbody = \"Come in.\"\n";
    for (name, content) in [
        ("parvis.toml", format!("[http]\nlisten = \"127.0.0.1:0\"\n\n{config}\n\n{fragment}")),
        ("keys.toml", keys),
        ("geofences.geojson", fences.to_string()),
        ("campaigns.toml", campaign.to_owned()),
    ] {
        fs::write(folder.join(name), content).expect("writable");
    }
    key
}

fn at(life: &Value, milestone: &str) -> Timestamp {
    let steps = life["milestones"].as_array().expect("a list");
    let step = steps.iter().find(|step| step["milestone"] == milestone).expect("it is there");
    step["at"].as_str().expect("text").parse().expect("a time")
}

#[tokio::test]
async fn what_waits_for_the_morning_waits_in_the_store() {
    let quiet = "[engine.marketing]\nquiet_hours = { from = \"07:00\", to = \"08:30\", action = \"defer\" }\n\
                 [engine.presence]\ntimeout = \"3h\"";
    // Eight o'clock in Paris.
    let mut node = Node::start("2026-11-21T07:00:00Z", quiet).await;
    let token = node.sandbox.register_fcm();
    node.come_in("C-1", &token).await;
    let life = node.lives("C-1").await.remove(0);
    assert_eq!(life["notification"]["not_before"], "2026-11-21T07:30:00.000Z", "half past eight");
    node.stop().await;
    node.boot().await;
    assert!(rig::terminal(&node.lives("C-1").await[0]).is_empty(), "still waiting");
    assert!(node.sandbox.received().is_empty());
    let life = node.ended("C-1").await;
    assert_eq!(rig::terminal(&life), ["accepted"]);
    assert!(at(&life, "accepted") >= "2026-11-21T07:30:00Z".parse().expect("a time"));
    assert_eq!(node.sandbox.counts().accepted, 1);
    node.stop().await;
}

#[tokio::test]
async fn google_is_left_in_peace_for_a_minute_and_the_message_still_arrives() {
    let mut node =
        Node::start("2026-11-21T10:00:00Z", "[lanes]\nlease = \"1h\"\n[engine.presence]\ntimeout = \"3h\"").await;
    let throttled = Behaviour::Throttled { times: Some(1), retry_after_s: None };
    let failing = Behaviour::Failing { status: 503, reason: None, times: Some(1) };
    let silent = Behaviour::Silent { times: Some(1) };
    for (shopper, behaviour, wait_s) in [("C-1", throttled, 60), ("C-2", failing, 10), ("C-3", silent, 5)] {
        let token = node.sandbox.register_fcm();
        assert!(node.sandbox.set_behaviour(&token, behaviour));
        node.come_in(shopper, &token).await;
        let life = node.ended(shopper).await;
        assert_eq!((rig::terminal(&life), &life["attempts"]), (vec!["accepted".to_owned()], &json!(2)), "{life}");
        let waited = at(&life, "accepted").since(at(&life, "attempted"));
        assert!(waited >= Duration::from_secs(wait_s), "{shopper}: {waited:?}");
        let received = node.sandbox.received();
        let sent = received.iter().filter(|it| it.target == token).map(|it| rig::carried(it));
        assert_eq!(sent.collect::<Vec<_>>(), vec![rig::id(&life); 2], "{shopper}: the same message twice");
    }
    node.stop().await;
}
