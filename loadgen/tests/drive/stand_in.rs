//! Servers that answer as they are told: one that speaks HTTP/1.1, one that speaks RESP.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

/// How observations are answered; every other request is not found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// The first ones with 429, and then all are taken.
    SendsBack { times: usize },
    /// Every second one with the end of the connection.
    Resets,
    /// Every second one with words that make no sense.
    Babbles,
    /// Every second one with 500.
    Fails,
}

/// A listener whose connections have threads of their own; it ends with this value.
struct Listener {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    fn start(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> Listener {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopped);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let serve = serve.clone();
                // Ends with its connection, which the generator closes when it ends.
                std::thread::spawn(move || serve(stream));
            }
        });
        Listener { address, stopped, thread: Some(thread) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// A daemon that is none.
pub(crate) struct StandIn {
    listener: Listener,
}

impl StandIn {
    pub(crate) fn start(manner: Manner) -> StandIn {
        let count = Arc::new(AtomicUsize::new(0));
        let listener = Listener::start(move |stream| {
            // A connection that breaks is the generator's affair.
            let _ = serve(stream, manner, &count);
        });
        StandIn { listener }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listener.address)
    }
}

fn serve(stream: TcpStream, manner: Manner, count: &AtomicUsize) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some((head, body)) = request(&mut reader)? {
        if !head.starts_with("POST ") {
            answer(&mut writer, "404 Not Found", "")?;
            continue;
        }
        let pings = String::from_utf8_lossy(&body).matches("\"kind\":").count();
        let taken = format!(r#"{{"accepted":{pings},"rejected":[],"transitions":[]}}"#);
        let number = count.fetch_add(1, Ordering::Relaxed);
        match manner {
            Manner::SendsBack { times } if number < times => {
                answer(&mut writer, "429 Too Many Requests\r\nretry-after: 0", "later")?;
            }
            Manner::Resets if number % 2 == 1 => return Ok(()),
            Manner::Babbles if number % 2 == 1 => answer(&mut writer, "200 OK", "what?")?,
            Manner::Fails if number % 2 == 1 => answer(&mut writer, "500 Internal Server Error", "no")?,
            Manner::SendsBack { .. } | Manner::Resets | Manner::Babbles | Manner::Fails => {
                answer(&mut writer, "200 OK", &taken)?;
            }
        }
    }
    Ok(())
}

fn request(reader: &mut impl BufRead) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    Ok(Some((head, body)))
}

fn answer(writer: &mut impl Write, status: &str, body: &str) -> std::io::Result<()> {
    write!(writer, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// A geofence server that is none: it takes every command and tells of every point.
pub(crate) struct Redis {
    listener: Listener,
    commands: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Redis {
    pub(crate) fn start() -> Redis {
        let commands: Arc<Mutex<Vec<Vec<String>>>> = Arc::default();
        let subscribers: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let kept = Arc::clone(&commands);
        let listener = Listener::start(move |stream| {
            let _ = obey(stream, &kept, &subscribers);
        });
        Redis { listener, commands }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.address.port()
    }

    pub(crate) fn commands(&self) -> Vec<Vec<String>> {
        self.commands.lock().expect("not poisoned").clone()
    }
}

fn obey(
    stream: TcpStream,
    commands: &Mutex<Vec<Vec<String>>>,
    subscribers: &Mutex<Vec<TcpStream>>,
) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(command) = command(&mut reader)? {
        commands.lock().expect("not poisoned").push(command.clone());
        match command[0].as_str() {
            "PSUBSCRIBE" => {
                write!(writer, "*3\r\n$10\r\npsubscribe\r\n$7\r\n{}\r\n:1\r\n", command[1])?;
                subscribers.lock().expect("not poisoned").push(writer.try_clone()?);
            }
            "SET" => {
                // Told before it is answered, so that it is heard before the generator ends.
                let event = format!(r#"{{"command":"set","detect":"enter","key":"fleet","id":"{}"}}"#, command[2]);
                for subscriber in subscribers.lock().expect("not poisoned").iter_mut() {
                    let channel = "*4\r\n$8\r\npmessage\r\n$7\r\nfence:*\r\n$13\r\nfence:fence-0\r\n";
                    write!(subscriber, "{channel}${}\r\n{event}\r\n", event.len())?;
                }
                writer.write_all(b"+OK\r\n")?;
            }
            _ => writer.write_all(b":1\r\n")?,
        }
    }
    Ok(())
}

/// An array of bulk strings.
fn command(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<String>>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let count: usize = line.trim().strip_prefix('*').expect("an array").parse().expect("a count");
    let mut words = Vec::new();
    for _ in 0..count {
        line.clear();
        reader.read_line(&mut line)?;
        let length: usize = line.trim().strip_prefix('$').expect("a bulk string").parse().expect("a length");
        let mut word = vec![0; length + 2];
        reader.read_exact(&mut word)?;
        assert_eq!(&word[length..], b"\r\n");
        word.truncate(length);
        words.push(String::from_utf8(word).expect("text"));
    }
    Ok(Some(words))
}
