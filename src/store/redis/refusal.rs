//! What a server's refusal means: go elsewhere, say it again in full, or tell the caller in words that help.

use redis::ServerError;

use super::address::Address;
use crate::store::Error;

/// What is to be done about a refusal. In each case the call was not done.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// The script is to be sent with its text.
    Unknown,
    /// The slot lives elsewhere.
    Moved(Address),
    /// The slot is on its way elsewhere, and these keys are there already.
    Asked(Address),
    /// The caller is to know.
    Told {
        /// What the caller gets.
        error: Error,
        /// Whether somebody else may be master by now.
        stale: bool,
    },
}

/// Reads the refusal of the server at this address.
pub(super) fn read(error: &ServerError, from: &Address) -> Refusal {
    let detail = error.details().unwrap_or_default();
    let told = |sentence: &str, stale| Refusal::Told {
        error: Error::Unavailable(format!("Redis at {from} {sentence}")),
        stale,
    };
    match error.code() {
        "NOSCRIPT" => Refusal::Unknown,
        "MOVED" => redirect(detail, from).map_or_else(|| told("redirects to nowhere", true), Refusal::Moved),
        "ASK" => redirect(detail, from).map_or_else(|| told("redirects to nowhere", true), Refusal::Asked),
        "TRYAGAIN" => told("is moving these keys to another node", false),
        "CLUSTERDOWN" => told(&format!("says that the cluster is down: {detail}"), true),
        "MASTERDOWN" => told("is a replica without its master", true),
        "READONLY" => told("is a replica and takes no writes; asking again who is master", true),
        "UNBLOCKED" => told("stopped being the master", true),
        "LOADING" => told("still reads its data after a start", false),
        "BUSY" => told("is busy with a script that runs for too long", false),
        "OOM" => told("has no memory left (maxmemory) and takes no writes", false),
        "NOREPLICAS" => told("takes no writes: too few replicas are in step (min-replicas-to-write)", false),
        "MISCONF" => told("takes no writes because it can't save them to disk (MISCONF)", false),
        "NOAUTH" | "WRONGPASS" => told("does not know this user, or its password is another", false),
        "NOPERM" => told(&format!("does not permit this: {}", plain(detail)), false),
        "WRONGTYPE" => Refusal::Told {
            error: Error::Corrupt(format!("Redis at {from} holds something else under one of our keys")),
            stale: false,
        },
        code => told(&format!("refuses: {code} {}", plain(detail)), false),
    }
}

/// `1234 10.0.0.1:7000`; without a host it is the host that answered.
fn redirect(detail: &str, from: &Address) -> Option<Address> {
    let place = detail.split_ascii_whitespace().nth(1)?;
    match place.strip_prefix(':') {
        Some(port) => Some(Address { host: from.host.clone(), port: port.parse().ok()? }),
        None => {
            let (host, port) = place.rsplit_once(':')?;
            Some(Address { host: host.to_owned(), port: port.parse().ok()? })
        }
    }
}

/// Without the arguments that a server repeats when it does not know a command.
fn plain(detail: &str) -> &str {
    detail.split(", with args beginning with").next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use redis::{Value, parse_redis_value};

    use super::*;

    fn refused(line: &str) -> Refusal {
        let from = Address { host: "10.0.0.1".to_owned(), port: 7_000 };
        let Ok(Value::ServerError(error)) = parse_redis_value(format!("-{line}\r\n").as_bytes()) else {
            panic!("{line} is an error")
        };
        read(&error, &from)
    }

    #[test]
    fn redirections_are_followed() {
        let to = |host: &str, port| Address { host: host.to_owned(), port };
        assert_eq!(refused("MOVED 3999 10.0.0.2:7001"), Refusal::Moved(to("10.0.0.2", 7_001)));
        assert_eq!(refused("MOVED 3999 :7001"), Refusal::Moved(to("10.0.0.1", 7_001)));
        assert_eq!(refused("ASK 3999 fe80::1:7001"), Refusal::Asked(to("fe80::1", 7_001)));
        assert_eq!(refused("NOSCRIPT No matching script. Please use EVAL."), Refusal::Unknown);
    }

    #[test]
    fn each_refusal_is_told_in_words() {
        for (line, word, elsewhere) in [
            ("MOVED 3999", "nowhere", true),
            ("TRYAGAIN Multiple keys request during rehashing of slot", "moving", false),
            ("CLUSTERDOWN The cluster is down", "cluster is down", true),
            ("MASTERDOWN Link with MASTER is down", "without its master", true),
            ("READONLY You can't write against a read only replica.", "who is master", true),
            ("LOADING Redis is loading the dataset in memory", "after a start", false),
            ("OOM command not allowed when used memory > 'maxmemory'.", "maxmemory", false),
            ("NOREPLICAS Not enough good replicas to write.", "min-replicas-to-write", false),
            ("MISCONF Redis is configured to save RDB snapshots", "disk", false),
            ("NOPERM this user has no permissions to run the 'eval' command", "'eval'", false),
            ("ERR value is not an integer", "ERR value is not", false),
        ] {
            let Refusal::Told { error: Error::Unavailable(told), stale } = refused(line) else { panic!("{line}") };
            assert!(told.contains(word) && told.contains("10.0.0.1:7000"), "{told}");
            assert_eq!(stale, elsewhere, "{line}");
        }
        let wrong = refused("WRONGTYPE Operation against a key holding the wrong kind of value");
        assert!(matches!(wrong, Refusal::Told { error: Error::Corrupt(_), .. }));
    }

    #[test]
    fn arguments_are_not_repeated() {
        let unknown = refused("ERR unknown command 'SETT', with args beginning with: 'shopper' '48.85' ");
        assert!(!format!("{unknown:?}").contains("48.85"));
    }
}
