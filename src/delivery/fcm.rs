//! Firebase Cloud Messaging, HTTP v1 API.
//!
//! Source: Firebase, "projects.messages" and "ErrorCode" of the FCM REST reference. Details of an error come in any
//! order and may be missing; a bare 404 removes no target, because a wrong base URL gives one too.

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
use serde_json::{Value, json};

use super::{
    Provider, Reply, app_data, base_url, read,
    reply::{by_status, reason, retry_after},
    token::Limits,
    transport::Transport,
};
use crate::clock::Clock;

pub mod grant;

use grant::{Account, Grant};

/// A token that is refused although it has just been replaced will not be helped by a third.
pub(super) const TOKEN_LIMITS: Limits = Limits { age_min: Duration::ZERO, gap_min: Duration::from_secs(60) };

/// Google's limit for notification and data together.
const PAYLOAD_BYTES_MAX: usize = 4096;
/// Google's limit: four weeks.
const TTL_S_MAX: u64 = 2_419_200;
/// What Google asks for when a quota is used up and no `Retry-After` says otherwise.
const QUOTA_WAIT: Duration = Duration::from_secs(60);
/// The first retry after a server error, says Google, comes no sooner.
const SERVER_ERROR_WAIT: Duration = Duration::from_secs(10);

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
    /// The most requests in flight.
    #[serde(default = "concurrency")]
    pub concurrency: usize,
}

fn default_url() -> String {
    "https://fcm.googleapis.com".to_owned()
}

/// At an answer in 50 ms this is beyond the 10,000 messages a second of a project's quota.
fn concurrency() -> usize {
    600
}

/// Speaks the HTTP v1 API.
pub struct Fcm {
    url: String,
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
    let url = format!("{base_url}/v1/projects/{project}/messages:send");
    Ok((Fcm { url }, Grant::new(account, clock, transport)))
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
        let (kind, id) = match address {
            Address::Target(PushTarget::Fcm { token: Some(token), fid: None }) => ("token", token),
            Address::Target(PushTarget::Fcm { token: None, fid: Some(fid) }) => ("fid", fid),
            Address::Target(PushTarget::Fcm { .. }) => {
                return Err(Outcome::Unregistered { since: None, reason: "neither_token_nor_fid".to_owned() });
            }
            Address::Target(PushTarget::Apns { .. } | PushTarget::WebPush { .. })
            | Address::ApnsChannel { .. }
            | Address::FcmTopic { .. }
            | Address::FcmCondition { .. } => {
                return Err(Outcome::Rejected { reason: "wrong_channel".to_owned() });
            }
        };
        let content = notification.content().ok_or_else(|| Outcome::Rejected { reason: "no_content".to_owned() })?;
        let data = app_data(notification);
        if data.keys().any(|key| is_reserved(key)) {
            return Err(Outcome::Rejected { reason: "reserved_data_key".to_owned() });
        }
        let data_bytes: usize = data.iter().map(|(key, value)| key.len() + value.len()).sum();
        if content.title.len() + content.body.len() + data_bytes > PAYLOAD_BYTES_MAX {
            return Err(Outcome::Rejected { reason: "payload_too_large".to_owned() });
        }
        let mut android = json!({
            "priority": "HIGH",
            "ttl": format!("{}s", notification.expires_at.since(now).as_secs().min(TTL_S_MAX)),
        });
        if !notification.collapse.is_empty() {
            // The collapse key replaces what waits at Google, the tag what the phone already shows.
            android["collapse_key"] = json!(notification.collapse);
            android["notification"] = json!({ "tag": notification.collapse });
        }
        let body = json!({
            "message": {
                kind: id,
                "notification": { "title": content.title, "body": content.body },
                "data": data,
                "android": android,
            }
        });
        Request::post(&self.url)
            .header(AUTHORIZATION, format!("Bearer {bearer}"))
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string().into())
            .map_err(|_| Outcome::Unavailable { retry_after: None, reason: "bad_access_token".to_owned() })
    }

    fn outcome(&self, reply: &Reply, now: Timestamp) -> Outcome {
        let refusal = Refusal::read(&reply.body);
        let retry_after = retry_after(&reply.headers, now);
        let code = refusal.code.as_deref();
        let reason = reason(code.or(refusal.status.as_deref()), reply.status);
        if reply.status.is_success() {
            return Outcome::Accepted;
        }
        match code {
            Some("UNREGISTERED" | "SENDER_ID_MISMATCH") => Outcome::Unregistered { since: None, reason },
            Some("INVALID_ARGUMENT") if refusal.names_target => Outcome::Unregistered { since: None, reason },
            Some("INVALID_ARGUMENT") => Outcome::Rejected { reason },
            Some("THIRD_PARTY_AUTH_ERROR") => Outcome::Unavailable { retry_after, reason },
            Some("QUOTA_EXCEEDED") => throttled(retry_after, reason),
            Some("UNAVAILABLE" | "INTERNAL") => unavailable(retry_after, reason),
            Some(_) | None if reply.status == StatusCode::TOO_MANY_REQUESTS => throttled(retry_after, reason),
            Some(_) | None if reply.status.is_server_error() => unavailable(retry_after, reason),
            Some(_) | None => by_status(reply.status, reason, retry_after),
        }
    }

    fn wants_new_credential(&self, reply: &Reply) -> bool {
        reply.status == StatusCode::UNAUTHORIZED && Refusal::read(&reply.body).code.is_none()
    }
}

fn is_reserved(key: &str) -> bool {
    matches!(key, "from" | "message_type") || key.starts_with("google.") || key.starts_with("gcm.notification.")
}

fn throttled(retry_after: Option<Duration>, reason: String) -> Outcome {
    Outcome::Throttled { retry_after: Some(retry_after.unwrap_or_default().max(QUOTA_WAIT)), reason }
}

fn unavailable(retry_after: Option<Duration>, reason: String) -> Outcome {
    Outcome::Unavailable { retry_after: Some(retry_after.unwrap_or_default().max(SERVER_ERROR_WAIT)), reason }
}

/// What an error document says, as far as it matters here.
#[derive(Debug, Default)]
struct Refusal {
    /// `error.status`, one of Google's general codes.
    status: Option<String>,
    /// The `errorCode` of FCM's own detail.
    code: Option<String>,
    /// Whether a field violation names the target.
    names_target: bool,
}

impl Refusal {
    fn read(body: &[u8]) -> Refusal {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        // Some of Google's front ends wrap the document in a list.
        let error = &document.get(0).unwrap_or(&document)["error"];
        let mut refusal = Refusal { status: error["status"].as_str().map(str::to_owned), ..Refusal::default() };
        for detail in error["details"].as_array().into_iter().flatten() {
            let kind = detail["@type"].as_str().unwrap_or_default();
            if kind.ends_with("google.firebase.fcm.v1.FcmError") {
                refusal.code = detail["errorCode"].as_str().map(str::to_owned);
            }
            let violations = detail["fieldViolations"].as_array().into_iter().flatten();
            let mut fields = violations.filter_map(|violation| violation["field"].as_str());
            refusal.names_target |= fields.any(|field| matches!(field, "message.token" | "message.fid"));
        }
        refusal
    }
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
