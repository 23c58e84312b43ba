//! The usual open-source geofence server over the plain Redis protocol (RESP 2): the same city as fences and points, the
//! same loop. Its commands are written here; what it is called and how it does it is its own affair.
//!
//! Source: Redis, "Redis serialization protocol specification"; the commands `SET`, `SETCHAN`, `SETHOOK`, `NEARBY`,
//! `WITHIN` with `FENCE` as such servers document them.

pub(crate) mod fences;
mod reply;
pub(crate) mod subscriber;

use std::{io::Write as _, time::Duration};

use anyhow::Context as _;
use bytes::BytesMut;
use parvis_loadgen::city::{City, Ping, device_id};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use self::reply::Value;
use crate::{
    drive::{Carrier, Reply},
    measure::Verdict,
};

/// The collection that all points are in.
const FLEET: &str = "fleet";
/// A batch that is not answered within this time counts as failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that speaks RESP.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// `host:port`.
    pub(crate) address: String,
    /// What `AUTH` is asked with.
    pub(crate) password: Option<String>,
}

/// An open connection.
pub(crate) struct Stream {
    tcp: TcpStream,
    read: BytesMut,
}

/// A worker's connection: a batch of `SET`s goes out at once, then its replies are read.
pub(crate) struct Pipe {
    server: Server,
    stream: Option<Stream>,
}

/// Commands and how many they are.
pub(crate) struct Commands {
    pub(crate) bytes: Vec<u8>,
    pub(crate) count: usize,
}

impl Commands {
    pub(crate) fn new() -> Commands {
        Commands { bytes: Vec::new(), count: 0 }
    }

    /// Appends one command: an array of bulk strings.
    pub(crate) fn push(&mut self, words: &[&[u8]]) {
        let bytes = &mut self.bytes;
        let written: std::io::Result<()> = (|| {
            write!(bytes, "*{}\r\n", words.len())?;
            for word in words {
                write!(bytes, "${}\r\n", word.len())?;
                bytes.extend_from_slice(word);
                bytes.extend_from_slice(b"\r\n");
            }
            Ok(())
        })();
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        self.count += 1;
    }
}

impl Server {
    /// Connects and says who this is.
    ///
    /// # Errors
    /// If nobody listens or the password is refused.
    pub(crate) async fn open(&self) -> anyhow::Result<Stream> {
        let tcp =
            TcpStream::connect(&self.address).await.with_context(|| format!("no connection to {}", self.address))?;
        tcp.set_nodelay(true).context("no connection")?;
        let mut stream = Stream { tcp, read: BytesMut::new() };
        if let Some(password) = &self.password {
            let mut commands = Commands::new();
            commands.push(&[b"AUTH", password.as_bytes()]);
            let verdict = stream.exchange(&commands).await?;
            anyhow::ensure!(verdict.failed == 0, "{}: {}", self.address, verdict.why.unwrap_or_default());
        }
        Ok(stream)
    }
}

impl Stream {
    /// Sends commands and counts their replies.
    ///
    /// # Errors
    /// If the connection breaks, or what comes is no RESP.
    pub(crate) async fn exchange(&mut self, commands: &Commands) -> anyhow::Result<Verdict> {
        self.tcp.write_all(&commands.bytes).await.context("the connection broke")?;
        let mut verdict = Verdict::default();
        for _ in 0..commands.count {
            self.next(|value| match value {
                Value::Error(text) => {
                    verdict.failed += 1;
                    verdict.why.get_or_insert_with(|| kind(text));
                }
                Value::Simple(_) | Value::Integer(_) | Value::Bulk(_) | Value::Array(_) => verdict.accepted += 1,
            })
            .await?;
        }
        Ok(verdict)
    }

    /// The next value that comes.
    pub(crate) async fn next<T>(&mut self, look: impl FnOnce(&Value<'_>) -> T) -> anyhow::Result<T> {
        loop {
            if let Some((value, length)) = reply::parse(&self.read)? {
                let looked = look(&value);
                drop(value);
                bytes::Buf::advance(&mut self.read, length);
                return Ok(looked);
            }
            self.read.reserve(1 << 14);
            let count = self.tcp.read_buf(&mut self.read).await.context("the connection broke")?;
            anyhow::ensure!(count > 0, "the server closed the connection");
        }
    }
}

/// The part of an error that does not name what the command was about.
fn kind(error: &[u8]) -> String {
    const CHARS_MAX: usize = 80;
    let text = String::from_utf8_lossy(error);
    text.split(", with args").next().unwrap_or_default().chars().take(CHARS_MAX).collect()
}

impl Pipe {
    pub(crate) fn new(server: &Server) -> Pipe {
        Pipe { server: server.clone(), stream: None }
    }

    async fn exchange(&mut self, commands: &Commands) -> anyhow::Result<Verdict> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(self.server.open().await?),
        };
        stream.exchange(commands).await
    }
}

impl Carrier for Pipe {
    type Packed = Commands;

    fn pack(&mut self, _: &City, pings: &[Ping]) -> Commands {
        let mut commands = Commands::new();
        commands.bytes.reserve(pings.len() * 128);
        for ping in pings {
            let (lat, lon) = (ping.lat.to_string(), ping.lon.to_string());
            let device = device_id(ping.phone);
            commands.push(&[b"SET", FLEET.as_bytes(), device.as_bytes(), b"POINT", lat.as_bytes(), lon.as_bytes()]);
        }
        commands
    }

    async fn send(&mut self, packed: &Commands) -> Reply {
        let sent = tokio::time::timeout(PATIENCE, self.exchange(packed)).await;
        match sent.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {} s", PATIENCE.as_secs()))) {
            Ok(verdict) => Reply::Settled(verdict),
            Err(error) => {
                self.stream = None;
                Reply::Broken(format!("{error:#}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_an_array_of_bulk_strings() {
        let mut commands = Commands::new();
        commands.push(&[b"SET", b"fleet", b"\r\n", b""]);
        assert_eq!(commands.bytes, b"*4\r\n$3\r\nSET\r\n$5\r\nfleet\r\n$2\r\n\r\n\r\n$0\r\n\r\n");
        assert_eq!(commands.count, 1);
    }

    #[test]
    fn errors_of_one_kind_read_the_same() {
        let first = kind(b"ERR unknown command 'SETCHAN', with args beginning with: 'shop-1'");
        assert_eq!(first, "ERR unknown command 'SETCHAN'");
    }
}
