//! Phone tokens: JWTs (RFC 7519) that the retailer's back end signs, EdDSA or ES256, checked against a JWKS document.
//!
//! Time is an argument: the library's own time checks are off, because they would ask the system's clock.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use parvis_engine::{
    id::{DeviceId, ShopperId},
    time::Timestamp,
};
use serde::Deserialize;

use super::{Caller, Scope, Who};

/// How far a signer's clock may differ from ours.
const SKEW: Duration = Duration::from_secs(60);

/// Checks phone tokens.
pub(super) struct Verifier {
    keys: Vec<Key>,
    audience: Option<String>,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Claims {
    sub: DeviceId,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    shopper: Option<ShopperId>,
}

impl Verifier {
    /// Reads the public keys. Only EdDSA and ES256 are taken; a symmetric key in the document is an error.
    pub(super) fn new(jwks: &str, audience: Option<&str>) -> Result<Verifier, String> {
        let set: JwkSet = serde_json::from_str(jwks).map_err(|error| format!("the JWKS can't be read: {error}"))?;
        let mut keys = Vec::with_capacity(set.keys.len());
        for (at, jwk) in set.keys.iter().enumerate() {
            let id = jwk.common.key_id.clone();
            let key = DecodingKey::from_jwk(jwk).map_err(|error| format!("JWKS, /keys/{at}: {error}"))?;
            let algorithm = algorithm(jwk).ok_or_else(|| {
                format!("JWKS, /keys/{at}: phone tokens are signed with EdDSA (Ed25519) or ES256 (P-256) only")
            })?;
            keys.push(Key { id, algorithm, key });
        }
        Ok(Verifier { keys, audience: audience.map(str::to_owned) })
    }

    /// The phone that a token belongs to.
    pub(super) fn caller(&self, token: &str, now: Timestamp) -> Result<Caller, String> {
        let header = decode_header(token).map_err(|_| "the token can't be read".to_owned())?;
        let fitting = self.keys.iter().filter(|key| {
            key.algorithm == header.alg && (header.kid.is_none() || key.id.is_none() || key.id == header.kid)
        });
        let mut last = "no key that is known here has signed this token".to_owned();
        for key in fitting {
            match decode::<Claims>(token, &key.key, &self.validation(key.algorithm)) {
                Ok(data) => return phone(data.claims, now),
                Err(error) => last = format!("the token is not valid: {error}"),
            }
        }
        Err(last)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let mut required = vec!["exp", "sub"];
        match &self.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            None => validation.validate_aud = false,
        }
        validation.set_required_spec_claims(&required);
        validation
    }
}

fn phone(claims: Claims, now: Timestamp) -> Result<Caller, String> {
    let at = |seconds: i64| Timestamp::from_millis(seconds.saturating_mul(1_000));
    if at(claims.exp).plus(SKEW) <= now {
        return Err("the token has expired; get a new one from the shop's back end".to_owned());
    }
    if claims.nbf.is_some_and(|nbf| at(nbf) > now.plus(SKEW)) {
        return Err("the token is not valid yet".to_owned());
    }
    Ok(Caller(Arc::new(Who {
        name: format!("phone {}", claims.sub),
        scopes: BTreeSet::from([Scope::Ingest]),
        device: Some(claims.sub),
        scanner: None,
        shopper: claims.shopper,
        phone: true,
    })))
}

fn algorithm(jwk: &jsonwebtoken::jwk::Jwk) -> Option<Algorithm> {
    use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve};
    if let AlgorithmParameters::EllipticCurve(key) = &jwk.algorithm {
        return (key.curve == EllipticCurve::P256).then_some(Algorithm::ES256);
    }
    if let AlgorithmParameters::OctetKeyPair(key) = &jwk.algorithm {
        return (key.curve == EllipticCurve::Ed25519).then_some(Algorithm::EdDSA);
    }
    None
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} keys)", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const NOW_S: i64 = 1_800_000_000;

    fn key() -> (EncodingKey, String) {
        let pair = Ed25519KeyPair::generate().expect("a key");
        let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let document = pair.to_pkcs8v1().expect("PKCS 8");
        let jwks = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "one"}]});
        (EncodingKey::from_ed_der(document.as_ref()), jwks.to_string())
    }

    fn sign(key: &EncodingKey, claims: &Value) -> String {
        encode(&Header::new(Algorithm::EdDSA), claims, key).expect("signs")
    }

    fn caller(verifier: &Verifier, token: &str) -> Result<Caller, String> {
        verifier.caller(token, Timestamp::from_millis(NOW_S * 1_000))
    }

    #[test]
    fn a_token_speaks_for_its_device_until_it_expires() {
        let (key, jwks) = key();
        let verifier = Verifier::new(&jwks, None).expect("good");
        let good = sign(&key, &json!({"sub": "phone-1", "exp": NOW_S + 60, "shopper": "C-1"}));
        let phone = caller(&verifier, &good).expect("valid");
        assert_eq!(phone.device.as_ref().map(DeviceId::as_str), Some("phone-1"));
        assert_eq!(phone.shopper.as_ref().map(ShopperId::as_str), Some("C-1"));
        let cases = [
            (json!({"sub": "phone-1", "exp": NOW_S - 61}), "expired"),
            (json!({"sub": "phone-1", "exp": NOW_S + 60, "nbf": NOW_S + 120}), "not valid yet"),
            (json!({"sub": "phone-1"}), "exp"),
            (json!({"exp": NOW_S + 60}), "sub"),
        ];
        for (claims, why) in cases {
            let error = caller(&verifier, &sign(&key, &claims)).expect_err("refused");
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn p_256_signs_too_and_each_key_only_its_own_algorithm() {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let point = pair.public_key().as_ref();
        let [x, y] = [&point[1..33], &point[33..]].map(|half| BASE64_URL_SAFE_NO_PAD.encode(half));
        let p256 = json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": "two"});
        let (_, ed25519) = key();
        let mut jwks: Value = serde_json::from_str(&ed25519).expect("JSON");
        jwks["keys"].as_array_mut().expect("a list").push(p256);
        let verifier = Verifier::new(&jwks.to_string(), None).expect("good");
        let signer = EncodingKey::from_ec_der(pair.to_pkcs8v1().expect("PKCS 8").as_ref());
        let claims = json!({"sub": "phone-1", "exp": NOW_S + 60});
        for (kid, valid) in [(Some("two"), true), (None, true), (Some("one"), false), (Some("three"), false)] {
            let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) };
            let token = encode(&header, &claims, &signer).expect("signs");
            assert_eq!(caller(&verifier, &token).is_ok(), valid, "{kid:?}");
        }
        let symmetric = json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}).to_string();
        assert!(Verifier::new(&symmetric, None).expect_err("refused").contains("EdDSA"));
    }

    #[test]
    fn only_the_known_signer_and_audience_count() {
        let (own, jwks) = key();
        let (stranger, _) = key();
        let verifier = Verifier::new(&jwks, Some("parvis")).expect("good");
        let claims = json!({"sub": "phone-1", "exp": NOW_S + 60, "aud": "parvis"});
        assert!(caller(&verifier, &sign(&own, &claims)).is_ok());
        assert!(caller(&verifier, &sign(&stranger, &claims)).is_err());
        assert!(caller(&verifier, &sign(&own, &json!({"sub": "phone-1", "exp": NOW_S + 60, "aud": "else"}))).is_err());
        assert!(caller(&verifier, &sign(&own, &json!({"sub": "phone-1", "exp": NOW_S + 60}))).is_err());
        let symmetric = encode(&Header::default(), &claims, &EncodingKey::from_secret(jwks.as_bytes())).expect("signs");
        assert!(caller(&verifier, &symmetric).is_err(), "the public key is no shared secret");
    }
}
