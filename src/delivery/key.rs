//! P-256 keys that sign tokens. A key is read once and never shown.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde::Serialize;

/// A key for ES256 (RFC 7518, section 3.4).
pub struct Es256 {
    signing: EncodingKey,
    public: Vec<u8>,
}

impl Es256 {
    /// Reads a PEM file: PKCS #8, as Apple gives it, or SEC 1, as OpenSSL writes it.
    ///
    /// # Errors
    /// A sentence without any of the file's content.
    pub fn from_pem(pem: &[u8]) -> Result<Es256, String> {
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| "holds no private key in PEM form".to_owned())?;
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_der())
            .map_err(|_| "holds a private key that is not a P-256 key".to_owned())?;
        let der = pair.to_pkcs8v1().map_err(|_| "holds a key that cannot be used".to_owned())?;
        Ok(Es256 { signing: EncodingKey::from_ec_der(der.as_ref()), public: pair.public_key().as_ref().to_vec() })
    }

    /// The public key, an uncompressed point of 65 bytes.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// A signed token; `key_id` goes into its header.
    ///
    /// # Errors
    /// If signing fails.
    pub fn sign<C: Serialize>(&self, key_id: Option<&str>, claims: &C) -> Result<String, String> {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = key_id.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.signing).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_files_are_named_without_their_content() {
        let refused = |pem: &str| Es256::from_pem(pem.as_bytes()).err().expect("refused");
        assert_eq!(refused("nothing"), "holds no private key in PEM form");
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
        assert_eq!(refused(&other.serialize_pem()), "holds a private key that is not a P-256 key");
    }
}
