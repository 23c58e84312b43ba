//! Where a broker is. Only read from text here, not called.

use http::Uri;

/// A broker's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether TLS is spoken.
    pub(super) secure: bool,
}

impl Address {
    /// Reads `mqtt://host[:port]` or `mqtts://host[:port]`.
    pub(super) fn parse(url: &str) -> Result<Address, String> {
        let uri: Uri = url.parse().map_err(|why| format!("{url:?} is no url: {why}"))?;
        let (secure, usual) = match uri.scheme_str() {
            Some("mqtt") => (false, 1883),
            Some("mqtts") => (true, 8883),
            Some(_) | None => return Err("must begin with mqtt:// or mqtts://".to_owned()),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("must not hold a name or a password: there are username and password_file".to_owned());
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("must end after the host and the port".to_owned());
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err("names no host".to_owned());
        }
        Ok(Address { host, port: uri.port_u16().unwrap_or(usual), secure })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_host_port_and_whether_tls_is_spoken() {
        let address = |host: &str, port, secure| Ok(Address { host: host.to_owned(), port, secure });
        assert_eq!(Address::parse("mqtt://broker.example"), address("broker.example", 1883, false));
        assert_eq!(Address::parse("mqtts://broker.example/"), address("broker.example", 8883, true));
        assert_eq!(Address::parse("mqtt://[::1]:1999"), address("::1", 1999, false));
        for wrong in
            ["broker", "http://broker", "mqtt://", "mqtt://jane:secret@broker", "mqtt://broker/topic", "", "mqtt://:1"]
        {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
