//! Application server identification (RFC 8292).

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use parvis_engine::time::Timestamp;

use super::{
    super::token::{self, Token},
    Refused, refused,
};

/// RFC 8292, section 2: no more than 24 hours.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// How far an application server's clock may be off.
const SKEW: Duration = Duration::from_secs(60);
/// How many good tokens are remembered, so that a signature is checked once.
const REMEMBERED: usize = 64;

/// The tokens that were good.
#[derive(Debug, Default)]
pub(in super::super) struct WebPush {
    good: Mutex<VecDeque<Good>>,
}

#[derive(Debug)]
struct Good {
    authorization: String,
    expires_at: Timestamp,
}

impl WebPush {
    /// Whether the header is a token by the owner of `public` for `origin`.
    pub(super) fn authorize(
        &self,
        header: Option<&str>,
        public: &[u8],
        origin: &str,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let header = header.ok_or_else(|| refused(401, 109, "Authorization: the header is missing"))?;
        let expires_at = match self.expiry(header) {
            Some(expires_at) => expires_at,
            None => self.verify(header, public, origin)?,
        };
        if now.since(expires_at) > SKEW {
            return Err(refused(401, 109, "exp: the token has expired"));
        }
        if expires_at.since(now) > LIFETIME + SKEW {
            return Err(refused(401, 109, "exp: more than 24 hours ahead"));
        }
        Ok(())
    }

    fn expiry(&self, header: &str) -> Option<Timestamp> {
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        good.iter().find(|good| good.authorization == header).map(|good| good.expires_at)
    }

    fn verify(&self, header: &str, public: &[u8], origin: &str) -> Result<Timestamp, Refused> {
        let (token, key) =
            parameters(header).ok_or_else(|| refused(401, 109, "Authorization: not of the form vapid t=…, k=…"))?;
        let key = token::bytes(key).ok_or_else(|| refused(401, 109, "k: not base64url without padding"))?;
        let token = Token::parse(token).ok_or_else(|| refused(401, 109, "t: not a signed token"))?;
        if !token.is_es256_by(&key) {
            return Err(refused(401, 109, "t: not signed with ES256 by the key in k"));
        }
        if key != public {
            return Err(refused(403, 109, "k: the subscription is bound to another key"));
        }
        if token.claim("aud") != Some(origin) {
            return Err(refused(401, 109, format!("aud: not {origin}")));
        }
        let contact = token.claim("sub").unwrap_or_default();
        if !["mailto:", "https:"].iter().any(|scheme| contact.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
        {
            return Err(refused(401, 109, "sub: neither a mailto: nor an https: URL"));
        }
        let expires_at = token.seconds("exp").ok_or_else(|| refused(401, 109, "exp: not a whole number of seconds"))?;
        let expires_at = Timestamp::from_millis(expires_at.saturating_mul(1_000));
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.len() == REMEMBERED {
            good.pop_front();
        }
        good.push_back(Good { authorization: header.to_owned(), expires_at });
        Ok(expires_at)
    }
}

/// The parameters `t` and `k`, in any order.
fn parameters(header: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = header.split_once(' ')?;
    let mut found = (None, None);
    for parameter in rest.split(',') {
        let (name, value) = parameter.trim().split_once('=')?;
        if name == "t" {
            found.0 = Some(value.trim_matches('"'));
        } else if name == "k" {
            found.1 = Some(value.trim_matches('"'));
        }
    }
    scheme.eq_ignore_ascii_case("vapid").then_some((found.0?, found.1?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_come_in_any_order() {
        assert_eq!(parameters("vapid t=a.b.c, k=d"), Some(("a.b.c", "d")));
        assert_eq!(parameters("Vapid k=\"d\",t=a.b.c"), Some(("a.b.c", "d")));
        assert_eq!(parameters("vapid t=a.b.c"), None);
        assert_eq!(parameters("bearer t=a.b.c, k=d"), None);
        assert_eq!(parameters("WebPush a.b.c"), None);
    }
}
