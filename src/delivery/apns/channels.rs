//! Broadcast channels: what one message can be sent to for every Live Activity that follows it. Requests and replies
//! only, as for a provider; connections and credentials are the courier's.
//!
//! Source: Apple, "Sending channel management requests to APNs". An app has at most 10,000 channels in an environment.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header::AUTHORIZATION};
use parvis_engine::{shopper::ApnsEnvironment, time::Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    super::{
        Reply,
        reply::{Blame, reason, retry_after},
        transport::Identity,
    },
    is_bundle, refusal,
};

/// Apple's ids are base64 of 16 bytes; it promises no length.
const ID_BYTES_MAX: usize = 128;
/// What says which channel.
const ID_HEADER: &str = "apns-channel-id";

/// Apple's address for apps from the store.
pub(super) fn production_url() -> String {
    "https://api-manage-broadcast.push.apple.com:2196".to_owned()
}

/// Apple's address for development builds.
pub(super) fn sandbox_url() -> String {
    "https://api-manage-broadcast.sandbox.push.apple.com:2195".to_owned()
}

/// Whose channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The app's bundle id.
    pub bundle: String,
    /// Which of Apple's environments.
    pub environment: ApnsEnvironment,
}

/// What a channel keeps for phones that are away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// Nothing; a message reaches who is there.
    Nothing,
    /// The last message, until it expires.
    Latest,
}

/// Why there is no channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bundle id is none.
    BadBundle,
    /// The channel's id is none.
    BadId,
    /// There is no such channel.
    NotFound,
    /// Refused for good, with Apple's word.
    Refused(String),
    /// Not now, with Apple's word; or not before an operator has acted.
    Unavailable {
        /// When Apple asked to come back.
        retry_after: Option<Duration>,
        /// Apple's word.
        reason: String,
        /// Who has to act.
        blame: Blame,
    },
    /// A success that says something else than it should.
    Unreadable,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::BadBundle => f.write_str("not a bundle id"),
            Error::BadId => f.write_str("not a channel's id"),
            Error::NotFound => f.write_str("there is no such channel"),
            Error::Refused(word) => write!(f, "refused: {word}"),
            Error::Unavailable { reason, .. } => write!(f, "not available: {reason}"),
            Error::Unreadable => f.write_str("an answer that cannot be read"),
        }
    }
}

impl std::error::Error for Error {}

/// Makes requests about channels and reads the replies. Requests go to [`Peer::Apns`](super::super::transport::Peer),
/// with the same bearer as messages.
pub struct Channels {
    production_url: String,
    sandbox_url: String,
    identity: Option<Arc<Identity>>,
}

impl Channels {
    pub(super) fn new(production_url: String, sandbox_url: String, identity: Option<Arc<Identity>>) -> Channels {
        Channels { production_url, sandbox_url, identity }
    }

    /// Asks for a new channel. Whoever asks twice gets two.
    ///
    /// # Errors
    /// If the bundle id is none.
    pub fn create(&self, place: &Place, storage: Storage, bearer: &str) -> Result<Request<Bytes>, Error> {
        let policy = match storage {
            Storage::Nothing => 0,
            Storage::Latest => 1,
        };
        let body = json!({ "message-storage-policy": policy, "push-type": "LiveActivity" }).to_string();
        self.request(Ask { method: Method::POST, place, what: "channels", header: None, body }, bearer)
    }

    /// Asks how a channel is set up.
    ///
    /// # Errors
    /// If the bundle id or the channel's id is none.
    pub fn read(&self, place: &Place, channel: &str, bearer: &str) -> Result<Request<Bytes>, Error> {
        let header = Some(named(channel)?);
        self.request(Ask { method: Method::GET, place, what: "channels", header, body: String::new() }, bearer)
    }

    /// Asks for the ids of all channels.
    ///
    /// # Errors
    /// If the bundle id is none.
    pub fn list(&self, place: &Place, bearer: &str) -> Result<Request<Bytes>, Error> {
        let (method, body) = (Method::GET, String::new());
        self.request(Ask { method, place, what: "all-channels", header: None, body }, bearer)
    }

    /// Asks to delete a channel. Activities that follow it stop where they are.
    ///
    /// # Errors
    /// If the bundle id or the channel's id is none.
    pub fn delete(&self, place: &Place, channel: &str, bearer: &str) -> Result<Request<Bytes>, Error> {
        let header = Some(named(channel)?);
        self.request(Ask { method: Method::DELETE, place, what: "channels", header, body: String::new() }, bearer)
    }

    fn request(&self, ask: Ask<'_>, bearer: &str) -> Result<Request<Bytes>, Error> {
        let Ask { method, place, what, header, body } = ask;
        if !is_bundle(&place.bundle) {
            return Err(Error::BadBundle);
        }
        let base = match place.environment {
            ApnsEnvironment::Production => &self.production_url,
            ApnsEnvironment::Sandbox => &self.sandbox_url,
        };
        let mut request = Request::builder().method(method).uri(format!("{base}/1/apps/{}/{what}", place.bundle));
        if self.identity.is_none() {
            request = request.header(AUTHORIZATION, format!("bearer {bearer}"));
        }
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let mut request = request.body(body.into()).map_err(|_| Error::BadId)?;
        if let Some(identity) = &self.identity {
            identity.present(&mut request);
        }
        Ok(request)
    }
}

struct Ask<'a> {
    method: Method,
    place: &'a Place,
    what: &'static str,
    header: Option<(&'static str, String)>,
    body: String,
}

fn named(channel: &str) -> Result<(&'static str, String), Error> {
    let fits =
        !channel.is_empty() && channel.len() <= ID_BYTES_MAX && channel.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok((ID_HEADER, channel.to_owned())) } else { Err(Error::BadId) }
}

/// The new channel's id.
///
/// # Errors
/// If there is none.
pub fn created(reply: &Reply, now: Timestamp) -> Result<String, Error> {
    succeed(reply, StatusCode::CREATED, now)?;
    let id = reply.headers.get(ID_HEADER).and_then(|id| id.to_str().ok());
    id.and_then(|id| named(id).ok()).map(|(_, id)| id).ok_or(Error::Unreadable)
}

/// What a channel keeps.
///
/// # Errors
/// If that is not known.
pub fn found(reply: &Reply, now: Timestamp) -> Result<Storage, Error> {
    #[derive(Deserialize)]
    struct Settings {
        #[serde(rename = "message-storage-policy")]
        policy: u8,
    }
    succeed(reply, StatusCode::OK, now)?;
    match serde_json::from_slice(&reply.body) {
        Ok(Settings { policy: 0 }) => Ok(Storage::Nothing),
        Ok(Settings { policy: 1 }) => Ok(Storage::Latest),
        Ok(Settings { .. }) | Err(_) => Err(Error::Unreadable),
    }
}

/// The ids of an app's channels.
///
/// # Errors
/// If they are not known. A reply is cut at the transport's bound; a list that was cut is not read.
pub fn listed(reply: &Reply, now: Timestamp) -> Result<Vec<String>, Error> {
    #[derive(Deserialize)]
    struct List {
        channels: Vec<String>,
    }
    succeed(reply, StatusCode::OK, now)?;
    serde_json::from_slice(&reply.body).map(|List { channels }| channels).map_err(|_| Error::Unreadable)
}

/// Whether the channel is gone.
///
/// # Errors
/// If it is not.
pub fn deleted(reply: &Reply, now: Timestamp) -> Result<(), Error> {
    succeed(reply, StatusCode::NO_CONTENT, now)
}

/// Nothing if the reply has the status that it should have.
fn succeed(reply: &Reply, expected: StatusCode, now: Timestamp) -> Result<(), Error> {
    if reply.status == expected {
        return Ok(());
    }
    if reply.status.is_success() {
        return Err(Error::Unreadable);
    }
    let asked = retry_after(&reply.headers, now);
    let word = refusal::word(reply);
    let reason = reason(word.as_deref(), reply.status);
    match (reply.status.as_u16(), word.as_deref()) {
        (_, Some("ChannelNotRegistered")) => Err(Error::NotFound),
        (_, Some("BadChannelId" | "MissingChannelId")) => Err(Error::BadId),
        (429, _) => Err(Error::Unavailable { retry_after: asked, reason, blame: Blame::Provider }),
        (500..=599, _) => Err(Error::Unavailable { retry_after: asked, reason, blame: Blame::Provider }),
        (_, Some("BadTopic" | "TopicDisallowed" | "FeatureNotEnabled")) => {
            Err(Error::Unavailable { retry_after: asked, reason, blame: Blame::Setup })
        }
        (401 | 403 | 404 | 405, _) => Err(Error::Unavailable { retry_after: asked, reason, blame: Blame::Operator }),
        _ => Err(Error::Refused(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing;

    const ID: &str = "dHN0LXNyY2gtY2hubA==";

    fn channels() -> Channels {
        Channels::new(production_url(), sandbox_url(), None)
    }

    fn place() -> Place {
        Place { bundle: "com.example.shop".to_owned(), environment: ApnsEnvironment::Production }
    }

    #[test]
    fn each_request_on_the_wire() {
        let create = channels().create(&place(), Storage::Latest, "JWT").expect("a request");
        assert_eq!(
            testing::wire(&create),
            "POST https://api-manage-broadcast.push.apple.com:2196/1/apps/com.example.shop/channels\n\
             authorization: bearer JWT\n\
             \n\
             {\"message-storage-policy\":1,\"push-type\":\"LiveActivity\"}"
        );
        let sandbox = Place { environment: ApnsEnvironment::Sandbox, ..place() };
        let read = channels().read(&sandbox, ID, "JWT").expect("a request");
        assert_eq!(
            testing::wire(&read),
            "GET https://api-manage-broadcast.sandbox.push.apple.com:2195/1/apps/com.example.shop/channels\n\
             authorization: bearer JWT\n\
             apns-channel-id: dHN0LXNyY2gtY2hubA==\n\
             \n"
        );
        let list = channels().list(&place(), "JWT").expect("a request");
        assert_eq!(
            testing::wire(&list),
            "GET https://api-manage-broadcast.push.apple.com:2196/1/apps/com.example.shop/all-channels\n\
             authorization: bearer JWT\n\
             \n"
        );
        let delete = channels().delete(&place(), ID, "JWT").expect("a request");
        assert!(testing::wire(&delete).starts_with("DELETE https://api-manage-broadcast.push.apple.com:2196/"));
        assert_eq!(delete.headers()[ID_HEADER], ID);
    }

    #[test]
    fn what_cannot_be_asked_is_not_asked() {
        for bundle in ["", "../x", "a/b", "a b", ".", "x\r\ny"] {
            let place = Place { bundle: bundle.to_owned(), ..place() };
            assert_eq!(channels().list(&place, "JWT").err(), Some(Error::BadBundle), "{bundle:?}");
        }
        for id in ["", "a b", "a\r\nb", &"x".repeat(129)] {
            assert_eq!(channels().read(&place(), id, "JWT").err(), Some(Error::BadId), "{id:?}");
        }
    }

    #[test]
    fn replies_have_a_meaning() {
        let now = testing::now();
        let reply = |status, headers: &[(&str, &str)], body: &str| testing::reply(status, headers, body);
        assert_eq!(created(&reply(201, &[(ID_HEADER, ID)], ""), now).as_deref(), Ok(ID));
        assert_eq!(created(&reply(201, &[], ""), now), Err(Error::Unreadable));
        assert_eq!(created(&reply(200, &[(ID_HEADER, ID)], ""), now), Err(Error::Unreadable));
        let settings = r#"{"message-storage-policy":1,"push-type":"LiveActivity"}"#;
        assert_eq!(found(&reply(200, &[], settings), now), Ok(Storage::Latest));
        assert_eq!(found(&reply(200, &[], r#"{"message-storage-policy":0}"#), now), Ok(Storage::Nothing));
        assert_eq!(found(&reply(200, &[], "{}"), now), Err(Error::Unreadable));
        let list = format!(r#"{{"channels":["{ID}"]}}"#);
        assert_eq!(listed(&reply(200, &[], &list), now), Ok(vec![ID.to_owned()]));
        assert_eq!(listed(&reply(200, &[], r#"{"channels":["a"#), now), Err(Error::Unreadable), "cut");
        assert_eq!(deleted(&reply(204, &[], ""), now), Ok(()));

        let refused = |status, word: &str| {
            let body = json!({ "reason": word }).to_string();
            deleted(&testing::reply(status, &[("retry-after", "9")], &body), now).expect_err("refused")
        };
        assert_eq!(refused(404, "ChannelNotRegistered"), Error::NotFound);
        assert_eq!(refused(400, "BadChannelId"), Error::BadId);
        assert_eq!(refused(400, "CannotCreateChannelConfig"), Error::Refused("CannotCreateChannelConfig".to_owned()));
        let retry_after = Some(Duration::from_secs(9));
        for (status, word, blame) in [
            (403, "InvalidProviderToken", Blame::Operator),
            (400, "TopicDisallowed", Blame::Setup),
            (403, "FeatureNotEnabled", Blame::Setup),
            (404, "BadPath", Blame::Operator),
            (429, "TooManyRequests", Blame::Provider),
            (503, "ServiceUnavailable", Blame::Provider),
        ] {
            let expected = Error::Unavailable { retry_after, reason: word.to_owned(), blame };
            assert_eq!(refused(status, word), expected);
        }
    }
}
