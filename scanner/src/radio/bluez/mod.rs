//! The radio of Linux: BlueZ, over the message bus.
//!
//! One session with the bus lives on a runtime of its own, so that ending it ends everything that the libraries have
//! started for it.

use std::{collections::BTreeMap, future::Future, pin::Pin, time::Duration};

use bluez_async::{AdapterEvent, AdapterInfo, BluetoothError, BluetoothEvent, BluetoothSession};
use futures_util::{FutureExt, future::OptionFuture, stream::StreamExt};
use parvis_beacons::Mac;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

mod adapter;
mod bus;
mod pump;

use adapter::{Keeper, Nudge};
use bus::{Bus, Change};
use pump::Pump;

use crate::{
    clock::{Clock, Moment},
    config::Scan,
    radio::{
        Fault, Outlet,
        watchdog::{Patience, Step, Watchdog},
    },
    status::Status,
};

/// How many nudges may wait for an adapter's keeper; one would do, for each makes it look at everything.
const NUDGES_MAX: usize = 8;

/// Everything a session needs.
#[derive(Clone, Debug)]
pub struct Bluez {
    /// How is scanned.
    pub scan: Scan,
    /// What is done about silence.
    pub patience: Patience,
    /// Where advertisements go.
    pub outlet: Outlet,
    /// How the radios fare.
    pub status: Status,
    /// What time it is.
    pub clock: Clock,
}

/// How a session ended.
enum End {
    Shutdown,
    Reopen,
    Fault(Fault),
}

/// What a session has found out about one adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its address.
    pub address: Mac,
    /// What the system calls it.
    pub name: String,
    /// Whether it is switched on.
    pub powered: bool,
    /// The version of the Bluetooth daemon, which it writes into the adapter's identification.
    pub daemon: String,
}

impl Bluez {
    /// Scans until shutdown.
    ///
    /// # Errors
    /// If the bus is lost, or nothing was heard for too long.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Fault> {
        let mut watchdog = Watchdog::of_host(self.patience, self.clock.now());
        loop {
            let (bluez, token, mut held) = (self.clone(), shutdown.clone(), watchdog.clone());
            let session = move || {
                on_own_runtime(async move {
                    let end = bluez.session(&mut held, token).await;
                    (end, held)
                })
            };
            let end = match tokio::task::spawn_blocking(session).await {
                Ok(Ok((end, again))) => {
                    watchdog = again;
                    end
                }
                Ok(Err(error)) => End::Fault(Fault::Bus(error.to_string())),
                Err(error) => End::Fault(Fault::Bus(error.to_string())),
            };
            match end {
                End::Shutdown => return Ok(()),
                End::Fault(fault) => return Err(fault),
                End::Reopen => info!("the session with the bus is opened anew"),
            }
        }
    }

    /// The adapters of this host.
    ///
    /// # Errors
    /// If the bus or the Bluetooth daemon does not answer.
    pub async fn adapters(clock: Clock, call_timeout: Duration) -> Result<Vec<Found>, String> {
        let ask = move || {
            on_own_runtime(async move {
                let (_lost, session) = BluetoothSession::new().await.map_err(|error| error.to_string())?;
                let adapters = clock.within(call_timeout, session.get_adapters()).await;
                adapters.ok_or("no answer over the bus")?.map_err(|error| error.to_string())
            })
        };
        let adapters = tokio::task::spawn_blocking(ask).await.map_err(|error| error.to_string())?;
        let adapters = adapters.map_err(|error| error.to_string())??;
        let found = |info: &AdapterInfo| {
            let version = info.modalias.device_id;
            let daemon = format!("{}.{}", version >> 8, version & 0xff);
            Some(Found { address: adapter::mac(info)?, name: info.id.to_string(), powered: info.powered, daemon })
        };
        Ok(adapters.iter().filter_map(found).collect())
    }

    async fn session(&self, watchdog: &mut Watchdog, shutdown: CancellationToken) -> End {
        let lost = |error: &dyn std::fmt::Display| End::Fault(Fault::Bus(error.to_string()));
        let opened =
            self.clock.within(adapter::patience(self.scan.call_timeout), Bus::open(self.scan.call_timeout)).await;
        let (mut bus, changes) = match opened {
            Some(Ok(opened)) => opened,
            Some(Err(error)) => return lost(&error),
            None => return lost(&"no answer"),
        };
        let (gone, session) = match BluetoothSession::new().await {
            Ok(opened) => opened,
            Err(error) => return lost(&error),
        };
        let events = match self.clock.within(self.scan.call_timeout, session.event_stream()).await {
            Some(Ok(events)) => events,
            Some(Err(error)) => return lost(&error),
            None => return lost(&"no answer"),
        };
        let mut gone =
            Box::pin(gone.map(|end| end.err().map_or_else(|| "closed".to_owned(), |error| error.to_string())));
        let mut events = Box::pin(events);
        let pump =
            Pump::new(session.clone(), self.outlet.clone(), self.status.clone(), self.clock, self.scan.call_timeout);
        let registrar = self.scan.monitor.then(|| bus.registrar());
        let keepers = Keepers {
            radio: self,
            session,
            registrar,
            nudged: BTreeMap::new(),
            running: JoinSet::new(),
            token: shutdown.child_token(),
        };
        let mut wheel = Wheel { pump, keepers, changes, refresh: None, refresh_at: Some(self.clock.now()) };
        let end = tokio::select! {
            biased;
            () = shutdown.cancelled() => End::Shutdown,
            why = bus.lost() => End::Fault(Fault::Bus(why)),
            why = &mut gone => End::Fault(Fault::Bus(why)),
            end = wheel.turn(self, &mut events, watchdog) => end,
        };
        if let End::Fault(Fault::Bus(_)) = &end {
            // Its end asks the bus to forget a match and takes a refusal for impossible; there is no bus to ask.
            std::mem::forget(events);
        } else {
            wheel.keepers.stop(self).await;
        }
        end
    }
}

fn on_own_runtime<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(result)
}

type Refresh = Pin<Box<dyn Future<Output = Option<Result<Vec<AdapterInfo>, BluetoothError>>>>>;

/// What a session turns: events in, advertisements and nudges out.
struct Wheel<'a> {
    pump: Pump,
    keepers: Keepers<'a>,
    changes: mpsc::Receiver<Change>,
    refresh: Option<Refresh>,
    refresh_at: Option<Moment>,
}

impl Wheel<'_> {
    async fn turn<S>(&mut self, radio: &Bluez, events: &mut S, watchdog: &mut Watchdog) -> End
    where
        S: futures_util::Stream<Item = BluetoothEvent> + Unpin,
    {
        loop {
            if let Some(last) = radio.status.last_heard_by_any() {
                watchdog.heard(last);
            }
            let refresh_at = self.refresh_at.filter(|_| self.refresh.is_none());
            let wake = [Some(watchdog.due()), refresh_at].into_iter().flatten().min();
            tokio::select! {
                biased;
                event = events.next() => match event {
                    Some(event) => self.take(event),
                    None => return End::Fault(Fault::Bus("there are no more events".to_owned())),
                },
                () = self.pump.looked_up() => {}
                Some(change) = self.changes.recv() => self.change(&change, radio),
                Some(adapters) = OptionFuture::from(self.refresh.as_mut()) => {
                    self.refresh = None;
                    self.refreshed(adapters, radio);
                }
                () = radio.clock.sleep_until(wake) => {
                    self.ask_for_adapters(radio);
                    if let Some(end) = act_on_silence(radio, watchdog) {
                        return end;
                    }
                }
            }
        }
    }

    fn take(&mut self, event: BluetoothEvent) {
        if let BluetoothEvent::Adapter { id, event } = &event {
            let switched = [AdapterEvent::Powered { powered: false }, AdapterEvent::Discovering { discovering: false }];
            if switched.contains(event)
                && let Some(address) = self.pump.adapter(id)
            {
                self.keepers.nudge(address, Nudge::Switched);
            }
        } else {
            self.pump.take(event);
        }
    }

    fn change(&mut self, change: &Change, radio: &Bluez) {
        match change {
            Change::Daemon { present } => info!(present, "the Bluetooth daemon came or went"),
            Change::Adapters => info!("an adapter came or went"),
            Change::MonitorReleased => info!("the Bluetooth daemon let go of the advertisement monitor"),
        }
        self.refresh_at = Some(radio.clock.now());
        self.keepers.nudge_all(Nudge::Reset);
    }

    fn ask_for_adapters(&mut self, radio: &Bluez) {
        if self.refresh.is_some() || self.refresh_at.is_none_or(|at| at > radio.clock.now()) {
            return;
        }
        self.refresh_at = None;
        let (session, clock, timeout) = (self.keepers.session.clone(), radio.clock, radio.scan.call_timeout);
        self.refresh = Some(Box::pin(async move { clock.within(timeout, session.get_adapters()).await }));
    }

    fn refreshed(&mut self, adapters: Option<Result<Vec<AdapterInfo>, BluetoothError>>, radio: &Bluez) {
        let Some(Ok(adapters)) = adapters else {
            // The daemon may be starting; if it is not there at all its coming will be told.
            self.refresh_at = Some(radio.clock.now().plus(radio.scan.retry.saturating_mul(5)));
            radio.scan.adapters.iter().for_each(|address| self.keepers.keep(*address));
            return;
        };
        let wanted = adapter::wanted(&adapters, &radio.scan);
        wanted.values().chain(&radio.scan.adapters).for_each(|address| self.keepers.keep(*address));
        if wanted.is_empty() {
            warn!(present = adapters.len(), "none of the wanted adapters is there");
        }
        self.pump.listen(wanted);
    }
}

fn act_on_silence(radio: &Bluez, watchdog: &mut Watchdog) -> Option<End> {
    if let Some(last) = radio.status.last_heard_by_any() {
        watchdog.heard(last);
    }
    match watchdog.step(radio.clock.now())? {
        Step::Reopen => Some(End::Reopen),
        Step::Exit => Some(End::Fault(Fault::Silence)),
        Step::Restart | Step::PowerCycle => None,
    }
}

/// The keepers of all adapters.
struct Keepers<'a> {
    radio: &'a Bluez,
    session: BluetoothSession,
    registrar: Option<bus::Registrar>,
    nudged: BTreeMap<Mac, mpsc::Sender<Nudge>>,
    running: JoinSet<()>,
    token: CancellationToken,
}

impl Keepers<'_> {
    fn keep(&mut self, address: Mac) {
        if self.nudged.contains_key(&address) {
            return;
        }
        let (sender, nudges) = mpsc::channel(NUDGES_MAX);
        self.nudged.insert(address, sender);
        let Bluez { scan, patience, outlet: _, status, clock } = self.radio.clone();
        let (session, registrar) = (self.session.clone(), self.registrar.clone());
        let keeper = Keeper { session, registrar, address, scan, patience, status, clock, nudges };
        self.running.spawn(keeper.run(self.token.clone()));
    }

    fn nudge(&self, address: Mac, nudge: Nudge) {
        if let Some(sender) = self.nudged.get(&address) {
            // A full channel holds enough nudges to make the keeper look.
            let _ = sender.try_send(nudge);
        }
    }

    fn nudge_all(&self, nudge: Nudge) {
        self.nudged.keys().for_each(|address| self.nudge(*address, nudge));
    }

    async fn stop(mut self, radio: &Bluez) {
        self.token.cancel();
        let all = async { while self.running.join_next().await.is_some() {} };
        if radio.clock.within(adapter::patience(radio.scan.call_timeout), all).await.is_none() {
            warn!("an adapter does not stop scanning in time");
        }
    }
}
