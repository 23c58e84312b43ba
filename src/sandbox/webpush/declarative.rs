//! Declarative Web Push messages as the Push API has them, and what a service worker would show of any other document.
//! Push services can't read messages, so a fault refuses nothing: it is remarked.

use serde_json::{Map, Value};

use super::super::record::Message;

/// What the member `web_push` holds.
const MARK: u64 = 8_030;
const TEXTS: [&str; 4] = ["body", "lang", "tag", "icon"];

/// Reads a document into what a browser would show.
pub(super) fn read(message: &mut Message, plaintext: &[u8]) {
    message.payload = String::from_utf8_lossy(plaintext).into_owned();
    let Ok(document) = serde_json::from_slice::<Map<String, Value>>(plaintext) else {
        return;
    };
    if document.get("web_push").and_then(Value::as_u64) == Some(MARK) {
        declarative(message, &document);
        return;
    }
    if document.contains_key("web_push") {
        message.remarks.push(format!("web_push: not {MARK}, so it is for a service worker"));
    }
    // What a service worker would show: workers find it at the top or under `notification`.
    let shown = document.get("notification").and_then(Value::as_object).unwrap_or(&document);
    message.title = text(shown, "title");
    message.body = text(shown, "body");
    message.deep_link = ["deep_link", "url", "link"].iter().find_map(|name| text(shown, name));
    message.collapse = text(shown, "tag").or(message.collapse.take());
}

fn declarative(message: &mut Message, document: &Map<String, Value>) {
    let empty = Map::new();
    let notification = document.get("notification").and_then(Value::as_object).unwrap_or(&empty);
    message.remarks = remarks(document, notification);
    let (title, navigate) = (text(notification, "title"), text(notification, "navigate"));
    // A browser shows nothing by itself without both.
    if title.as_ref().is_some_and(|title| !title.is_empty()) && navigate.as_deref().is_some_and(is_url) {
        message.title = title;
        message.body = text(notification, "body");
        message.deep_link = navigate;
        message.collapse = text(notification, "tag").or(message.collapse.take());
    }
}

fn remarks(document: &Map<String, Value>, notification: &Map<String, Value>) -> Vec<String> {
    let mut remarks = Vec::new();
    let mut must = |holds: bool, remark: &str| {
        if !holds {
            remarks.push(remark.to_owned());
        }
    };
    must(text(notification, "title").is_some_and(|title| !title.is_empty()), "notification.title: missing or empty");
    must(text(notification, "navigate").as_deref().is_some_and(is_url), "notification.navigate: missing, or no URL");
    must(document.get("app_badge").is_none_or(Value::is_u64), "app_badge: not a whole number");
    must(document.get("mutable").is_none_or(Value::is_boolean), "mutable: neither true nor false");
    must(
        !notification.contains_key("app_badge"),
        "notification.app_badge: stands at the top in the specification; some browsers take it here",
    );
    must(
        notification.get("dir").is_none_or(|dir| ["auto", "ltr", "rtl"].iter().any(|known| dir == known)),
        "notification.dir: not one of auto, ltr, rtl",
    );
    must(
        notification.get("silent").is_none_or(|silent| silent.is_boolean() || silent.is_null()),
        "notification.silent: neither true nor false",
    );
    for name in TEXTS {
        must(notification.get(name).is_none_or(Value::is_string), &format!("notification.{name}: not a text"));
    }
    for (index, action) in notification.get("actions").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let action = action.as_object().cloned().unwrap_or_default();
        let whole = text(&action, "action").is_some()
            && text(&action, "title").is_some()
            && text(&action, "navigate").as_deref().is_some_and(is_url);
        must(whole, &format!("notification.actions[{index}]: not an action, a title and a navigate"));
    }
    remarks
}

fn text(from: &Map<String, Value>, name: &str) -> Option<String> {
    from.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn is_url(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.host().is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(document: &Value) -> Message {
        let mut message = Message { collapse: Some("topic".to_owned()), ..Message::default() };
        read(&mut message, document.to_string().as_bytes());
        message
    }

    fn order() -> Value {
        json!({
            "web_push": 8030,
            "notification": {
                "title": "Order ready", "body": "Bay 3", "navigate": "https://shop.example/o/1", "tag": "o-1",
                "lang": "en", "dir": "ltr", "silent": false, "data": { "order": 1 },
                "actions": [{ "action": "map", "title": "Map", "navigate": "https://shop.example/map" }],
            },
            "app_badge": 1, "mutable": true,
        })
    }

    #[test]
    fn a_declarative_message_is_shown_by_title_and_navigate() {
        let message = shown(&order());
        assert_eq!(message.title.as_deref(), Some("Order ready"));
        assert_eq!(message.deep_link.as_deref(), Some("https://shop.example/o/1"));
        assert_eq!(message.collapse.as_deref(), Some("o-1"));
        assert!(message.remarks.is_empty(), "{:?}", message.remarks);
    }

    #[test]
    fn every_fault_is_remarked_and_two_of_them_show_nothing() {
        for (place, value, remark, shows) in [
            ("/notification/title", json!(""), "notification.title: ", false),
            ("/notification/navigate", json!("here"), "notification.navigate: ", false),
            ("/app_badge", json!("1"), "app_badge: not a whole number", true),
            ("/mutable", json!(1), "mutable: ", true),
            ("/notification/dir", json!("down"), "notification.dir: ", true),
            ("/notification/silent", json!("no"), "notification.silent: ", true),
            ("/notification/body", json!(1), "notification.body: not a text", true),
            ("/notification/actions/0/navigate", json!(1), "notification.actions[0]: ", true),
        ] {
            let mut document = order();
            *document.pointer_mut(place).expect("it is there") = value;
            let message = shown(&document);
            assert_eq!(message.remarks.len(), 1, "{place} {:?}", message.remarks);
            assert!(message.remarks[0].starts_with(remark), "{place} {:?}", message.remarks);
            assert_eq!(message.title.is_some(), shows, "{place}");
        }
    }

    #[test]
    fn a_badge_within_the_notification_is_taken_and_remarked() {
        let mut document = order();
        document["notification"]["app_badge"] = json!("3");
        let message = shown(&document);
        assert_eq!((message.title.is_some(), message.remarks.len()), (true, 1));
        assert!(message.remarks[0].starts_with("notification.app_badge: "));
    }

    #[test]
    fn any_other_document_is_read_too() {
        let message = shown(&json!({ "title": "Hello", "body": "you", "url": "https://shop.example" }));
        assert_eq!(message.title.as_deref(), Some("Hello"));
        assert_eq!(message.deep_link.as_deref(), Some("https://shop.example"));
        assert_eq!(message.collapse.as_deref(), Some("topic"));
        assert_eq!(shown(&json!({ "web_push": 1, "title": "Hello" })).remarks.len(), 1);
    }
}
