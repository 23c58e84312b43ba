//! The program as it is run: on the real daemon, on the real redis-server, and on stand-ins that misbehave. Nothing here
//! asserts how long anything takes.

#[path = "drive/stand_in.rs"]
mod stand_in;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use stand_in::{Manner, Redis, StandIn};

/// The daemon beside the generator: scripts/test builds both. It is built here only if it is not there at all.
fn daemon() -> &'static str {
    static DAEMON: OnceLock<PathBuf> = OnceLock::new();
    let daemon = DAEMON.get_or_init(|| {
        let own = Path::new(env!("CARGO_BIN_EXE_parvis-loadgen"));
        let daemon = own.with_file_name("parvis");
        if !daemon.exists() {
            let target = own.parent().and_then(Path::parent).expect("target/profile/program");
            let mut build = Command::new(std::env::var_os("CARGO").expect("cargo runs tests"));
            build.args(["build", "--locked", "-p", "parvis", "--bin", "parvis", "--target-dir"]).arg(target);
            let built = build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).status().expect("cargo runs");
            assert!(built.success() && daemon.exists(), "the daemon is built");
        }
        daemon
    });
    daemon.to_str().expect("a plain path")
}

/// A run of the generator and what it reported.
struct Run {
    output: Output,
    report: Value,
}

fn generator(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parvis-loadgen"));
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command
}

fn run(arguments: &str, more: &[&str]) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("report.json");
    let mut command = generator(arguments);
    let output = command.args(more).arg("--json").arg(&json).output().expect("it runs");
    let report = fs::read(&json).map(|text| serde_json::from_slice(&text).expect("JSON")).unwrap_or_default();
    Run { output, report }
}

/// A run on a daemon of its own that ends well.
fn tried(arguments: &str, more: &[&str]) -> Run {
    let run = run(&format!("run {arguments}"), &[&["--daemon", daemon()], more].concat());
    assert!(run.output.status.success(), "{arguments}: {}", run.told());
    run
}

/// A run on a stand-in.
fn on(stand_in: &StandIn, arguments: &str) -> Run {
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    fs::write(&key, "pk_stand_in\n").expect("written");
    let url = stand_in.url();
    run(&format!("run {arguments}"), &["--url", &url, "--key-file", key.to_str().expect("a plain path")])
}

impl Run {
    fn told(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    fn stretch(&self) -> &Value {
        &self.report["stretches"][0]
    }

    fn count(&self, field: &str) -> u64 {
        self.stretch()[field].as_u64().unwrap_or_else(|| panic!("{field} in {}: {}", self.report, self.told()))
    }

    /// What every report must say of its pings.
    fn adds_up(&self) {
        let parts: u64 = ["accepted", "rejected", "refused", "failed"].map(|field| self.count(field)).iter().sum();
        assert_eq!(self.count("sent"), parts, "{}", self.stretch());
        assert_eq!(self.stretch()["answer"]["count"], self.count("accepted") + self.count("rejected"));
        assert_eq!(self.stretch()["late"]["count"], self.count("requests"));
    }
}

#[test]
fn every_ping_and_every_message_is_accounted_for() {
    let plots = tempfile::tempdir().expect("a folder");
    let world = "shops --fences 30 --phones 40 --campaigns 1 --batch 4 --connections 3 --providers fast --warm-up";
    let run =
        tried(&format!("{world} --rate 20 --seconds 8"), &["--plots", plots.path().to_str().expect("a plain path")]);
    run.adds_up();
    assert_eq!((run.count("sent"), run.count("failed"), run.count("unsent")), (160, 0, 0), "{}", run.stretch());
    let stretch = run.stretch();
    assert!(stretch["transitions"].as_f64().is_some_and(|count| count >= 20.0), "phones cross borders: {stretch}");
    let arrivals = run.count("arrivals");
    assert!(arrivals > 0, "{stretch}");
    assert_eq!((stretch["arrival"]["count"].as_u64(), run.count("arrivals_unknown")), (Some(arrivals), 0));
    assert_eq!(stretch["waiting"].as_f64(), Some(0.0), "all were sent");
    assert_eq!((&run.report["server"]["registered"], &run.report["server"]["exit_code"]), (&40.into(), &0.into()));
    assert!(run.report["server"]["start_ms"].is_f64() && run.report["shape"] == 1);
    assert_eq!(run.report["scenario"]["fences"], 30);
    #[cfg(target_os = "linux")]
    assert!(stretch["usage"]["peak_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{stretch}");
    let table = String::from_utf8_lossy(&run.output.stdout);
    for row in ["160 sent", "ping to answer", "ping to accepted", "server's memory"] {
        assert!(table.contains(row), "{row}: {table}");
    }
    for plot in ["percentiles.svg", "rate.svg", "p99.svg"] {
        let svg = fs::read_to_string(plots.path().join(plot)).expect(plot);
        assert!(svg.contains("<polyline points=\"") && !svg.contains("NaN"), "{plot}: {svg}");
    }
}

#[test]
fn every_format_is_understood_over_every_kind_of_connection() {
    for arguments in [
        "phones --format json --http2 --connections 2 --streams 3 --batch 1",
        "phones --format owntracks --no-keep-alive --batch 1",
        "country --format overland --batch 3",
        "country --format owntracks --http2 --batch 2",
        "country --format ndjson --http2 --batch 20",
        "aisle --format sightings --batch 5",
    ] {
        let world = "--fences 20 --beacons 24 --phones 30 --campaigns 0 --providers none --rate 60 --seconds 2";
        let run = tried(&format!("{arguments} {world}"), &[]);
        run.adds_up();
        assert_eq!((run.count("sent"), run.count("failed")), (120, 0), "{arguments}: {}", run.stretch());
        assert!(run.count("accepted") > 60, "{arguments}: {}", run.stretch());
    }
}

#[test]
fn a_kept_folder_knows_its_phones_and_half_of_the_rate_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = ["--data", folder.path().to_str().expect("a plain path"), "--set", "store.group_max=64"];
    let world = "country --fences 20 --phones 30 --campaigns 3 --batch 5 --connections 2 --seconds 2";
    let first = tried(&format!("{world} --rate 50"), &data);
    assert!(first.report["server"]["registration_s"].is_f64(), "{}", first.report["server"]);
    let second = tried(&format!("{world} --shape half"), &data);
    let server = &second.report["server"];
    assert!(server["registered"] == 30 && server["registration_s"].is_null(), "{server}");
    assert_eq!(second.report["scenario"]["settings"][0], "store.group_max=64");
    let [saturated, half] = second.report["stretches"].as_array().expect("stretches").as_slice() else {
        panic!("two stretches: {}", second.report)
    };
    assert_eq!(saturated["load"], "saturate");
    let rate = saturated["pings_per_s"].as_f64().expect("a rate");
    assert_eq!(half["load"], format!("steady:{:.0}", rate / 2.0));
    assert!(half["sent"].as_u64() > Some(0));
}

#[test]
fn what_is_sent_back_is_sent_again() {
    let stand_in = StandIn::start(Manner::SendsBack { times: 3 });
    let world = "country --fences 20 --phones 30 --batch 10 --connections 1 --rate 100 --seconds 1 --no-register";
    let run = on(&stand_in, world);
    assert!(run.output.status.success(), "{}", run.told());
    run.adds_up();
    assert_eq!((run.count("sent"), run.count("accepted"), run.count("refusals")), (100, 100, 3), "{}", run.stretch());
    assert!(run.stretch()["usage"].is_null(), "nobody said which process it is");
}

#[test]
fn connections_that_break_and_answers_that_make_no_sense_are_counted() {
    for (manner, why) in [(Manner::Resets, "connection"), (Manner::Babbles, "200: what?"), (Manner::Fails, "500: no")] {
        let stand_in = StandIn::start(manner);
        let world = "phones --fences 20 --phones 30 --connections 2 --rate 20 --seconds 1 --no-register";
        let run = on(&stand_in, world);
        run.adds_up();
        // Every second request meets the fault.
        let (sent, failed) = (run.count("sent"), run.count("failed"));
        assert!(sent == 20 && failed >= 5 && run.count("accepted") + failed == sent, "{}", run.stretch());
        let failures = run.stretch()["failures"].as_object().expect("kinds");
        assert!(failures.keys().any(|kind| kind.contains(why)), "{why}: {failures:?}");
    }
}

#[test]
fn what_can_not_be_tried_is_said() {
    let stand_in = StandIn::start(Manner::Fails);
    let nowhere = format!("run phones --scale 0.001 --url {} --key-file nowhere.key", stand_in.url());
    for (arguments, why) in [
        ("run nowhere", "there is no scenario \"nowhere\"; there are country, shops, phones"),
        ("run phones --batch 0", "--batch: must be at least 1"),
        ("run phones --url http://127.0.0.1:1", "--key-file"),
        ("run phones --scale 0.001 --daemon nowhere/parvis", "nowhere/parvis can't be run"),
        ("run phones --scale 0.001 --config-fragment nowhere.toml", "nowhere.toml can't be read"),
        (&nowhere, "nowhere.key can't be read"),
        ("resp phones --scale 0.001 --port 1", "no connection to 127.0.0.1:1"),
    ] {
        let output = generator(arguments).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(why), "{arguments}: {told}");
    }
    let set = ["--daemon", daemon(), "--set", "shards.count=none"];
    let output = generator("run phones --scale 0.001").args(set).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains("shards.count"), "the daemon's own words: {told}");
}

#[test]
fn what_there_is_is_listed() {
    let output = generator("list").output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && told.lines().count() >= 7 && told.contains("stadium"), "{told}");
}

#[test]
fn the_other_server_gets_fences_and_points_and_is_heard() {
    let redis = Redis::start();
    let world = "--fences 20 --phones 8 --batch 4 --connections 1 --rate 40 --seconds 1 --seed 5";
    let run = run(&format!("resp shops {world} --port {}", redis.port()), &[]);
    assert!(run.output.status.success(), "{}", run.told());
    run.adds_up();
    assert_eq!((run.count("sent"), run.count("accepted")), (40, 40), "{}", run.stretch());
    assert_eq!((&run.report["server"]["fences_set"], &run.report["server"]["fences_refused"]), (&20.into(), &0.into()));
    let commands = redis.commands();
    let (fences, others): (Vec<_>, Vec<_>) = commands.iter().partition(|command| command[0] == "SETCHAN");
    assert_eq!(fences.len(), 20);
    let fence = fences[0];
    assert_eq!(fence[1], "fence:fence-0");
    assert_eq!(fence[2..7], ["NEARBY", "fleet", "FENCE", "DETECT", "enter,exit"]);
    assert_eq!((fence[7].as_str(), fence.len()), ("POINT", 11));
    assert!(fence[8..].iter().all(|number| number.parse::<f64>().is_ok()), "{fence:?}");
    assert_eq!(others[0][..], ["PSUBSCRIBE", "fence:*"]);
    assert_eq!(others.len(), 41);
    for command in &others[1..] {
        assert_eq!((&command[0][..], &command[1][..], &command[3][..]), ("SET", "fleet", "POINT"), "{command:?}");
        assert!(command[2].starts_with("phone-") && command.len() == 6, "{command:?}");
    }
    // It tells of every point; those that came before the last answer was read are counted.
    let heard = run.count("arrivals");
    assert!((1..=40).contains(&heard) && run.count("arrivals_unknown") == 0, "{}", run.stretch());
}

#[test]
fn a_server_without_fences_says_so_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut server, port) = redis_server(folder.path());
    let world = "--fences 20 --polygon-share 0.5 --phones 8 --batch 4 --rate 40 --seconds 1";
    let run = run(&format!("resp country {world} --port {port}"), &[]);
    server.kill().expect("it is ours");
    server.wait().expect("it is ours");
    assert!(run.output.status.success(), "{}", run.told());
    assert!(run.told().contains("unknown command 'SETCHAN'"), "{}", run.told());
    assert_eq!(run.report["server"]["fences_refused"], 20);
    run.adds_up();
    assert_eq!((run.count("sent"), run.count("failed")), (40, 40), "{}", run.stretch());
    assert!(run.stretch()["failures"]["ERR syntax error"].as_u64() > Some(0), "{}", run.stretch());
}

#[test]
fn a_run_that_is_told_to_stop_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().expect("a folder");
    let mut command = generator("run shops --fences 20 --phones 8 --batch 4 --rate 40 --seconds 600");
    command.args(["--daemon", daemon()]).env("TMPDIR", temporary.path()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let told = BufReader::new(child.stderr.take().expect("piped"));
    let mut lines = told.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("pings/s")), "the load goes on");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it is ours");
    assert!(lines.any(|line| line.contains("stopped by a signal")));
    assert!(!child.wait().expect("it is ours").success());
    assert_eq!(fs::read_dir(temporary.path()).expect("a folder").count(), 0);
    // The kernel takes a moment to end what was killed.
    while runs_in(temporary.path()) {
        std::thread::yield_now();
    }
}

/// Whether any process was started with this path in its arguments (Linux).
fn runs_in(folder: &Path) -> bool {
    let folder = folder.to_str().expect("a plain path");
    let processes = fs::read_dir("/proc").expect("Linux").flatten();
    let mut arguments = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    arguments.any(|arguments| String::from_utf8_lossy(&arguments).contains(folder))
}

/// A redis-server on a free port that writes nothing.
fn redis_server(folder: &Path) -> (Child, u16) {
    for _ in 0..20 {
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            free.local_addr().expect("bound").port()
        };
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("redis-server starts (Debian's package redis-server)");
        let log = child.stdout.take().expect("piped");
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        if lines.any(|line| line.contains("eady to accept connections")) {
            // It would be ended by its own words if nobody took them.
            std::thread::spawn(move || lines.for_each(drop));
            return (child, port);
        }
        child.wait().expect("it is ours");
    }
    panic!("redis-server finds no port")
}
