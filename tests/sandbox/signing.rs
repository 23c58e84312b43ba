//! Tokens, signed by hand.

#![allow(clippy::disallowed_types, reason = "a signer for the tests, independent of the one under test")]

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::Value;

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn es256(pem: &str, header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
    let signature = es256_key(pem).sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", base64url(signature.as_ref()))
}

pub(crate) fn es256_public(pem: &str) -> Vec<u8> {
    es256_key(pem).public_key().as_ref().to_vec()
}

pub(crate) fn rs256(pem: &str, header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", base64url(header.to_string().as_bytes()), base64url(claims.to_string().as_bytes()));
    let key = RsaKeyPair::from_pkcs8(&pkcs8(pem)).expect("an RSA key");
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("a signature");
    format!("{signed}.{}", base64url(&signature))
}

/// The same token with every part padded.
pub(crate) fn padded(token: &str) -> String {
    recoded(token, &URL_SAFE)
}

/// The same token in the alphabet with `+` and `/`, padded.
pub(crate) fn standard(token: &str) -> String {
    recoded(token, &STANDARD)
}

fn recoded(token: &str, engine: &impl base64::Engine) -> String {
    let decode = |part| URL_SAFE_NO_PAD.decode(part).expect("base64url");
    token.split('.').map(|part| engine.encode(decode(part))).collect::<Vec<_>>().join(".")
}

fn es256_key(pem: &str) -> EcdsaKeyPair {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8(pem)).expect("a P-256 key")
}

fn pkcs8(pem: &str) -> Vec<u8> {
    PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).expect("PKCS #8 PEM").secret_pkcs8_der().to_vec()
}
