//! A push service that says yes to everything: HTTP/2 over TLS on loopback, frame by frame, so that what is measured is
//! the client. It reads no header and keeps nothing.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use bytes::{Buf, BytesMut};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
/// Announces 1,000 streams, as Apple does, and says 200.
const ANNOUNCEMENT: [u8; 6] = [0, 3, 0, 0, 3, 0xe8];
const STATUS_200: u8 = 0x88;

/// A running sink; it ends with this value.
pub(crate) struct Sink {
    pub(crate) port: u16,
    /// The thread's id, for its processor time.
    thread_id: String,
    requests: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A certificate for loopback, written to a folder, and the setting that shows it.
pub(crate) struct Certificate {
    pub(crate) file: PathBuf,
    tls: Arc<ServerConfig>,
}

impl Certificate {
    pub(crate) fn new(folder: &Path) -> Certificate {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let rcgen::CertifiedKey { cert, signing_key } = made.expect("a certificate");
        let file = folder.join("ca.pem");
        std::fs::write(&file, cert.pem()).expect("writable");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("a usable certificate");
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Certificate { file, tls: Arc::new(tls) }
    }
}

impl Sink {
    pub(crate) fn start(certificate: &Certificate) -> Sink {
        let acceptor = TlsAcceptor::from(Arc::clone(&certificate.tls));
        let (told, ports) = std::sync::mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel();
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                let thread = std::fs::read_link("/proc/thread-self").unwrap_or_default();
                let thread = thread.file_name().unwrap_or_default().to_string_lossy().into_owned();
                told.send((listener.local_addr().expect("bound").port(), thread)).expect("somebody listens");
                tokio::select! { biased;
                    _ = stopped => {}
                    () = accept(listener, acceptor, counted) => {}
                }
            });
        });
        let (port, thread_id) = ports.recv().expect("it starts");
        Sink { port, thread_id, requests, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Requests that were answered.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Processor time so far (Linux).
    pub(crate) fn processor_us(&self) -> f64 {
        crate::load::processor_us(&format!("/proc/self/task/{}/stat", self.thread_id))
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, requests: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        tcp.set_nodelay(true).expect("settable");
        connections.spawn(serve(tcp, acceptor.clone(), Arc::clone(&requests)));
    }
}

async fn serve(tcp: TcpStream, acceptor: TlsAcceptor, requests: Arc<AtomicUsize>) -> Option<()> {
    let mut tls = acceptor.accept(tcp).await.ok()?;
    let (mut read, mut said) = (BytesMut::with_capacity(1 << 16), Vec::new());
    frame(&mut said, SETTINGS, 0, 0, &ANNOUNCEMENT);
    window(&mut said, 1 << 30);
    tls.write_all(&said).await.ok()?;
    while read.len() < PREFACE_BYTES {
        read_more(&mut tls, &mut read).await?;
    }
    read.advance(PREFACE_BYTES);
    loop {
        said.clear();
        let mut taken = 0;
        while let Some(length) = whole(&read) {
            let (kind, flags) = (read[3], read[4]);
            let stream = u32::from_be_bytes([read[5], read[6], read[7], read[8]]);
            match kind {
                DATA | HEADERS => {
                    taken += if kind == DATA { length } else { 0 };
                    if flags & END_STREAM != 0 {
                        frame(&mut said, HEADERS, 5, stream, &[STATUS_200]);
                        requests.fetch_add(1, Ordering::Relaxed);
                    }
                }
                SETTINGS if flags & ACK == 0 => frame(&mut said, SETTINGS, ACK, 0, &[]),
                PING if flags & ACK == 0 => frame(&mut said, PING, ACK, 0, &read[HEAD_BYTES..HEAD_BYTES + length]),
                _ => {}
            }
            read.advance(HEAD_BYTES + length);
        }
        if taken > 0 {
            window(&mut said, u32::try_from(taken).unwrap_or(u32::MAX));
        }
        if !said.is_empty() {
            tls.write_all(&said).await.ok()?;
            tls.flush().await.ok()?;
        }
        read_more(&mut tls, &mut read).await?;
    }
}

async fn read_more(tls: &mut tokio_rustls::server::TlsStream<TcpStream>, read: &mut BytesMut) -> Option<()> {
    read.reserve(1 << 15);
    (tls.read_buf(read).await.ok()? > 0).then_some(())
}

/// The length of the first frame's payload, if it is there as a whole.
fn whole(read: &[u8]) -> Option<usize> {
    let head = read.get(..HEAD_BYTES)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    (read.len() >= HEAD_BYTES + length).then_some(length)
}

fn window(said: &mut Vec<u8>, bytes: u32) {
    const WINDOW_UPDATE: u8 = 8;
    frame(said, WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes());
}

fn frame(said: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    said.extend([length[1], length[2], length[3], kind, flags]);
    said.extend(stream.to_be_bytes());
    said.extend(payload);
}
