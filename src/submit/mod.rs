//! Messages that back ends hand in: what a call says is read and judged here, and becomes notifications.
//!
//! Pure: neither store nor clock nor network. Whether a push service takes an address is the courier's business.

mod address;
mod making;
mod message;
mod read;
mod replay;
mod request;
mod target;

pub use self::{
    making::notifications,
    message::Message,
    read::{head, target, whole},
    replay::{Spent, replay, replay_id},
    request::{Head, Request},
    target::{Target, Which},
};

/// The most targets of one call. Fits a body, and a repeat of it costs little.
pub const TARGETS_MAX: usize = 10_000;

/// Why one target gets nothing. The names are part of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It can't be read.
    Malformed,
    /// What it says is wrong.
    Invalid,
    /// Nobody registered the device.
    UnknownDevice,
    /// Nothing is known of the shopper.
    UnknownShopper,
    /// The shopper did not consent to this purpose.
    NoConsent,
    /// Nothing that was named can be reached.
    NoTarget,
    /// The device is an installation of another app.
    OtherApp,
    /// The app has no access to the push service.
    NotConfigured,
    /// The push service would never take the message for this address.
    Refused,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 9] = [
        Reason::Malformed,
        Reason::Invalid,
        Reason::UnknownDevice,
        Reason::UnknownShopper,
        Reason::NoConsent,
        Reason::NoTarget,
        Reason::OtherApp,
        Reason::NotConfigured,
        Reason::Refused,
    ];

    /// The name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::Invalid => "invalid",
            Reason::UnknownDevice => "unknown_device",
            Reason::UnknownShopper => "unknown_shopper",
            Reason::NoConsent => "no_consent",
            Reason::NoTarget => "no_target",
            Reason::OtherApp => "other_app",
            Reason::NotConfigured => "not_configured",
            Reason::Refused => "refused",
        }
    }
}

/// Why one target gets nothing, for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason's name.
    pub reason: Reason,
    /// Where in the target: a JSON pointer, or empty for the whole of it.
    pub pointer: String,
    /// What to change. Told to nobody but the caller.
    pub detail: String,
}

impl Refusal {
    /// A refusal of a target as a whole.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Refusal {
        Refusal::at(reason, "", detail)
    }

    /// A refusal because of one field.
    pub fn at(reason: Reason, pointer: impl Into<String>, detail: impl Into<String>) -> Refusal {
        Refusal { reason, pointer: pointer.into(), detail: detail.into() }
    }
}
