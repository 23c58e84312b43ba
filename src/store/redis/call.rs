//! One command or script with its keys and arguments. Does not say where it goes; its first key does.

use redis::{Arg, Cmd, ToRedisArgs};

use super::script::Script;

/// What is asked of a server.
#[derive(Clone, Debug)]
pub struct Call {
    pub(super) command: Cmd,
    pub(super) slot: u16,
    pub(super) script: Option<&'static Script>,
    pub(super) durable: bool,
}

impl Call {
    /// A command whose first argument is this key; further keys must have the same hash tag.
    pub fn command(name: &str, key: impl AsRef<[u8]>) -> Call {
        let key = key.as_ref();
        let mut command = redis::cmd(name);
        command.arg(key);
        Call { command, slot: slot(key), script: None, durable: false }
    }

    /// A script with all the keys that it touches, which have one hash tag.
    pub fn script<K: AsRef<[u8]>>(script: &'static Script, keys: &[K]) -> Call {
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.sha1()).arg(keys.len());
        for key in keys {
            command.arg(key.as_ref());
        }
        let slot = keys.first().map_or(0, |key| slot(key.as_ref()));
        Call { command, slot, script: Some(script), durable: false }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl ToRedisArgs) -> Call {
        self.command.arg(argument);
        self
    }

    /// It writes what must outlive a failover: if replicas are to have it, its answer waits for them. It must write
    /// something even when it finds its work done, or there is nothing for replicas to acknowledge.
    #[must_use]
    pub fn durable(self) -> Call {
        Call { durable: true, ..self }
    }

    /// The same with the script's text in place of its name.
    pub(super) fn with_source(&self, script: &Script) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(script.source());
        for argument in self.command.args_iter().skip(2) {
            if let Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}

const SLOTS: u16 = 16_384;

/// The slot of a key: CRC16 (XMODEM) of what stands between the first `{` and the next `}`, if that is something, or of
/// the whole key. From the Redis Cluster specification.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let length = rest.iter().position(|&byte| byte == b'}')?;
        (length > 0).then(|| &rest[..length])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8)
            .fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"a{foo}b{bar}"), 12_182);
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
    }

    #[test]
    fn a_script_is_sent_by_name_and_by_text_with_the_same_keys_and_arguments() {
        static SCRIPT: Script = Script::new("return 1");
        let call = Call::script(&SCRIPT, &["{a}:x", "{a}:y"]).arg(7).arg("z").durable();
        let words = |command: &Cmd| -> Vec<String> {
            let text = |argument| {
                let Arg::Simple(bytes) = argument else { panic!("no cursor is put into a call") };
                String::from_utf8_lossy(bytes).into_owned()
            };
            command.args_iter().map(text).collect()
        };
        assert_eq!(words(&call.command), ["EVALSHA", SCRIPT.sha1(), "2", "{a}:x", "{a}:y", "7", "z"]);
        assert_eq!(words(&call.with_source(&SCRIPT)), ["EVAL", "return 1", "2", "{a}:x", "{a}:y", "7", "z"]);
        assert!(call.durable && call.slot == slot(b"a"));
    }
}
