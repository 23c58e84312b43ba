//! APNs by certificate instead of tokens.

use parvis::sandbox::{ApnsCertificate, Sandbox};
use parvis_engine::shopper::ApnsEnvironment::{self, Production, Sandbox as Development};
use rcgen::{CertificateParams, KeyPair};

use crate::{
    apns::{TOPIC, jwt, push},
    client::{Answer, Ask, Client, sandbox, seconds},
};

fn bare(token: &str) -> Ask {
    push(token, "").without("authorization")
}

fn reason(answer: &Answer) -> (u16, Option<String>) {
    (answer.status.as_u16(), answer.json()["reason"].as_str().map(str::to_owned))
}

fn refused(status: u16, reason: &str) -> (u16, Option<String>) {
    (status, Some(reason.to_owned()))
}

async fn connect(sandbox: &Sandbox, environment: ApnsEnvironment, certificate: &ApnsCertificate) -> Client {
    let endpoints = sandbox.endpoints();
    let url = match environment {
        Production => &endpoints.apns_production,
        Development => &endpoints.apns_sandbox,
    };
    Client::connect_as(url, sandbox, Some(certificate)).await
}

#[tokio::test]
async fn a_certificate_makes_tokens_needless() {
    let sandbox = sandbox().await;
    let token = sandbox.register_apns(TOPIC, Production);
    let certificate = sandbox.issue_apns_certificate(TOPIC, None).expect("a certificate");
    let client = connect(&sandbox, Production, &certificate).await;
    assert_eq!(client.ask(bare(&token)).await.status.as_u16(), 200);
    assert_eq!(client.ask(bare(&token).without("apns-topic")).await.status.as_u16(), 200, "its own topic");
    assert_eq!(client.ask(push(&token, "nonsense")).await.status.as_u16(), 200, "a token is not looked at");
    let voip = bare(&token).with("apns-push-type", "voip").with("apns-topic", format!("{TOPIC}.voip"));
    assert_eq!(client.ask(voip).await.status.as_u16(), 200);
    let development = sandbox.register_apns(TOPIC, Development);
    let client = connect(&sandbox, Development, &certificate).await;
    assert_eq!(client.ask(bare(&development)).await.status.as_u16(), 200, "it is for both");
}

#[tokio::test]
async fn a_certificate_is_for_what_stands_in_it() {
    let sandbox = sandbox().await;
    let token = sandbox.register_apns(TOPIC, Production);
    sandbox.register_apns("com.example.other", Production);
    let certificate = sandbox.issue_apns_certificate("com.example.other", None).expect("a certificate");
    let client = connect(&sandbox, Production, &certificate).await;
    assert_eq!(reason(&client.ask(bare(&token)).await), refused(400, "TopicDisallowed"));
    let own = bare(&token).with("apns-topic", "com.example.other");
    assert_eq!(reason(&client.ask(own).await), refused(400, "DeviceTokenNotForTopic"));
    let certificate = sandbox.issue_apns_certificate(TOPIC, None).expect("a certificate");
    let client = connect(&sandbox, Production, &certificate).await;
    let activity = bare(&token)
        .with("apns-push-type", "liveactivity")
        .with("apns-topic", format!("{TOPIC}.push-type.liveactivity"));
    assert_eq!(reason(&client.ask(activity).await), refused(400, "TopicDisallowed"), "tokens only");
    let channels = Ask { method: http::Method::GET, ..Ask::post(&format!("/1/apps/{TOPIC}/all-channels"), "") };
    assert_eq!(reason(&client.ask(channels).await), refused(403, "MissingProviderToken"), "tokens only");
}

#[tokio::test]
async fn certificates_of_others_are_bad() {
    let sandbox = sandbox().await;
    let token = sandbox.register_apns(TOPIC, Production);
    let key = KeyPair::generate().expect("a key");
    let certificate =
        CertificateParams::new(vec![TOPIC.to_owned()]).expect("a name").self_signed(&key).expect("signed");
    let own = ApnsCertificate { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() };
    let client = connect(&sandbox, Production, &own).await;
    assert_eq!(reason(&client.ask(bare(&token)).await), refused(403, "BadCertificate"));
    let other = crate::client::sandbox().await.issue_apns_certificate(TOPIC, None).expect("a certificate");
    let client = connect(&sandbox, Production, &other).await;
    assert_eq!(reason(&client.ask(bare(&token)).await), refused(403, "BadCertificate"), "of another sandbox");
    let only = sandbox.issue_apns_certificate(TOPIC, Some(Development)).expect("a certificate");
    let client = connect(&sandbox, Production, &only).await;
    assert_eq!(reason(&client.ask(bare(&token)).await), refused(403, "BadCertificateEnvironment"));
}

#[tokio::test]
async fn teams_stay_apart() {
    let sandbox = crate::client::start(|options| options.apns_token_changes = 100).await;
    let other = sandbox.add_app("other").await.expect("an app");
    let token = sandbox.register_apns(TOPIC, Production);
    let own = jwt(&sandbox, &sandbox.apns_key(), seconds(&sandbox));
    let claims = serde_json::json!({ "iss": other.apns_team_id, "iat": seconds(&sandbox) });
    let header = serde_json::json!({ "alg": "ES256", "kid": other.apns_key.key_id });
    let theirs = crate::signing::es256(&other.apns_key.pem, &header, &claims);
    let client = Client::connect(&sandbox.endpoints().apns_production, &sandbox).await;
    assert_eq!(reason(&client.ask(push(&token, &theirs)).await), refused(400, "TopicDisallowed"));
    assert_eq!(reason(&client.ask(push(&token, &own)).await), refused(403, "InvalidProviderToken"), "two teams");
    let client = Client::connect(&sandbox.endpoints().apns_production, &sandbox).await;
    assert_eq!(client.ask(push(&token, &own)).await.status.as_u16(), 200);
    for name in ["other", "", "Shop", "a b", "x".repeat(21).as_str()] {
        assert!(sandbox.add_app(name).await.is_err(), "{name}");
    }
}
