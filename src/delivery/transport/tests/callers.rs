//! Peers that take one key's tokens on a connection.

use super::super::*;
use crate::delivery::testing::server::{HTTP2, Server, ok};

#[tokio::test]
async fn each_party_has_connections_of_its_own() {
    let server = Server::start(HTTP2, |_| ok("")).await;
    let (http, url) = (super::open(&super::config(&server)), server.url());
    let parties = [Party::new("TEAM/ONE"), Party::new("TEAM/TWO")];
    for party in parties.iter().chain(&parties).chain([&Party::new("TEAM/ONE")]) {
        let mut request = super::request(&url);
        party.present(&mut request);
        http.send(request, Peer::Apns).await.expect("an answer");
    }
    assert_eq!(server.connections(), 2);
}
