//! A request as the services see it, and what they make of it. No sockets here.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use super::record::Message;

/// What APNs names each answer by.
const NAMES: [&str; 2] = ["apns-id", "apns-request-id"];
const TOLD: [&str; 4] = ["ttl", "urgency", "topic", "content-encoding"];

/// One request, read.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The body did not fit the sandbox's own bound and is not here.
    pub(super) overlong: bool,
}

/// One answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What a service makes of a request.
#[derive(Debug)]
pub(super) enum Judged {
    /// No message was meant to be sent: a token grant, a dry run.
    Answer(Reply),
    /// A valid message.
    Valid { target: String, message: Box<Message>, reply: Reply },
    /// A message that is refused.
    Refused { target: String, message: Box<Message>, reply: Reply, reason: String },
}

impl Request {
    /// The value of a header that occurs once and is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The headers that push services define, without credentials.
    pub(super) fn told(&self) -> BTreeMap<String, String> {
        let own = |name: &str| name.starts_with("apns-") || TOLD.contains(&name);
        let named = self.headers.iter().filter(|(name, _)| own(name.as_str()));
        named.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())).collect()
    }
}

impl Reply {
    pub(super) fn empty(status: StatusCode) -> Reply {
        Reply { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    pub(super) fn json(status: StatusCode, body: &Value) -> Reply {
        let mut reply = Reply::empty(status);
        reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
        reply.body = Bytes::from(body.to_string());
        reply
    }

    /// Something that no service says.
    pub(super) fn html(status: StatusCode, body: String) -> Reply {
        let mut reply = Reply::empty(status);
        reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
        reply.body = Bytes::from(body);
        reply
    }

    /// Adds a header; one that cannot be written is left out.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Reply {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Takes the names of a request or of another answer to it.
    pub(super) fn named_as(mut self, headers: &HeaderMap) -> Reply {
        for name in NAMES {
            if let Some(value) = headers.get(name) {
                self.headers.insert(HeaderName::from_static(name), value.clone());
            }
        }
        self
    }

    pub(super) fn retry_after(self, seconds: Option<u32>) -> Reply {
        match seconds {
            Some(seconds) => self.with("retry-after", &seconds.to_string()),
            None => self,
        }
    }
}

/// A status that is known to be one.
pub(super) fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
