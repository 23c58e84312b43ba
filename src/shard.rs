//! Owns a part of the shoppers: takes what waits, decides all, commits once, then answers.

use parvis_engine::{
    id::{DeviceId, NotificationId, OrderId, ShopperId},
    matching::Transition,
    observation::{Observation, Rejected},
    order::OrderEvent,
    shopper::{Profile, PushTarget},
    time::Timestamp,
};

/// Something to be done for one shopper, in the order of arrival.
#[derive(Clone, Debug)]
pub enum Input {
    /// A device reported.
    Observed {
        /// Which device.
        device: DeviceId,
        /// What it reported, in any order.
        observations: Vec<Observation>,
    },
    /// A timer of this shopper is due.
    Wake,
    /// An order changed.
    Order {
        /// Which order.
        order: OrderId,
        /// What happened.
        event: OrderEvent,
    },
    /// The retailer says who the shopper is.
    Profile(Profile),
    /// Everything about the shopper is to be forgotten.
    Erase,
    /// A provider says that a target is gone.
    Unregistered {
        /// Whose.
        device: DeviceId,
        /// Which.
        target: PushTarget,
        /// Since when, if the provider knows.
        since: Option<Timestamp>,
    },
}

/// The answer to [`Input::Observed`], after the commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// For each observation in the order given: taken, or why not.
    pub results: Vec<Result<(), Rejected>>,
    /// What they caused, oldest first.
    pub transitions: Vec<Transition>,
    /// A distance from the last fix within which nothing can change, metres.
    pub safe_radius_m: Option<f64>,
}

/// The answer to an input, after the commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To an observation.
    Observed(Observed),
    /// To an order event: what was decided to be sent.
    Order {
        /// The messages.
        notifications: Vec<NotificationId>,
    },
    /// To anything else.
    Done,
}

/// Why an input was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The inbox is full: come back later.
    Full,
    /// The store does not take commits, or the node is closing.
    Unavailable(String),
}

/// The shoppers' inboxes.
#[derive(Clone, Debug)]
pub struct Shards {}

impl Shards {
    /// Hands an input to the shopper's owner and waits until what it caused is durable.
    ///
    /// # Errors
    /// If it was not taken; then it had no effect.
    #[allow(clippy::unused_async, reason = "the signature that the ingest side is written against")]
    pub async fn ask(&self, _shopper: ShopperId, _input: Input) -> Result<Answer, Refusal> {
        Err(Refusal::Full)
    }
}
