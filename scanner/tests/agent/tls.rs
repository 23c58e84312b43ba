//! Reports over HTTPS, to a server whose certificate is of the operator's own making.

use std::sync::Arc;

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use crate::{
    rig::{Options, Rig},
    scene::{Scene, configuration},
    server::Server,
};

/// A scene whose server shows a certificate for 127.0.0.1, and that certificate.
async fn start(trusted: bool) -> Scene {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key))
        .expect("a configuration");
    let server = Server::start_tls(TlsAcceptor::from(Arc::new(tls))).await;
    let rig = Rig::start(Options::default());
    std::fs::write(rig.folder().join("ca.pem"), cert.pem()).expect("written");
    let text = configuration(server.address, "", "").replace("http://", "https://");
    let ca_file = if trusted { "ca_file = \"ca.pem\"\n" } else { "" };
    let text = text.replace("key_file", &format!("{ca_file}key_file"));
    Scene::start_with(rig, server, &text)
}

#[tokio::test]
async fn a_certificate_of_ones_own_is_trusted_if_it_is_named() {
    start(true).await.is_heard(1).await;
}

#[tokio::test]
async fn a_certificate_that_nobody_named_is_not_trusted() {
    let mut scene = start(false).await;
    let refused = |scene: &mut Scene| {
        scene.advertise(1, -63);
        let log = scene.agent().log();
        (log.contains("UnknownIssuer") || log.contains("trusts no certificates")).then_some(())
    };
    scene.until("the certificate is refused", refused).await;
    assert!(scene.book.reports().is_empty());
}
