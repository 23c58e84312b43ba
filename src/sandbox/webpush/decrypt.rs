//! Message encryption from the browser's side: RFC 8291 over the aes128gcm coding of RFC 8188, one record.

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    agreement::{self, ECDH_P256, UnparsedPublicKey},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Salt},
};

use super::super::target::Browser;

const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 16;
const TAG_BYTES: usize = 16;
const POINT_BYTES: usize = 65;
/// Salt, record size, and the length of the key id.
const FIXED_BYTES: usize = SALT_BYTES + 4 + 1;
/// RFC 8188, section 2: a record holds at least a delimiter, one octet and the tag.
const RECORD_BYTES_MIN: usize = 18;
/// What the last record's text ends with, before the padding.
const LAST_RECORD: u8 = 2;

/// How many bytes are to be derived.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// The text of an encrypted body, or why there is none.
pub(super) fn message(browser: &Browser, body: &[u8]) -> Result<Vec<u8>, &'static str> {
    let (fixed, rest) = body.split_at_checked(FIXED_BYTES).ok_or("the body is shorter than its header")?;
    let (salt, sizes) = fixed.split_at(SALT_BYTES);
    let record_bytes = sizes[..4].iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    if usize::from(sizes[4]) != POINT_BYTES {
        return Err("the key id is not an uncompressed P-256 point");
    }
    let (sender, record) = rest.split_at_checked(POINT_BYTES).ok_or("the body is shorter than its header")?;
    if record_bytes < RECORD_BYTES_MIN {
        return Err("the record size is below 18");
    }
    if record.len() > record_bytes {
        return Err("there is more than one record");
    }
    if record.len() <= TAG_BYTES {
        return Err("the record is shorter than its tag");
    }
    let (key, nonce) = keys(browser, sender, salt).map_err(|Unspecified| "the key id is not a point of P-256")?;
    let mut text = record.to_vec();
    let opened = key.open_in_place(nonce, Aad::empty(), &mut text);
    let padded = opened.map_err(|Unspecified| "it does not decrypt with the subscription's keys")?;
    let end = padded.iter().rposition(|byte| *byte != 0).ok_or("the padding has no delimiter")?;
    if padded[end] != LAST_RECORD {
        return Err("the padding's delimiter is not that of a last record");
    }
    Ok(padded[..end].to_vec())
}

fn keys(browser: &Browser, sender: &[u8], salt: &[u8]) -> Result<(LessSafeKey, Nonce), Unspecified> {
    let peer = UnparsedPublicKey::new(&ECDH_P256, sender);
    let info = [b"WebPush: info\0".as_slice(), &browser.public, sender].concat();
    let mut input = [0; 32];
    agreement::agree(&browser.private, peer, Unspecified, |secret| derive(&browser.auth, secret, &info, &mut input))?;
    let mut key = [0; KEY_BYTES];
    derive(salt, &input, b"Content-Encoding: aes128gcm\0", &mut key)?;
    let mut nonce = [0; NONCE_LEN];
    derive(salt, &input, b"Content-Encoding: nonce\0", &mut nonce)?;
    Ok((LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?), Nonce::assume_unique_for_key(nonce)))
}

/// HKDF with SHA-256 (RFC 5869).
fn derive(salt: &[u8], secret: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), Unspecified> {
    Salt::new(HKDF_SHA256, salt).extract(secret).expand(&[info], Length(out.len()))?.fill(out)
}

#[cfg(test)]
mod tests {
    use super::{super::super::token::bytes, *};

    /// RFC 8291, appendix A.
    fn vector() -> (Browser, Vec<u8>) {
        let scalar = bytes("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94").expect("base64url");
        let auth = bytes("BTBZMqHH6r4Tts7J_aSIgg").expect("base64url");
        let body = bytes(concat!(
            "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27ml",
            "mlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPT",
            "pK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
        ))
        .expect("base64url");
        let auth = auth.try_into().expect("16 bytes");
        (Browser::from_parts(&scalar, auth).expect("a scalar"), body)
    }

    #[test]
    fn the_published_message_decrypts() {
        let (browser, body) = vector();
        let text = message(&browser, &body).expect("decrypts");
        assert_eq!(text, b"When I grow up, I want to be a watermelon");
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let (browser, body) = vector();
        for place in 0..body.len() {
            let mut changed = body.clone();
            changed[place] ^= 1;
            // The record size is not authenticated; one bit more or less still holds the record.
            let accepted = message(&browser, &changed).is_ok();
            assert_eq!(accepted, (SALT_BYTES..SALT_BYTES + 4).contains(&place), "byte {place}");
        }
    }

    #[test]
    fn every_shortened_body_is_refused() {
        let (browser, body) = vector();
        for length in 0..body.len() {
            assert!(message(&browser, &body[..length]).is_err(), "{length} bytes");
        }
    }
}
