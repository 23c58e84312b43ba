//! The frames of one HTTP/2 connection as they pass (RFC 9113, section 4): what the HTTP library cannot be asked for is
//! written into them. The settings at the start may announce fewer streams, which are announced anew later, and GOAWAY
//! gets data. Over HTTP/1.1 nothing is touched.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const HEAD_BYTES: usize = 9;
/// What a client begins with, before its first frame.
const PREFACE_BYTES: usize = 24;
const CHUNK_BYTES: usize = 4 * 1024;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;

/// What is to be written into the frames of a connection. Takes effect with the next thing that is sent.
#[derive(Debug, Default)]
pub(super) struct Wire {
    orders: Mutex<Orders>,
}

#[derive(Debug, Default)]
struct Orders {
    /// Takes the place of what the first settings announce.
    first_streams: Option<u32>,
    /// To be announced in settings of their own.
    streams: Option<u32>,
    /// What GOAWAY carries.
    goaway: Option<Bytes>,
}

/// A connection through which frames pass.
#[derive(Debug)]
pub(super) struct Frames<S> {
    inner: S,
    /// None over HTTP/1.1.
    wire: Option<Arc<Wire>>,
    incoming: BytesMut,
    outgoing: BytesMut,
    reader: Reader,
    writer: Writer,
}

/// Where the frames that come stand.
#[derive(Debug)]
struct Reader {
    /// Of the preface, then of a frame's payload.
    rest: usize,
    head: BytesMut,
    acknowledged: bool,
}

/// Where the frames that go stand.
#[derive(Debug, Default)]
struct Writer {
    rest: usize,
    head: BytesMut,
    /// A frame that is to be changed, until it is whole.
    held: Option<BytesMut>,
    /// A header block goes on in the next frame; nothing may come in between.
    in_headers: bool,
}

impl Wire {
    pub(super) fn announce_first(&self, streams: u32) {
        self.orders().first_streams = Some(streams);
    }

    pub(super) fn announce(&self, streams: u32) {
        self.orders().streams = Some(streams);
    }

    pub(super) fn explain_goaway(&self, data: Bytes) {
        self.orders().goaway = Some(data);
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Frames<S> {
    pub(super) fn new(inner: S, wire: Option<Arc<Wire>>) -> Frames<S> {
        Frames {
            inner,
            wire,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            reader: Reader { rest: PREFACE_BYTES, head: BytesMut::new(), acknowledged: false },
            writer: Writer::default(),
        }
    }
}

impl<S: AsyncWrite + Unpin> Frames<S> {
    fn drain(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(task, &self.outgoing))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Frames<S> {
    fn poll_read(self: Pin<&mut Self>, task: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.wire.is_none() {
            return Pin::new(&mut this.inner).poll_read(task, out);
        }
        while this.incoming.is_empty() {
            let mut chunk = [0; CHUNK_BYTES];
            let mut chunk = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.inner).poll_read(task, &mut chunk))?;
            if chunk.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.reader.pass(chunk.filled(), &mut this.incoming);
        }
        let length = out.remaining().min(this.incoming.len());
        out.put_slice(&this.incoming[..length]);
        this.incoming.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Frames<S> {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let Some(wire) = &this.wire else {
            return Pin::new(&mut this.inner).poll_write(task, bytes);
        };
        let wire = Arc::clone(wire);
        ready!(this.drain(task))?;
        this.writer.pass(bytes, &wire, &mut this.outgoing);
        match this.drain(task) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // What is left goes with the next call; it is never more than what came with this one and a few frames.
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.drain(task))?;
        Pin::new(&mut this.inner).poll_flush(task)
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.drain(task))?;
        Pin::new(&mut this.inner).poll_shutdown(task)
    }
}

impl Reader {
    /// Leaves out acknowledgements of settings that the HTTP library did not send: it takes them for an attack.
    fn pass(&mut self, mut bytes: &[u8], out: &mut BytesMut) {
        while !bytes.is_empty() {
            let body = take(&mut bytes, self.rest);
            self.rest -= body.len();
            out.extend_from_slice(body);
            if self.rest > 0 || bytes.is_empty() {
                continue;
            }
            let head = take(&mut bytes, HEAD_BYTES - self.head.len());
            self.head.extend_from_slice(head);
            if self.head.len() < HEAD_BYTES {
                continue;
            }
            let head = self.head.split();
            self.rest = length(&head);
            let is_ack = head[3] == SETTINGS && head[4] & ACK != 0 && self.rest == 0;
            if !(is_ack && self.acknowledged) {
                out.extend_from_slice(&head);
            }
            self.acknowledged |= is_ack;
        }
    }
}

impl Writer {
    fn pass(&mut self, mut bytes: &[u8], wire: &Wire, out: &mut BytesMut) {
        self.insert(wire, out);
        while !bytes.is_empty() {
            if self.rest == 0 {
                let head = take(&mut bytes, HEAD_BYTES - self.head.len());
                self.head.extend_from_slice(head);
                if self.head.len() < HEAD_BYTES {
                    continue;
                }
                self.begin(wire, out);
            }
            let body = take(&mut bytes, self.rest);
            self.rest -= body.len();
            self.held.as_mut().unwrap_or(out).extend_from_slice(body);
            if self.rest == 0 {
                if let Some(held) = self.held.take() {
                    changed(&held, wire, out);
                }
                self.insert(wire, out);
            }
        }
    }

    fn begin(&mut self, wire: &Wire, out: &mut BytesMut) {
        let head = self.head.split();
        self.rest = length(&head);
        let (kind, flags) = (head[3], head[4]);
        self.in_headers = matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS == 0;
        let orders = wire.orders();
        let is_wanted = match kind {
            SETTINGS => flags & ACK == 0 && orders.first_streams.is_some(),
            GOAWAY => orders.goaway.is_some(),
            _ => false,
        };
        if is_wanted {
            self.held = Some(head);
        } else {
            out.extend_from_slice(&head);
        }
    }

    /// Puts the new settings between two frames.
    fn insert(&self, wire: &Wire, out: &mut BytesMut) {
        if self.rest > 0 || !self.head.is_empty() || self.in_headers {
            return;
        }
        let Some(streams) = wire.orders().streams.take() else { return };
        frame(SETTINGS, &[&MAX_CONCURRENT_STREAMS.to_be_bytes()[..], &streams.to_be_bytes()].concat(), out);
    }
}

/// Writes a held frame as it is to be.
fn changed(held: &[u8], wire: &Wire, out: &mut BytesMut) {
    let (head, payload) = held.split_at(HEAD_BYTES);
    let mut orders = wire.orders();
    let payload = if head[3] == GOAWAY {
        let data = orders.goaway.clone().unwrap_or_default();
        [payload, &data].concat()
    } else {
        let streams = orders.first_streams.take().unwrap_or(u32::MAX);
        let others = payload.chunks(6).filter(|setting| !setting.starts_with(&MAX_CONCURRENT_STREAMS.to_be_bytes()));
        let own = [&MAX_CONCURRENT_STREAMS.to_be_bytes()[..], &streams.to_be_bytes()].concat();
        others.chain([own.as_slice()]).collect::<Vec<_>>().concat()
    };
    frame(head[3], &payload, out);
}

/// A frame of the whole connection.
fn frame(kind: u8, payload: &[u8], out: &mut BytesMut) {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    out.extend_from_slice(&[length[1], length[2], length[3], kind, 0, 0, 0, 0, 0]);
    out.extend_from_slice(payload);
}

fn length(head: &[u8]) -> usize {
    usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])
}

/// Up to so many bytes off the front.
fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(most.min(bytes.len()));
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(frames: &[(u8, u8, &[u8])]) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        for (kind, flags, payload) in frames {
            let at = bytes.len();
            frame(*kind, payload, &mut bytes);
            bytes[at + 4] = *flags;
        }
        bytes.to_vec()
    }

    /// What leaves when `bytes` are written in pieces of each length.
    fn written(bytes: &[u8], order: impl Fn(&Wire), check: impl Fn(&[u8])) {
        for piece in 1..=bytes.len() {
            let (wire, mut writer, mut out) = (Wire::default(), Writer::default(), BytesMut::new());
            order(&wire);
            for part in bytes.chunks(piece) {
                writer.pass(part, &wire, &mut out);
            }
            check(&out);
        }
    }

    #[test]
    fn the_first_settings_say_fewer_streams() {
        let own = [0, 3, 0, 0, 3, 232, 0, 4, 0, 1, 0, 0];
        let later = [0, 3, 0, 0, 0, 9];
        let bytes = bytes_of(&[(SETTINGS, 0, &own), (SETTINGS, ACK, &[]), (SETTINGS, 0, &later)]);
        let told = bytes_of(&[
            (SETTINGS, 0, &[0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 0, 1]),
            (SETTINGS, ACK, &[]),
            (SETTINGS, 0, &later),
        ]);
        written(&bytes, |wire| wire.announce_first(1), |out| assert_eq!(out, told));
        written(&bytes, |_| {}, |out| assert_eq!(out, bytes));
    }

    #[test]
    fn goaway_says_why() {
        let bytes = bytes_of(&[(0, 1, b"body"), (GOAWAY, 0, &[0, 0, 0, 1, 0, 0, 0, 0])]);
        let told = bytes_of(&[(0, 1, b"body"), (GOAWAY, 0, b"\0\0\0\x01\0\0\0\0{\"reason\":\"Shutdown\"}")]);
        let reason = Bytes::from_static(b"{\"reason\":\"Shutdown\"}");
        written(&bytes, |wire| wire.explain_goaway(reason.clone()), |out| assert_eq!(out, told));
    }

    #[test]
    fn new_settings_never_part_a_header_block() {
        let bytes = bytes_of(&[(HEADERS, 0, b"half"), (CONTINUATION, END_HEADERS, b"rest"), (0, 1, b"body")]);
        let settings = [0, 3, 0, 0, 0, 50];
        let told = bytes_of(&[
            (HEADERS, 0, b"half"),
            (CONTINUATION, END_HEADERS, b"rest"),
            (SETTINGS, 0, &settings),
            (0, 1, b"body"),
        ]);
        for piece in 1..=bytes.len() {
            let (wire, mut writer, mut out) = (Wire::default(), Writer::default(), BytesMut::new());
            let mut parts = bytes.chunks(piece);
            writer.pass(parts.next().expect("a part"), &wire, &mut out);
            wire.announce(50);
            parts.for_each(|part| writer.pass(part, &wire, &mut out));
            // Before the settings may come one to three whole frames, by how large the first piece was.
            let inside = out.windows(15).position(|window| window == bytes_of(&[(SETTINGS, 0, &settings)]));
            let Some(at) = inside else { continue };
            assert!(at == 26 || at >= 39, "{piece}: {at}");
            if at == 26 {
                assert_eq!(out, told.as_slice());
            }
        }
    }

    #[test]
    fn only_the_first_acknowledgement_is_passed_on() {
        let ack = bytes_of(&[(SETTINGS, ACK, &[])]);
        let data = bytes_of(&[(0, 1, b"body")]);
        let all = [&[b'P'; PREFACE_BYTES][..], &ack, &data, &ack, &data].concat();
        let told = [&[b'P'; PREFACE_BYTES][..], &ack, &data, &data].concat();
        for piece in 1..=all.len() {
            let mut reader = Frames::new((), None).reader;
            let mut out = BytesMut::new();
            all.chunks(piece).for_each(|part| reader.pass(part, &mut out));
            assert_eq!(out, told.as_slice(), "{piece}");
        }
    }
}
