//! Whoever calls the daemon: requests with whole answers, and the stream of events.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::{task::JoinSet, time::timeout};

use crate::rig::{PATIENCE, until};

/// Open connections, kept for the next request.
pub(crate) type Connections = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn connections() -> Connections {
    Client::builder(TokioExecutor::new()).build_http()
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {} {:?}", self.status, self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The problem document of this name, or a panic.
    pub(crate) fn problem(&self, name: &str) -> Value {
        let document = self.json();
        assert_eq!(document["type"], format!("urn:parvis:problem:{name}"), "{} {document}", self.status);
        assert_eq!(document["status"], self.status.as_u16());
        assert_eq!(self.header("content-type"), "application/problem+json");
        document
    }
}

/// Calls the daemon as long as it runs.
#[derive(Clone)]
pub(crate) struct Caller {
    connections: Connections,
    base: String,
    key: String,
}

impl Caller {
    pub(crate) fn new(connections: Connections, base: String, key: String) -> Caller {
        Caller { connections, base, key }
    }

    pub(crate) fn with_key(mut self, key: &str) -> Caller {
        key.clone_into(&mut self.key);
        self
    }

    /// The same caller on connections of its own.
    pub(crate) fn apart(mut self) -> Caller {
        self.connections = connections();
        self
    }

    /// The same caller of another server.
    pub(crate) fn at(mut self, base: &str) -> Caller {
        base.clone_into(&mut self.base);
        self
    }

    /// Sends JSON; nothing came back if the daemon ended meanwhile.
    pub(crate) async fn call(&self, method: Method, path: &str, body: &Value) -> Option<Reply> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, path, &[("content-type", "application/json")], body).await
    }

    /// Sends bytes with these headers; nothing came back if the daemon ended meanwhile.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<Reply> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.key));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = self.connections.request(request.body(Full::new(body.into())).expect("a request"));
        let response = timeout(PATIENCE, response).await.expect("an answer in time").ok()?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some(Reply { status: parts.status, headers: parts.headers, body })
    }

    /// Follows the stream of events; what came is in the list.
    pub(crate) async fn follow(&self, query: &str) -> Followed {
        let request = Request::get(format!("{}/v1/stream{query}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .body(Full::new(Bytes::new()))
            .expect("a request");
        let response = self.connections.request(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK);
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (list, mut body) = (events.clone(), response.into_body());
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            let mut text = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                text.extend_from_slice(frame.data_ref().map_or(&[][..], Bytes::as_ref));
                while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
                    let event: Vec<u8> = text.drain(..end + 2).collect();
                    let event = String::from_utf8(event).expect("text");
                    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                    let parsed = data.map(|data| serde_json::from_str(data).expect("JSON"));
                    list.lock().expect("not poisoned").extend(parsed);
                }
            }
        });
        Followed { events, _reader: reader }
    }
}

/// Events as they came.
pub(crate) struct Followed {
    events: Arc<Mutex<Vec<Value>>>,
    _reader: JoinSet<()>,
}

impl Followed {
    /// Events of a type.
    pub(crate) fn of(&self, kind: &str) -> Vec<Value> {
        let events = self.events.lock().expect("not poisoned");
        events.iter().filter(|event| event["type"] == kind).cloned().collect()
    }

    /// Waits until so many events of a type came.
    pub(crate) async fn wait_for(&self, kind: &str, count: usize) -> Vec<Value> {
        until(&format!("{count} events {kind}"), async || Some(self.of(kind)).filter(|events| events.len() >= count))
            .await
    }
}
