//! Who may talk to a server, and over what.

use std::{fs, path::Path};

use parvis::store::redis::{Config, Link, Topology, durability::Verdict};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::{
    add, config, number, persist, send_one,
    server::{Cluster, Sentinels, Server},
    sum,
};

/// What docs/redis.md says that a user of the nodes needs.
fn least_rights() -> String {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/redis.md")).expect("it is there");
    let line = text.lines().find(|line| line.starts_with("user parvis ")).expect("it has a line with the rights");
    line.to_owned()
}

const PASSWORD: &str = "correct-horse";

fn password_file(folder: &Path, password: &str) -> std::path::PathBuf {
    let file = folder.join(format!("password-{}", password.len()));
    fs::write(&file, format!("{password}\n")).expect("writable");
    file
}

fn with_rights(lines: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
    all.push("user default off".to_owned());
    all.push(least_rights().replace("PASSWORD", PASSWORD));
    all
}

fn as_user(server: &Server, urls: Vec<String>) -> Config {
    let file = Some(password_file(server.folder(), PASSWORD));
    Config { username: Some("parvis".to_owned()), password_file: file, ..config(urls) }
}

#[tokio::test]
async fn the_documented_rights_are_enough_for_one_server() {
    let server = Server::start_with(|_| with_rights(&["appendonly yes"])).await;
    let link = Link::open(&as_user(&server, vec![server.url()])).await.expect("connects");
    assert_eq!(number(send_one(&link, add("a", 1, "r")).await), 1);
    server.ask(&["SCRIPT", "FLUSH"]).await;
    assert_eq!(number(send_one(&link, add("a", 1, "s")).await), 2);
    let verdict = Verdict::read(&link).await.expect("it may ask");
    assert_eq!(verdict.loss(), parvis::store::Loss::Second);
    let foreign = parvis::store::redis::Call::command("GET", "elsewhere");
    assert!(crate::refused(send_one(&link, foreign).await).contains("does not permit"));
    let dangerous = parvis::store::redis::Call::command("SORT", "parvis:x");
    assert!(crate::refused(send_one(&link, dangerous).await).contains("'sort'"));
}

#[tokio::test]
async fn the_documented_rights_are_enough_for_sentinel_and_replicas() {
    let lines = with_rights(&[]);
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let master = Server::start(&lines).await;
    let _replica = Server::replica_of(&master, &lines).await;
    let sentinels = Sentinels::watch(&master, 1).await;
    let name = Some("parvis".to_owned());
    let user = as_user(&master, sentinels.urls());
    let config = Config { topology: Topology::Sentinel, master: name, replicas_min: 1, ..user };
    let link = Link::open(&config).await.expect("connects");
    assert_eq!(persist(&link, &add("a", 1, "r")).await, 1);
}

#[tokio::test]
async fn the_documented_rights_are_enough_for_a_cluster_whose_slots_move() {
    let lines = with_rights(&[]);
    let cluster = Cluster::start(2, &lines.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let user = as_user(&cluster.nodes[0], cluster.urls());
    let link = Link::open(&Config { topology: Topology::Cluster, ..user }).await.expect("connects");
    assert_eq!(number(send_one(&link, add("a", 1, "r-1")).await), 1);
    let slot = cluster.nodes[0].ask(&["CLUSTER", "KEYSLOT", "a"]).await;
    let slot: u16 = redis::from_redis_value(slot).expect("a slot");
    let to = 1 - cluster.owner(slot).await;
    let from = cluster.begin_move(slot, to).await;
    while cluster.move_keys(slot, from, to, 10).await {}
    assert_eq!(persist(&link, &add("a", 1, "r-2")).await, 2);
    cluster.end_move(slot, from, to).await;
    assert_eq!(persist(&link, &sum("a")).await, 2);
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let server = Server::start_with(|_| with_rights(&[])).await;
    let wrong = Some(password_file(server.folder(), "battery-staple"));
    for config in [
        Config { password_file: wrong, ..as_user(&server, vec![server.url()]) },
        Config { username: None, ..as_user(&server, vec![server.url()]) },
        config(vec![server.url()]),
    ] {
        let error = Link::open(&config).await.expect_err("it asks who is there");
        let told = format!("{error} {error:?} {config:?}");
        assert!(!told.contains("correct-horse"), "{told}");
        assert!(!error.to_string().contains("battery-staple"), "{error}");
        assert!(error.to_string().contains(&server.port.to_string()), "{error}");
    }
}

/// Certificates in a folder: `ca.pem` signed `server.pem` and `client.pem`, whose keys stand beside them.
fn certificates(folder: &Path) {
    let mut authority = CertificateParams::new(Vec::<String>::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "authority");
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(authority, key).expect("a certificate");
    let write = |name: &str, text: String| fs::write(folder.join(name), text).expect("writable");
    write("ca.pem", authority.pem());
    for name in ["server", "client"] {
        let key = KeyPair::generate().expect("a key");
        let mut names = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        names.distinguished_name.push(DnType::CommonName, name);
        let certificate = names.signed_by(&key, &authority).expect("a certificate");
        write(&format!("{name}.pem"), certificate.pem());
        write(&format!("{name}-key.pem"), key.serialize_pem());
    }
}

async fn secured() -> Server {
    Server::start_with(|folder| {
        certificates(folder);
        let file = |name: &str| folder.join(name).display().to_string();
        vec![
            "port 0".to_owned(),
            "tls-port %port%".to_owned(),
            format!("tls-cert-file {}", file("server.pem")),
            format!("tls-key-file {}", file("server-key.pem")),
            format!("tls-ca-cert-file {}", file("ca.pem")),
            "tls-auth-clients yes".to_owned(),
        ]
    })
    .await
}

fn over_tls(server: &Server) -> Config {
    let file = |name: &str| Some(server.folder().join(name));
    let url = format!("rediss://127.0.0.1:{}", server.port);
    Config { ca: file("ca.pem"), certificate: file("client.pem"), key: file("client-key.pem"), ..config(vec![url]) }
}

#[tokio::test]
async fn tls_with_certificates_on_both_sides_works() {
    let server = secured().await;
    let link = Link::open(&over_tls(&server)).await.expect("connects");
    assert_eq!(number(send_one(&link, add("a", 1, "r")).await), 1);
}

#[tokio::test]
async fn whom_nobody_vouches_for_is_refused() {
    let server = secured().await;
    let other = tempfile::tempdir().expect("a temporary folder");
    certificates(other.path());
    let stranger = |name: &str| Some(other.path().join(name));
    let good = || over_tls(&server);
    let plain = vec![server.url()];
    for (what, config) in [
        ("another authority", Config { ca: stranger("ca.pem"), ..good() }),
        ("the system's authorities", Config { ca: None, ..good() }),
        ("no certificate", Config { certificate: None, key: None, ..good() }),
        ("a stranger", Config { certificate: stranger("client.pem"), key: stranger("client-key.pem"), ..good() }),
        ("another name", Config { urls: vec![format!("rediss://localhost:{}", server.port)], ..good() }),
        ("no TLS", config(plain)),
    ] {
        let error = Link::open(&config).await.err();
        assert!(error.is_some(), "{what}");
    }
}

#[tokio::test]
async fn a_file_without_a_certificate_is_told() {
    let server = secured().await;
    fs::write(server.folder().join("broken.pem"), "-----BEGIN CERTIFICATE-----\nAAA").expect("writable");
    let config = Config { ca: Some(server.folder().join("broken.pem")), ..over_tls(&server) };
    assert!(Link::open(&config).await.is_err());
    let config = Config { key: Some(server.folder().join("ca.pem")), ..over_tls(&server) };
    let error = Link::open(&config).await.expect_err("no key").to_string();
    assert!(error.contains("key"), "{error}");
}
