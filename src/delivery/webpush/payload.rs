//! What a browser gets to read, before it is encrypted, and how it is made to fit.
//!
//! Source: W3C, "Push API", declarative push messages. The same JSON serves a service worker that shows the message
//! itself. `app_badge` and `mutable` are not sent: nothing here knows how many messages an app counts.

use std::collections::BTreeMap;

use parvis_engine::{
    notification::{Body, Content, Notification},
    retry::Outcome,
};
use serde_json::json;

use super::{
    super::{app_data, rejected},
    is_web_link,
};

/// What a message cannot do without: receipts and the page that opens.
const DATA_KEPT: [&str; 2] = ["deep_link", "notification_id"];

/// The plaintext, of at most `bytes_max` bytes; none if it can't be made to fit. Words are cut, what a back end wrote
/// word by word is not.
///
/// # Errors
/// The outcome, if there is nothing that a browser could show.
pub(super) fn of(
    notification: &Notification,
    navigate: Option<&str>,
    bytes_max: usize,
) -> Result<Option<Vec<u8>>, Outcome> {
    let content = match &notification.body {
        Body::Custom(custom) => match &custom.webpush {
            Some(given) => {
                let text = serde_json::to_vec(given).map_err(|_| rejected("no_content"))?;
                return Ok(Some(text).filter(|text| text.len() <= bytes_max));
            }
            None => custom.content.as_ref(),
        },
        Body::Content(content) => Some(content),
        Body::Live(live) => live.alert.as_ref(),
        Body::Fact(_) => None,
    };
    // A browser takes its permission back from who sends messages that show nothing.
    let content = content.ok_or_else(|| rejected("no_content"))?;
    Ok(fitted(&Draft { notification, content, navigate }, bytes_max))
}

struct Draft<'a> {
    notification: &'a Notification,
    content: &'a Content,
    navigate: Option<&'a str>,
}

/// The whole; or without the app's data; or with less text too.
fn fitted(draft: &Draft<'_>, bytes_max: usize) -> Option<Vec<u8>> {
    let mut data = app_data(draft.notification);
    let text = draft.content.body.as_str();
    let whole = draft.write(text, &data);
    if whole.len() <= bytes_max {
        return Some(whole);
    }
    data.retain(|key, _| DATA_KEPT.contains(key));
    let bare = draft.write(text, &data);
    if bare.len() <= bytes_max {
        return Some(bare);
    }
    // More text never makes a shorter message.
    let cut = |end: usize| draft.write(&format!("{}…", text[..end].trim_end()), &data);
    let ends: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let fitting = ends.partition_point(|&end| cut(end).len() <= bytes_max);
    fitting.checked_sub(1).map(|last| cut(ends[last]))
}

impl Draft<'_> {
    /// A declarative message if there is a page to open, which it must have.
    fn write(&self, text: &str, data: &BTreeMap<&str, String>) -> Vec<u8> {
        let mut shown = json!({
            "title": self.content.title,
            "body": text,
            "lang": self.content.locale,
            "tag": self.notification.collapse,
            "data": data,
        });
        let link = self.content.deep_link.as_deref().filter(|link| is_web_link(link)).or(self.navigate);
        let message = match link {
            Some(link) => {
                shown["navigate"] = json!(link);
                json!({ "web_push": 8030, "notification": shown })
            }
            None => json!({ "notification": shown }),
        };
        message.to_string().into_bytes()
    }
}
