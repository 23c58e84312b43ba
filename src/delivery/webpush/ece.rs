//! Message encryption for Web Push (RFC 8291) in the `aes128gcm` content coding (RFC 8188), one record.

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
};

use crate::entropy::Entropy;

/// The most that fits into the 4096 bytes that every push service takes (RFC 8291, section 4).
pub const PLAINTEXT_BYTES_MAX: usize = BODY_BYTES_MAX - HEADER_BYTES - 1 - TAG_BYTES;

const BODY_BYTES_MAX: usize = 4096;
const POINT_BYTES: usize = 65;
const SALT_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = SALT_BYTES + 4 + 1 + POINT_BYTES;
/// Ends the last record (RFC 8188, section 2).
const LAST_RECORD: u8 = 2;
/// About one in 2^32 draws is not a key; more failures than this mean that the source of chance is broken.
const DRAWS_MAX: usize = 4;

/// The keys of a subscription.
#[derive(Debug)]
pub struct Keys {
    /// The browser's public key, an uncompressed point.
    pub public: [u8; POINT_BYTES],
    /// The authentication secret.
    pub auth: [u8; 16],
}

/// What must be new for every message.
pub struct Fresh {
    ephemeral: PrivateKey,
    salt: [u8; SALT_BYTES],
}

impl Fresh {
    /// Draws a key pair and a salt.
    ///
    /// # Errors
    /// If the source of chance is broken.
    pub fn draw(entropy: &Entropy) -> Result<Fresh, Unspecified> {
        let mut salt = [0; SALT_BYTES];
        entropy.fill(&mut salt);
        let mut scalar = [0; 32];
        for _ in 0..DRAWS_MAX {
            entropy.fill(&mut scalar);
            if let Ok(fresh) = Fresh::from_parts(&scalar, salt) {
                return Ok(fresh);
            }
        }
        Err(Unspecified)
    }

    /// From a private key and a salt.
    ///
    /// # Errors
    /// If the private key is none of P-256.
    pub fn from_parts(scalar: &[u8; 32], salt: [u8; SALT_BYTES]) -> Result<Fresh, Unspecified> {
        let ephemeral = PrivateKey::from_private_key(&ECDH_P256, scalar).map_err(|_| Unspecified)?;
        Ok(Fresh { ephemeral, salt })
    }
}

/// The request body that only the browser can read.
///
/// # Errors
/// If the browser's key is no point of the curve, or the plaintext is longer than [`PLAINTEXT_BYTES_MAX`].
pub fn encrypt(plaintext: &[u8], keys: &Keys, fresh: &Fresh) -> Result<Vec<u8>, Unspecified> {
    if plaintext.len() > PLAINTEXT_BYTES_MAX {
        return Err(Unspecified);
    }
    let public = fresh.ephemeral.compute_public_key()?;
    let peer = UnparsedPublicKey::new(&ECDH_P256, &keys.public);
    let (key, nonce) =
        agree(&fresh.ephemeral, peer, Unspecified, |secret| derive(secret, keys, public.as_ref(), &fresh.salt))?;

    let mut body = Vec::with_capacity(HEADER_BYTES + plaintext.len() + 1 + TAG_BYTES);
    body.extend_from_slice(&fresh.salt);
    body.extend_from_slice(&(BODY_BYTES_MAX as u32).to_be_bytes());
    body.push(POINT_BYTES as u8);
    body.extend_from_slice(public.as_ref());
    let record = body.len();
    body.extend_from_slice(plaintext);
    body.push(LAST_RECORD);
    let tag = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut body[record..])?;
    body.extend_from_slice(tag.as_ref());
    Ok(body)
}

/// The content encryption key and the nonce of the first record (RFC 8291, section 3.4).
fn derive(
    secret: &[u8],
    keys: &Keys,
    sender: &[u8],
    salt: &[u8; SALT_BYTES],
) -> Result<(LessSafeKey, Nonce), Unspecified> {
    let mut ikm = [0; 32];
    let info: [&[u8]; 3] = [b"WebPush: info\0", &keys.public, sender];
    expand(&Salt::new(HKDF_SHA256, &keys.auth).extract(secret), &info, &mut ikm)?;
    let record = Salt::new(HKDF_SHA256, salt).extract(&ikm);
    let mut key = [0; 16];
    expand(&record, &[b"Content-Encoding: aes128gcm\0"], &mut key)?;
    let mut nonce = [0; 12];
    expand(&record, &[b"Content-Encoding: nonce\0"], &mut nonce)?;
    Ok((LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?), Nonce::assume_unique_for_key(nonce)))
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(key: &Prk, info: &[&[u8]], out: &mut [u8]) -> Result<(), Unspecified> {
    key.expand(info, Length(out.len()))?.fill(out)
}

/// The browser's side, for tests.
#[cfg(test)]
pub(crate) mod browser {
    use super::*;

    /// A browser that has subscribed.
    pub(crate) struct Browser {
        key: PrivateKey,
        /// What it told the server.
        pub(crate) keys: Keys,
    }

    impl Browser {
        pub(crate) fn new(scalar: &[u8; 32], auth: [u8; 16]) -> Browser {
            let key = PrivateKey::from_private_key(&ECDH_P256, scalar).expect("a key");
            let public = key.compute_public_key().expect("a public key").as_ref().try_into().expect("65 bytes");
            Browser { key, keys: Keys { public, auth } }
        }

        /// Reads a body by the letter of RFC 8188 and RFC 8291.
        pub(crate) fn decrypt(&self, body: &[u8]) -> Vec<u8> {
            assert!(body.len() <= 4096);
            assert_eq!((&body[16..20], body[20]), (&[0, 0, 16, 0][..], 65), "record size and key length");
            let salt: [u8; 16] = body[..16].try_into().expect("16 bytes");
            let sender = UnparsedPublicKey::new(&ECDH_P256, &body[21..86]);
            let (key, nonce) =
                agree(&self.key, sender, Unspecified, |secret| derive(secret, &self.keys, &body[21..86], &salt))
                    .expect("keys agree");
            let mut record = body[86..].to_vec();
            let text = key.open_in_place(nonce, Aad::empty(), &mut record).expect("authentic");
            let (&last, text) = text.split_last().expect("a delimiter");
            assert_eq!(last, 2, "the last record");
            text.to_vec()
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::{browser::Browser, *};

    fn bytes<const N: usize>(text: &str) -> [u8; N] {
        URL_SAFE_NO_PAD.decode(text).expect("base64url").try_into().expect("the length")
    }

    #[test]
    fn the_example_of_rfc_8291_section_5() {
        let keys = Keys {
            public: bytes("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"),
            auth: bytes("BTBZMqHH6r4Tts7J_aSIgg"),
        };
        let fresh =
            Fresh::from_parts(&bytes("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"), bytes("DGv6ra1nlYgDCS1FRnbzlw"))
                .expect("a key");
        let body = encrypt(b"When I grow up, I want to be a watermelon", &keys, &fresh).expect("encrypts");
        assert_eq!(
            URL_SAFE_NO_PAD.encode(body),
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3\
             jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        );
    }

    #[test]
    fn a_browser_reads_what_was_written() {
        let browser = Browser::new(&[7; 32], [9; 16]);
        let entropy = Entropy::seeded(1);
        for length in [0, 1, 1024, PLAINTEXT_BYTES_MAX] {
            let plaintext = vec![b'x'; length];
            let fresh = Fresh::draw(&entropy).expect("chance");
            let body = encrypt(&plaintext, &browser.keys, &fresh).expect("encrypts");
            assert_eq!(body.len(), length + 103);
            assert_eq!(browser.decrypt(&body), plaintext);
        }
    }

    #[test]
    fn what_cannot_be_encrypted_is_refused() {
        let browser = Browser::new(&[7; 32], [9; 16]);
        let fresh = Fresh::draw(&Entropy::seeded(1)).expect("chance");
        assert!(encrypt(&[0; PLAINTEXT_BYTES_MAX + 1], &browser.keys, &fresh).is_err());
        let mut off_curve = browser.keys.public;
        off_curve[64] ^= 1;
        assert!(encrypt(b"x", &Keys { public: off_curve, auth: [9; 16] }, &fresh).is_err());
        assert!(Fresh::from_parts(&[0; 32], [0; 16]).is_err(), "zero is no key");
        assert!(Fresh::from_parts(&[0xff; 32], [0; 16]).is_err(), "beyond the order");
    }
}
