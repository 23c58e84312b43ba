//! The form of addresses that are no devices, and who stands for an address of which nobody is known.
//!
//! Sources: Firebase, "Topic messaging" (topics, conditions); Apple, "Setting up broadcast push notifications".

use aws_lc_rs::digest;
use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use parvis_engine::{
    id::ShopperId,
    notification::Address,
    shopper::{ApnsEnvironment, PushTarget},
};

/// Google's limit for the name of a topic.
const TOPIC_BYTES_MAX: usize = 900;
/// Google's limit for the topics of a condition.
const TOPICS_MAX: usize = 5;
const CONDITION_BYTES_MAX: usize = 4_096;
/// So that no nesting is deeper than a reader follows.
const DEPTH_MAX: usize = 16;
/// Apple's channels have 16 bytes today.
const CHANNEL_BYTES_MAX: usize = 64;
/// Apple's limit for a bundle id.
const BUNDLE_BYTES_MAX: usize = 155;

/// Whether an address has the form that its service asks for.
///
/// # Errors
/// Where it has not, and why.
pub(super) fn check(address: &Address) -> Result<(), (&'static str, String)> {
    match address {
        Address::Target(_) | Address::Endpoint(_) => Ok(()),
        Address::FcmTopic { topic } => check_topic(topic).map_err(|why| ("", why)),
        Address::FcmCondition { condition } => Condition::check(condition).map_err(|why| ("", why)),
        Address::ApnsChannel { bundle, channel, .. } => {
            let is_bundle = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
            if bundle.is_empty() || bundle.len() > BUNDLE_BYTES_MAX || !bundle.bytes().all(is_bundle) {
                return Err(("/bundle", "must be the app's bundle id: letters, digits, `-` and `.`".to_owned()));
            }
            let bytes = BASE64_STANDARD.decode(channel).map_or(0, |bytes| bytes.len());
            if bytes == 0 || bytes > CHANNEL_BYTES_MAX {
                return Err(("/channel", "must be a channel's id as Apple gave it, in base64".to_owned()));
            }
            Ok(())
        }
    }
}

/// Who stands for an address: the same for the same address, and nobody learns the address from it.
pub(super) fn stand_in(address: &Address) -> ShopperId {
    let (kind, parts) = match address {
        Address::Target(PushTarget::Apns { token, topic, environment }) => {
            ("apns", [token.to_ascii_lowercase(), topic.clone(), name(*environment).to_owned()])
        }
        Address::Target(PushTarget::Fcm { token, fid }) => {
            ("fcm", [token.clone().unwrap_or_default(), fid.clone().unwrap_or_default(), String::new()])
        }
        Address::Target(PushTarget::WebPush { subscription }) => {
            ("webpush", [subscription.endpoint.clone(), String::new(), String::new()])
        }
        Address::ApnsChannel { bundle, channel, environment, .. } => {
            ("channel", [bundle.clone(), channel.clone(), name(*environment).to_owned()])
        }
        Address::FcmTopic { topic } => ("topic", [topic.clone(), String::new(), String::new()]),
        Address::FcmCondition { condition } => ("condition", [condition.clone(), String::new(), String::new()]),
        Address::Endpoint(endpoint) => ("endpoint", [endpoint.to_string(), String::new(), String::new()]),
    };
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in std::iter::once(kind).chain(parts.iter().map(String::as_str)) {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let text = BASE64_URL_SAFE_NO_PAD.encode(&hash.finish().as_ref()[..16]);
    format!("~{kind}.{text}").parse().expect("short, and without odd characters")
}

fn name(environment: ApnsEnvironment) -> &'static str {
    match environment {
        ApnsEnvironment::Production => "production",
        ApnsEnvironment::Sandbox => "sandbox",
    }
}

fn check_topic(topic: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
    if topic.is_empty() || topic.len() > TOPIC_BYTES_MAX || !topic.bytes().all(fits) {
        let allowed = "letters, digits, `-`, `_`, `.`, `~` and `%`";
        return Err(format!("must be a topic without `/topics/`: 1 to {TOPIC_BYTES_MAX} {allowed}"));
    }
    Ok(())
}

/// Reads `'a' in topics && ('b' in topics || !('c' in topics))`.
struct Condition<'a> {
    rest: &'a str,
    topics: usize,
}

impl<'a> Condition<'a> {
    fn check(text: &'a str) -> Result<(), String> {
        if text.len() > CONDITION_BYTES_MAX {
            return Err(format!("must have at most {CONDITION_BYTES_MAX} bytes"));
        }
        let mut condition = Condition { rest: text, topics: 0 };
        condition.any(DEPTH_MAX)?;
        match condition.rest.trim_start().chars().next() {
            Some(odd) => Err(format!("has {odd:?} where `&&`, `||` or the end is expected")),
            None if condition.topics > TOPICS_MAX => Err(format!("names more than {TOPICS_MAX} topics")),
            None => Ok(()),
        }
    }

    fn any(&mut self, depth: usize) -> Result<(), String> {
        self.one(depth)?;
        while self.take("&&") || self.take("||") {
            self.one(depth)?;
        }
        Ok(())
    }

    fn one(&mut self, depth: usize) -> Result<(), String> {
        let deeper = depth.checked_sub(1).ok_or_else(|| format!("is nested deeper than {DEPTH_MAX} levels"))?;
        if self.take("!") {
            return self.one(deeper);
        }
        if self.take("(") {
            self.any(deeper)?;
            return if self.take(")") { Ok(()) } else { Err("lacks a `)`".to_owned()) };
        }
        self.topic()
    }

    fn topic(&mut self) -> Result<(), String> {
        let form = || "must be made of `'topic' in topics`, `&&`, `||`, `!` and parentheses".to_owned();
        if !self.take("'") {
            return Err(form());
        }
        let (topic, rest) = self.rest.split_once('\'').ok_or_else(form)?;
        check_topic(topic).map_err(|why| format!("the topic {topic:?} {why}"))?;
        self.rest = rest;
        self.topics += 1;
        if self.take("in") && self.take("topics") { Ok(()) } else { Err(form()) }
    }

    fn take(&mut self, word: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_read_as_its_service_reads_it() {
        for fine in [
            "'a' in topics",
            "'a' in topics && ('b' in topics || 'c' in topics)",
            "!('a' in topics)&&'b-_.~%' in topics",
            " ( 'a'  in  topics ) ",
        ] {
            assert_eq!(Condition::check(fine), Ok(()), "{fine}");
        }
        let six = ["'a' in topics"; 6].join(" || ");
        let deep = format!("{}'a' in topics{}", "(".repeat(100_000), ")".repeat(100_000));
        for odd in [
            "",
            "a in topics",
            "'a' in topics &&",
            "('a' in topics",
            "'a' in topics)",
            "'a b' in topics",
            "'a' of topics",
            "'a",
            "'a' in topics 'b' in topics",
            "!",
            &six,
            &deep,
            &format!("{}'a'", "!".repeat(4_000)),
        ] {
            assert!(Condition::check(odd).is_err(), "{}", &odd[..odd.len().min(40)]);
        }
    }

    #[test]
    fn addresses_have_forms() {
        let topic = |topic: &str| check(&Address::FcmTopic { topic: topic.to_owned() }).is_ok();
        assert!(
            topic("news") && topic("a.b~c-%_1") && !topic("") && !topic("/topics/news") && !topic(&"x".repeat(901))
        );
        let channel = |bundle: &str, channel: &str| {
            let (bundle, channel) = (bundle.to_owned(), channel.to_owned());
            check(&Address::ApnsChannel { bundle, channel, environment: ApnsEnvironment::Production, stored: false })
        };
        assert_eq!(channel("com.example.shop", "dHN0LXNyY2gtY2hubA=="), Ok(()));
        assert_eq!(channel("com example", "dHN0LXNyY2gtY2hubA==").expect_err("a space").0, "/bundle");
        for odd in ["", "no base64", "====", &"A".repeat(400)] {
            assert_eq!(channel("com.example.shop", odd).expect_err("odd").0, "/channel");
        }
    }

    #[test]
    fn a_stand_in_is_the_same_for_the_same_address_and_tells_nothing() {
        let apns = |token: &str| {
            let topic = "com.example.shop".to_owned();
            Address::Target(PushTarget::Apns {
                token: token.to_owned(),
                topic,
                environment: ApnsEnvironment::Production,
            })
        };
        let id = stand_in(&apns("00FF"));
        assert!(id.is_anonymous() && !id.as_str().to_lowercase().contains("00ff"));
        assert_eq!(id, stand_in(&apns("00ff")), "hexadecimal digits have no case");
        assert_ne!(id, stand_in(&apns("00fe")));
        let topic = stand_in(&Address::FcmTopic { topic: "news".to_owned() });
        let condition = stand_in(&Address::FcmCondition { condition: "news".to_owned() });
        assert_ne!(topic, condition);
    }
}
