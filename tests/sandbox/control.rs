//! The sandbox's own interface, over plain HTTP/1.1.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use parvis::sandbox::Sandbox;
use parvis_engine::shopper::PushTarget;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    client::{Ask, Client, sandbox},
    fcm::bearer,
};

async fn ask(sandbox: &Sandbox, method: Method, path: &str, body: Value) -> (StatusCode, Bytes) {
    let authority = sandbox.endpoints().control.replace("http://", "");
    let socket = TcpStream::connect(&authority).await.expect("the port is open");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.expect("the server speaks HTTP/1.1");
    tokio_util::task::TaskTracker::new().spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", authority);
    let request = request.header("content-type", "application/json").body(Full::new(Bytes::from(body.to_string())));
    let response = sender.send_request(request.expect("a request")).await.expect("an answer");
    (response.status(), response.into_body().collect().await.expect("a body").to_bytes())
}

fn json_of(body: &Bytes) -> Value {
    serde_json::from_slice(body).expect("JSON")
}

#[tokio::test]
async fn targets_are_registered_as_a_device_registration_takes_them() {
    let sandbox = sandbox().await;
    for new in [
        json!({ "channel": "apns", "topic": "com.example.shop", "environment": "sandbox" }),
        json!({ "channel": "fcm" }),
        json!({ "channel": "fcm", "fid": true }),
        json!({ "channel": "webpush" }),
    ] {
        let (status, body) = ask(&sandbox, Method::POST, "/sandbox/targets", new.clone()).await;
        assert_eq!(status, StatusCode::CREATED, "{new}");
        let target: PushTarget = serde_json::from_slice(&body).expect("a target");
        assert_eq!(target.channel().name(), new["channel"].as_str().expect("a channel"));
    }
    let (status, _) = ask(&sandbox, Method::POST, "/sandbox/targets", json!({ "channel": "fax" })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn behaviour_is_told_and_messages_are_read() {
    let sandbox = sandbox().await;
    let client = Client::connect(&sandbox.endpoints().fcm, &sandbox).await;
    let bearer = bearer(&sandbox, &client).await;
    let token = sandbox.register_fcm();
    let send = || {
        let message = json!({ "message": { "token": token, "notification": { "title": "Hello" } } });
        Ask::post("/v1/projects/parvis-sandbox/messages:send", message.to_string())
            .with("authorization", bearer.clone())
    };
    let told = json!({ "target": token, "behaviour": { "kind": "throttled", "times": 1, "retry_after_s": 3 } });
    assert_eq!(ask(&sandbox, Method::PUT, "/sandbox/behaviour", told).await.0, StatusCode::NO_CONTENT);
    assert_eq!(client.ask(send()).await.status.as_u16(), 429);
    assert_eq!(client.ask(send()).await.status.as_u16(), 200);

    let page = json_of(&ask(&sandbox, Method::GET, "/received", Value::Null).await.1);
    assert_eq!(page["counts"], json!({ "accepted": 1, "refused": 1 }));
    assert_eq!(page["received"][0]["refused"], json!({ "status": 429, "reason": "QUOTA_EXCEEDED" }));
    assert_eq!(page["received"][1]["title"], "Hello");
    let later = json_of(&ask(&sandbox, Method::GET, "/received?since=1", Value::Null).await.1);
    assert_eq!(later["received"].as_array().map(Vec::len), Some(1));
    let shown = json_of(&ask(&sandbox, Method::GET, &format!("/shown?target={token}"), Value::Null).await.1);
    assert_eq!(shown.as_array().map(Vec::len), Some(1));

    let down = json!({ "channel": "fcm", "conditions": { "failing": 503 } });
    assert_eq!(ask(&sandbox, Method::PUT, "/sandbox/conditions", down).await.0, StatusCode::NO_CONTENT);
    assert_eq!(client.ask(send()).await.status.as_u16(), 503);
    let away = json!({ "channel": "fcm" });
    assert_eq!(ask(&sandbox, Method::POST, "/sandbox/goaway", away).await.0, StatusCode::NO_CONTENT);
    client.connection.await.expect("the connection has ended");
}

#[tokio::test]
async fn bad_instructions_are_named() {
    let sandbox = sandbox().await;
    let token = sandbox.register_fcm();
    let status = json!({ "target": token, "behaviour": { "kind": "failing", "status": 200 } });
    let (code, body) = ask(&sandbox, Method::PUT, "/sandbox/behaviour", status).await;
    assert_eq!(code, StatusCode::BAD_REQUEST);
    assert_eq!(json_of(&body)["error"], "status: 200 is not between 400 and 599");
    let unknown = json!({ "target": "nobody", "behaviour": { "kind": "normal" } });
    assert_eq!(ask(&sandbox, Method::PUT, "/sandbox/behaviour", unknown).await.0, StatusCode::NOT_FOUND);
    let conditions = json!({ "channel": "apns", "conditions": { "failing": 99 } });
    assert_eq!(ask(&sandbox, Method::PUT, "/sandbox/conditions", conditions).await.0, StatusCode::BAD_REQUEST);
    let (code, page) = ask(&sandbox, Method::GET, "/", Value::Null).await;
    assert!(code == StatusCode::OK && page.starts_with(b"<!doctype html>"));
}

#[tokio::test]
async fn faults_apps_and_certificates_are_had_over_the_interface() {
    let sandbox = sandbox().await;
    let fault = json!({ "scope": { "app": "other" }, "behaviour": { "kind": "silent" } });
    assert_eq!(ask(&sandbox, Method::PUT, "/sandbox/faults/quiet", fault.clone()).await.0, StatusCode::NO_CONTENT);
    let all = json_of(&ask(&sandbox, Method::GET, "/sandbox/faults", Value::Null).await.1);
    assert_eq!(all["quiet"]["scope"]["app"], "other");
    assert_eq!(ask(&sandbox, Method::DELETE, "/sandbox/faults/quiet", Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(ask(&sandbox, Method::DELETE, "/sandbox/faults/quiet", Value::Null).await.0, StatusCode::NOT_FOUND);
    let bad = json!({ "behaviour": { "kind": "failing", "status": 1 } });
    assert_eq!(ask(&sandbox, Method::PUT, "/sandbox/faults/bad", bad).await.0, StatusCode::BAD_REQUEST);

    let (status, app) = ask(&sandbox, Method::POST, "/sandbox/apps", json!({ "name": "other" })).await;
    assert_eq!(status, StatusCode::CREATED);
    let app = json_of(&app);
    assert_eq!(app["app"]["fcm_project_id"], "other-sandbox");
    assert!(app["fcm_service_account"].as_str().is_some_and(|account| account.contains("private_key")));
    let (status, again) = ask(&sandbox, Method::POST, "/sandbox/apps", json!({ "name": "other" })).await;
    assert_eq!(
        (status, &json_of(&again)["error"]),
        (StatusCode::BAD_REQUEST, &json!("name: there is an app other already"))
    );
    let nobody = json!({ "channel": "fcm", "app": "nobody" });
    assert_eq!(ask(&sandbox, Method::POST, "/sandbox/targets", nobody).await.0, StatusCode::NOT_FOUND);
    let topic = json!({ "topic": "com.example.shop", "environment": "sandbox" });
    let (status, issued) = ask(&sandbox, Method::POST, "/sandbox/apns/certificates", topic).await;
    assert_eq!(status, StatusCode::CREATED);
    assert!(json_of(&issued)["certificate_pem"].as_str().is_some_and(|pem| pem.starts_with("-----BEGIN CERTIFICATE")));
    for path in ["/sandbox/activities", "/sandbox/browsers"] {
        assert_eq!(json_of(&ask(&sandbox, Method::GET, path, Value::Null).await.1), json!([]));
    }
}

#[tokio::test]
async fn the_page_lives_from_events() {
    let sandbox = sandbox().await;
    let fcm = Client::connect(&sandbox.endpoints().fcm, &sandbox).await;
    let bearer = bearer(&sandbox, &fcm).await;
    let token = sandbox.register_fcm();
    let send = async |title: &str| {
        let message = json!({ "message": { "token": token, "notification": { "title": title } } });
        let ask = Ask::post("/v1/projects/parvis-sandbox/messages:send", message.to_string());
        assert_eq!(fcm.ask(ask.with("authorization", bearer.clone())).await.status.as_u16(), 200);
    };
    let harmful = "<script>alert(1)</script>\u{2028}";
    send("one").await;
    send(harmful).await;
    let authority = sandbox.endpoints().control.replace("http://", "");
    let connect = async |last: Option<&str>| {
        let socket = TcpStream::connect(&authority).await.expect("the port is open");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.expect("the server speaks HTTP/1.1");
        tokio_util::task::TaskTracker::new().spawn(connection);
        let mut request = Request::builder().uri("/events").header("host", &authority);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let request = request.body(Full::new(Bytes::new())).expect("a request");
        sender.send_request(request).await.expect("an answer").into_body()
    };
    let mut events = connect(None).await;
    let next = async |events: &mut hyper::body::Incoming| {
        let mut text = String::new();
        while !text.contains("\n\n") {
            let frame = events.frame().await.expect("it goes on").expect("no error");
            text.push_str(&String::from_utf8_lossy(frame.data_ref().expect("data")));
        }
        text
    };
    let mut past = next(&mut events).await;
    while past.matches("data: ").count() < 2 {
        past.push_str(&next(&mut events).await);
    }
    assert!(past.contains("id: 1\n") && past.contains("id: 2\n"), "{past}");
    send("three").await;
    let live = next(&mut events).await;
    assert!(live.contains("\"three\"") && live.contains("id: 3\n"), "{live}");
    let again = next(&mut connect(Some("2")).await).await;
    assert!(again.contains("id: 3\n") && !again.contains("id: 2\n"), "{again}");

    for (path, begins) in [("/", "<!doctype html>"), ("/page.js", "// "), ("/page.css", ":root")] {
        let (status, body) = ask(&sandbox, Method::GET, path, Value::Null).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(status == StatusCode::OK && body.starts_with(begins), "{path}");
        assert!(!body.contains("innerHTML"), "{path} makes no markup of what came");
    }
    sandbox.stop().await;
    assert!(events.frame().await.is_none_or(|frame| frame.is_err()), "the stream ends with the sandbox");
}
