//! The form of addresses that are no devices, and who stands for an address of which nobody is known.
//!
//! Source: Apple, "Setting up broadcast push notifications".

use aws_lc_rs::digest;
use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use parvis_engine::{
    id::ShopperId,
    notification::Address,
    shopper::{ApnsEnvironment, PushTarget},
};

use crate::delivery::{apns::is_bundle, fcm::topic};

/// Apple's channels have 16 bytes today.
const CHANNEL_BYTES_MAX: usize = 64;

/// Whether an address has the form that its service asks for.
///
/// # Errors
/// Where it has not, and why.
pub(super) fn check(address: &Address) -> Result<(), (&'static str, String)> {
    match address {
        Address::Target(_) | Address::Endpoint(_) => Ok(()),
        Address::FcmTopic { topic } => topic::check(topic).map_err(|why| ("", why)),
        Address::FcmCondition { condition } => topic::check_condition(condition).map_err(|why| ("", why)),
        Address::ApnsChannel { bundle, channel, .. } => {
            if !is_bundle(bundle) {
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
            ("apns", [token.to_ascii_lowercase(), topic.to_string(), name(*environment).to_owned()])
        }
        Address::Target(PushTarget::Fcm { token, fid }) => {
            let text = |text: &Option<_>| text.as_ref().map_or_else(String::new, ToString::to_string);
            ("fcm", [text(token), text(fid), String::new()])
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

#[cfg(test)]
mod tests {
    use super::*;

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
            let topic = "com.example.shop".into();
            Address::Target(PushTarget::Apns { token: token.into(), topic, environment: ApnsEnvironment::Production })
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
