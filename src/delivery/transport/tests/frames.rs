//! A peer that speaks HTTP/2 frame by frame (RFC 9113), for what no server library does on purpose, and a loopback in
//! memory, on which time can stand still.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    sync::{Mutex, mpsc},
};

use super::super::{
    Error,
    dial::{Dial, Wire},
};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;
/// `:status: 200`, the eighth entry of the static table (RFC 7541, appendix A).
const STATUS_200: u8 = 0x88;

pub(super) const NO_ERROR: u32 = 0;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;

/// A frame that was read.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    /// Whether a request is complete with this frame.
    pub(super) fn ends_request(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

/// The other end of a connection.
pub(super) struct Speaker<T> {
    io: T,
    pub(super) answers_pings: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Speaker<T> {
    /// Reads the preface and announces so many streams.
    pub(super) async fn accept(mut io: T, streams: u32) -> Speaker<T> {
        let mut preface = [0; 24];
        io.read_exact(&mut preface).await.expect("a preface");
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut speaker = Speaker { io, answers_pings: true };
        speaker.announce(streams).await;
        speaker
    }

    pub(super) async fn announce(&mut self, streams: u32) {
        let mut payload = MAX_CONCURRENT_STREAMS.to_be_bytes().to_vec();
        payload.extend(streams.to_be_bytes());
        self.write(SETTINGS, 0, 0, &payload).await;
    }

    /// The next frame of a stream, ping or goodbye; none at the end. Settings and pings are acknowledged on the way.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.io.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut payload = vec![0; length as usize];
            self.io.read_exact(&mut payload).await.ok()?;
            let frame = Frame { kind: head[3], flags: head[4], stream, payload };
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.write(SETTINGS, ACK, 0, &[]).await,
                PING if frame.flags & ACK == 0 => {
                    if self.answers_pings {
                        self.write(PING, ACK, 0, &frame.payload).await;
                    }
                    return Some(frame);
                }
                DATA | HEADERS | RST_STREAM | GOAWAY => return Some(frame),
                _ => {}
            }
        }
    }

    /// The stream of the next complete request.
    pub(super) async fn request(&mut self) -> u32 {
        loop {
            let frame = self.next().await.expect("a request");
            if frame.ends_request() {
                return frame.stream;
            }
        }
    }

    pub(super) async fn answer(&mut self, stream: u32) {
        self.write(HEADERS, END_HEADERS | END_STREAM, stream, &[STATUS_200]).await;
    }

    /// A status without the rest.
    pub(super) async fn begin_answer(&mut self, stream: u32) {
        self.write(HEADERS, END_HEADERS, stream, &[STATUS_200]).await;
    }

    pub(super) async fn reset(&mut self, stream: u32, code: u32) {
        self.write(RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }

    pub(super) async fn goodbye(&mut self, last: u32, code: u32, why: &str) {
        let mut payload = last.to_be_bytes().to_vec();
        payload.extend(code.to_be_bytes());
        payload.extend(why.bytes());
        self.write(GOAWAY, 0, 0, &payload).await;
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        // The other side may have gone, which a test sees elsewhere.
        let _ = self.io.write_all(&frame).await;
    }
}

/// Connections in memory.
pub(super) struct Loopback {
    accepted: Mutex<mpsc::Receiver<DuplexStream>>,
    dialled: Arc<AtomicUsize>,
}

/// The side that dials.
pub(super) struct Dialer {
    accepted: mpsc::Sender<DuplexStream>,
    dialled: Arc<AtomicUsize>,
    fails: bool,
}

impl Loopback {
    pub(super) fn new(fails: bool) -> (Loopback, Box<dyn Dial>) {
        let (sender, accepted) = mpsc::channel(64);
        let dialled = Arc::new(AtomicUsize::new(0));
        let dialer = Dialer { accepted: sender, dialled: Arc::clone(&dialled), fails };
        (Loopback { accepted: Mutex::new(accepted), dialled }, Box::new(dialer))
    }

    pub(super) fn dialled(&self) -> usize {
        self.dialled.load(Ordering::SeqCst)
    }

    pub(super) async fn accept(&self, streams: u32) -> Speaker<DuplexStream> {
        let io = self.accepted.lock().await.recv().await.expect("a connection");
        Speaker::accept(io, streams).await
    }
}

#[async_trait]
impl Dial for Dialer {
    async fn dial(&self) -> Result<Wire, Error> {
        self.dialled.fetch_add(1, Ordering::SeqCst);
        // As on a network, it takes more than a moment.
        tokio::task::yield_now().await;
        if self.fails {
            return Err(Error::Connect("refused".to_owned()));
        }
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        self.accepted.send(theirs).await.expect("a listener");
        Ok(Wire { io: Box::new(ours), is_http2: true })
    }
}
