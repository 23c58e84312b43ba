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

use super::{Meaning, Provider, Reply, base_url, quota, read, rejected, token::Limits, transport::Transport};
use crate::clock::Clock;

pub mod grant;
mod message;
mod refusal;
pub(crate) mod topic;

use grant::{Account, Grant};
use message::Style;

/// A token that is refused although it has just been replaced will not be helped by a third.
pub(super) const TOKEN_LIMITS: Limits = Limits { age_min: Duration::ZERO, gap_min: Duration::from_secs(60) };

/// Google's limit for what a platform gets; its documents say half of that for topics, its answers do not.
const PAYLOAD_BYTES_MAX: usize = 4096;

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
        let (kind, name) = target(address)?;
        let mut message = message::of(notification, &self.style, now)?;
        if message::bytes(&message) > PAYLOAD_BYTES_MAX {
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

    fn meaning(&self, reply: &Reply, now: Timestamp) -> Meaning {
        refusal::read(reply, now)
    }

    fn wants_new_credential(&self, reply: &Reply) -> bool {
        reply.status == StatusCode::UNAUTHORIZED && !refusal::has_code(reply)
    }
}

/// The member of the message that names the target, and its value.
fn target(address: &Address) -> Result<(&'static str, &str), Outcome> {
    match address {
        Address::Target(PushTarget::Fcm { token: Some(token), fid: None }) => Ok(("token", token)),
        Address::Target(PushTarget::Fcm { token: None, fid: Some(fid) }) => Ok(("fid", fid)),
        Address::Target(PushTarget::Fcm { .. }) => {
            Err(Outcome::Unregistered { since: None, reason: "neither_token_nor_fid".to_owned() })
        }
        Address::FcmTopic { topic } if topic::check(topic).is_ok() => Ok(("topic", topic)),
        Address::FcmTopic { .. } => Err(rejected("bad_topic_name")),
        Address::FcmCondition { condition } if topic::check_condition(condition).is_ok() => {
            Ok(("condition", condition))
        }
        Address::FcmCondition { .. } => Err(rejected("bad_condition")),
        Address::Target(PushTarget::Apns { .. } | PushTarget::WebPush { .. })
        | Address::ApnsChannel { .. }
        | Address::Endpoint(_) => Err(rejected("wrong_channel")),
    }
}

#[cfg(test)]
mod tests {
    use parvis_engine::notification::{Body, Custom, LiveEvent, Priority, PushKind};
    use serde_json::Value;

    use super::*;
    use crate::delivery::Blame;
    use crate::delivery::testing;

    fn provider() -> Fcm {
        Fcm {
            url: "https://fcm.googleapis.com/v1/projects/shop/messages:send".to_owned(),
            validate_only: false,
            style: Style::default(),
        }
    }

    fn target(token: Option<&str>, fid: Option<&str>) -> Address {
        Address::Target(PushTarget::Fcm { token: token.map(Into::into), fid: fid.map(Into::into) })
    }

    fn by_token() -> Address {
        target(Some("registration:token"), None)
    }

    fn sent(notification: &Notification) -> Result<Value, String> {
        let request = provider().request(notification, &by_token(), "ya29", testing::now());
        let request = request.map_err(|outcome| testing::meaning(&outcome).1.to_owned())?;
        let body: Value = serde_json::from_slice(request.body()).expect("JSON");
        Ok(body["message"].clone())
    }

    fn custom(custom: Custom) -> Notification {
        Notification { body: Body::Custom(Box::new(custom)), ..testing::offer() }
    }

    fn patch(value: Value) -> Option<serde_json::Map<String, Value>> {
        let Value::Object(patch) = value else { panic!("an object") };
        Some(patch)
    }

    #[test]
    fn each_kind_on_the_wire() {
        let wire = |notification: &Notification, address: &Address| {
            testing::wire(&provider().request(notification, address, "ya29", testing::now()).expect("a request"))
        };
        insta::assert_snapshot!("offer", wire(&testing::offer(), &by_token()));
        insta::assert_snapshot!("fid", wire(&testing::offer(), &target(None, Some("fid-1"))));
        let topic = Address::FcmTopic { topic: "news.fr".to_owned() };
        insta::assert_snapshot!("topic", wire(&testing::offer(), &topic));
        let condition = Address::FcmCondition { condition: "'a' in topics && 'b' in topics".to_owned() };
        insta::assert_snapshot!("condition", wire(&testing::offer(), &condition));
        insta::assert_snapshot!("live", wire(&testing::live(LiveEvent::Start), &by_token()));
        let background = custom(Custom { push: PushKind::Background, ..Custom::default() });
        insta::assert_snapshot!("background", wire(&background, &by_token()));
        let patched = custom(Custom {
            content: testing::offer().content().cloned(),
            priority: Priority::Normal,
            fcm: patch(json!({
                "android": { "notification": { "image": "https://shop.example/7.png" }, "ttl": "5s" },
                "webpush": null,
                "fcm_options": { "analytics_label": "week-7" },
            })),
            ..Custom::default()
        });
        insta::assert_snapshot!("patched", wire(&patched, &by_token()));
        let styled = Fcm {
            validate_only: true,
            style: Style {
                package: Some("com.example.shop".to_owned()),
                direct_boot: true,
                offer_channel: Some("offers".to_owned()),
                order_channel: Some("orders".to_owned()),
            },
            ..provider()
        };
        let request = styled.request(&testing::offer(), &by_token(), "ya29", testing::now()).expect("a request");
        insta::assert_snapshot!("styled", testing::wire(&request));
    }

    #[test]
    fn news_of_an_order_are_data_and_urgent_ones_wake_the_phone() {
        let mut notification = testing::live(LiveEvent::Update);
        let message = sent(&notification).expect("a message");
        assert_eq!((&message["android"]["priority"], message.get("notification")), (&json!("NORMAL"), None));
        let data = message["data"].as_object().expect("data");
        assert!(data.values().all(Value::is_string), "{data:?}");
        assert_eq!(
            (&data["kind"], &data["event"], &data["step"]),
            (&json!("order_progress"), &json!("update"), &json!("3"))
        );
        assert!(!data.contains_key("title"), "nothing is said beside it");
        let Body::Live(live) = &mut notification.body else { panic!("live") };
        live.urgent = true;
        assert_eq!(sent(&notification).expect("a message")["android"]["priority"], "HIGH");
    }

    #[test]
    fn what_cannot_be_sent_is_not_sent() {
        let refused = |change: &dyn Fn(&mut Notification)| {
            let mut notification = testing::offer();
            change(&mut notification);
            sent(&notification).err()
        };
        let large = refused(&|notification| testing::content(notification).body = "x".repeat(4096));
        assert_eq!(large.as_deref(), Some("payload_too_large"));
        for key in ["from", "message_type", "google.x", "gcm.notification.x"] {
            let reserved = refused(&|notification| {
                testing::content(notification).data.insert(key.to_owned(), String::new());
            });
            assert_eq!(reserved.as_deref(), Some("reserved_data_key"), "{key}");
        }
        let refused = |given: Custom| sent(&custom(given)).expect_err("refused");
        assert_eq!(refused(Custom::default()), "no_content");
        assert_eq!(refused(Custom { push: PushKind::Voip, ..Custom::default() }), "push_type_of_apple");
        let with = |fcm| Custom { fcm: patch(fcm), ..Custom::default() };
        assert_eq!(refused(with(json!({ "token": "other" }))), "target_in_message");
        assert_eq!(refused(with(json!({ "data": { "from": "x" } }))), "reserved_data_key");
        assert_eq!(refused(with(json!({ "data": { "number": 7 } }))), "data_not_text");
        assert_eq!(refused(with(json!({ "apns": { "payload": { "x": "x".repeat(4096) } } }))), "payload_too_large");

        let refused = |address: &Address| {
            let outcome = provider().request(&testing::offer(), address, "ya29", testing::now()).expect_err("refused");
            testing::meaning(&outcome).1.to_owned()
        };
        assert_eq!(refused(&target(Some("a"), Some("b"))), "neither_token_nor_fid");
        assert_eq!(refused(&target(None, None)), "neither_token_nor_fid");
        for topic in ["", "/topics/a", "bad#topic!name", &"x".repeat(901)] {
            assert_eq!(refused(&Address::FcmTopic { topic: topic.to_owned() }), "bad_topic_name");
        }
        let six = (0..6).map(|number| format!("'{number}' in topics")).collect::<Vec<_>>().join(" && ");
        for condition in ["", "'a' in topics && '", "a in topics", &six] {
            assert_eq!(refused(&Address::FcmCondition { condition: condition.to_owned() }), "bad_condition");
        }
        let channel = Address::ApnsChannel {
            bundle: "com.example.shop".to_owned(),
            channel: "c".to_owned(),
            environment: parvis_engine::shopper::ApnsEnvironment::Production,
            stored: false,
        };
        assert_eq!(refused(&channel), "wrong_channel");
    }

    #[test]
    fn a_patch_takes_away_no_id() {
        let message = sent(&custom(Custom {
            fcm: patch(json!({ "data": { "notification_id": "mine", "x": "y" } })),
            ..Custom::default()
        }));
        let id = testing::offer().id.to_string();
        assert_eq!(message.expect("a message")["data"], json!({ "notification_id": id, "x": "y" }));
    }

    #[test]
    fn the_time_to_live_ends_with_the_message_and_within_four_weeks() {
        let ttl = |expires_at| {
            let message = sent(&Notification { expires_at, ..testing::offer() }).expect("a message");
            message["android"]["ttl"].as_str().map(str::to_owned)
        };
        let after = |millis| testing::now().plus(Duration::from_millis(millis));
        assert_eq!(ttl(after(3_500)).as_deref(), Some("3.5s"));
        assert_eq!(ttl(after(1_009)).as_deref(), Some("1.009s"));
        assert_eq!(ttl(after(10_000)).as_deref(), Some("10s"));
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

    fn quota(description: &str) -> String {
        json!({ "error": { "status": "RESOURCE_EXHAUSTED", "details": [
            { "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "QUOTA_EXCEEDED" },
            { "@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{ "description": description }] },
        ] } })
        .to_string()
    }

    #[test]
    fn replies_have_a_meaning() {
        use Blame::{Message, Operator, Provider as Service, Setup};
        let general = |status: &str| json!({ "error": { "status": status } }).to_string();
        let table = [
            (200, r#"{"name":"projects/shop/messages/1"}"#.to_owned(), "accepted", "", None),
            (400, refusal("INVALID_ARGUMENT", "INVALID_ARGUMENT"), "rejected", "INVALID_ARGUMENT", Some(Message)),
            (400, general("INVALID_ARGUMENT"), "rejected", "INVALID_ARGUMENT", Some(Message)),
            (
                401,
                refusal("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"),
                "unavailable",
                "THIRD_PARTY_AUTH_ERROR",
                Some(Setup),
            ),
            (401, general("UNAUTHENTICATED"), "unavailable", "UNAUTHENTICATED", Some(Operator)),
            (
                403,
                refusal("PERMISSION_DENIED", "SENDER_ID_MISMATCH"),
                "unregistered",
                "SENDER_ID_MISMATCH",
                Some(Message),
            ),
            (403, general("PERMISSION_DENIED"), "unavailable", "PERMISSION_DENIED", Some(Operator)),
            (404, refusal("NOT_FOUND", "UNREGISTERED"), "unregistered", "UNREGISTERED", Some(Message)),
            (404, general("NOT_FOUND"), "unavailable", "NOT_FOUND", Some(Operator)),
            (404, "<html>".to_owned(), "unavailable", "http_404", Some(Operator)),
            (429, refusal("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), "throttled", "QUOTA_EXCEEDED", Some(Service)),
            (429, quota("Message rate exceeded."), "throttled", "QUOTA_EXCEEDED", Some(Service)),
            (429, quota("Device message rate exceeded."), "throttled", "QUOTA_EXCEEDED", Some(Message)),
            (429, quota("Topic message rate exceeded."), "throttled", "QUOTA_EXCEEDED", Some(Message)),
            (429, String::new(), "throttled", "http_429", Some(Service)),
            (500, refusal("INTERNAL", "INTERNAL"), "unavailable", "INTERNAL", Some(Service)),
            (503, refusal("UNAVAILABLE", "UNAVAILABLE"), "unavailable", "UNAVAILABLE", Some(Service)),
            (502, "<html>".to_owned(), "unavailable", "http_502", Some(Service)),
            (400, refusal("INVALID_ARGUMENT", "SOMETHING_NEW"), "rejected", "SOMETHING_NEW", Some(Message)),
            (500, refusal("INTERNAL", "UNSPECIFIED_ERROR"), "unavailable", "UNSPECIFIED_ERROR", Some(Service)),
            (503, format!("[{}]", refusal("UNAVAILABLE", "UNAVAILABLE")), "unavailable", "UNAVAILABLE", Some(Service)),
        ];
        for (status, body, meaning, word, blame) in table {
            let reply = testing::reply(status, &[], &body);
            let outcome = provider().meaning(&reply, testing::now()).outcome;
            assert_eq!(testing::meaning(&outcome), (meaning, word), "{status} {body}");
            assert_eq!(provider().meaning(&reply, testing::now()).blame, blame, "{status} {body}");
        }
    }

    #[test]
    fn recorded_answers_have_a_meaning() {
        let table = [
            (200, r#"{"name":"projects/shop/messages/7351694482102284041"}"#, "accepted"),
            (400, include_str!("testdata/fcm_invalid_token.json"), "unregistered"),
            (400, include_str!("testdata/fcm_invalid_condition.json"), "rejected"),
            (400, include_str!("testdata/fcm_invalid_topic_name.json"), "rejected"),
            (400, include_str!("testdata/fcm_no_target.json"), "rejected"),
            (400, include_str!("testdata/fcm_oversized_payload.json"), "rejected"),
            (400, include_str!("testdata/fcm_webpush_invalid_ttl.json"), "rejected"),
        ];
        for (status, body, meaning) in table {
            let reply = testing::reply(status, &[], body);
            let word = if status == 200 { "" } else { "INVALID_ARGUMENT" };
            assert_eq!(
                testing::meaning(&provider().meaning(&reply, testing::now()).outcome),
                (meaning, word),
                "{body}"
            );
            assert!(!provider().meaning(&reply, testing::now()).blame.is_some_and(Blame::trips), "{body}");
        }
    }

    #[test]
    fn waits_are_at_least_what_google_asks_for() {
        let asked = |status, headers: &[(&str, &str)]| match provider()
            .meaning(&testing::reply(status, headers, ""), testing::now())
            .outcome
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
        testing::any_target_is_a_request_or_an_outcome(&provider(), |topic| Address::FcmTopic { topic });
        testing::any_target_is_a_request_or_an_outcome(&provider(), |condition| Address::FcmCondition { condition });
    }
}
