//! Reads what is handed in: a call as a whole, its head alone, one target.

use std::{fmt, time::Duration};

use parvis_engine::{
    id::AppId,
    notification::Purpose,
    time::{Timestamp, duration},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Head, Message, Reason, Refusal, TARGETS_MAX, Target, target::Written};
use crate::json::{self, Malformed};

/// A call as JSON: its head, and the text of each target.
///
/// # Errors
/// If it is no such call as a whole.
pub fn whole(bytes: &[u8]) -> Result<(Head, Vec<&[u8]>), Malformed> {
    let call: Call<'_> = json::typed(bytes)?;
    let Some(Targets(targets)) = call.targets else {
        let detail = "`targets` is missing: who is to get the message".to_owned();
        return Err(Malformed { pointer: "/targets".to_owned(), detail });
    };
    let head = Head {
        request: call.request,
        app: call.app,
        purpose: call.purpose,
        at: call.at,
        not_before: call.not_before,
        ttl: call.ttl,
        expires_at: call.expires_at,
        collapse: call.collapse,
        message: call.message,
    };
    Ok((head, targets.into_iter().map(|target| target.get().as_bytes()).collect()))
}

/// The head of a call alone.
///
/// # Errors
/// What is wrong with it.
pub fn head(bytes: &[u8]) -> Result<Head, Malformed> {
    json::typed(bytes)
}

/// One target.
///
/// # Errors
/// What is wrong with it.
pub fn target(bytes: &[u8]) -> Result<Target, Refusal> {
    let written: Written = json::typed(bytes)
        .map_err(|Malformed { pointer, detail }| Refusal::at(Reason::Malformed, pointer, in_one_line(detail)))?;
    written.read()
}

/// Line and column say nothing where a target is a part of something larger.
fn in_one_line(detail: String) -> String {
    match detail.rfind(" at line ") {
        Some(at) => detail[..at].to_owned(),
        None => detail,
    }
}

/// [`Head`] with targets. Said once more, because a flattened struct can't refuse unknown fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call<'a> {
    request: Option<String>,
    app: Option<AppId>,
    #[serde(default = "order")]
    purpose: Purpose,
    at: Option<Timestamp>,
    not_before: Option<Timestamp>,
    #[serde(default, with = "duration::option")]
    ttl: Option<Duration>,
    expires_at: Option<Timestamp>,
    collapse: Option<String>,
    message: Message,
    #[serde(borrow)]
    targets: Option<Targets<'a>>,
}

fn order() -> Purpose {
    Purpose::Order
}

struct Targets<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Targets<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Targets<'a>, D::Error> {
        deserializer.deserialize_seq(Reader).map(Targets)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of targets")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Vec<&'de RawValue>, A::Error> {
        let mut list = Vec::new();
        while let Some(target) = access.next_element()? {
            if list.len() == TARGETS_MAX {
                let detail =
                    format!("a call has at most {TARGETS_MAX} targets; more go as further calls of this request");
                return Err(A::Error::custom(detail));
            }
            list.push(target);
        }
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use parvis_engine::notification::Address;

    use super::*;

    #[test]
    fn a_call_is_a_head_and_targets() {
        let text =
            br#"{"request": "r", "ttl": "1h", "message": {"title": "T"}, "targets": [{"device": "a"}, 7, {"x": [1]}]}"#;
        let (read, targets) = whole(text).expect("a call");
        assert_eq!(targets, [&br#"{"device": "a"}"#[..], b"7", br#"{"x": [1]}"#]);
        assert_eq!(read, head(br#"{"request": "r", "ttl": "1h", "message": {"title": "T"}}"#).expect("a head"));
    }

    #[test]
    fn hostile_calls_are_refused_by_place() {
        let many = format!(r#"{{"message":{{"title":"T"}},"targets":[{}0]}}"#, "0,".repeat(TARGETS_MAX));
        let table: [(&str, &str); 7] = [
            ("", ""),
            ("[]", ""),
            (r#"{"message":{"title":"T"}}"#, "/targets"),
            (r#"{"targets":[]}"#, ""),
            (r#"{"message":{"titel":"T"},"targets":[]}"#, "/message/titel"),
            (r#"{"message":{"title":"T"},"targets":{}}"#, "/targets"),
            (&many, "/targets"),
        ];
        for (text, pointer) in table {
            let error = whole(text.as_bytes()).expect_err("refused");
            assert_eq!(error.pointer, pointer, "{} {error:?}", &text[..text.len().min(60)]);
        }
        assert!(head(br#"{"message":{"title":"T"},"targets":[]}"#).is_err(), "a head has none");
    }

    #[test]
    fn targets_are_read_and_refused_by_place() {
        let topic = target(br#"{"fcm_topic": "news"}"#).expect("a topic");
        assert_eq!(topic, Target::Address(Box::new(Address::FcmTopic { topic: "news".to_owned() })));
        let table: [(&str, Reason, &str); 12] = [
            ("7", Reason::Malformed, ""),
            ("{}", Reason::Invalid, ""),
            (r#"{"device":"a","shopper":"b"}"#, Reason::Invalid, ""),
            (r#"{"device":"a b"}"#, Reason::Malformed, "/device"),
            (r#"{"device":"a","devices":"all"}"#, Reason::Invalid, "/devices"),
            (r#"{"shopper":"a","devices":"most"}"#, Reason::Malformed, "/devices"),
            (r#"{"phone":"a"}"#, Reason::Malformed, "/phone"),
            (r#"{"target":{"channel":"sms"}}"#, Reason::Malformed, "/target/channel"),
            (r#"{"target":{"channel":"apns","token":"xyz","topic":"com.example"}}"#, Reason::Invalid, "/target/token"),
            (r#"{"target":{"channel":"fcm","token":"a","fid":"b"}}"#, Reason::Invalid, "/target"),
            (r#"{"fcm_condition":"a"}"#, Reason::Invalid, "/fcm_condition"),
            (r#"{"apns_channel":{"bundle":"a b","channel":"AAAA"}}"#, Reason::Invalid, "/apns_channel/bundle"),
        ];
        for (text, reason, pointer) in table {
            let refusal = target(text.as_bytes()).expect_err("refused");
            assert_eq!((refusal.reason, refusal.pointer.as_str()), (reason, pointer), "{text} {refusal:?}");
            assert!(!refusal.detail.contains("xyz"), "no token: {refusal:?}");
        }
    }
}
