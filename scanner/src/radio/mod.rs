//! The radio: advertisements as they were heard, from whatever the system offers.
//!
//! Knows nothing of what an advertisement means.

use std::{collections::BTreeMap, fmt};

use parvis_beacons::Mac;
use tokio::sync::mpsc;

use crate::{
    clock::Moment,
    status::{Loss, Status},
};

#[cfg(target_os = "linux")]
pub mod bluez;
#[cfg(any(feature = "btleplug", not(target_os = "linux")))]
pub mod portable;
pub mod watchdog;

/// One advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// The radio that heard it.
    pub adapter: Mac,
    /// Who sent it, as far as the system tells.
    pub address: Option<Mac>,
    /// What kind of address that is; it is told only with the first advertisement of a device.
    pub address_kind: Option<AddressKind>,
    /// Signal strength, dBm; none if the system did not tell it with this advertisement.
    pub rssi_dbm: Option<i16>,
    /// By company, without the two bytes of the company itself.
    pub manufacturer: BTreeMap<u16, Vec<u8>>,
    /// By 16-bit service UUID.
    pub service: BTreeMap<u16, Vec<u8>>,
    /// When it was heard.
    pub at: Moment,
}

/// Whether an address stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// Registered for the device.
    Public,
    /// Made up, often for a quarter of an hour only.
    Random,
}

/// Why a radio gave up. The process ends then, and its supervisor starts it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The system's message bus is gone or can't be reached.
    Bus(String),
    /// Nothing was heard for too long, though everything was tried.
    Silence,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Bus(why) => write!(f, "the message bus is lost: {why}"),
            Fault::Silence => f.write_str("nothing was heard for too long, though everything was tried"),
        }
    }
}

/// Where radios put what they hear.
#[derive(Clone, Debug)]
pub struct Outlet {
    sender: mpsc::Sender<Advertisement>,
    status: Status,
}

impl Outlet {
    /// A bounded channel to whoever takes advertisements.
    pub fn new(capacity: usize, status: Status) -> (Outlet, mpsc::Receiver<Advertisement>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Outlet { sender, status }, receiver)
    }

    /// Passes an advertisement on; if nobody takes it in time it is dropped and counted, for a radio can't wait.
    pub fn hear(&self, advertisement: Advertisement) {
        self.status.heard(advertisement.adapter, advertisement.at);
        if self.sender.try_send(advertisement).is_err() {
            self.status.lose(Loss::Overrun, 1);
        }
    }
}
