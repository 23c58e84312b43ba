//! A connection of our own to the message bus, for what the Bluetooth library does not do: to notice that the Bluetooth
//! daemon or an adapter comes and goes, and to hold an advertisement monitor.
//!
//! The monitor reports nothing to us. That one is registered makes the kernel switch the controller's filter of
//! duplicates off, for every client (`hci_active_scan_sync` in Linux' net/bluetooth/hci_sync.c).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use dbus::{
    Path,
    arg::PropMap,
    channel::MatchingReceiver,
    message::MatchRule,
    nonblock::{MsgMatch, Proxy, SyncConnection},
};
use dbus_crossroads::Crossroads;
use tokio::{sync::mpsc, task::JoinSet};

/// The Bluetooth daemon's name.
pub(super) const BLUEZ: &str = "org.bluez";
const ADAPTER: &str = "org.bluez.Adapter1";
const MONITOR: &str = "org.bluez.AdvertisementMonitor1";
const MONITORS: &str = "org.bluez.AdvertisementMonitorManager1";
const OBJECTS: &str = "org.freedesktop.DBus.ObjectManager";
/// Where the monitor stands among our objects.
const ROOT: &str = "/org/parvis/scanner";
const MONITOR_PATH: &str = "/org/parvis/scanner/monitor";
/// How many changes may wait; more than that come only if nobody looks.
const CHANGES_MAX: usize = 64;

/// Start, type of the structure, content: iBeacon in Apple's manufacturer data, and Eddystone's service data.
const PATTERNS: [(u8, u8, &[u8]); 2] = [(0, 0xff, &[0x4c, 0x00, 0x02, 0x15]), (0, 0x16, &[0xaa, 0xfe])];

/// Something came or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The Bluetooth daemon.
    Daemon {
        /// Whether it is there now.
        present: bool,
    },
    /// An adapter, whichever way.
    Adapters,
    /// The daemon let go of our monitor.
    MonitorReleased,
}

/// The connection.
pub(super) struct Bus {
    connection: Arc<SyncConnection>,
    timeout: Duration,
    /// Works as long as it is held.
    work: JoinSet<String>,
    /// What is watched for as long as this is held.
    _watched: [MsgMatch; 3],
}

impl Bus {
    /// Connects, watches and exports the monitor.
    pub(super) async fn open(timeout: Duration) -> Result<(Bus, mpsc::Receiver<Change>), dbus::Error> {
        let (resource, connection) = dbus_tokio::connection::new_system_sync()?;
        let mut work = JoinSet::new();
        work.spawn(async move { resource.await.to_string() });
        let (sender, changes) = mpsc::channel(CHANGES_MAX);
        export(&connection, &sender);
        let watched = watch(&connection, sender).await?;
        let bus = Bus { connection, timeout, work, _watched: watched };
        Ok((bus, changes))
    }

    /// Resolves when the connection is lost; says why.
    pub(super) async fn lost(&mut self) -> String {
        match self.work.join_next().await {
            Some(Ok(why)) => why,
            Some(Err(error)) => error.to_string(),
            None => "closed".to_owned(),
        }
    }

    /// What registers the monitor with adapters.
    pub(super) fn registrar(&self) -> Registrar {
        Registrar { connection: Arc::clone(&self.connection), timeout: self.timeout }
    }
}

/// Registers the monitor with adapters.
#[derive(Clone)]
pub(super) struct Registrar {
    connection: Arc<SyncConnection>,
    timeout: Duration,
}

impl Registrar {
    /// Whether the monitor is registered with an adapter now. It is not where the daemon does not offer it.
    pub(super) async fn register(&self, adapter: Path<'static>) -> Result<(), dbus::Error> {
        let proxy = Proxy::new(BLUEZ, adapter, self.timeout, Arc::clone(&self.connection));
        let registered: Result<(), dbus::Error> =
            proxy.method_call(MONITORS, "RegisterMonitor", (Path::from(ROOT),)).await;
        match registered {
            Err(error) if error.name() == Some("org.bluez.Error.AlreadyExists") => Ok(()),
            other => other,
        }
    }
}

async fn watch(connection: &SyncConnection, sender: mpsc::Sender<Change>) -> Result<[MsgMatch; 3], dbus::Error> {
    let owners = MatchRule::new_signal("org.freedesktop.DBus", "NameOwnerChanged").with_sender("org.freedesktop.DBus");
    let tell = sender.clone();
    let owners = connection.add_match(owners).await?.cb(move |_, (name, _, owner): (String, String, String)| {
        if name == BLUEZ {
            let _ = tell.try_send(Change::Daemon { present: !owner.is_empty() });
        }
        true
    });
    let added = MatchRule::new_signal(OBJECTS, "InterfacesAdded").with_sender(BLUEZ);
    let tell = sender.clone();
    let added = connection.add_match(added).await?.cb(move |_, (_, added): (Path<'_>, HashMap<String, PropMap>)| {
        if added.contains_key(ADAPTER) {
            let _ = tell.try_send(Change::Adapters);
        }
        true
    });
    let removed = MatchRule::new_signal(OBJECTS, "InterfacesRemoved").with_sender(BLUEZ);
    let removed = connection.add_match(removed).await?.cb(move |_, (_, removed): (Path<'_>, Vec<String>)| {
        if removed.iter().any(|interface| interface == ADAPTER) {
            let _ = sender.try_send(Change::Adapters);
        }
        true
    });
    Ok([owners, added, removed])
}

/// Puts the monitor where the daemon finds it. See org.bluez.AdvertisementMonitor(5).
fn export(connection: &SyncConnection, sender: &mpsc::Sender<Change>) {
    let mut objects = Crossroads::new();
    let tell = sender.clone();
    let monitor = objects.register(MONITOR, move |interface| {
        interface.property("Type").get(|_, (): &mut ()| Ok("or_patterns".to_owned()));
        interface.property("Patterns").get(|_, (): &mut ()| {
            Ok(PATTERNS.iter().map(|(start, kind, content)| (*start, *kind, content.to_vec())).collect::<Vec<_>>())
        });
        interface.method("Activate", (), (), |_, (): &mut (), ()| Ok(()));
        interface.method("DeviceFound", ("device",), (), |_, (): &mut (), (_,): (Path<'_>,)| Ok(()));
        interface.method("DeviceLost", ("device",), (), |_, (): &mut (), (_,): (Path<'_>,)| Ok(()));
        interface.method("Release", (), (), move |_, (): &mut (), ()| {
            let _ = tell.try_send(Change::MonitorReleased);
            Ok(())
        });
    });
    let manager = objects.object_manager::<()>();
    objects.insert(ROOT, &[manager], ());
    objects.insert(MONITOR_PATH, &[monitor], ());
    let objects = Mutex::new(objects);
    let answer = move |message, connection: &SyncConnection| {
        let mut objects = objects.lock().unwrap_or_else(PoisonError::into_inner);
        // Signals and answers go elsewhere; only what is no call for us comes back as an error.
        let _ = objects.handle_message(message, connection);
        true
    };
    connection.start_receive(MatchRule::new_method_call(), Box::new(answer));
}
