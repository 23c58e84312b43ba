//! Scripts that run in the server. Names each by the hash of its text, as the server does.

use std::sync::OnceLock;

/// A Lua script; a `static` of the module that calls it.
#[derive(Debug)]
pub struct Script {
    source: &'static str,
    sha1: OnceLock<String>,
}

impl Script {
    /// A script with this text.
    pub const fn new(source: &'static str) -> Script {
        Script { source, sha1: OnceLock::new() }
    }

    /// Its text.
    pub fn source(&self) -> &'static str {
        self.source
    }

    /// What the server calls it: the SHA-1 of its text, in hexadecimal digits.
    pub fn sha1(&self) -> &str {
        self.sha1.get_or_init(|| redis::Script::new(self.source).get_hash().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_called_as_the_server_calls_it() {
        // From the documentation of EVALSHA.
        assert_eq!(Script::new("return 1").sha1(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
