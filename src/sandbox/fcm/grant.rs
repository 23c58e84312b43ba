//! Google's OAuth 2.0 token endpoint for service accounts (RFC 7523, "Using OAuth 2.0 for Server to Server
//! Applications"), and the access tokens that it has given.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Method, StatusCode};
use parvis_engine::time::Timestamp;
use serde_json::json;

use super::{
    super::{
        app::App,
        reply::{Reply, Request},
        shared::Shared,
        target::hex,
        token::Token,
    },
    Refused,
};

/// Where the endpoint is on FCM's listener.
pub(in super::super) const TOKEN_PATH: &str = "/token";
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Google's own client names Google's endpoint whatever the account says.
const AUDIENCE: &str = "https://oauth2.googleapis.com/token";
const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"];
const ASSERTION_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// How far a client's clock may be off.
const SKEW: Duration = Duration::from_secs(5 * 60);
const ACCESS_LIFETIME: Duration = Duration::from_secs(3_599);
/// How many access tokens are good at a time; the oldest is forgotten first.
const REMEMBERED: usize = 1_024;

/// The access tokens that are good.
#[derive(Debug, Default)]
pub(in super::super) struct Fcm {
    granted: Mutex<VecDeque<Granted>>,
}

#[derive(Debug)]
struct Granted {
    token: String,
    app: Arc<App>,
    expires_at: Timestamp,
}

impl Fcm {
    /// Whose access token the header carries.
    pub(super) fn authorize(&self, header: Option<&str>, now: Timestamp) -> Result<Arc<App>, Refused> {
        let missing = || {
            let text = "Request is missing required authentication credential.";
            Refused::door(401, "CREDENTIALS_MISSING", text)
        };
        let (scheme, token) = header.and_then(|header| header.split_once(' ')).ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(missing());
        }
        let granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        let good = granted.iter().find(|granted| granted.token == token && granted.expires_at > now);
        let text = "Request had invalid authentication credentials.";
        good.map(|good| Arc::clone(&good.app)).ok_or_else(|| Refused::door(401, "ACCESS_TOKEN_EXPIRED", text))
    }

    fn grant(&self, token: String, app: Arc<App>, now: Timestamp) {
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        granted.retain(|granted| granted.expires_at > now);
        if granted.len() == REMEMBERED {
            granted.pop_front();
        }
        granted.push_back(Granted { token, app, expires_at: now.plus(ACCESS_LIFETIME) });
    }
}

/// Answers a token request.
pub(super) fn judge(shared: &Shared, request: &Request) -> Reply {
    if request.method != Method::POST {
        return Reply::empty(StatusCode::METHOD_NOT_ALLOWED);
    }
    match check(shared, request) {
        Ok(app) => {
            let token = format!("ya29.sandbox-{}", hex::<32>(&shared.entropy));
            shared.fcm.grant(token.clone(), app, shared.clock.now());
            let expires_in = ACCESS_LIFETIME.as_secs();
            let grant = json!({ "access_token": token, "expires_in": expires_in, "token_type": "Bearer" });
            Reply::json(StatusCode::OK, &grant).with("cache-control", "no-store")
        }
        Err((error, description)) => {
            let body = json!({ "error": error, "error_description": description });
            Reply::json(StatusCode::BAD_REQUEST, &body)
        }
    }
}

fn check(shared: &Shared, request: &Request) -> Result<Arc<App>, (&'static str, &'static str)> {
    let form = form(&request.body);
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    match field("grant_type") {
        None => return Err(("invalid_request", "Required parameter is missing: grant_type")),
        Some(GRANT_TYPE) => {}
        Some(_) => return Err(("unsupported_grant_type", "The sandbox knows the jwt-bearer grant only.")),
    }
    let assertion = field("assertion").ok_or(("invalid_request", "Required parameter is missing: assertion"))?;
    let assertion = Token::parse(assertion).ok_or(("invalid_grant", "Bad Request"))?;
    let account = assertion.claim("iss").unwrap_or_default();
    let app = shared.apps.find(|app| app.fcm_client_email == account);
    let app = app.ok_or(("invalid_grant", "Invalid grant: account not found"))?;
    if !assertion.is_rs256_by(&app.fcm_public) {
        return Err(("invalid_grant", "Invalid JWT Signature."));
    }
    let audience = assertion.claim("aud").unwrap_or_default();
    if ![shared.endpoints.fcm_token.as_str(), AUDIENCE].contains(&audience) {
        return Err(("invalid_grant", "Invalid JWT: Failed audience check."));
    }
    let instant =
        |name: &str| assertion.seconds(name).map(|seconds| Timestamp::from_millis(seconds.saturating_mul(1_000)));
    let now = shared.clock.now();
    let (Some(issued_at), Some(expires_at)) = (instant("iat"), instant("exp")) else {
        return Err(("invalid_grant", "Invalid JWT: iat and exp must be numbers of seconds."));
    };
    if issued_at.since(now) > SKEW || now.since(expires_at) > SKEW || expires_at.since(issued_at) > ASSERTION_LIFETIME {
        return Err(("invalid_grant", "Invalid JWT: iat and exp must be within an hour of each other and of now."));
    }
    let scopes = assertion.claim("scope").unwrap_or_default();
    if !scopes.split(' ').any(|scope| SCOPES.contains(&scope)) {
        return Err(("invalid_scope", "None of the scopes allows sending messages."));
    }
    Ok(app)
}

/// The fields of `application/x-www-form-urlencoded` text.
fn form(body: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body);
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_decoded() {
        let fields = form(b"grant_type=urn%3Aietf&assertion=a.b+c&broken=%zz");
        let expected = [("grant_type", "urn:ietf"), ("assertion", "a.b c"), ("broken", "%zz")];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
