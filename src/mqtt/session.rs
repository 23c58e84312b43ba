//! One connection from greeting to end: reads, lets be taken, acknowledges, stays alive. One loop owns all of it.
//!
//! What is too much is not read, so the network holds it and then the broker does. The broker is asked whether it is
//! there all the while; its silence counts only when somebody listens.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::{Buf, BytesMut};
use parvis_engine::time::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_util::sync::CancellationToken;

use super::{
    frame::{Frame, Frames},
    link::Link,
    open::Stream,
    taking::{self, Told},
    waiting::{Message, Said, Waiting},
    wire::{self, Packet, Welcome},
};

/// Acknowledgements that wait for a broker that does not read; beyond this it is not read either.
const OUT_BYTES_MAX: usize = 64 * 1024;
/// A read takes no more.
const READ_BYTES: usize = 64 * 1024;
/// The first and the longest wait before messages that could not be taken are tried again.
const REST_MIN: Duration = Duration::from_millis(20);
const REST_MAX: Duration = Duration::from_secs(1);
/// The longest wait for a broker to read the last acknowledgements; what it has not read it sends again.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

type Reader = ReadHalf<Box<dyn Stream>>;
type Writer = WriteHalf<Box<dyn Stream>>;

/// Messages that are being taken.
type Round = Pin<Box<dyn Future<Output = (Vec<Message>, Result<Vec<Told>, String>)> + Send>>;

/// Opens the connection and serves it until it breaks or `stop` is cancelled. What has begun is done in either case.
///
/// # Errors
/// Why the connection could not be opened or is no more.
pub(super) async fn run(link: &Link, stop: &CancellationToken) -> Result<(), String> {
    let clock = &link.tools.clock;
    let opened = tokio::select! { biased;
        () = stop.cancelled() => return Ok(()),
        opened = open(link) => opened,
        () = clock.sleep(link.config.connect_timeout) => Err("no connection in time".to_owned()),
    };
    let (stream, frames, welcome) = opened?;
    tracing::debug!(
        mqtt.client_id = link.config.client_id,
        mqtt.session_present = welcome.session_present,
        "connected"
    );
    let mut session = Session::new(link, frames, &welcome)?;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut round = None;
    let ended = session.serve((&mut reader, &mut writer), stop, &mut round).await;
    if let Some(round) = round {
        // Nobody can be told any more; the broker sends it again, and repeats change nothing.
        let _ = round.await;
    }
    ended
}

/// Connects and greets.
async fn open(link: &Link) -> Result<(Box<dyn Stream>, Frames, Welcome), String> {
    let mut stream = link.opener.open().await?;
    let mut out = BytesMut::new();
    wire::connect(&link.config, link.secrets.password.as_deref(), &mut out)?;
    stream.write_all(&out).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut frames = Frames::new(link.config.packet_max);
    loop {
        match frames.next()? {
            None => receive(&mut stream, &mut frames.buffer).await?,
            Some(Frame::TooLarge(_)) => return Err("the broker sent a message before it took us".to_owned()),
            Some(Frame::Whole(first, body)) => match wire::read(link.config.version, first, body)? {
                Packet::Welcome(welcome) => return Ok((stream, frames, welcome)),
                Packet::Refused(why) | Packet::Closed(why) => return Err(format!("the broker refuses: {why}")),
                Packet::Granted(_) | Packet::Message(_) | Packet::Pong => {
                    return Err("the broker sent something before it took us".to_owned());
                }
            },
        }
    }
}

async fn receive(reader: &mut (impl AsyncReadExt + Unpin), buffer: &mut BytesMut) -> Result<(), String> {
    buffer.reserve(READ_BYTES);
    match reader.read_buf(buffer).await {
        Ok(0) => Err("the broker closed the connection".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(broken(error)),
    }
}

/// Writes all of it. Given up in the middle, it goes on where it was.
async fn send(writer: &mut Writer, out: &mut BytesMut) -> Result<(), String> {
    while out.has_remaining() {
        writer.write_buf(out).await.map_err(broken)?;
    }
    writer.flush().await.map_err(broken)
}

#[allow(clippy::needless_pass_by_value, reason = "stands where errors are mapped")]
fn broken(error: std::io::Error) -> String {
    format!("the connection broke: {error}")
}

struct Session<'a> {
    link: &'a Link,
    frames: Frames,
    waiting: Waiting,
    out: BytesMut,
    /// Since when something is to be written.
    unsent_since: Option<Timestamp>,
    keep_alive: Duration,
    ping_at: Timestamp,
    heard_at: Timestamp,
    /// Nothing is tried before this, after messages could not be taken.
    rest_until: Option<Timestamp>,
    rest: Duration,
    closing: bool,
}

impl<'a> Session<'a> {
    fn new(link: &'a Link, frames: Frames, welcome: &Welcome) -> Result<Session<'a>, String> {
        let config = &link.config;
        if !welcome.shares && config.subscription.iter().any(|subscription| subscription.shared.is_some()) {
            return Err("the broker knows no shared subscriptions".to_owned());
        }
        let now = link.tools.clock.now();
        let keep_alive = welcome.keep_alive.filter(|wanted| !wanted.is_zero()).unwrap_or(config.keep_alive);
        let mut out = BytesMut::new();
        wire::subscribe(config.version, &config.subscription, &mut out)?;
        Ok(Session {
            link,
            frames,
            waiting: Waiting::new(config.waiting_max, config.inflight_max.into()),
            out,
            unsent_since: Some(now),
            keep_alive,
            ping_at: now.plus(keep_alive / 2),
            heard_at: now,
            rest_until: None,
            rest: REST_MIN,
            closing: false,
        })
    }

    async fn serve(
        &mut self,
        (reader, writer): (&mut Reader, &mut Writer),
        stop: &CancellationToken,
        round: &mut Option<Round>,
    ) -> Result<(), String> {
        let clock = self.link.tools.clock.clone();
        loop {
            self.read_frames()?;
            self.begin(round);
            if self.closing && round.is_none() {
                return self.leave(writer).await;
            }
            let (reads, due) = (self.reads(), self.due());
            tokio::select! { biased;
                () = stop.cancelled(), if !self.closing => self.closing = true,
                (messages, told) = finish(round) => self.settle(messages, told),
                sent = send(writer, &mut self.out), if self.unsent_since.is_some() => {
                    sent?;
                    self.unsent_since = None;
                }
                received = receive(reader, &mut self.frames.buffer), if reads => {
                    received?;
                    self.heard_at = clock.now();
                }
                () = clock.sleep_until(Some(due)) => self.tick(reads)?,
            }
        }
    }

    /// Acknowledges what is done with and says goodbye; a broker that does not read keeps no node from closing.
    async fn leave(&mut self, writer: &mut Writer) -> Result<(), String> {
        wire::disconnect(&mut self.out);
        let goodbye = async {
            send(writer, &mut self.out).await?;
            writer.shutdown().await.map_err(broken)
        };
        tokio::select! { biased;
            said = goodbye => said,
            () = self.link.tools.clock.sleep(GOODBYE_MAX) => Err("the broker did not read the goodbye".to_owned()),
        }
    }

    /// Whether there is room for more.
    fn reads(&self) -> bool {
        !self.closing && self.waiting.has_room() && self.out.len() < OUT_BYTES_MAX
    }

    fn read_frames(&mut self) -> Result<(), String> {
        while self.reads() {
            match self.frames.next()? {
                None => return Ok(()),
                Some(Frame::TooLarge(id)) => self.waiting.push(Message { id, said: None }),
                Some(Frame::Whole(first, body)) => {
                    let bytes = body.len();
                    self.hear(wire::read(self.link.config.version, first, body)?, bytes)?;
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, packet: Packet, bytes: usize) -> Result<(), String> {
        match packet {
            Packet::Message(wire::Message { topic, payload, id, retained }) => {
                let said = Said { topic, payload, retained, bytes, received_at: self.link.tools.clock.now() };
                self.waiting.push(Message { id, said: Some(said) });
                Ok(())
            }
            Packet::Granted(granted) => self.granted(&granted),
            Packet::Pong => Ok(()),
            Packet::Closed(why) | Packet::Refused(why) => Err(format!("the broker ends the connection: {why}")),
            Packet::Welcome(_) => Err("the broker greets twice".to_owned()),
        }
    }

    /// A subscription that is refused leaves the others as they are; it takes somebody to look after it.
    fn granted(&self, granted: &[Result<(), String>]) -> Result<(), String> {
        let name = self.link.config.client_id.as_str();
        for (subscription, granted) in self.link.config.subscription.iter().zip(granted) {
            if let Err(why) = granted {
                tracing::error!(mqtt.client_id = name, "the broker refuses {:?}: {why}", subscription.topic);
            }
        }
        if granted.iter().all(Result::is_err) {
            return Err("the broker refuses every subscription".to_owned());
        }
        tracing::info!(mqtt.client_id = name, "listening to MQTT");
        self.link.tools.reporter.mqtt_connected(name, true);
        Ok(())
    }

    fn begin(&mut self, round: &mut Option<Round>) {
        if round.is_some() || self.closing || self.rest_until.is_some() || self.waiting.is_empty() {
            return;
        }
        let messages = self.waiting.next_round();
        let (tools, wanted) = (self.link.tools.clone(), self.link.config.subscription.clone());
        *round = Some(Box::pin(async move {
            let told = taking::take(&tools, &wanted, &messages).await;
            (messages, told)
        }));
    }

    fn settle(&mut self, messages: Vec<Message>, told: Result<Vec<Told>, String>) {
        let Link { tools, config, .. } = self.link;
        match told {
            Ok(told) => {
                self.rest = REST_MIN;
                for (format, outcome) in told {
                    tools.reporter.mqtt_message(format.map_or("none", super::Format::name), outcome.name());
                }
                // In the order in which they came: MQTT 5.0, section 4.6.
                messages.iter().filter_map(|message| message.id).for_each(|id| wire::acknowledge(id, &mut self.out));
                self.waiting.done(&messages);
                if !self.out.is_empty() {
                    self.unsent_since.get_or_insert(tools.clock.now());
                }
            }
            Err(why) => {
                tracing::debug!(mqtt.client_id = config.client_id, "{} messages wait: {why}", messages.len());
                self.waiting.put_back(messages);
                self.rest_until = Some(tools.clock.now().plus(self.rest));
                self.rest = self.rest.saturating_mul(2).min(REST_MAX);
            }
        }
    }

    /// When time alone is to cause something.
    fn due(&self) -> Timestamp {
        let lost_at = self.heard_at.plus(self.keep_alive);
        let unsent_until = self.unsent_since.map(|since| since.plus(self.keep_alive));
        let others = [Some(lost_at), unsent_until, self.rest_until];
        others.into_iter().flatten().fold(self.ping_at, Timestamp::min)
    }

    fn tick(&mut self, reads: bool) -> Result<(), String> {
        let now = self.link.tools.clock.now();
        if self.rest_until.is_some_and(|until| until <= now) {
            self.rest_until = None;
        }
        if self.unsent_since.is_some_and(|since| since.plus(self.keep_alive) <= now) {
            return Err("the broker reads nothing any more".to_owned());
        }
        if !reads {
            self.heard_at = now;
        }
        if self.heard_at.plus(self.keep_alive) <= now {
            return Err("the broker is silent".to_owned());
        }
        // Half of the keep alive: an answer is heard before the other half is over.
        if self.ping_at <= now {
            wire::ping(&mut self.out);
            self.unsent_since.get_or_insert(now);
            self.ping_at = now.plus(self.keep_alive / 2);
        }
        Ok(())
    }
}

/// Waits for a round, if there is one.
async fn finish(round: &mut Option<Round>) -> (Vec<Message>, Result<Vec<Told>, String>) {
    match round {
        Some(under_way) => {
            let done = under_way.await;
            *round = None;
            done
        }
        None => std::future::pending().await,
    }
}
