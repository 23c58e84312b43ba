//! Signed tokens (RFC 7515 compact form), taken apart strictly: base64url without padding, JSON objects, one signature.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// A token whose signature has not been looked at.
#[derive(Debug)]
pub(super) struct Token<'a> {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// None if the text is not a token.
    pub(super) fn parse(text: &'a str) -> Option<Token<'a>> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some(Token { header: object(header)?, claims: object(claims)?, signed, signature: bytes(signature)? })
    }

    /// A text in the header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.header.get(name)?.as_str()
    }

    /// A text among the claims.
    pub(super) fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// A whole number of seconds among the claims. A number in quotes is none.
    pub(super) fn seconds(&self, name: &str) -> Option<i64> {
        self.claims.get(name)?.as_i64()
    }

    /// Whether it says ES256 and an uncompressed P-256 point's owner signed it.
    pub(super) fn is_es256_by(&self, public: &[u8]) -> bool {
        self.header("alg") == Some("ES256")
            && UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public)
                .verify(self.signed.as_bytes(), &self.signature)
                .is_ok()
    }

    /// Whether it says RS256 and an RSA key's owner signed it.
    pub(super) fn is_rs256_by(&self, public: &[u8]) -> bool {
        self.header("alg") == Some("RS256")
            && UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)
                .verify(self.signed.as_bytes(), &self.signature)
                .is_ok()
    }
}

/// The bytes of base64url text without padding.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Base64url text without padding.
pub(super) fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&bytes(part)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_and_the_other_alphabet_are_refused() {
        let (header, claims) = (text(br#"{"alg":"ES256"}"#), text(br#"{"iat":1}"#));
        assert!(Token::parse(&format!("{header}.{claims}.AAAA")).is_some());
        assert!(Token::parse(&format!("{header}.{claims}.AAA=")).is_none());
        assert!(Token::parse(&format!("{header}.{claims}.AA+/")).is_none());
        assert!(Token::parse(&format!("{header}.{claims}")).is_none());
        assert!(Token::parse(&format!("{header}.{claims}.AAAA.AAAA")).is_none());
    }

    #[test]
    fn a_number_in_quotes_is_no_number() {
        let token = format!("{}.{}.AAAA", text(b"{}"), text(br#"{"iat":"5","exp":6}"#));
        let token = Token::parse(&token).expect("a token");
        assert_eq!((token.seconds("iat"), token.seconds("exp")), (None, Some(6)));
    }
}
