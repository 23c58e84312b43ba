//! Peers that ask for a certificate.

use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::super::*;
use crate::delivery::testing::server::{Server, ok};

/// An identity, and its certificate.
fn identity() -> (Arc<Identity>, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]);
    let rcgen::CertifiedKey { cert, signing_key } = made.expect("a certificate");
    let identity = Identity::from_pem(cert.pem().as_bytes(), signing_key.serialize_pem().as_bytes());
    let certificate = CertificateDer::from_pem_slice(cert.pem().as_bytes()).expect("PEM");
    (Arc::new(identity.expect("an identity")), certificate)
}

fn request_of(identity: &Arc<Identity>, url: &str) -> Request<Bytes> {
    let mut request = super::request(url);
    identity.present(&mut request);
    request
}

#[tokio::test]
async fn a_certificate_is_shown_to_who_asks_for_it_and_only_with_its_requests() {
    let (identity, certificate) = identity();
    let server = Server::asking_for(certificate, |_| ok("{}")).await;
    let http = super::open(&super::config(&server));
    let url = server.url();
    for _ in 0..3 {
        let reply = http.send(request_of(&identity, &url), Peer::Apns).await.expect("an answer");
        assert_eq!(reply.body, "{}");
    }
    assert_eq!(server.connections(), 1);

    let without = http.send(super::request(&url), Peer::Apns).await.expect_err("nobody knows us");
    assert!(matches!(without, Error::Connect(_) | Error::Closed(_)), "{without}");
    let (other, _) = self::identity();
    let stranger = http.send(request_of(&other, &url), Peer::Apns).await.expect_err("a stranger");
    assert!(matches!(stranger, Error::Connect(_) | Error::Closed(_)), "{stranger}");
    assert_eq!(server.requests().len(), 3);
    assert_eq!(http.connections()[0].origins, 3, "one for each identity");
}
