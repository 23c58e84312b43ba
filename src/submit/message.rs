//! What a handed-in message says.

use std::collections::BTreeMap;

use parvis_engine::{
    notification::{Body, Content, Custom, Priority, PushKind},
    problem::{Problem, Requirements},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The longest link, in bytes: as long as a push service's endpoint may be.
const LINK_BYTES_MAX: usize = 2_048;
/// No service takes more than 4 KiB, so nothing longer needs to be looked at.
const RAW_BYTES_MAX: usize = 8_192;

/// What a message says: text for all services, and what one of them is to be told word by word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Message {
    /// First line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// What opens on a tap: an `https:` or app URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deep_link: Option<String>,
    /// For the app.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub data: BTreeMap<String, String>,
    /// BCP 47 tag of the text's language.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub locale: String,
    /// What the app's system is to do with it.
    pub push: PushKind,
    /// How soon the phone is to be woken for it.
    pub priority: Priority,
    /// Apple's payload as a whole, instead of one made from the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apns: Option<Map<String, Value>>,
    /// A JSON Merge Patch (RFC 7396) of FCM's `message` as made from the text; the target is not for it to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fcm: Option<Map<String, Value>>,
    /// What a browser gets, instead of what is made from the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webpush: Option<Map<String, Value>>,
}

impl Message {
    /// What is wrong with it, whoever gets it.
    pub fn problems(&self) -> Vec<Problem> {
        let mut must = Requirements::default();
        let says_words = self.title.is_some() || self.body.is_some();
        let is_raw = self.apns.is_some() || self.fcm.is_some() || self.webpush.is_some();
        must.require(
            says_words || is_raw || self.push != PushKind::Alert,
            "",
            "an alert needs `title` or `body`, or a payload of its own in `apns`, `fcm` or `webpush`",
        );
        let link = self.deep_link.as_deref();
        must.require(
            link.is_none_or(is_link),
            "/deep_link",
            format!("must be an https or app URL of at most {LINK_BYTES_MAX} bytes"),
        );
        must.require(!self.data.contains_key(""), "/data", "a name must not be empty");
        for (path, raw) in [("/apns", &self.apns), ("/fcm", &self.fcm), ("/webpush", &self.webpush)] {
            let bytes = raw.as_ref().map_or(0, |raw| serde_json::to_vec(raw).map_or(usize::MAX, |text| text.len()));
            must.require(bytes <= RAW_BYTES_MAX, path, "is longer than any push service takes");
        }
        for name in ["token", "fid", "topic", "condition", "name"] {
            let is_there = self.fcm.as_ref().is_some_and(|raw| raw.contains_key(name));
            must.require(!is_there, &format!("/fcm/{name}"), "is not for the message to say; name the target instead");
        }
        must.into_problems()
    }

    /// The body of its notifications.
    pub fn to_body(&self) -> Body {
        let has_content =
            self.title.is_some() || self.body.is_some() || self.deep_link.is_some() || !self.data.is_empty();
        let content = has_content.then(|| Content {
            title: self.title.clone().unwrap_or_default(),
            body: self.body.clone().unwrap_or_default(),
            deep_link: self.deep_link.clone(),
            data: self.data.clone(),
            locale: self.locale.clone(),
        });
        Body::Custom(Box::new(Custom {
            push: self.push,
            priority: self.priority,
            content,
            apns: self.apns.clone(),
            fcm: self.fcm.clone(),
            webpush: self.webpush.clone(),
        }))
    }
}

fn is_link(link: &str) -> bool {
    let scheme = link.split_once(':').map(|(scheme, _)| scheme).unwrap_or_default();
    link.len() <= LINK_BYTES_MAX
        && link.bytes().all(|byte| byte.is_ascii_graphic())
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(json: Value) -> Vec<String> {
        let message: Message = serde_json::from_value(json).expect("a message");
        message.problems().into_iter().map(|problem| problem.path).collect()
    }

    #[test]
    fn an_alert_says_something_and_a_silent_push_need_not() {
        assert_eq!(problems(serde_json::json!({ "data": { "k": "v" } })), [""]);
        for fine in [
            serde_json::json!({ "body": "Ready." }),
            serde_json::json!({ "push": "background" }),
            serde_json::json!({ "apns": { "aps": { "alert": "Ready." } } }),
        ] {
            assert!(problems(fine).is_empty());
        }
    }

    #[test]
    fn every_wrong_field_is_named() {
        let wrong = serde_json::json!({ "title": "T", "deep_link": "no link", "data": { "": "v" },
            "apns": { "aps": { "alert": "x".repeat(9_000) } }, "fcm": { "token": "t" } });
        assert_eq!(problems(wrong), ["/deep_link", "/data", "/apns", "/fcm/token"]);
        for link in ["https://shop.example/a", "shop://orders/1", "com.shop+x:home"] {
            assert!(is_link(link), "{link}");
        }
        for link in ["", "://x", "1a:b", "a b:c", "/path", "javascript"] {
            assert!(!is_link(link), "{link}");
        }
    }
}
