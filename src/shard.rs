//! Owns a part of the shoppers: takes what waits, decides all, commits once, then answers.

use std::sync::Arc;

use parvis_engine::{
    id::{DeviceId, NotificationId, OrderId, ShopperId, stable_hash},
    matching::Transition,
    observation::{Observation, Rejected},
    order::OrderEvent,
    problem::Problem,
    shopper::{Consents, Profile, PushTarget},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

/// What the retailer says of a device; the body of `PUT /v1/devices/{device}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Whose device it is; without it the device is its own anonymous shopper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shopper: Option<ShopperId>,
    /// The kind of phone or browser, such as `ios`.
    pub platform: String,
    /// Where its messages go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PushTarget>,
    /// BCP 47 language tag; the shopper's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// IANA time zone; the shopper's if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Whether the shopper wants order news on this device rather than on others.
    #[serde(default)]
    pub preferred: bool,
    /// What an anonymous shopper allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consents: Option<Consents>,
}

impl Registration {
    /// Who owns the device after this.
    pub fn owner(&self, device: &DeviceId) -> ShopperId {
        self.shopper.clone().unwrap_or_else(|| ShopperId::anonymous(device))
    }

    /// What is wrong with it.
    pub fn problems(&self) -> Vec<Problem> {
        let anonymous = self.shopper.as_ref().is_some_and(ShopperId::is_anonymous);
        let problem = || Problem::new("/shopper", "must not begin with '~', which marks anonymous shoppers");
        anonymous.then(problem).into_iter().collect()
    }
}

/// An interest shown elsewhere; the body of `POST /v1/shoppers/{shopper}/signals`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signal {
    /// The interest's name.
    pub interest: String,
    /// How strong it is; 1 if absent.
    #[serde(default = "Signal::full_weight")]
    pub weight: f64,
    /// Where it was shown, such as `newsletter`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When it was shown.
    pub at: Timestamp,
}

impl Signal {
    /// What is wrong with it.
    pub fn problems(&self) -> Vec<Problem> {
        let positive = self.weight > 0.0 && self.weight.is_finite();
        (!positive).then(|| Problem::new("/weight", "must be greater than 0")).into_iter().collect()
    }

    fn full_weight() -> f64 {
        1.0
    }
}

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
    /// A device of this shopper is registered.
    Register {
        /// Which device.
        device: DeviceId,
        /// What is said of it.
        registration: Registration,
        /// Whose it was until now, if somebody else's: what an anonymous one has gathered comes along.
        previous: Option<ShopperId>,
    },
    /// A device leaves this shopper. An anonymous shopper is forgotten with it.
    Release {
        /// Which device.
        device: DeviceId,
    },
    /// An interest was shown elsewhere.
    Signal(Signal),
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
    /// What it carries is wrong; coming back does not help.
    Invalid(Vec<Problem>),
    /// The store does not take commits, or the node is closing.
    Unavailable(String),
}

/// One input on its way to its owner.
#[derive(Debug)]
pub struct Job {
    /// Whose it is.
    pub shopper: ShopperId,
    /// What is to be done.
    pub input: Input,
    /// Takes the answer, after the commit.
    pub reply: oneshot::Sender<Result<Answer, Refusal>>,
}

/// The shoppers' inboxes. Cheap to clone; when the last clone is gone, the owners see their inboxes closed.
#[derive(Clone, Debug)]
pub struct Shards {
    inboxes: Arc<[mpsc::Sender<Job>]>,
}

impl Shards {
    /// Handles on these inboxes, one for each owner. There must be at least one.
    pub fn new(inboxes: Vec<mpsc::Sender<Job>>) -> Shards {
        Shards { inboxes: inboxes.into() }
    }

    /// Hands an input to the shopper's owner and waits until what it caused is durable.
    ///
    /// # Errors
    /// If it was not taken; then it had no effect. Only `Unavailable` leaves open whether it had.
    pub async fn ask(&self, shopper: ShopperId, input: Input) -> Result<Answer, Refusal> {
        let (reply, answer) = oneshot::channel();
        let Some(inbox) = self.inbox(&shopper) else {
            return Err(Refusal::Unavailable("nobody owns any shopper yet".to_owned()));
        };
        match inbox.try_send(Job { shopper, input, reply }) {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(closing())),
            Err(TrySendError::Full(_)) => Err(Refusal::Full),
            Err(TrySendError::Closed(_)) => Err(closing()),
        }
    }

    fn inbox(&self, shopper: &ShopperId) -> Option<&mpsc::Sender<Job>> {
        let owners = u64::try_from(self.inboxes.len()).ok()?;
        let at = stable_hash(&[shopper.as_str()]).checked_rem(owners)?;
        self.inboxes.get(usize::try_from(at).ok()?)
    }
}

fn closing() -> Refusal {
    Refusal::Unavailable("this node is closing".to_owned())
}
