//! The radio of other systems, through btleplug.
//!
//! For development: btleplug sets no filter that names a signal strength, and where Apple's system hides iBeacons from
//! programs it can't show them. Of the watchdog's ladder it takes the first rung and the last one.

use std::pin::Pin;

use btleplug::{
    api::{Central, CentralEvent, Manager as _, Peripheral as _, ScanFilter},
    platform::{Adapter, Manager, PeripheralId},
};
use futures_util::stream::{Stream, StreamExt};
use parvis_beacons::Mac;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    clock::Clock,
    config::Scan,
    radio::{
        Advertisement, Fault, Outlet,
        watchdog::{Patience, Step, Watchdog},
    },
    status::{Mode, Status},
};

/// What adapters are called whose address the system does not tell.
const NAMELESS: Mac = Mac([0; 6]);

/// Everything that scanning needs.
#[derive(Clone, Debug)]
pub struct Portable {
    /// How is scanned.
    pub scan: Scan,
    /// What is done about silence.
    pub patience: Patience,
    /// Where advertisements go.
    pub outlet: Outlet,
    /// How the radio fares.
    pub status: Status,
    /// What time it is.
    pub clock: Clock,
}

impl Portable {
    /// Scans with the first adapter until shutdown.
    ///
    /// # Errors
    /// If there is no adapter, or nothing was heard for too long.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Fault> {
        let fault = |error: btleplug::Error| Fault::Bus(error.to_string());
        let adapter = self.within(first_adapter()).await.map_err(fault)?;
        let mut events = self.within(adapter.events()).await.map_err(fault)?;
        self.within(adapter.start_scan(ScanFilter::default())).await.map_err(fault)?;
        self.status.scans(NAMELESS, Mode::Discovery, self.clock.now());
        let mut watchdogs =
            [Watchdog::of_adapter(self.patience, self.clock.now()), Watchdog::of_host(self.patience, self.clock.now())];
        loop {
            let due = watchdogs.iter().map(Watchdog::due).min();
            let clock = self.clock;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.take(&adapter, &mut events) => {}
                () = clock.sleep_until(due) => self.act(&adapter, &mut watchdogs).await?,
            }
            if let Some(last) = self.status.last_heard_by_any() {
                watchdogs.iter_mut().for_each(|watchdog| watchdog.heard(last));
            }
        }
        let _ = self.within(adapter.stop_scan()).await;
        Ok(())
    }

    async fn act(&self, adapter: &Adapter, watchdogs: &mut [Watchdog]) -> Result<(), Fault> {
        let now = self.clock.now();
        for step in watchdogs.iter_mut().filter_map(|watchdog| watchdog.step(now)).collect::<Vec<_>>() {
            match step {
                Step::Restart => {
                    warn!("nothing was heard for too long; scanning is started anew");
                    let _ = self.within(adapter.stop_scan()).await;
                    if let Err(error) = self.within(adapter.start_scan(ScanFilter::default())).await {
                        warn!("scanning does not start: {error}");
                    }
                    self.status.restarted(NAMELESS, now);
                }
                Step::PowerCycle | Step::Reopen => info!(?step, "can't be done here"),
                Step::Exit => return Err(Fault::Silence),
            }
        }
        Ok(())
    }

    async fn take(&self, adapter: &Adapter, events: &mut Pin<Box<dyn Stream<Item = CentralEvent> + Send>>) {
        let Some(event) = events.next().await else { return std::future::pending().await };
        let id = match event {
            CentralEvent::DeviceDiscovered(id)
            | CentralEvent::ManufacturerDataAdvertisement { id, .. }
            | CentralEvent::ServiceDataAdvertisement { id, .. } => id,
            CentralEvent::DeviceUpdated(_)
            | CentralEvent::DeviceConnected(_)
            | CentralEvent::DeviceDisconnected(_)
            | CentralEvent::DeviceServicesModified(_)
            | CentralEvent::ServicesAdvertisement { .. }
            | CentralEvent::RssiUpdate { .. }
            | CentralEvent::StateUpdate(_) => return,
        };
        if let Some(advertisement) = self.ask(adapter, &id).await {
            self.outlet.hear(advertisement);
        }
    }

    /// The events do not carry the signal strength along with the data.
    async fn ask(&self, adapter: &Adapter, id: &PeripheralId) -> Option<Advertisement> {
        let at = self.clock.now();
        let asked = async { adapter.peripheral(id).await?.properties().await };
        let properties = self.within(asked).await.ok()??;
        let short = |uuid: u128| u16::try_from(uuid >> 96).ok();
        let service =
            properties.service_data.into_iter().filter_map(|(uuid, data)| Some((short(uuid.as_u128())?, data)));
        Some(Advertisement {
            adapter: NAMELESS,
            address: Some(Mac(properties.address.into_inner())).filter(|address| *address != NAMELESS),
            address_kind: None,
            rssi_dbm: properties.rssi,
            manufacturer: properties.manufacturer_data.into_iter().collect(),
            service: service.collect(),
            at,
        })
    }

    async fn within<T>(&self, call: impl Future<Output = btleplug::Result<T>>) -> btleplug::Result<T> {
        let answer = self.clock.within(self.scan.call_timeout, call).await;
        answer.unwrap_or(Err(btleplug::Error::TimedOut(self.scan.call_timeout)))
    }
}

async fn first_adapter() -> btleplug::Result<Adapter> {
    let adapters = Manager::new().await?.adapters().await?;
    adapters.into_iter().next().ok_or(btleplug::Error::DeviceNotFound)
}
