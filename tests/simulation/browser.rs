//! A browser's end of Web Push: the keys of its subscription, and how it reads a message (RFC 8291).

use aws_lc_rs::{
    aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    error::Unspecified,
    hkdf::{HKDF_SHA256, KeyType, Salt},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parvis_engine::shopper::{Subscription, SubscriptionKeys};

const SCALAR: [u8; 32] = [7; 32];
const AUTH: [u8; 16] = [9; 16];
const POINT_BYTES: usize = 65;

/// Every browser of the simulation has the same keys and an endpoint of its own.
pub(crate) fn subscription(token: &str) -> Subscription {
    Subscription {
        endpoint: format!("https://push.example/{token}"),
        expiration_time: None,
        keys: SubscriptionKeys { p256dh: URL_SAFE_NO_PAD.encode(public()), auth: URL_SAFE_NO_PAD.encode(AUTH) },
    }
}

/// The text of a message.
pub(crate) fn decrypt(body: &[u8]) -> Vec<u8> {
    let (salt, rest) = body.split_at(16);
    let (sender, record) = rest[5..].split_at(POINT_BYTES);
    let mut ikm = [0; 32];
    let info = [b"WebPush: info\0".as_slice(), &public(), sender].concat();
    agree(&private(), UnparsedPublicKey::new(&ECDH_P256, sender), Unspecified, |secret| {
        expand(&AUTH, secret, &info, &mut ikm)
    })
    .expect("a point of the curve");
    let (mut key, mut nonce) = ([0; 16], [0; 12]);
    expand(salt, &ikm, b"Content-Encoding: aes128gcm\0", &mut key).expect("a length that HKDF gives");
    expand(salt, &ikm, b"Content-Encoding: nonce\0", &mut nonce).expect("a length that HKDF gives");
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).expect("16 bytes"));
    let mut text = record.to_vec();
    let opened = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut text);
    let padded = opened.expect("the message is for this browser");
    let end = padded.iter().rposition(|byte| *byte != 0).expect("a delimiter");
    padded[..end].to_vec()
}

fn private() -> PrivateKey {
    PrivateKey::from_private_key(&ECDH_P256, &SCALAR).expect("a scalar of P-256")
}

fn public() -> Vec<u8> {
    private().compute_public_key().expect("a point").as_ref().to_vec()
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(salt: &[u8], secret: &[u8], info: &[u8], out: &mut [u8]) -> Result<(), Unspecified> {
    Salt::new(HKDF_SHA256, salt).extract(secret).expand(&[info], Length(out.len()))?.fill(out)
}
