//! The ends of a daemon: asked to stop, asked twice, and asked to read its files again.

use std::fs;

use parvis::sandbox::Behaviour;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::rig::{self, PATIENCE, Rig, ago, new_key, north};

async fn open() -> Rig {
    let rig = Rig::start().await;
    rig.put_shop(json!({})).await;
    rig.put("/v1/campaigns/hello", rig::greeting("enter")).await;
    rig
}

/// A request whose second half has not been sent yet.
struct HalfSent {
    stream: TcpStream,
    rest: String,
}

impl HalfSent {
    async fn begin(rig: &Rig, device: &str) -> HalfSent {
        let body = rig::report(device, ago(5), north(0.0)).to_string();
        let head = format!(
            "POST /v1/observations HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            rig.address(),
            rig.key,
            body.len()
        );
        let (first, rest) = body.split_at(20);
        let mut stream = TcpStream::connect(rig.address()).await.expect("it listens");
        stream.write_all(format!("{head}{first}").as_bytes()).await.expect("it reads");
        // Another request on another connection, answered: by now the daemon has seen the first half.
        rig.get("/healthz").await;
        HalfSent { stream, rest: rest.to_owned() }
    }

    async fn finish(mut self) -> String {
        self.stream.write_all(self.rest.as_bytes()).await.expect("it reads on");
        let mut answer = String::new();
        let read = self.stream.read_to_string(&mut answer);
        timeout(PATIENCE, read).await.expect("an answer in time").expect("an answer");
        answer
    }
}

async fn logged(rig: &Rig, what: &str) {
    rig::until(what, async || rig.log().iter().any(|line| line.contains(what)).then_some(())).await;
}

#[tokio::test]
async fn open_requests_and_sends_are_finished() {
    let mut rig = open().await;
    let slow = rig.apns();
    rig.put_guest("C-1", "phone-1", slow.clone()).await;
    rig.put_guest("C-2", "phone-2", rig.fcm()).await;
    let token = slow["token"].as_str().expect("a token");
    rig.sandbox.set_behaviour(token, Behaviour::Slow { delay_ms: 1_500 });
    assert_eq!(rig.ping("phone-1", ago(5), north(0.0)).await, ["enter shop"]);
    let half = HalfSent::begin(&rig, "phone-2").await;
    rig::until("the first message", async || (rig.sandbox.counts().accepted > 0).then_some(())).await;
    rig.signal("TERM").await;
    logged(&rig, "stopping").await;
    let address = rig.address().to_owned();
    rig::until("the door to close", async || TcpStream::connect(&address).await.is_err().then_some(())).await;
    let answer = half.finish().await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""accepted":1"#), "{answer}");
    let (status, log) = rig.ended().await;
    assert_eq!(status.code(), Some(0), "{log:?}");
    assert!(log.iter().all(|line| !line.contains("ERROR")), "{log:?}");

    rig.boot().await;
    let life = rig.ended_lives("C-1", 1).await.remove(0);
    assert_eq!((rig::terminal(&life), &life["attempts"]), (vec!["accepted".to_owned()], &json!(1)), "settled before");
    assert_eq!(rig::terminal(&rig.ended_lives("C-2", 1).await[0]), ["accepted"]);
    assert_eq!(rig.accepted().len(), 2, "and nothing twice");
}

#[tokio::test]
async fn whoever_is_answered_while_it_stops_is_answered_for_good() {
    const PHONES: usize = 40;
    let mut rig = open().await;
    for phone in 0..PHONES {
        rig.put_guest(&format!("C-{phone}"), &format!("phone-{phone}"), rig.webpush()).await;
    }
    let mut requests = JoinSet::new();
    for phone in 0..PHONES {
        let caller = rig.caller();
        requests.spawn(async move {
            let body = rig::report(&format!("phone-{phone}"), ago(5), north(0.0));
            (phone, caller.call(http::Method::POST, "/v1/observations", &body).await)
        });
    }
    let first = requests.join_next().await.expect("forty").expect("no panic");
    rig.signal("TERM").await;
    let mut answers = requests.join_all().await;
    answers.push(first);
    let (status, log) = rig.ended().await;
    assert_eq!(status.code(), Some(0), "{log:?}");
    rig.boot().await;
    let taken = answers.iter().filter(|(_, reply)| reply.as_ref().is_some_and(|reply| reply.status == 200));
    let mut count = 0;
    for (phone, _) in taken {
        count += 1;
        let life = rig.ended_lives(&format!("C-{phone}"), 1).await.remove(0);
        assert_eq!(rig::terminal(&life), ["accepted"]);
    }
    assert!(count > 0);
    assert!(rig::tally(&rig.accepted()).values().all(|times| *times == 1), "a good end sends nothing twice");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut rig = open().await;
    rig.put_guest("C-1", "phone", rig.apns()).await;
    let half = HalfSent::begin(&rig, "phone").await;
    rig.signal("TERM").await;
    logged(&rig, "stopping").await;
    rig.signal("INT").await;
    let (status, log) = rig.ended().await;
    assert!(!status.success(), "{status}");
    assert!(log.iter().any(|line| line.contains("second signal")), "{log:?}");
    drop(half);
    rig.boot().await;
    assert_eq!(rig.ping("phone", ago(5), north(0.0)).await, ["enter shop"], "nothing is broken");
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_it_for_ever() {
    let mut rig = open().await;
    rig.stop().await;
    rig.set("node.shutdown_deadline", "3s");
    rig.boot().await;
    rig.put_guest("C-1", "phone", rig.apns()).await;
    let half = HalfSent::begin(&rig, "phone").await;
    rig.signal("INT").await;
    let (status, log) = rig.ended().await;
    assert!(!status.success(), "it says that something was cut off");
    assert!(log.iter().any(|line| line.contains("shutdown deadline")), "{log:?}");
    drop(half);
}

#[tokio::test]
async fn a_stream_reader_does_not_hold_it_up() {
    let mut rig = open().await;
    let _stream = rig.caller().follow("").await;
    rig.stop().await;
}

fn campaign(title: &str) -> String {
    format!(
        "[[campaign]]\nid = \"from-file\"\npurpose = \"offer\"\non = {{ transition = \"enter\" }}\n\
         [campaign.content.en]\ntitle = \"{title}\"\nbody = \"Come in.\"\n"
    )
}

async fn title_for(rig: &Rig, shopper: &str) -> Value {
    rig.put_guest(shopper, &format!("phone-{shopper}"), rig.apns()).await;
    assert_eq!(rig.ping(&format!("phone-{shopper}"), ago(5), north(0.0)).await, ["enter shop"]);
    rig.ended_lives(shopper, 1).await[0]["notification"]["content"]["title"].clone()
}

#[tokio::test]
async fn files_are_read_again_and_broken_ones_change_nothing() {
    let rig = Rig::start_with(&[("campaigns.toml", &campaign("First"))], &[]).await;
    rig.put_shop(json!({})).await;
    assert_eq!(title_for(&rig, "C-1").await, "First");
    let file = rig.folder.path().join("campaigns.toml");

    fs::write(&file, campaign("Second")).expect("writable");
    rig.signal("HUP").await;
    logged(&rig, "read the files again").await;
    assert_eq!(title_for(&rig, "C-2").await, "Second");

    fs::write(&file, campaign("Third").replace("enter", "teleport")).expect("writable");
    rig.signal("HUP").await;
    logged(&rig, "kept what was").await;
    assert!(rig.log().iter().any(|line| line.contains("teleport")), "it says what is wrong: {:?}", rig.log());
    assert_eq!(title_for(&rig, "C-3").await, "Second");
    rig.call(http::Method::DELETE, "/v1/campaigns/from-file", &Value::Null).await.problem("conflict");
}

#[tokio::test]
async fn a_new_key_is_known_after_a_reload() {
    let rig = open().await;
    let key = new_key(rig.folder.path(), "till", "read").await;
    let call = async || rig.caller().with_key(&key).call(http::Method::GET, "/v1/campaigns", &Value::Null).await;
    assert_eq!(call().await.expect("an answer").status, 401);
    rig.signal("HUP").await;
    logged(&rig, "read the files again").await;
    assert_eq!(call().await.expect("an answer").status, 200);
    // A keys file that can't be read locks nobody out.
    fs::write(rig.folder.path().join("keys.toml"), "[[key]]\nname = 7").expect("writable");
    rig.signal("HUP").await;
    logged(&rig, "kept what was").await;
    assert_eq!(call().await.expect("an answer").status, 200);
}
