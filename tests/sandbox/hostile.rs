//! Requests that mean harm: they are answered, and the next one is too.

use aws_lc_rs::digest;
use parvis_engine::shopper::ApnsEnvironment::Production;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    apns::{TOPIC, jwt, push},
    client::{Ask, Client, sandbox, seconds},
    fcm::bearer,
};

/// Bytes without a pattern, the same in every run.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let blocks =
        (0_u32..).map(|block| digest::digest(&digest::SHA256, &[seed.to_be_bytes(), block.to_be_bytes()].concat()));
    blocks.flat_map(|block| block.as_ref().to_vec()).take(length).collect()
}

fn nested(depth: usize) -> Vec<u8> {
    ["[".repeat(depth), "]".repeat(depth)].concat().into_bytes()
}

#[tokio::test]
async fn bodies_of_every_kind_are_answered() {
    let sandbox = sandbox().await;
    let endpoints = sandbox.endpoints().clone();
    let (token, now) = (sandbox.register_apns(TOPIC, Production), seconds(&sandbox));
    let jwt = jwt(&sandbox, &sandbox.apns_key(), now);
    let apns = Client::connect(&endpoints.apns_production, &sandbox).await;
    let fcm = Client::connect(&endpoints.fcm, &sandbox).await;
    let webpush = Client::connect(&endpoints.webpush, &sandbox).await;
    let bearer = bearer(&sandbox, &fcm).await;
    let mut bodies: Vec<Vec<u8>> = (0..40).map(|seed| noise(seed, 1 << (seed % 13))).collect();
    bodies.extend([nested(30_000), b"{\"aps\":".to_vec(), b"\xff\xfe".to_vec(), vec![0; 70_000], Vec::new()]);
    bodies.push(format!("{{\"message\":{{\"token\":\"{}\"}}}}", "\u{202e}".repeat(2_000)).into_bytes());
    for body in bodies {
        let answer = apns.ask(Ask { body: body.clone(), ..push(&token, &jwt) }).await;
        assert!(answer.status.is_client_error(), "{answer:?}");
        let path = format!("/1/apps/{TOPIC}/channels");
        let channel = Ask::post(&path, body.clone()).with("authorization", format!("bearer {jwt}"));
        assert!(apns.ask(channel).await.status.is_client_error());
        let send = Ask::post("/v1/projects/parvis-sandbox/messages:send", body.clone());
        let answer = fcm.ask(send.with("authorization", bearer.clone())).await;
        assert_eq!(answer.json()["error"]["status"], "INVALID_ARGUMENT", "{answer:?}");
        assert!(fcm.ask(Ask::post("/token", body.clone())).await.status.is_client_error());
        let unknown = webpush.ask(Ask::post("/push/unknown", body)).await;
        assert_eq!(unknown.status.as_u16(), 404);
    }
    assert_eq!(sandbox.counts().accepted, 0);
    assert_eq!(apns.ask(push(&token, &jwt)).await.status.as_u16(), 200);
}

#[tokio::test]
async fn noise_on_a_port_ends_only_itself() {
    let sandbox = sandbox().await;
    let endpoints = sandbox.endpoints().clone();
    for url in [&endpoints.apns_production, &endpoints.fcm, &endpoints.webpush, &endpoints.control] {
        let address = url.rsplit_once("//").expect("a URL").1;
        let mut socket = TcpStream::connect(address).await.expect("open");
        // Who is cut while writing has been answered too.
        let _ = socket.write_all(&noise(7, 40_000)).await;
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
    }
    let (token, now) = (sandbox.register_apns(TOPIC, Production), seconds(&sandbox));
    let client = Client::connect(&endpoints.apns_production, &sandbox).await;
    let answer = client.ask(push(&token, &jwt(&sandbox, &sandbox.apns_key(), now))).await;
    assert_eq!(answer.status.as_u16(), 200);
}
