//! Who calls a node over loopback.

use std::{net::SocketAddr, path::Path};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use parvis::{entropy::Entropy, keys};
use parvis_engine::{
    observation::{Fix, Position},
    time::Timestamp,
};
use tokio::net::TcpStream;

use crate::city::Phone;

/// Pings of different phones in one request.
pub(crate) const LINES: usize = 100;

/// A connection and the phones that speak over it.
pub(crate) struct Caller {
    sender: http1::SendRequest<Full<Bytes>>,
    key: String,
    pub(crate) phones: Vec<Phone>,
    turn: usize,
    batched: bool,
}

impl Caller {
    pub(crate) async fn new(node: SocketAddr, key: &str, phones: Vec<Phone>, batched: bool) -> Caller {
        let stream = TcpStream::connect(node).await.expect("connects");
        stream.set_nodelay(true).expect("a socket");
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("speaks HTTP");
        // Ends with its sender.
        drop(tokio_util::task::TaskTracker::new().spawn(connection));
        Caller { sender, key: format!("Bearer {key}"), phones, turn: 0, batched }
    }

    /// The next phones ping; gives how many.
    pub(crate) async fn ping(&mut self, now: Timestamp) -> usize {
        let count = if self.batched { LINES } else { 1 };
        let media = if self.batched { "application/x-ndjson" } else { "application/json" };
        let body = self.body(count, now);
        let request = Request::post("/v1/observations").header("host", "localhost").header("content-type", media);
        let request = request.header("authorization", &self.key).body(Full::new(body.into())).expect("a request");
        let response = self.sender.send_request(request).await.expect("an answer");
        let status = response.status();
        let answer = response.into_body().collect().await.expect("a body").to_bytes();
        let taken = answer.starts_with(format!(r#"{{"accepted":{count},"rejected":[]"#).as_bytes());
        assert!(status.is_success() && taken, "{status} {}", String::from_utf8_lossy(&answer));
        count
    }

    fn body(&mut self, count: usize, now: Timestamp) -> String {
        use std::fmt::Write as _;
        let mut body = String::with_capacity(count * 128);
        for _ in 0..count {
            let turn = self.turn;
            self.turn = (turn + 1) % self.phones.len();
            let phone = &mut self.phones[turn];
            let Fix { at, position: Position { lat, lon }, .. } = phone.next(now);
            let fix = format_args!(r#""kind":"fix","at":"{at}","lat":{lat:.6},"lon":{lon:.6},"accuracy_m":8"#);
            let written = if self.batched {
                writeln!(body, r#"{{"device":"{}",{fix}}}"#, phone.id)
            } else {
                write!(body, r#"{{"device":"{}","observations":[{{{fix}}}]}}"#, phone.id)
            };
            written.expect("writing to a string does not fail");
        }
        body
    }
}

pub(crate) fn new_key(folder: &Path) -> String {
    let scopes = [parvis::http::auth::Scope::Ingest].into();
    let wanted = keys::Wanted { name: "bench".to_owned(), scopes, device: None, scanner: None };
    let mut printed = Vec::new();
    keys::create(&folder.join("keys.toml"), wanted, &Entropy::System, &mut printed).expect("a key");
    String::from_utf8(printed).expect("text").trim().to_owned()
}
