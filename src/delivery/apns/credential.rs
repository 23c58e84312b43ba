//! How the daemon shows Apple who it is: with tokens that a team's key signs, or with a certificate.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use parvis_engine::{problem::Problem, retry::Outcome};
use serde::Serialize;

use super::{
    super::{
        epoch_s,
        key::Es256,
        read,
        token::{Limits, Source, Token},
        transport::Identity,
    },
    Config,
};
use crate::clock::Clock;

/// Apple refuses more than one new token in 20 minutes.
pub(in crate::delivery) const TOKEN_LIMITS: Limits =
    Limits { age_min: Duration::from_secs(20 * 60), gap_min: Duration::ZERO };

/// Apple wants a new token after 20 to 60 minutes.
const TOKEN_RENEWAL: Duration = Duration::from_secs(40 * 60);
const TOKEN_LIFE: Duration = Duration::from_secs(55 * 60);

/// What the daemon shows.
#[allow(clippy::large_enum_variant, reason = "there is one for each app, and it is taken apart at once")]
pub enum Credential {
    /// Tokens, which go into a header.
    Keys {
        /// Signs for both environments, or for production alone if there is another one.
        production: TeamKey,
        /// Signs for the sandbox: Apple gives out keys for one environment.
        sandbox: Option<TeamKey>,
    },
    /// A certificate, which each request carries to the transport. It ends at [`Identity::not_after`].
    Certificate(Arc<Identity>),
}

/// Signs the team's tokens.
pub struct TeamKey {
    key: Es256,
    key_id: String,
    team_id: String,
    clock: Clock,
}

/// Reads keys or a certificate; what is wrong goes to `problems`.
pub(super) fn load(config: &Config, base: &Path, clock: &Clock, problems: &mut Vec<Problem>) -> Option<Credential> {
    if config.certificate.is_some() || config.certificate_key.is_some() {
        return certificate(config, base, problems).map(Credential::Certificate);
    }
    let team_id = id(("/team_id", config.team_id.as_ref()), MISSING, problems);
    let mut signer = |key: Named<'_, PathBuf>, key_id: Named<'_, String>, missing: &str| {
        let key_id = id(key_id, missing, problems);
        let key = key_file(key, missing, base, problems);
        Some(TeamKey { key: key?, key_id: key_id?, team_id: team_id.clone()?, clock: clock.clone() })
    };
    let production = signer(("/key", config.key.as_ref()), ("/key_id", config.key_id.as_ref()), MISSING);
    let has_sandbox = config.sandbox_key.is_some() || config.sandbox_key_id.is_some();
    let sandbox = has_sandbox.then(|| {
        let key_id = ("/sandbox_key_id", config.sandbox_key_id.as_ref());
        signer(("/sandbox_key", config.sandbox_key.as_ref()), key_id, SANDBOX_MISSING)
    });
    match (production, sandbox) {
        (Some(production), None) => Some(Credential::Keys { production, sandbox: None }),
        (Some(production), Some(Some(sandbox))) => Some(Credential::Keys { production, sandbox: Some(sandbox) }),
        (None, _) | (_, Some(None)) => None,
    }
}

const MISSING: &str = "is missing: `key`, `key_id` and `team_id` are needed, or `certificate`";
const SANDBOX_MISSING: &str = "is missing: `sandbox_key` and `sandbox_key_id` go together";

/// A value with its path in the configuration.
type Named<'a, T> = (&'static str, Option<&'a T>);

fn id((path, id): Named<'_, String>, missing: &str, problems: &mut Vec<Problem>) -> Option<String> {
    let fits = |id: &str| id.len() == 10 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let message = match id {
        Some(id) if fits(id) => return Some(id.clone()),
        Some(id) => format!("{id:?} is not an id of ten letters and digits"),
        None => missing.to_owned(),
    };
    problems.push(Problem::new(path, message));
    None
}

fn key_file(
    (path, file): Named<'_, PathBuf>,
    missing: &str,
    base: &Path,
    problems: &mut Vec<Problem>,
) -> Option<Es256> {
    let Some(file) = file else {
        problems.push(Problem::new(path, missing));
        return None;
    };
    let pem = read(base, file, path, problems)?;
    Es256::from_pem(&pem).map_err(|error| problems.push(Problem::new(path, format!("{} {error}", file.display())))).ok()
}

fn certificate(config: &Config, base: &Path, problems: &mut Vec<Problem>) -> Option<Arc<Identity>> {
    let others = [
        ("/key", config.key.is_some()),
        ("/key_id", config.key_id.is_some()),
        ("/team_id", config.team_id.is_some()),
        ("/sandbox_key", config.sandbox_key.is_some()),
        ("/sandbox_key_id", config.sandbox_key_id.is_some()),
    ];
    for (path, _) in others.into_iter().filter(|(_, is_given)| *is_given) {
        problems.push(Problem::new(path, "has no use beside a certificate: take one of the two away"));
    }
    let Some(file) = &config.certificate else {
        problems.push(Problem::new("/certificate", "is missing beside certificate_key"));
        return None;
    };
    let chain = read(base, file, "/certificate", problems)?;
    let (key_path, key_file) = match &config.certificate_key {
        Some(key) => ("/certificate_key", key),
        None => ("/certificate", file),
    };
    let key = read(base, key_file, key_path, problems)?;
    Identity::from_pem(&chain, &key)
        .map(Arc::new)
        .map_err(|error| problems.push(Problem::new("/certificate", format!("{} {error}", file.display()))))
        .ok()
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
}

#[async_trait]
impl Source for TeamKey {
    async fn issue(&self) -> Result<Token, Outcome> {
        let now = self.clock.now();
        let text = self
            .key
            .sign(Some(&self.key_id), &Claims { iss: &self.team_id, iat: epoch_s(now) })
            .map_err(|_| Outcome::Unavailable { retry_after: None, reason: "token_not_signed".to_owned() })?;
        Ok(Token {
            text: text.into(),
            issued_at: now,
            renew_at: now.plus(TOKEN_RENEWAL),
            expires_at: now.plus(TOKEN_LIFE),
        })
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use serde_json::json;

    use super::*;
    use crate::delivery::testing;

    #[tokio::test]
    async fn the_token_is_what_apple_asks_for() {
        let (pem, public) = testing::p256_key();
        let key = Es256::from_pem(pem.as_bytes()).expect("a key");
        let clock = Clock::simulated(testing::now());
        let team = TeamKey { key, key_id: "ABC123DEFG".to_owned(), team_id: "DEF123GHIJ".to_owned(), clock };
        let token = team.issue().await.expect("a token");
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        let decoded =
            jsonwebtoken::decode::<serde_json::Value>(&*token.text, &DecodingKey::from_ec_der(&public), &validation)
                .expect("verifies");
        assert_eq!(decoded.header.kid.as_deref(), Some("ABC123DEFG"));
        assert_eq!(decoded.claims, json!({ "iss": "DEF123GHIJ", "iat": 1_700_000_000 }));
        assert!(!token.text.contains(['=', '+', '/']));
    }

    /// A folder with a key, another key, a certificate and its key.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let made = rcgen::generate_simple_self_signed(["com.example.shop".to_owned()]).expect("a certificate");
        let files = [
            ("key.p8", testing::p256_key().0),
            ("other.p8", testing::p256_key().0),
            ("cert.pem", made.cert.pem()),
            ("cert-key.pem", made.signing_key.serialize_pem()),
            ("both.pem", format!("{}{}", made.cert.pem(), made.signing_key.serialize_pem())),
        ];
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("writable");
        }
        folder
    }

    fn loaded(text: &str) -> Result<Credential, Vec<String>> {
        let folder = folder();
        let config: Config = toml::from_str(text).expect("a section");
        let mut problems = Vec::new();
        let credential = load(&config, folder.path(), &Clock::simulated(testing::now()), &mut problems);
        match credential {
            Some(credential) if problems.is_empty() => Ok(credential),
            _ => Err(problems.iter().map(|problem| problem.path.to_string()).collect()),
        }
    }

    #[test]
    fn keys_and_certificates_are_read() {
        let keys = "key = \"key.p8\"\nkey_id = \"ABC123DEFG\"\nteam_id = \"DEF123GHIJ\"\n";
        assert!(matches!(loaded(keys), Ok(Credential::Keys { sandbox: None, .. })));
        let two = format!("{keys}sandbox_key = \"other.p8\"\nsandbox_key_id = \"BBC123DEFG\"\n");
        let Ok(Credential::Keys { production, sandbox: Some(sandbox) }) = loaded(&two) else { panic!("two keys") };
        assert_eq!((production.key_id.as_str(), sandbox.key_id.as_str()), ("ABC123DEFG", "BBC123DEFG"));
        assert_eq!(sandbox.team_id, "DEF123GHIJ");
        assert_ne!(production.key.public(), sandbox.key.public());
        for certificate in
            ["certificate = \"cert.pem\"\ncertificate_key = \"cert-key.pem\"", "certificate = \"both.pem\""]
        {
            let Ok(Credential::Certificate(identity)) = loaded(certificate) else { panic!("{certificate}") };
            assert!(identity.not_after() > testing::now());
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |text: &str| loaded(text).err().expect("refused");
        assert_eq!(wrong(""), ["/team_id", "/key_id", "/key"]);
        assert_eq!(wrong("key = \"key.p8\"\nkey_id = \"ABC\"\nteam_id = \"DEF123GHIJ\""), ["/key_id"]);
        assert_eq!(wrong("key = \"gone.p8\"\nkey_id = \"ABC123DEFG\"\nteam_id = \"DEF123GHIJ\""), ["/key"]);
        assert_eq!(wrong("certificate_key = \"cert-key.pem\""), ["/certificate"]);
        assert_eq!(wrong("certificate = \"cert.pem\""), ["/certificate"], "no key in it");
        assert_eq!(wrong("certificate = \"cert.pem\"\ncertificate_key = \"key.p8\""), ["/certificate"]);
        assert_eq!(wrong("certificate = \"both.pem\"\nteam_id = \"DEF123GHIJ\""), ["/team_id"]);
        let keys = "key = \"key.p8\"\nkey_id = \"ABC123DEFG\"\nteam_id = \"DEF123GHIJ\"\n";
        assert_eq!(wrong(&format!("{keys}sandbox_key = \"other.p8\"")), ["/sandbox_key_id"]);
        assert_eq!(wrong(&format!("{keys}sandbox_key_id = \"BBC123DEFG\"")), ["/sandbox_key"]);
    }
}
