//! A radio rig without a radio: a message bus of its own and a stand-in for BlueZ on it, told what is on the air.
//!
//! Nothing touches the host's bus. Needs Debian's `dbus-daemon`, `python3-dbus` and `python3-gi`. Uses only the standard
//! library, `serde_json` and `tempfile`, so that any package's tests can include it by its path.

#![allow(dead_code, reason = "each test that includes this uses another part of it")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
};

use serde_json::{Value, json};

/// The address of the first adapter, `hci0`.
pub(crate) const HCI0: &str = "00:1A:7D:DA:71:13";
/// The address of the second adapter, `hci1`.
pub(crate) const HCI1: &str = "00:1A:7D:DA:71:14";
/// Apple's company number.
pub(crate) const APPLE: u16 = 0x004c;

/// What kind of BlueZ it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Offers advertisement monitors, as `bluetoothd --experimental` does.
    pub(crate) monitor: bool,
    /// Tells strengths as BlueZ does after 5.87: each only if somebody's filter names one.
    pub(crate) after_5_87: bool,
    /// Has a second adapter.
    pub(crate) two_adapters: bool,
}

/// The bus and the stand-in.
pub(crate) struct Rig {
    folder: tempfile::TempDir,
    options: Options,
    bus: Child,
    address: String,
    bluez: Option<Bluez>,
}

struct Bluez {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Rig {
    /// Starts both.
    pub(crate) fn start(options: Options) -> Rig {
        let folder = tempfile::tempdir().expect("a folder for the bus");
        let config = folder.path().join("bus.conf");
        let socket = folder.path().join("bus");
        fs::write(&config, CONFIG.replace("SOCKET", &socket.display().to_string())).expect("written");
        let mut bus = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--print-address"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon starts (Debian's package dbus-daemon)");
        let mut address = String::new();
        let stdout = bus.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut address).expect("the bus tells its address");
        let mut rig = Rig { folder, options, bus, address: address.trim().to_owned(), bluez: None };
        rig.start_bluez();
        rig
    }

    /// What `DBUS_SYSTEM_BUS_ADDRESS` must be for whoever is to hear.
    pub(crate) fn bus_address(&self) -> &str {
        &self.address
    }

    /// A folder that goes with the rig.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts BlueZ again after [`Rig::kill_bluez`].
    pub(crate) fn start_bluez(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(SCRIPT);
        let script =
            if script.exists() { script } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("scanner").join(SCRIPT) };
        let mut command = Command::new(PYTHON);
        command.arg(script).arg("--adapter").arg(format!("hci0={HCI0}"));
        if self.options.two_adapters {
            command.arg("--adapter").arg(format!("hci1={HCI1}"));
        }
        if self.options.monitor {
            command.arg("--monitor");
        }
        command.args(["--rssi-rule", if self.options.after_5_87 { "later" } else { "5.87" }]);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &self.address).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("Debian's python3 starts");
        let commands = child.stdin.take().expect("piped");
        let mut answers = BufReader::new(child.stdout.take().expect("piped"));
        let ready = answer(&mut answers).expect("BlueZ starts (Debian's packages python3-dbus and python3-gi)");
        assert_eq!(ready, json!({"ready": true}));
        self.bluez = Some(Bluez { child, commands, answers });
    }

    /// BlueZ crashes.
    pub(crate) fn kill_bluez(&mut self) {
        if let Some(mut bluez) = self.bluez.take() {
            bluez.child.kill().expect("killed");
            bluez.child.wait().expect("gone");
        }
    }

    /// BlueZ hangs, or goes on.
    pub(crate) fn freeze_bluez(&mut self, on: bool) {
        let id = self.bluez.as_ref().expect("BlueZ runs").child.id();
        signal(id, if on { "-STOP" } else { "-CONT" });
    }

    /// The bus crashes.
    pub(crate) fn kill_bus(&mut self) {
        self.bus.kill().expect("killed");
        self.bus.wait().expect("gone");
    }

    /// Sends one advertisement; whether BlueZ told anybody.
    pub(crate) fn advertise(&mut self, address: &str, manufacturer: (u16, &[u8]), rssi_dbm: Option<i16>) -> bool {
        self.advertise_to("hci0", address, manufacturer, rssi_dbm)
    }

    /// Sends one advertisement that only this adapter hears; whether BlueZ told anybody.
    pub(crate) fn advertise_to(
        &mut self,
        adapter: &str,
        address: &str,
        (company, data): (u16, &[u8]),
        rssi_dbm: Option<i16>,
    ) -> bool {
        let manufacturer = json!({ company.to_string(): hexadecimal(data) });
        let told = self.command(&json!({
            "do": "adv", "adapter": adapter, "address": address, "rssi": rssi_dbm, "manufacturer": manufacturer,
        }));
        told["told"] == json!(true)
    }

    /// Sends one advertisement with Eddystone's service data; whether BlueZ told anybody.
    pub(crate) fn advertise_eddystone(&mut self, address: &str, data: &[u8], rssi_dbm: i16) -> bool {
        let service = json!({ "0000feaa-0000-1000-8000-00805f9b34fb": hexadecimal(data) });
        let told = self.command(&json!({"do": "adv", "address": address, "rssi": rssi_dbm, "service": service}));
        told["told"] == json!(true)
    }

    /// Has so many beacons of a UUID (32 digits) send so many advertisements a second in all, until the end.
    pub(crate) fn storm(&mut self, uuid: &str, beacons: u32, per_second: u32) {
        self.command(&json!({"do": "storm", "uuid": uuid, "beacons": beacons, "per_second": per_second}));
    }

    /// Whether the controller tells each address only once in a scan, unless a monitor is registered.
    pub(crate) fn filter_duplicates(&mut self, on: bool) {
        self.command(&json!({"do": "strict", "on": on}));
    }

    /// Somebody else switches an adapter.
    pub(crate) fn power(&mut self, adapter: &str, on: bool) {
        self.command(&json!({"do": "power", "adapter": adapter, "on": on}));
    }

    /// Somebody else stops discovery.
    pub(crate) fn stop_discovery(&mut self, adapter: &str) {
        self.command(&json!({"do": "stop_discovery", "adapter": adapter}));
    }

    /// An adapter is pulled out.
    pub(crate) fn unplug(&mut self, adapter: &str) {
        self.command(&json!({"do": "unplug", "adapter": adapter}));
    }

    /// An adapter is plugged in.
    pub(crate) fn plug(&mut self, adapter: &str, address: &str) {
        self.command(&json!({"do": "plug", "adapter": adapter, "address": address}));
    }

    /// The next call of this method (`StartDiscovery`, `StopDiscovery`, `SetDiscoveryFilter`, `Powered`) of `hci0` fails
    /// with `org.bluez.Error.<error>`.
    pub(crate) fn fail(&mut self, method: &str, error: &str) {
        self.command(&json!({"do": "fail", "adapter": "hci0", "method": method, "error": error}));
    }

    /// What was called on an adapter, who discovers with which filters, and which monitors are registered.
    pub(crate) fn stats(&mut self, adapter: &str) -> Value {
        let mut stats = self.command(&json!({"do": "stats"}));
        assert_eq!(stats["complaints"], json!([]), "calls of BlueZ to the scanner failed");
        stats["adapters"][adapter].take()
    }

    fn command(&mut self, command: &Value) -> Value {
        let bluez = self.bluez.as_mut().expect("BlueZ runs");
        writeln!(bluez.commands, "{command}").expect("BlueZ takes commands");
        answer(&mut bluez.answers).expect("BlueZ answers")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for child in [self.bluez.as_mut().map(|bluez| &mut bluez.child), Some(&mut self.bus)].into_iter().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The agent's own program, running.
pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Starts `parvis-scanner run` with a configuration file on the rig's bus.
    pub(crate) fn start(program: &Path, config: &Path, rig: &Rig) -> Agent {
        let log = config.with_extension("log");
        let stderr = fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log");
        let child = Command::new(program)
            .args(["run", "--config"])
            .arg(config)
            .env("DBUS_SYSTEM_BUS_ADDRESS", rig.bus_address())
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("the agent starts");
        Agent { child, log }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged, over all its runs with this configuration file.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("asked")
    }

    /// Ends it as a supervisor does, and waits for it.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        signal(self.id(), "-TERM");
        self.child.wait().expect("gone")
    }

    /// Ends it as a power cut does, as far as the process goes.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An iBeacon's manufacturer data as BlueZ tells them, without the company; it announces -59 dBm.
pub(crate) fn ibeacon(uuid: [u8; 16], major: u16, minor: u16) -> Vec<u8> {
    [&[0x02, 0x15][..], &uuid, &major.to_be_bytes(), &minor.to_be_bytes(), &[0xc5]].concat()
}

fn signal(id: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &id.to_string()]).status().expect("kill starts");
    assert!(sent.success());
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn answer(answers: &mut BufReader<ChildStdout>) -> Option<Value> {
    let mut line = String::new();
    answers.read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// The system's own, for that is the one that Debian's packages are for.
const PYTHON: &str = "/usr/bin/python3";
const SCRIPT: &str = "tests/rig/bluez.py";

/// Lets everybody do everything. Without the second `eavesdrop` calls are refused.
const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
"#;
