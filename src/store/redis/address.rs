//! Where a server is. Knows nothing of who may talk to it.

use std::fmt;

/// Where `redis://host` leads without a port.
const PORT: u16 = 6_379;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// A name or a number; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Address {
    /// Reads `redis://host[:port]` or `rediss://host[:port]`; true for the latter, which is TLS.
    ///
    /// # Errors
    /// What is wrong with it. What may be a secret is not repeated.
    pub(super) fn from_url(url: &str) -> Result<(bool, Address), String> {
        let (secure, rest) = match (url.strip_prefix("redis://"), url.strip_prefix("rediss://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err("must begin with redis:// or, for TLS, with rediss://".to_owned()),
        };
        if rest.contains('@') {
            return Err("must not name who connects: set username and password_file".to_owned());
        }
        let place = rest.strip_suffix('/').unwrap_or(rest);
        if place.contains(['/', '?', '#']) {
            return Err("must end with the port: set database, and TLS files, by their own keys".to_owned());
        }
        Address::parse(place, PORT)
            .map(|address| (secure, address))
            .ok_or_else(|| format!("{place:?} is no host[:port]"))
    }

    /// Reads `host[:port]`; IPv6 in brackets, or bare if the port follows the last colon, as Redis itself writes it.
    pub(super) fn parse(place: &str, port: u16) -> Option<Address> {
        let (host, port) = match place.rsplit_once(':') {
            Some((host, _)) if place.ends_with(']') || host.is_empty() => {
                if host.is_empty() {
                    return None;
                }
                (place, port)
            }
            Some((host, digits)) => (host, digits.parse().ok()?),
            None => (place, port),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let sound = !host.is_empty() && port > 0 && !host.contains(|odd: char| odd.is_whitespace() || odd.is_control());
        sound.then(|| Address { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let read = |url: &str| Address::from_url(url).map(|(secure, address)| (secure, address.to_string()));
        assert_eq!(read("redis://cache"), Ok((false, "cache:6379".to_owned())));
        assert_eq!(read("rediss://10.0.0.1:7000/"), Ok((true, "10.0.0.1:7000".to_owned())));
        assert_eq!(read("redis://[::1]"), Ok((false, "[::1]:6379".to_owned())));
        assert_eq!(read("redis://[::1]:7000"), Ok((false, "[::1]:7000".to_owned())));
        for wrong in ["", "redis://", "redis://:7000", "redis://a:b", "redis://a:0", "redis://a b", "cache:6379"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
