//! The transport against servers.

mod callers;
mod frames;
mod goodbyes;
mod identities;
mod life;
mod streams;

use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::{
    connection::{self, BODY_BYTES_MAX},
    *,
};
use crate::delivery::{
    testing::server::{Answer, HTTP2, Manner, Server, ok},
    webpush,
};

fn config(server: &Server) -> Config {
    Config { extra_ca: Some(server.certificate()), ..Config::default() }
}

fn open(config: &Config) -> Http {
    Http::new(config, Path::new("")).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn request(url: &str) -> Request<Bytes> {
    Request::post(url).body(Bytes::from_static(b"{}")).expect("a request")
}

/// So many requests to an origin, each in a task of its own, begun in order.
fn start(origin: &Arc<Origin>, count: usize) -> JoinSet<Result<(), Error>> {
    let mut asked = JoinSet::new();
    for _ in 0..count {
        let origin = Arc::clone(origin);
        asked.spawn(async move {
            let mut sending = Sending { answer: connection::Answer::default(), is_sent: false };
            sending.run(&origin, request("https://push.example/3/device/00")).await
        });
    }
    asked
}

/// Waits until so many requests are under way.
async fn sent(origin: &Origin, count: usize) {
    while streams::standing(origin).streams_in_use != count {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

async fn ask_once(server: &Server, peer: Peer) -> Result<Reply, Error> {
    open(&config(server)).send(request(&server.url()), peer).await
}

#[tokio::test]
async fn providers_are_called_over_http_2_on_one_connection() {
    let server = Server::start(HTTP2, |_| ok("{}")).await;
    let http = open(&config(&server));
    for number in 0..20 {
        let url = format!("{}/{number}", server.url());
        assert_eq!(http.send(request(&url), Peer::Apns).await.expect("an answer").body, "{}");
    }
    assert_eq!(server.connections(), 1);
    assert!(server.requests().iter().all(|request| request.version() == http::Version::HTTP_2));
}

#[tokio::test]
async fn push_services_may_speak_http_1() {
    let manner = Manner { protocol: b"http/1.1", ..HTTP2 };
    let server = Server::start(manner, |_| Answer::Reply(201, &[("location", "/m/1")], String::new())).await;
    let reply = ask_once(&server, Peer::Issuer).await.expect("an answer");
    assert_eq!((reply.status.as_u16(), &reply.headers["location"]), (201, &"/m/1".parse().expect("a value")));
    assert!(matches!(ask_once(&server, Peer::Fcm).await, Err(Error::Connect(_))), "providers may not");
}

#[tokio::test]
async fn connections_of_http_1_are_used_again_unless_an_answer_was_cut() {
    let manner = Manner { protocol: b"http/1.1", ..HTTP2 };
    let server = Server::start(manner, |request| match request.uri().path() {
        "/endless" => Answer::Endless(503),
        _ => ok("{}"),
    })
    .await;
    let http = open(&config(&server));
    let url = server.url();
    for _ in 0..3 {
        assert_eq!(http.send(request(&url), Peer::Issuer).await.expect("an answer").body, "{}");
    }
    assert_eq!(server.connections(), 1);
    let endless = http.send(request(&format!("{url}/endless")), Peer::Issuer).await.expect("an answer");
    assert_eq!((endless.status.as_u16(), endless.body.len()), (503, BODY_BYTES_MAX));
    http.send(request(&url), Peer::Issuer).await.expect("an answer");
    assert_eq!(server.connections(), 2);
    let replies = join_all((0..20).map(|_| http.send(request(&url), Peer::Issuer))).await;
    assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    assert!(server.connections() <= 1 + Config::default().connections_max);
    assert!(server.requests().iter().all(|request| request.headers().contains_key("host")));
}

#[tokio::test]
async fn a_peer_that_announces_few_streams_gets_everything_in_turn() {
    let server = Server::start(Manner { streams: 2, ..HTTP2 }, |_| ok("{}")).await;
    let http = open(&config(&server));
    let url = server.url();
    let replies = join_all((0..80).map(|_| http.send(request(&url), Peer::Apns))).await;
    assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    assert_eq!(server.requests().len(), 80);
    assert!(server.connections() <= Config::default().connections_max);
}

#[tokio::test]
async fn a_silent_peer_is_a_timeout() {
    let server = Server::start(HTTP2, |_| Answer::Never).await;
    let http = open(&Config { request_timeout: Duration::from_millis(300), ..config(&server) });
    assert_eq!(http.send(request(&server.url()), Peer::Apns).await.err(), Some(Error::Timeout));
}

#[tokio::test]
async fn a_status_counts_even_if_its_body_breaks_off_stalls_or_does_not_end() {
    let server = Server::start(HTTP2, |request| match request.uri().path() {
        "/breaks" => Answer::BreaksOff(410),
        "/stalls" => Answer::Stalls(200),
        _ => Answer::Endless(503),
    })
    .await;
    let http = open(&Config { request_timeout: Duration::from_millis(500), ..config(&server) });
    for (path, status, length) in [("/breaks", 410, 10), ("/stalls", 200, 10), ("/endless", 503, BODY_BYTES_MAX)] {
        let url = format!("{}{path}", server.url());
        let reply = http.send(request(&url), Peer::Apns).await.expect("an answer");
        assert_eq!(reply.status.as_u16(), status, "{path}");
        assert!(reply.body.len() <= length, "{path}");
    }
    let endless = http.send(request(&server.url()), Peer::Apns).await.expect("an answer");
    assert_eq!(endless.body.len(), BODY_BYTES_MAX);
}

#[tokio::test]
async fn a_reset_without_a_status_is_no_answer_and_is_not_repeated() {
    let server = Server::start(HTTP2, |_| Answer::Resets).await;
    assert!(matches!(ask_once(&server, Peer::Apns).await, Err(Error::Closed(_))));
    assert_eq!(server.requests().len(), 1, "the peer may have acted on it");
}

#[tokio::test]
async fn a_goodbye_costs_no_request() {
    let manner = Manner { requests_per_connection: 7, ..HTTP2 };
    let server = Server::start(manner, |_| ok("{}")).await;
    let http = open(&config(&server));
    for _ in 0..50 {
        http.send(request(&server.url()), Peer::Apns).await.expect("an answer");
    }
    assert!(server.connections() > 1);
    assert_eq!(server.requests().len(), 50, "none is sent twice");
}

#[tokio::test]
async fn a_goodbye_under_load_loses_and_repeats_nothing() {
    let manner = Manner { requests_per_connection: 40, ..HTTP2 };
    let server = Server::start(manner, |_| ok("{}")).await;
    let http = open(&Config { connections_max: 1, ..config(&server) });
    let url = server.url();
    let requests = (0..200).map(|number| http.send(request(&format!("{url}/{number}")), Peer::Apns));
    let replies = join_all(requests).await;
    assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    let mut paths: Vec<String> = server.requests().iter().map(|request| request.uri().path().to_owned()).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!((paths.len(), server.requests().len()), (200, 200), "none is sent twice");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = Server::start(HTTP2, |_| Answer::Reply(308, &[("location", "/elsewhere")], String::new())).await;
    assert_eq!(ask_once(&server, Peer::Issuer).await.expect("an answer").status.as_u16(), 308);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn private_addresses_are_refused_by_what_a_name_resolves_to() {
    let server = Server::start(HTTP2, |_| ok("{}")).await;
    let http = open(&config(&server));
    let literal = |host: &str| format!("https://{host}:{}/", server.port());
    for url in [server.url(), literal("127.0.0.1"), literal("[::1]"), literal("[::ffff:127.0.0.1]")] {
        assert_eq!(http.send(request(&url), Peer::Subscription).await.err(), Some(Error::NotAllowed), "{url}");
    }
    assert!(http.send(request(&literal("127.1")), Peer::Subscription).await.is_err(), "no host name");
    assert_eq!(server.connections(), 0);
    assert!(http.send(request(&server.url()), Peer::Issuer).await.is_ok(), "an operator's choice is not judged");

    let webpush: webpush::Config =
        toml::from_str("key = \"k\"\nsubject = \"mailto:a@b\"\nallow_private = true").expect("a section");
    let http = open(&Config { webpush: Some(webpush), ..config(&server) });
    assert!(http.send(request(&server.url()), Peer::Subscription).await.is_ok());
}

#[tokio::test]
async fn only_https_and_only_trusted_certificates() {
    let server = Server::start(HTTP2, |_| ok("{}")).await;
    let http = open(&config(&server));
    let plain = server.url().replace("https", "http");
    assert!(matches!(http.send(request(&plain), Peer::Issuer).await, Err(Error::Connect(_))));
    let other = Server::start(HTTP2, |_| ok("{}")).await;
    assert!(matches!(http.send(request(&other.url()), Peer::Apns).await, Err(Error::Connect(_))));
    assert_eq!(other.connections(), 0);
}

#[test]
fn a_missing_or_odd_authority_file_is_named() {
    let refused = |file: &Path| {
        let config = Config { extra_ca: Some(file.to_owned()), ..Config::default() };
        Http::new(&config, Path::new("")).err().expect("refused")
    };
    assert_eq!(refused(Path::new("missing.pem"))[0].path, "/extra_ca");
    let file = tempfile::NamedTempFile::new().expect("a file");
    assert!(refused(file.path())[0].message.contains("holds no certificate"));
}
