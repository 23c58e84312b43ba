//! Who may listen, and to whom: passwords, certificates, authorities.

use std::{fs, path::Path, process::Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::process::Command;

use crate::{
    broker::Broker,
    connected, connection, furnish, inside, listening, phone, prepared, put_guests,
    rig::{Rig, now, until},
    told_once,
};

async fn refused(rig: &Rig, why: &str) {
    until(&format!("a refusal for {why}"), async || rig.log().iter().any(|line| line.contains(why)).then_some(()))
        .await;
    assert_eq!(connected(rig).await, 0.0);
}

async fn a_guest_is_told(rig: &Rig, broker: &Broker) {
    furnish(rig).await;
    put_guests(rig, 1).await;
    listening(rig).await;
    broker.publish(&phone(0), &inside(now())).await;
    told_once(rig, 0..1).await;
}

#[tokio::test]
async fn a_wrong_password_is_told_and_a_right_one_lets_in() {
    for (version, why) in [("5", "NotAuthorized"), ("3.1.1", "NotAuthorized")] {
        let mut broker = Broker::prepare("");
        let accounts = broker.folder().join("accounts");
        let mut command = Command::new("mosquitto_passwd");
        command.args(["-b", "-c"]).arg(&accounts).args(["node", "right"]).stdin(Stdio::null());
        assert!(command.status().await.expect("mosquitto_passwd comes with the broker").success());
        let config = broker.folder().join("mosquitto.conf");
        let lines = fs::read_to_string(&config).expect("readable");
        fs::write(&config, format!("{lines}password_file {}\n", accounts.display())).expect("writable");
        broker.publish_with(&["-u", "node", "-P", "right"]);
        broker.boot().await;

        let lines = format!("version = \"{version}\"\nusername = \"node\"\npassword_file = \"password\"");
        let mut rig = prepared(&connection(&broker, &lines), &[]).await;
        fs::write(rig.folder.path().join("password"), "wrong-one\n").expect("writable");
        rig.boot().await;
        refused(&rig, why).await;
        assert!(!rig.log().iter().any(|line| line.contains("wrong-one")), "a password is never told");
        rig.stop().await;
        fs::write(rig.folder.path().join("password"), "right\n").expect("writable");
        rig.boot().await;
        a_guest_is_told(&rig, &broker).await;
    }
}

/// An authority, and a certificate that it gives to `127.0.0.1`: `<name>.pem`, `<name>-leaf.pem`, `<name>-key.pem`.
fn authority(folder: &Path, name: &str) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    let leaf = params.signed_by(&key, &issuer).expect("a certificate");
    for (file, text) in [
        (format!("{name}.pem"), issuer.pem()),
        (format!("{name}-leaf.pem"), leaf.pem()),
        (format!("{name}-key.pem"), key.serialize_pem()),
    ] {
        fs::write(folder.join(file), text).expect("the folder is writable");
    }
}

#[tokio::test]
async fn a_broker_behind_tls_is_trusted_by_its_authority_and_knows_the_node_by_its_certificate() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    authority(folder.path(), "shop");
    authority(folder.path(), "other");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let mut broker = Broker::prepare(&format!(
        "allow_anonymous true\ncafile {0}\ncertfile {1}\nkeyfile {2}\nrequire_certificate true\n",
        file("shop.pem"),
        file("shop-leaf.pem"),
        file("shop-key.pem")
    ));
    let (ca, leaf, key) = (file("shop.pem"), file("shop-leaf.pem"), file("shop-key.pem"));
    broker.publish_with(&["--cafile", &ca, "--cert", &leaf, "--key", &key]);
    broker.boot().await;
    let shown = format!("certificate = \"{leaf}\"\nkey = \"{key}\"");
    let secure = |lines: &str| connection(&broker, lines).replace("mqtt://", "mqtts://");

    let mut stranger = prepared(&secure(&format!("ca = \"{}\"\n{shown}", file("other.pem"))), &[]).await;
    stranger.boot().await;
    refused(&stranger, "UnknownIssuer").await;
    let mut nobody = prepared(&secure(&format!("ca = \"{ca}\"")), &[]).await;
    nobody.boot().await;
    refused(&nobody, "trying again").await;

    let mut rig = prepared(&secure(&format!("ca = \"{ca}\"\n{shown}")), &[]).await;
    rig.boot().await;
    a_guest_is_told(&rig, &broker).await;
}
