//! Secrets that sign webhooks: HMAC with SHA-256 over id, time and body.
//!
//! Source: Standard Webhooks 1.0.0, "Signature scheme". A secret is read once and never shown.

use std::{fmt, fs, path::Path};

use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use base64::{Engine as _, prelude::BASE64_STANDARD};

const PREFIX: &str = "whsec_";
/// The specification's range for the length of a secret, bytes.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// A new secret and the one that it replaces; more are forgotten ones.
const SECRETS_MAX: usize = 4;

/// The secrets of one endpoint. All sign, so that the receiver may know either while one replaces another.
pub(super) struct Secrets(Vec<Key>);

impl Secrets {
    /// Reads a file: a secret a line; empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// A sentence without any of the file's content.
    pub(super) fn read(file: &Path) -> Result<Secrets, String> {
        let text = fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        Secrets::parse(&text).map_err(|message| format!("{} {message}", file.display()))
    }

    /// Reads the lines of such a file.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence about the file.
    pub(super) fn parse(text: &str) -> Result<Secrets, String> {
        let lines = text.lines().map(str::trim).enumerate();
        let mut keys = Vec::new();
        for (at, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let bytes = line.strip_prefix(PREFIX).and_then(|secret| BASE64_STANDARD.decode(secret).ok());
            let number = at + 1;
            let bytes = bytes.ok_or_else(|| format!("has no secret in line {number}: {PREFIX} and base64"))?;
            if !BYTES.contains(&bytes.len()) {
                let (least, most) = (BYTES.start(), BYTES.end());
                return Err(format!("has a secret of {} bytes in line {number}, not {least} to {most}", bytes.len()));
            }
            keys.push(Key::new(HMAC_SHA256, &bytes));
        }
        match keys.len() {
            0 => Err(format!("holds no secret: {PREFIX} and base64")),
            1..=SECRETS_MAX => Ok(Secrets(keys)),
            _ => Err(format!("holds more than {SECRETS_MAX} secrets; take out those that are no longer used")),
        }
    }

    /// What goes into `webhook-signature`.
    pub(super) fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let head = format!("{id}.{seconds}.");
        let signed = self.0.iter().map(|key| {
            let mut context = hmac::Context::with_key(key);
            context.update(head.as_bytes());
            context.update(body);
            format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
        });
        signed.collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example of the specification.
    #[test]
    fn a_known_message_has_its_known_signature() {
        let secrets = Secrets::parse(SECRET).expect("a secret");
        let signature = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn all_secrets_of_a_file_sign() {
        let text = format!("# new\n{SECRET}\n\n# old\nwhsec_{}\n", BASE64_STANDARD.encode([7; 32]));
        let signature = Secrets::parse(&text).expect("secrets").sign("id", 1, b"{}");
        assert_eq!(signature.split(' ').filter(|part| part.starts_with("v1,")).count(), 2);
    }

    #[test]
    fn odd_files_are_named_without_their_content() {
        let refused = |text: &str| Secrets::parse(text).expect_err("refused");
        assert_eq!(refused("# nothing"), "holds no secret: whsec_ and base64");
        assert_eq!(refused("hunter2"), "has no secret in line 1: whsec_ and base64");
        assert_eq!(refused("\nwhsec_!!"), "has no secret in line 2: whsec_ and base64");
        assert_eq!(refused("whsec_AAAA"), "has a secret of 3 bytes in line 1, not 24 to 64");
        assert!(refused(&format!("{SECRET}\n").repeat(5)).starts_with("holds more than 4"));
        assert_eq!(format!("{:?}", Secrets::parse(SECRET)), "Ok(1 secrets)");
        assert!(Secrets::read(Path::new("missing")).expect_err("refused").starts_with("cannot read missing"));
    }
}
