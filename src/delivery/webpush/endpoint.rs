//! Which push services may be called. Endpoints come from clients: without this check anybody who can register a
//! device could make the daemon call any host (server-side request forgery). The addresses that a name resolves to
//! are checked where the connection is made.

use http::Uri;
use parvis_engine::retry::Outcome;

/// The push services of the browsers: Chrome and its kin, Firefox, Safari, Edge.
pub const BROWSER_HOSTS: [&str; 4] =
    ["fcm.googleapis.com", "push.services.mozilla.com", "push.apple.com", "notify.windows.com"];

/// Longer URLs are not subscriptions; the longest known have about 700 bytes.
const URL_BYTES_MAX: usize = 2048;

/// A subscription's URL that may be called.
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL.
    pub uri: Uri,
    /// Scheme, host and a port that is not the default one: the audience of tokens (RFC 8292, section 2).
    pub origin: String,
}

/// The hosts that may be called, each with its subdomains; lower case.
#[derive(Clone, Debug)]
pub struct Allowed(Vec<String>);

impl Allowed {
    /// Hosts from the configuration.
    ///
    /// # Errors
    /// The first entry that is not a host name.
    pub fn new(hosts: &[String]) -> Result<Allowed, String> {
        let is_host = |host: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte);
            !host.is_empty() && !host.starts_with('.') && host.bytes().all(fits)
        };
        match hosts.iter().find(|host| !is_host(host)) {
            Some(odd) => Err(format!("{odd:?} is not a host name; subdomains are included without a wildcard")),
            None => Ok(Allowed(hosts.iter().map(|host| host.to_ascii_lowercase()).collect())),
        }
    }

    /// The endpoint, if it may be called.
    ///
    /// # Errors
    /// The outcome: a URL that can never be one is no target, a host that is not allowed is an operator's choice.
    pub fn check(&self, url: &str) -> Result<Endpoint, Outcome> {
        let endpoint =
            parse(url).ok_or_else(|| Outcome::Unregistered { since: None, reason: "bad_endpoint".to_owned() })?;
        let host = endpoint.uri.host().unwrap_or_default().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let allows = |allowed: &String| {
            host.strip_suffix(allowed.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        if self.0.iter().any(allows) {
            Ok(endpoint)
        } else {
            Err(Outcome::Rejected { reason: "endpoint_not_allowed".to_owned() })
        }
    }
}

fn parse(url: &str) -> Option<Endpoint> {
    if url.len() > URL_BYTES_MAX {
        return None;
    }
    let uri: Uri = url.parse().ok()?;
    let authority = uri.authority()?;
    let fits = uri.scheme() == Some(&http::uri::Scheme::HTTPS)
        && !authority.host().is_empty()
        && !authority.as_str().contains('@');
    if !fits {
        return None;
    }
    let host = authority.host().to_ascii_lowercase();
    let origin = match authority.port_u16() {
        None | Some(443) => format!("https://{host}"),
        Some(port) => format!("https://{host}:{port}"),
    };
    Some(Endpoint { uri, origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str) -> Result<String, String> {
        let hosts: Vec<String> = BROWSER_HOSTS.iter().map(|&host| host.to_owned()).collect();
        let allowed = Allowed::new(&hosts).expect("hosts");
        allowed.check(url).map(|endpoint| endpoint.origin).map_err(|outcome| match outcome {
            Outcome::Rejected { reason } | Outcome::Unregistered { reason, .. } => reason,
            Outcome::Accepted | Outcome::Throttled { .. } | Outcome::Unavailable { .. } => "other".to_owned(),
        })
    }

    #[test]
    fn browsers_are_allowed() {
        for (url, origin) in [
            ("https://fcm.googleapis.com/fcm/send/abc:def", "https://fcm.googleapis.com"),
            ("https://updates.push.services.mozilla.com/wpush/v2/gAAA", "https://updates.push.services.mozilla.com"),
            ("https://web.push.apple.com/QGuO", "https://web.push.apple.com"),
            ("https://wns2-par02p.notify.windows.com/w/?token=BQ%2b", "https://wns2-par02p.notify.windows.com"),
            ("https://FCM.googleapis.com:443/x", "https://fcm.googleapis.com"),
            ("https://fcm.googleapis.com:8443/x", "https://fcm.googleapis.com:8443"),
        ] {
            assert_eq!(check(url).as_deref(), Ok(origin), "{url}");
        }
    }

    #[test]
    fn others_are_not() {
        for url in [
            "https://shop.example/x",
            "https://evilpush.apple.com.example/x",
            "https://evilfcm.googleapis.com/x",
            "https://127.0.0.1/x",
            "https://[::1]/x",
            "https://localhost:8080/x",
        ] {
            assert_eq!(check(url).err().as_deref(), Some("endpoint_not_allowed"), "{url}");
        }
        for url in [
            "",
            "fcm.googleapis.com",
            "http://fcm.googleapis.com/x",
            "https:///x",
            "https://fcm.googleapis.com@shop.example/x",
            "https://user:word@fcm.googleapis.com/x",
            "https://fcm.googleapis.com\\@shop.example/x",
            "ftp://fcm.googleapis.com/x",
            &format!("https://fcm.googleapis.com/{}", "x".repeat(2048)),
        ] {
            assert_eq!(check(url).err().as_deref(), Some("bad_endpoint"), "{url}");
        }
    }

    #[test]
    fn wildcards_are_refused_by_name() {
        assert!(Allowed::new(&["*.push.apple.com".to_owned()]).is_err());
        assert!(Allowed::new(&[".push.apple.com".to_owned()]).is_err());
    }
}
