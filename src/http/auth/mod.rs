//! Who calls, and what they may: keys of programs, and short-lived tokens of phones.
//!
//! Only hashes of keys are held, comparisons take the same time whatever is wrong, and no key is ever logged.

mod token;

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt,
    ops::Deref,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use arc_swap::ArcSwap;
use aws_lc_rs::{constant_time::verify_slices_are_equal, digest};
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use parvis_engine::{
    id::{DeviceId, ScannerId, ShopperId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{
    Services,
    problem::{Kind, Problem},
};
use crate::entropy::Entropy;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Observations, registrations, shoppers, signals and receipts.
    Ingest,
    /// Order events.
    Orders,
    /// The catalog, explain and replay.
    Marketing,
    /// Everything that only reads.
    Read,
    /// Messages that a back end hands in, and what was given up.
    Send,
    /// A copy of the whole store.
    Backup,
    /// Everything.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Scope; 7] =
        [Scope::Ingest, Scope::Orders, Scope::Marketing, Scope::Read, Scope::Send, Scope::Backup, Scope::Admin];

    /// The name in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Ingest => "ingest",
            Scope::Orders => "orders",
            Scope::Marketing => "marketing",
            Scope::Read => "read",
            Scope::Send => "send",
            Scope::Backup => "backup",
            Scope::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Scope, String> {
        Scope::ALL
            .into_iter()
            .find(|scope| scope.name() == text)
            .ok_or_else(|| format!("there is no scope {text:?}; there are {}", Scope::ALL.map(Scope::name).join(", ")))
    }
}

/// Where keys come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The file that `parvis keys` writes. If the one with the default name is missing, there are no keys, and nobody
    /// but phones with tokens gets in.
    pub keys_file: PathBuf,
    /// A JWKS file with the public keys that phone tokens are signed with. Without it there are no phone tokens.
    pub jwks_file: Option<PathBuf>,
    /// What a phone token must name as its audience (`aud`), if anything.
    pub audience: Option<String>,
}

impl Default for Config {
    fn default() -> Config {
        Config { keys_file: PathBuf::from(KEYS_FILE), jwks_file: None, audience: None }
    }
}

/// The keys file's name, if nobody gives it another one.
const KEYS_FILE: &str = "keys.toml";

/// The keys file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    /// The keys.
    #[serde(default, rename = "key", skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<KeyRecord>,
}

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Names the key in logs; unique.
    pub name: String,
    /// SHA-256 of the key, hexadecimal.
    pub sha256: String,
    /// What it is for.
    pub scopes: BTreeSet<Scope>,
    /// The only device that it may speak for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// The only scanner that it may speak for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scanner: Option<ScannerId>,
}

/// Who calls. Clones are the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(Arc<Who>);

/// What is known of who calls.
#[derive(Debug, PartialEq, Eq)]
pub struct Who {
    /// The key's name, or the token's device.
    pub name: String,
    /// What they may.
    pub scopes: BTreeSet<Scope>,
    /// The only device that they may speak for.
    pub device: Option<DeviceId>,
    /// The only scanner that they may speak for.
    pub scanner: Option<ScannerId>,
    /// The phone's owner, if its token names one.
    pub shopper: Option<ShopperId>,
    /// Whether this is a phone with a token.
    pub phone: bool,
}

impl Deref for Caller {
    type Target = Who;
    fn deref(&self) -> &Who {
        &self.0
    }
}

impl Who {
    /// Whether they have a scope; `admin` has all.
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Refuses a device that they may not speak for.
    ///
    /// # Errors
    /// If it is not theirs.
    pub fn speaks_for(&self, device: &DeviceId) -> Result<(), Problem> {
        match &self.device {
            Some(own) if own != device => {
                Err(Problem::new(Kind::Forbidden, format!("this key speaks for {own} only, not for {device}")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses a device that they may not see or change: any but their own, and all to a scanner, which only hears.
    ///
    /// # Errors
    /// If it is not theirs.
    pub fn owns(&self, device: &DeviceId) -> Result<(), Problem> {
        match &self.scanner {
            Some(scanner) => {
                Err(Problem::new(Kind::Forbidden, format!("this key speaks for scanner {scanner:?} only")))
            }
            None => self.speaks_for(device),
        }
    }

    /// Refuses whoever is bound to one device or scanner: for what concerns many.
    ///
    /// # Errors
    /// If they are bound.
    pub fn speaks_for_many(&self) -> Result<(), Problem> {
        if self.device.is_none() && self.scanner.is_none() {
            return Ok(());
        }
        Err(Problem::new(Kind::Forbidden, "this key speaks for one device or scanner only; a back end's key is needed"))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.ok_or_else(|| Problem::new(Kind::Unauthenticated, "this path is not behind the key check"))
    }
}

/// The keys that are known. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Keys(Arc<ArcSwap<Known>>);

#[derive(Debug, Default)]
struct Known {
    keys: Vec<([u8; 32], Caller)>,
    tokens: Option<token::Verifier>,
}

impl Keys {
    /// Keys from records, and phone tokens by a JWKS document if there is one.
    ///
    /// # Errors
    /// The first record or key that can't be used, by name.
    pub fn new(records: Vec<KeyRecord>, jwks: Option<&str>, audience: Option<&str>) -> Result<Keys, String> {
        let mut names = BTreeSet::new();
        let mut keys = Vec::with_capacity(records.len());
        for record in records {
            if !names.insert(record.name.clone()) {
                return Err(format!("there are two keys named {:?}; give each its own name", record.name));
            }
            let hash = parse_hash(&record.sha256).ok_or_else(|| {
                format!("key {:?}: sha256 must be 64 hexadecimal digits, the SHA-256 of the key", record.name)
            })?;
            keys.push((hash, record.into()));
        }
        let tokens = jwks.map(|jwks| token::Verifier::new(jwks, audience)).transpose()?;
        Ok(Keys(Arc::new(ArcSwap::from_pointee(Known { keys, tokens }))))
    }

    /// Reads the files that the configuration names, relative to its folder.
    ///
    /// # Errors
    /// Which file can't be used, and why.
    pub fn read(config: &Config, folder: &Path) -> Result<Keys, String> {
        let text = |path: &PathBuf| {
            let path = folder.join(path);
            std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let path = &config.keys_file;
        let records = if path.as_os_str() == KEYS_FILE && !folder.join(path).exists() {
            Vec::new()
        } else {
            toml::from_str::<KeyFile>(&text(path)?).map_err(|error| format!("{}: {error}", path.display()))?.keys
        };
        let jwks = config.jwks_file.as_ref().map(text).transpose()?;
        Keys::new(records, jwks.as_deref(), config.audience.as_deref())
    }

    /// From now on these are known instead, in every clone.
    pub fn replace(&self, others: &Keys) {
        self.0.store(others.0.load_full());
    }

    /// Who presents these headers.
    ///
    /// # Errors
    /// If nobody does whom we know; the sentence says what is needed.
    pub fn caller(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, Problem> {
        let refused = |detail: &str| Err(Problem::new(Kind::Unauthenticated, detail));
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return refused("send `Authorization: Bearer <key>`, or Basic with the key as the password");
        };
        let Some((scheme, credential)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else {
            return refused("the Authorization header can't be read; send `Bearer <key>`");
        };
        let key: Cow<'_, str> = if scheme.eq_ignore_ascii_case("bearer") {
            credential.trim().into()
        } else if scheme.eq_ignore_ascii_case("basic") {
            match basic_password(credential.trim()) {
                Some(password) => password.into(),
                None => return refused("the Basic credentials can't be read; the password is the key"),
            }
        } else {
            return refused("only the schemes Bearer and Basic are known");
        };
        let known = self.0.load();
        if let Some(tokens) = known.tokens.as_ref().filter(|_| key.matches('.').count() == 2) {
            return tokens.caller(&key, now).map_err(|detail| Problem::new(Kind::Unauthenticated, detail));
        }
        known.by_key(&key).ok_or_else(|| Problem::new(Kind::Unauthenticated, "this key is not known here"))
    }
}

impl Known {
    fn by_key(&self, key: &str) -> Option<Caller> {
        let presented = digest::digest(&digest::SHA256, key.as_bytes());
        let mut found = None;
        for (hash, caller) in &self.keys {
            if verify_slices_are_equal(hash, presented.as_ref()).is_ok() {
                found = Some(caller);
            }
        }
        found.cloned()
    }
}

/// Makes a key: the key itself, to be shown once, and what is kept of it.
pub fn new_key(entropy: &Entropy, name: &str, scopes: BTreeSet<Scope>) -> (String, KeyRecord) {
    let mut secret = [0; 32];
    entropy.fill(&mut secret);
    let key = format!("parvis_{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
    let sha256 = hex(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
    (key, KeyRecord { name: name.to_owned(), sha256, scopes, device: None, scanner: None })
}

/// Who sends a request, if they have one of the scopes. Nothing of the body is read.
///
/// # Errors
/// What they lack.
pub(super) fn check(services: &Services, scopes: &[Scope], headers: &HeaderMap) -> Result<Caller, Problem> {
    let caller = services.keys.caller(headers, services.clock.now())?;
    if !scopes.iter().any(|scope| caller.has(*scope)) {
        let wanted = scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join("` or `");
        return Err(Problem::new(Kind::Forbidden, format!("this key lacks the scope `{wanted}`")));
    }
    Ok(caller)
}

impl From<KeyRecord> for Caller {
    fn from(record: KeyRecord) -> Caller {
        let KeyRecord { name, scopes, device, scanner, .. } = record;
        Caller(Arc::new(Who { name, scopes, device, scanner, shopper: None, phone: false }))
    }
}

fn basic_password(credential: &str) -> Option<String> {
    let text = String::from_utf8(BASE64_STANDARD.decode(credential).ok()?).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).expect("visible"));
        headers
    }

    #[test]
    fn a_key_opens_by_bearer_and_by_basic_and_only_its_hash_is_kept() {
        let (key, record) = new_key(&Entropy::seeded(1), "phones", BTreeSet::from([Scope::Ingest]));
        assert!(!toml::to_string(&KeyFile { keys: vec![record.clone()] }).expect("writes").contains(&key));
        let keys = Keys::new(vec![record], None, None).expect("good");
        let now = Timestamp::from_millis(0);
        let caller = keys.caller(&headers(&format!("Bearer {key}")), now).expect("known");
        assert!(caller.has(Scope::Ingest) && !caller.has(Scope::Read));
        let basic = BASE64_STANDARD.encode(format!("anyone:{key}"));
        assert_eq!(keys.caller(&headers(&format!("Basic {basic}")), now).expect("known"), caller);
        for wrong in [format!("Bearer {key}x"), format!("Digest {key}"), "Bearer".to_owned(), "Basic !!".to_owned()] {
            assert_eq!(keys.caller(&headers(&wrong), now).expect_err("wrong").kind, Kind::Unauthenticated);
        }
    }

    #[test]
    fn replaced_keys_open_and_the_former_ones_do_not() {
        let keys = |seed| {
            let (key, record) = new_key(&Entropy::seeded(seed), "phones", BTreeSet::from([Scope::Ingest]));
            (format!("Bearer {key}"), Keys::new(vec![record], None, None).expect("good"))
        };
        let ((first, known), (second, others)) = (keys(1), keys(2));
        known.clone().replace(&others);
        let caller = |key: &str| known.caller(&headers(key), Timestamp::from_millis(0));
        assert_eq!(caller(&first).expect_err("revoked").kind, Kind::Unauthenticated);
        assert!(caller(&second).is_ok());
    }

    #[test]
    fn two_keys_have_two_names_and_a_hash_is_a_hash() {
        let (_, record) = new_key(&Entropy::seeded(1), "phones", BTreeSet::new());
        assert!(Keys::new(vec![record.clone(), record.clone()], None, None).expect_err("twice").contains("phones"));
        for odd in ["abc".to_owned(), "+a".repeat(32), "é".repeat(32)] {
            let odd = KeyRecord { sha256: odd, ..record.clone() };
            assert!(Keys::new(vec![odd], None, None).expect_err("odd").contains("64 hexadecimal"));
        }
    }
}
