//! Firebase Cloud Messaging, HTTP v1 API.
//!
//! Source: Firebase, "projects.messages" and "ErrorCode" of the FCM REST reference, and "Throttling and quotas".

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{
    Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use parvis_engine::{
    notification::{Address, Channel, Notification},
    problem::Problem,
    retry::Outcome,
    shopper::PushTarget,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Blame, Provider, Reply, base_url, quota, read, rejected, token::Limits, transport::Transport};
use crate::clock::Clock;

pub mod grant;
mod message;
mod refusal;

use grant::{Account, Grant};
use message::Style;

/// A token that is refused although it has just been replaced will not be helped by a third.
pub(super) const TOKEN_LIMITS: Limits = Limits { age_min: Duration::ZERO, gap_min: Duration::from_secs(60) };

/// Google's limit for notification and data together.
const PAYLOAD_BYTES_MAX: usize = 4096;
/// The same for a topic or a condition.
const TOPIC_PAYLOAD_BYTES_MAX: usize = 2048;
/// The longest topic name that Google's clients take.
const TOPIC_BYTES_MAX: usize = 900;
/// Google's limit.
const CONDITION_TOPICS_MAX: usize = 5;
const CONDITION_BYTES_MAX: usize = 4096;

/// How Firebase is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The JSON file of the service account.
    pub service_account: PathBuf,
    /// The project; the service account's if absent.
    #[serde(default)]
    pub project: Option<String>,
    /// Where messages are sent to.
    #[serde(default = "default_url")]
    pub base_url: String,
    /// Whether messages are only checked by Google, and reach nobody.
    #[serde(default)]
    pub validate_only: bool,
    /// The Android package that alone may take messages.
    #[serde(default)]
    pub package: Option<String>,
    /// Whether messages are shown before a phone has been unlocked after its start.
    #[serde(default)]
    pub direct_boot: bool,
    /// The Android notification channel of offers; the app's default one if absent.
    #[serde(default)]
    pub offer_channel: Option<String>,
    /// The Android notification channel of order news; the app's default one if absent.
    #[serde(default)]
    pub order_channel: Option<String>,
    /// The project's quota of messages in a minute, as far as this node may use it.
    #[serde(default = "per_minute")]
    pub messages_per_minute: u32,
    /// The quota of one device in a minute.
    #[serde(default = "device_per_minute")]
    pub device_messages_per_minute: u32,
    /// The quota of one device in an hour.
    #[serde(default = "device_per_hour")]
    pub device_messages_per_hour: u32,
    /// The most requests in flight.
    #[serde(default = "concurrency")]
    pub concurrency: usize,
}

fn default_url() -> String {
    "https://fcm.googleapis.com".to_owned()
}

fn per_minute() -> u32 {
    quota::Limits::default().per_minute
}

fn device_per_minute() -> u32 {
    quota::Limits::default().device_per_minute
}

fn device_per_hour() -> u32 {
    quota::Limits::default().device_per_hour
}

/// At an answer in 50 ms this is beyond the 10,000 messages a second of a project's quota.
fn concurrency() -> usize {
    600
}

impl Config {
    /// What Google allows.
    pub fn quota(&self) -> quota::Limits {
        quota::Limits {
            per_minute: self.messages_per_minute,
            device_per_minute: self.device_messages_per_minute,
            device_per_hour: self.device_messages_per_hour,
        }
    }
}

/// Speaks the HTTP v1 API.
pub struct Fcm {
    url: String,
    validate_only: bool,
    style: Style,
}

/// Reads the service account.
///
/// # Errors
/// Everything that is wrong.
pub(super) fn build(
    config: &Config,
    base: &Path,
    clock: Clock,
    transport: Arc<dyn Transport>,
) -> Result<(Fcm, Grant), Vec<Problem>> {
    let mut problems = Vec::new();
    let base_url = base_url(&config.base_url, "/base_url", &mut problems);
    let quotas = [
        ("/messages_per_minute", config.messages_per_minute),
        ("/device_messages_per_minute", config.device_messages_per_minute),
        ("/device_messages_per_hour", config.device_messages_per_hour),
    ];
    for (path, _) in quotas.into_iter().filter(|(_, quota)| *quota == 0) {
        problems.push(Problem::new(path, "must be at least 1"));
    }
    let account = read(base, &config.service_account, "/service_account", &mut problems).and_then(|json| {
        Account::from_json(&json)
            .map_err(|error| {
                let message = format!("{} {error}", config.service_account.display());
                problems.push(Problem::new("/service_account", message));
            })
            .ok()
    });
    let Some(account) = account else { return Err(problems) };
    let project = config.project.as_ref().unwrap_or(&account.project_id);
    let is_project = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:.".contains(&byte);
    if project.is_empty() || !project.bytes().all(is_project) {
        problems.push(Problem::new("/project", format!("{project:?} is not a project id")));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let fcm = Fcm {
        url: format!("{base_url}/v1/projects/{project}/messages:send"),
        validate_only: config.validate_only,
        style: Style {
            package: config.package.clone(),
            direct_boot: config.direct_boot,
            offer_channel: config.offer_channel.clone(),
            order_channel: config.order_channel.clone(),
        },
    };
    Ok((fcm, Grant::new(account, clock, transport)))
}

impl Provider for Fcm {
    fn channel(&self) -> Channel {
        Channel::Fcm
    }

    fn request(
        &self,
        notification: &Notification,
        address: &Address,
        bearer: &str,
        now: Timestamp,
    ) -> Result<Request<Bytes>, Outcome> {
        let (kind, name, bytes_max) = target(address)?;
        let mut message = message::of(notification, &self.style, now)?;
        if message::bytes(&message) > bytes_max {
            return Err(rejected("payload_too_large"));
        }
        message.insert(kind.to_owned(), json!(name));
        let mut body = json!({ "message": message });
        if self.validate_only {
            body["validate_only"] = json!(true);
        }
        Request::post(&self.url)
            .header(AUTHORIZATION, format!("Bearer {bearer}"))
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string().into())
            .map_err(|_| Outcome::Unavailable { retry_after: None, reason: "bad_access_token".to_owned() })
    }

    fn outcome(&self, reply: &Reply, now: Timestamp) -> Outcome {
        refusal::read(reply, now).outcome
    }

    fn blame(&self, reply: &Reply) -> Option<Blame> {
        refusal::read(reply, Timestamp::MIN).blame
    }

    fn wants_new_credential(&self, reply: &Reply) -> bool {
        reply.status == StatusCode::UNAUTHORIZED && !refusal::has_code(reply)
    }
}

/// The member of the message that names the target, its value, and how much may be sent there.
fn target(address: &Address) -> Result<(&'static str, &str, usize), Outcome> {
    match address {
        Address::Target(PushTarget::Fcm { token: Some(token), fid: None }) => Ok(("token", token, PAYLOAD_BYTES_MAX)),
        Address::Target(PushTarget::Fcm { token: None, fid: Some(fid) }) => Ok(("fid", fid, PAYLOAD_BYTES_MAX)),
        Address::Target(PushTarget::Fcm { .. }) => {
            Err(Outcome::Unregistered { since: None, reason: "neither_token_nor_fid".to_owned() })
        }
        Address::FcmTopic { topic } if is_topic(topic) => Ok(("topic", topic, TOPIC_PAYLOAD_BYTES_MAX)),
        Address::FcmTopic { .. } => Err(rejected("bad_topic_name")),
        Address::FcmCondition { condition } if is_condition(condition) => {
            Ok(("condition", condition, TOPIC_PAYLOAD_BYTES_MAX))
        }
        Address::FcmCondition { .. } => Err(rejected("bad_condition")),
        Address::Target(PushTarget::Apns { .. } | PushTarget::WebPush { .. })
        | Address::ApnsChannel { .. }
        | Address::Endpoint(_) => Err(rejected("wrong_channel")),
    }
}

fn is_topic(topic: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
    !topic.is_empty() && topic.len() <= TOPIC_BYTES_MAX && topic.bytes().all(fits)
}

/// Google reads the whole; this is what it costs nothing to see.
fn is_condition(condition: &str) -> bool {
    let topics = condition.matches("in topics").count();
    condition.len() <= CONDITION_BYTES_MAX
        && (1..=CONDITION_TOPICS_MAX).contains(&topics)
        && condition.matches('\'').count() == 2 * topics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::testing;

    fn provider() -> Fcm {
        Fcm { url: "https://fcm.googleapis.com/v1/projects/shop/messages:send".to_owned() }
    }

    fn target(token: Option<&str>, fid: Option<&str>) -> Address {
        Address::Target(PushTarget::Fcm { token: token.map(str::to_owned), fid: fid.map(str::to_owned) })
    }

    fn by_token() -> Address {
        target(Some("registration:token"), None)
    }

    #[test]
    fn an_offer_on_the_wire() {
        let request = provider().request(&testing::offer(), &by_token(), "ya29", testing::now()).expect("a request");
        assert_eq!(
            testing::wire(&request),
            "POST https://fcm.googleapis.com/v1/projects/shop/messages:send\n\
             authorization: Bearer ya29\n\
             content-type: application/json\n\
             \n\
             {\"message\":{\"android\":{\"collapse_key\":\"b2ZmZXI\",\"notification\":{\"tag\":\"b2ZmZXI\"},\
             \"priority\":\"HIGH\",\"ttl\":\"3600s\"},\"data\":{\"aisle\":\"7\",\
             \"deep_link\":\"https://shop.example/offers/7\",\
             \"notification_id\":\"018bcfe5-6800-8dcb-a1e1-cbecb54e57cf\"},\
             \"notification\":{\"body\":\"Aujourd’hui −20 %\",\"title\":\"Bienvenue\"},\"token\":\"registration:token\"}}"
        );
    }

    #[test]
    fn an_installation_id_is_a_target_of_its_own() {
        let target = target(None, Some("fid-1"));
        let request = provider().request(&testing::offer(), &target, "ya29", testing::now()).expect("a request");
        let body: Value = serde_json::from_slice(request.body()).expect("JSON");
        assert_eq!((&body["message"]["fid"], &body["message"]["token"]), (&json!("fid-1"), &Value::Null));
    }

    #[test]
    fn what_cannot_be_sent_is_not_sent() {
        let refused = |change: &dyn Fn(&mut Notification)| {
            let mut notification = testing::offer();
            change(&mut notification);
            let outcome = provider().request(&notification, &by_token(), "ya29", testing::now()).err();
            outcome.map(|outcome| testing::meaning(&outcome).1.to_owned())
        };
        let large = refused(&|notification| testing::content(notification).body = "x".repeat(4096));
        assert_eq!(large.as_deref(), Some("payload_too_large"));
        for key in ["from", "message_type", "google.x", "gcm.notification.x"] {
            let reserved = refused(&|notification| {
                testing::content(notification).data.insert(key.to_owned(), String::new());
            });
            assert_eq!(reserved.as_deref(), Some("reserved_data_key"), "{key}");
        }
        let both = target(Some("a"), Some("b"));
        let outcome = provider().request(&testing::offer(), &both, "ya29", testing::now()).err();
        assert!(matches!(outcome, Some(Outcome::Unregistered { .. })));
    }

    #[test]
    fn the_time_to_live_ends_with_the_message_and_within_four_weeks() {
        let ttl = |expires_at| {
            let notification = Notification { expires_at, ..testing::offer() };
            let request = provider().request(&notification, &by_token(), "ya29", testing::now()).expect("a request");
            let body: Value = serde_json::from_slice(request.body()).expect("JSON");
            body["message"]["android"]["ttl"].as_str().map(str::to_owned)
        };
        assert_eq!(ttl(testing::now().plus(Duration::from_millis(1_999))).as_deref(), Some("1s"));
        assert_eq!(ttl(testing::now().minus(Duration::from_secs(1))).as_deref(), Some("0s"));
        assert_eq!(ttl(Timestamp::MAX).as_deref(), Some("2419200s"));
    }

    fn refusal(status: &str, code: &str) -> String {
        json!({ "error": { "code": 0, "message": "m", "status": status, "details": [
            { "@type": "type.googleapis.com/google.rpc.Other" },
            { "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code },
        ] } })
        .to_string()
    }

    #[test]
    fn replies_have_a_meaning() {
        let general = |status: &str| json!({ "error": { "status": status } }).to_string();
        let table = [
            (200, r#"{"name":"projects/shop/messages/1"}"#.to_owned(), "accepted", ""),
            (400, refusal("INVALID_ARGUMENT", "INVALID_ARGUMENT"), "rejected", "INVALID_ARGUMENT"),
            (400, general("INVALID_ARGUMENT"), "rejected", "INVALID_ARGUMENT"),
            (401, refusal("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"), "unavailable", "THIRD_PARTY_AUTH_ERROR"),
            (401, general("UNAUTHENTICATED"), "unavailable", "UNAUTHENTICATED"),
            (403, refusal("PERMISSION_DENIED", "SENDER_ID_MISMATCH"), "unregistered", "SENDER_ID_MISMATCH"),
            (403, general("PERMISSION_DENIED"), "unavailable", "PERMISSION_DENIED"),
            (404, refusal("NOT_FOUND", "UNREGISTERED"), "unregistered", "UNREGISTERED"),
            (404, general("NOT_FOUND"), "unavailable", "NOT_FOUND"),
            (404, "<html>".to_owned(), "unavailable", "http_404"),
            (429, refusal("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), "throttled", "QUOTA_EXCEEDED"),
            (429, String::new(), "throttled", "http_429"),
            (500, refusal("INTERNAL", "INTERNAL"), "unavailable", "INTERNAL"),
            (503, refusal("UNAVAILABLE", "UNAVAILABLE"), "unavailable", "UNAVAILABLE"),
            (502, "<html>".to_owned(), "unavailable", "http_502"),
            (400, refusal("INVALID_ARGUMENT", "SOMETHING_NEW"), "rejected", "SOMETHING_NEW"),
            (503, format!("[{}]", refusal("UNAVAILABLE", "UNAVAILABLE")), "unavailable", "UNAVAILABLE"),
        ];
        for (status, body, meaning, word) in table {
            let outcome = provider().outcome(&testing::reply(status, &[], &body), testing::now());
            let word = if meaning == "accepted" { "" } else { word };
            assert_eq!(testing::meaning(&outcome), (meaning, word), "{status} {body}");
        }
    }

    #[test]
    fn recorded_answers_have_a_meaning() {
        let table = [
            (include_str!("testdata/fcm_invalid_token.json"), "unregistered"),
            (include_str!("testdata/fcm_invalid_condition.json"), "rejected"),
            (include_str!("testdata/fcm_invalid_topic_name.json"), "rejected"),
            (include_str!("testdata/fcm_no_target.json"), "rejected"),
            (include_str!("testdata/fcm_oversized_payload.json"), "rejected"),
            (include_str!("testdata/fcm_webpush_invalid_ttl.json"), "rejected"),
        ];
        for (body, meaning) in table {
            let outcome = provider().outcome(&testing::reply(400, &[], body), testing::now());
            assert_eq!(testing::meaning(&outcome), (meaning, "INVALID_ARGUMENT"), "{body}");
        }
    }

    #[test]
    fn waits_are_at_least_what_google_asks_for() {
        let asked = |status, headers: &[(&str, &str)]| match provider()
            .outcome(&testing::reply(status, headers, ""), testing::now())
        {
            Outcome::Throttled { retry_after, .. } | Outcome::Unavailable { retry_after, .. } => {
                retry_after.map(|wait| wait.as_secs())
            }
            Outcome::Accepted | Outcome::Unregistered { .. } | Outcome::Rejected { .. } => None,
        };
        assert_eq!(asked(429, &[]), Some(60));
        assert_eq!(asked(429, &[("retry-after", "5")]), Some(60));
        assert_eq!(asked(429, &[("retry-after", "90")]), Some(90));
        assert_eq!(asked(503, &[]), Some(10));
        assert_eq!(asked(500, &[("retry-after", "30")]), Some(30));
    }

    #[test]
    fn only_a_stale_access_token_asks_for_a_new_one() {
        let wants = |status, body: &str| provider().wants_new_credential(&testing::reply(status, &[], body));
        assert!(wants(401, r#"{"error":{"code":401,"status":"UNAUTHENTICATED"}}"#));
        assert!(wants(401, ""));
        assert!(!wants(401, &refusal("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR")));
        assert!(!wants(403, ""));
    }

    #[test]
    fn any_reply_is_an_outcome() {
        testing::any_reply_is_an_outcome(&provider());
    }

    #[test]
    fn any_target_is_a_request_or_an_outcome() {
        testing::any_target_is_a_request_or_an_outcome(&provider(), |word| target(Some(&word), None));
    }
}
