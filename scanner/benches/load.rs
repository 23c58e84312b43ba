//! What the agent costs its host: memory and the share of one core, at 500 advertisements a second of 100 beacons, with
//! a server that takes everything and with none, when all goes to disk.
//!
//! `PARVIS_SCANNER` names another file of the program than the one that was just built, such as the one that
//! scripts/build-scanner makes. Counts time in reports, one a second; `--bench` measures a minute each, without it one report is enough.

#![allow(clippy::print_stdout, reason = "a bench tells its numbers")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
};

#[path = "../tests/rig/mod.rs"]
mod rig;

use parvis_beacons::report::Report;
use rig::{Agent, Options, Rig};

const UUID: &str = "f7826da64fa24e988024bc5b71e0893e";
/// What the kernel counts processor time in (`USER_HZ`); 100 on every Linux that this runs on.
const TICKS_A_SECOND: f64 = 100.0;
/// While all settles.
const WARM_UP: u32 = 5;

fn main() {
    let reports = if std::env::args().any(|argument| argument == "--bench") { 60 } else { 1 };
    let server = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut rig = Rig::start(Options { monitor: true, ..Options::default() });
    let config = rig.folder().join("scanner.toml");
    fs::write(rig.folder().join("key"), "key").expect("written");
    fs::write(&config, configuration(&server)).expect("written");
    rig.storm(UUID, 100, 500);

    let program = std::env::var_os("PARVIS_SCANNER").unwrap_or_else(|| env!("CARGO_BIN_EXE_parvis-scanner").into());
    let agent = Agent::start(Path::new(&program), &config, &rig);
    let (mut stream, _) = server.accept().expect("the agent connects");
    for _ in 0..WARM_UP {
        take_report(&mut stream, "200 OK");
    }
    let before = Usage::of(&agent);
    let health = (0..reports).filter_map(|_| take_report(&mut stream, "200 OK").health).last();
    Usage::of(&agent).tell("all is sent", &before);
    for adapter in health.into_iter().flat_map(|health| health.adapters) {
        println!("{:.0} advertisements a second, scanned as {:?}", adapter.rate_hz, adapter.mode);
    }

    // Busy for longer than the bench: what is heard from now on goes to disk, and disk is asked nothing back.
    take_report(&mut stream, "503 Busy\r\nretry-after: 1");
    let before = Usage::of(&agent);
    let queue = rig.folder().join("queue");
    for _ in 0..reports {
        take_report(&mut stream, "503 Busy\r\nretry-after: 1");
    }
    Usage::of(&agent).tell("all is kept", &before);
    let bytes: u64 =
        fs::read_dir(queue).expect("listed").flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
    println!("on disk: {} KiB", bytes >> 10);
    assert_eq!(agent.terminate().code(), Some(0));
}

/// What a process has used.
struct Usage {
    cpu_s: f64,
    clock_s: f64,
    resident_kib: u64,
    resident_max_kib: u64,
}

impl Usage {
    fn of(agent: &Agent) -> Usage {
        let read = |file: &str| fs::read_to_string(format!("/proc/{file}")).expect("the kernel tells");
        let stat = read(&format!("{}/stat", agent.id()));
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: f64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum();
        let status = read(&format!("{}/status", agent.id()));
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let uptime = read("uptime").split(' ').next().and_then(|number| number.parse().ok());
        let (resident_kib, resident_max_kib) = (kib("VmRSS:"), kib("VmHWM:"));
        Usage { cpu_s: ticks / TICKS_A_SECOND, clock_s: uptime.unwrap_or(0.0), resident_kib, resident_max_kib }
    }

    fn tell(&self, what: &str, before: &Usage) {
        let seconds = self.clock_s - before.clock_s;
        let share = 100.0 * (self.cpu_s - before.cpu_s) / seconds;
        let mib = |kib: u64| kib as f64 / 1_024.0;
        println!(
            "{what}: {share:.1} % of one core over {seconds:.0} s, {:.1} MiB resident, {:.1} MiB at most",
            mib(self.resident_kib),
            mib(self.resident_max_kib)
        );
    }
}

fn take_report(stream: &mut TcpStream, answer: &str) -> Report {
    let mut reader = BufReader::new(&mut *stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).expect("a request") > 0, "the agent hung up");
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").expect("answered");
    serde_json::from_slice(&zstd::decode_all(&body[..]).expect("zstd")).expect("a report")
}

fn configuration(server: &TcpListener) -> String {
    let address = server.local_addr().expect("an address");
    format!(
        "[scanner]\nid = \"bench\"\n[server]\nurl = \"http://{address}\"\nkey_file = \"key\"\nretry_min = \"1s\"\n\
         retry_max = \"1s\"\n[beacons]\nuuids = [\"{UUID}\"]\n[reports]\nevery = \"1s\"\nhealth_every = \"1s\"\n[queue]\nfolder = \"queue\"\n"
    )
}
