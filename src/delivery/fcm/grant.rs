//! OAuth access tokens for a service account, by a signed assertion (RFC 7523).

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_lc_rs::rsa::KeyPair;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header::CONTENT_TYPE};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parvis_engine::{retry::Outcome, time::Timestamp};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};

use crate::{
    clock::Clock,
    delivery::{
        Reply, epoch_s,
        reply::{reason, retry_after},
        token::{Source, Token},
        transport::{Peer, Transport},
    },
};

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
/// Google's limit.
const ASSERTION_LIFE: Duration = Duration::from_secs(3600);
/// A clock that is ahead of Google's would otherwise send assertions from the future.
const CLOCK_SKEW: Duration = Duration::from_secs(30);
/// An access token is not used in the last seconds of its life: requests travel.
const EXPIRY_MARGIN: Duration = Duration::from_secs(30);
/// Google's usual life, for an answer that does not name one.
const LIFE_DEFAULT_S: u64 = 3600;
/// The lives that are believed. A shorter one would mean a grant for every message.
const LIFE_S: RangeInclusive<u64> = 60..=12 * 3600;

/// A service account that may ask for tokens.
pub struct Account {
    /// The project that it belongs to.
    pub project_id: String,
    email: String,
    key_id: Option<String>,
    token_uri: Uri,
    key: EncodingKey,
}

#[derive(Deserialize)]
struct AccountFile {
    project_id: String,
    client_email: String,
    #[serde(default)]
    private_key_id: Option<String>,
    private_key: String,
    token_uri: String,
}

impl Account {
    /// Reads the file that the Google Cloud console gives out.
    ///
    /// # Errors
    /// A sentence without any of the key.
    pub fn from_json(json: &[u8]) -> Result<Account, String> {
        // The parser's message may quote what it found; a key must not get into a log that way.
        let file: AccountFile = serde_json::from_slice(json).map_err(|error| {
            format!(
                "is not a service account with project_id, client_email, private_key and token_uri \
                 (line {}, column {})",
                error.line(),
                error.column()
            )
        })?;
        let token_uri: Uri = file
            .token_uri
            .parse()
            .ok()
            .filter(|uri: &Uri| uri.scheme() == Some(&http::uri::Scheme::HTTPS) && uri.host().is_some())
            .ok_or_else(|| format!("has a token_uri that is not an https URL: {:?}", file.token_uri))?;
        let key = rsa_key(file.private_key.as_bytes())?;
        Ok(Account {
            project_id: file.project_id,
            email: file.client_email,
            key_id: file.private_key_id,
            token_uri,
            key,
        })
    }
}

fn rsa_key(pem: &[u8]) -> Result<EncodingKey, String> {
    let unusable = |_| "has a private_key that is not an RSA key in PEM form".to_owned();
    let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| unusable(()))?;
    match &der {
        PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(_) | _ => return Err(unusable(())),
    }
    .map_err(|_| unusable(()))?;
    EncodingKey::from_rsa_pem(pem).map_err(|_| unusable(()))
}

/// Asks for access tokens.
pub struct Grant {
    account: Account,
    clock: Clock,
    transport: Arc<dyn Transport>,
}

impl Grant {
    /// Asks through a transport.
    pub fn new(account: Account, clock: Clock, transport: Arc<dyn Transport>) -> Grant {
        Grant { account, clock, transport }
    }

    fn request(&self, now: Timestamp) -> Result<Request<Bytes>, String> {
        let account = &self.account;
        let issued = now.minus(CLOCK_SKEW);
        let claims = Claims {
            iss: &account.email,
            scope: SCOPE,
            aud: &account.token_uri.to_string(),
            iat: epoch_s(issued),
            exp: epoch_s(issued.plus(ASSERTION_LIFE)),
        };
        let mut header = Header::new(Algorithm::RS256);
        header.kid.clone_from(&account.key_id);
        let assertion = jsonwebtoken::encode(&header, &claims, &account.key).map_err(|error| error.to_string())?;
        let form = format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        Request::post(&account.token_uri)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.into())
            .map_err(|error| error.to_string())
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

#[async_trait]
impl Source for Grant {
    async fn issue(&self) -> Result<Token, Outcome> {
        let failed = |reason: &str| Outcome::Unavailable { retry_after: None, reason: format!("grant_{reason}") };
        let request = self.request(self.clock.now()).map_err(|_| failed("not_signed"))?;
        let reply = self.transport.send(request, Peer::Issuer).await.map_err(|error| failed(error.name()))?;
        read_grant(&reply, self.clock.now())
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Refused {
    error: Option<String>,
}

/// What the issuer's reply means. A failure is never the message's fault.
fn read_grant(reply: &Reply, now: Timestamp) -> Result<Token, Outcome> {
    let failed = |reason: String| Outcome::Unavailable {
        retry_after: retry_after(&reply.headers, now),
        reason: format!("grant_{reason}"),
    };
    if reply.status != StatusCode::OK {
        let refused: Refused = serde_json::from_slice(&reply.body).unwrap_or_default();
        return Err(failed(reason(refused.error.as_deref(), reply.status)));
    }
    let granted: Granted = serde_json::from_slice(&reply.body).map_err(|_| failed("unreadable".to_owned()))?;
    let is_token = |byte: u8| byte.is_ascii_graphic();
    if granted.access_token.is_empty() || !granted.access_token.bytes().all(is_token) {
        return Err(failed("unreadable".to_owned()));
    }
    let life = Duration::from_secs(granted.expires_in.unwrap_or(LIFE_DEFAULT_S).clamp(*LIFE_S.start(), *LIFE_S.end()));
    Ok(Token {
        text: granted.access_token.into(),
        issued_at: now,
        renew_at: now.plus(life.mul_f64(0.9)).minus(EXPIRY_MARGIN),
        expires_at: now.plus(life).minus(EXPIRY_MARGIN),
    })
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};
    use serde_json::json;

    use super::*;
    use crate::delivery::testing;

    #[test]
    fn an_assertion_names_the_account_and_is_signed() {
        let (json, public) = testing::service_account("https://oauth2.googleapis.com/token");
        let account = Account::from_json(json.as_bytes()).expect("an account");
        let grant = Grant::new(account, Clock::simulated(testing::now()), testing::Silent::shared());
        let request = grant.request(testing::now()).expect("a request");
        assert_eq!(request.uri(), "https://oauth2.googleapis.com/token");
        let form = std::str::from_utf8(request.body()).expect("text");
        let assertion =
            form.strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=");
        let mut validation = Validation::new(Algorithm::RS256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        let key = DecodingKey::from_rsa_der(&public);
        let decoded = jsonwebtoken::decode::<serde_json::Value>(assertion.expect("form"), &key, &validation);
        let expected = json!({
            "iss": "parvis@shop.iam.gserviceaccount.com",
            "scope": SCOPE,
            "aud": "https://oauth2.googleapis.com/token",
            "iat": 1_699_999_970,
            "exp": 1_700_003_570,
        });
        assert_eq!(decoded.expect("verifies").claims, expected);
    }

    #[test]
    fn an_answer_is_a_token_or_a_reason() {
        let now = testing::now();
        let granted = testing::reply(200, &[], r#"{"access_token":"ya29","expires_in":3600,"token_type":"Bearer"}"#);
        let token = read_grant(&granted, now).unwrap_or_else(|outcome| panic!("{outcome:?}"));
        assert_eq!(&*token.text, "ya29");
        assert_eq!(token.renew_at, now.plus(Duration::from_secs(3210)));
        assert_eq!(token.expires_at, now.plus(Duration::from_secs(3570)));
        for (life, expires_at_s) in [("0", 30), ("99999999", 12 * 3600 - 30)] {
            let body = format!(r#"{{"access_token":"ya29","expires_in":{life}}}"#);
            let token =
                read_grant(&testing::reply(200, &[], &body), now).unwrap_or_else(|outcome| panic!("{outcome:?}"));
            assert_eq!(token.expires_at, now.plus(Duration::from_secs(expires_at_s)));
            assert!(now < token.renew_at && token.renew_at < token.expires_at);
        }
        let table = [
            (400, r#"{"error":"invalid_grant","error_description":"Invalid JWT"}"#, "grant_invalid_grant"),
            (200, "<html>", "grant_unreadable"),
            (200, r#"{"access_token":"a\r\nb"}"#, "grant_unreadable"),
            (503, "", "grant_http_503"),
            (302, "", "grant_http_302"),
        ];
        for (status, body, word) in table {
            let outcome = read_grant(&testing::reply(status, &[], body), now).expect_err("refused");
            assert_eq!(testing::meaning(&outcome), ("unavailable", word));
        }
    }

    #[test]
    fn other_files_are_refused_without_their_content() {
        let refused = |json: &str| Account::from_json(json.as_bytes()).err().expect("refused");
        assert!(refused("{}").starts_with("is not a service account"));
        let (json, _) = testing::service_account("http://oauth2.googleapis.com/token");
        assert!(refused(&json).contains("token_uri"));
        let (json, _) = testing::service_account("https://oauth2.googleapis.com/token");
        let broken = json.replace("PRIVATE KEY", "PUBLIC KEY");
        assert_eq!(refused(&broken), "has a private_key that is not an RSA key in PEM form");
    }
}
