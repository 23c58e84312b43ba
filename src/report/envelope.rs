//! Events as others get them: CloudEvents 1.0 in its JSON form.

use parvis_engine::{
    id::stable_hash, matching::TransitionKind, notification::Milestone, region::RegionKind, time::Timestamp,
};
use serde::Serialize;
use serde_json::Value;

use super::{Event, News, What};
use crate::fleet::Change;

/// One event in its envelope.
#[derive(Debug, Serialize)]
pub struct Envelope<'a> {
    specversion: &'static str,
    /// The same for the same event, wherever and how often it is told.
    pub id: String,
    source: String,
    /// What happened: see [`types`].
    pub r#type: &'static str,
    subject: &'a str,
    time: Timestamp,
    datacontenttype: &'static str,
    data: Value,
}

impl<'a> Envelope<'a> {
    /// Puts what a node tells into its envelope.
    pub fn of(news: &'a News, node: &str) -> Envelope<'a> {
        match news {
            News::Shopper(event) => Envelope::new(event, node),
            News::Fleet(change) => Envelope::of_fleet(change, node),
        }
    }

    fn of_fleet(change: &'a Change, node: &str) -> Envelope<'a> {
        let data = serde_json::to_value(change).unwrap_or_default();
        let id = stable_hash(&[change.kind(), change.subject(), &change.at.to_string(), &data.to_string()]);
        Envelope {
            specversion: "1.0",
            id: format!("{id:016x}"),
            source: format!("/nodes/{node}"),
            r#type: change.kind(),
            subject: change.subject(),
            time: change.at,
            datacontenttype: "application/json",
            data,
        }
    }

    /// Puts an event of a node into its envelope.
    pub fn new(event: &'a Event, node: &str) -> Envelope<'a> {
        let Told { hash, data } = Told::of(event);
        Envelope {
            specversion: "1.0",
            id: format!("{hash:016x}"),
            source: format!("/nodes/{node}"),
            r#type: kind(event),
            subject: event.shopper.as_str(),
            time: event.at,
            datacontenttype: "application/json",
            data,
        }
    }
}

/// What is told of an event, beside its type and time.
#[derive(Debug)]
pub struct Told {
    /// Names the event: the same whenever and wherever it is told.
    pub hash: u64,
    /// What happened, to whom, and when it was recorded.
    pub data: Value,
}

impl Told {
    /// Of this event.
    pub fn of(event: &Event) -> Told {
        let mut data = match serde_json::to_value(&event.what) {
            Ok(Value::Object(mut what)) => what.remove("data").unwrap_or_default(),
            Ok(_) | Err(_) => Value::Null,
        };
        let hash = stable_hash(&[kind(event), event.shopper.as_str(), &event.at.to_string(), &data.to_string()]);
        if let Value::Object(data) = &mut data {
            data.insert("shopper".to_owned(), event.shopper.as_str().into());
            data.insert("recorded_at".to_owned(), event.recorded_at.to_string().into());
        }
        Told { hash, data }
    }
}

/// Which types somebody wants to hear of: one that ends with `.` stands for all that begin with it; all if none is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted(Vec<String>);

impl Wanted {
    /// These types, of those that `known` has.
    ///
    /// # Errors
    /// A sentence about the first that stands for nothing.
    pub fn new<'t>(types: Vec<String>, known: impl Iterator<Item = &'t str>) -> Result<Wanted, String> {
        let known: Vec<&str> = known.collect();
        match types.iter().find(|wanted| !known.iter().any(|kind| fits(wanted, kind))) {
            None => Ok(Wanted(types)),
            Some(odd) => Err(format!("there is no event type {odd:?}; there are {}", known.join(", "))),
        }
    }

    /// Whether this type is among them.
    pub fn has(&self, kind: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|wanted| fits(wanted, kind))
    }
}

fn fits(wanted: &str, kind: &str) -> bool {
    wanted == kind || wanted.ends_with('.') && kind.starts_with(wanted)
}

/// Every type that there is.
pub fn types() -> impl Iterator<Item = &'static str> {
    TYPES.into_iter().chain(Change::KINDS)
}

/// The type of what is told.
pub fn kind_of(news: &News) -> &'static str {
    match news {
        News::Shopper(event) => kind(event),
        News::Fleet(change) => change.kind(),
    }
}

/// Every type of a shopper's event.
pub const TYPES: [&str; 27] = [
    "shopper.approached_geofence",
    "shopper.entered_geofence",
    "shopper.dwelled_in_geofence",
    "shopper.exited_geofence",
    "shopper.passed_geofence",
    "shopper.entered_beacon",
    "shopper.dwelled_in_beacon",
    "shopper.exited_beacon",
    "shopper.entered_zone",
    "shopper.dwelled_in_zone",
    "shopper.exited_zone",
    "shopper.arrived_for_pickup",
    "order.state_changed",
    "notification.decided",
    "notification.suppressed",
    "notification.observed",
    "notification.stored",
    "notification.attempted",
    "notification.accepted",
    "notification.unregistered",
    "notification.dead",
    "notification.expired",
    "notification.withdrawn",
    "notification.opened",
    "notification.dismissed",
    "notification.redeemed",
    "shopper.approached_store",
];

/// The type of an event.
pub fn kind(event: &Event) -> &'static str {
    match &event.what {
        What::Transition(transition) => match (transition.kind, transition.region_kind) {
            (TransitionKind::Approach, _) if transition.store.is_some() => "shopper.approached_store",
            (TransitionKind::Approach, _) => "shopper.approached_geofence",
            (TransitionKind::Enter, RegionKind::Geofence) => "shopper.entered_geofence",
            (TransitionKind::Enter, RegionKind::BeaconRegion) => "shopper.entered_beacon",
            (TransitionKind::Enter, RegionKind::Zone) => "shopper.entered_zone",
            (TransitionKind::Dwell, RegionKind::Geofence) => "shopper.dwelled_in_geofence",
            (TransitionKind::Dwell, RegionKind::BeaconRegion) => "shopper.dwelled_in_beacon",
            (TransitionKind::Dwell, RegionKind::Zone) => "shopper.dwelled_in_zone",
            (TransitionKind::Exit, RegionKind::Geofence) => "shopper.exited_geofence",
            (TransitionKind::Exit, RegionKind::BeaconRegion) => "shopper.exited_beacon",
            (TransitionKind::Exit, RegionKind::Zone) => "shopper.exited_zone",
            (TransitionKind::Pass, _) => "shopper.passed_geofence",
        },
        What::Decision { suppressed: Some(_), .. } => "notification.suppressed",
        What::Decision { suppressed: None, .. } => "notification.decided",
        What::Milestone { milestone, .. } => match milestone {
            Milestone::Observed => "notification.observed",
            Milestone::Decided => "notification.decided",
            Milestone::Stored => "notification.stored",
            Milestone::Attempted => "notification.attempted",
            Milestone::Accepted => "notification.accepted",
            Milestone::Unregistered => "notification.unregistered",
            Milestone::Dead => "notification.dead",
            Milestone::Expired => "notification.expired",
            // Told apart from a decision against it: this one had been decided and stored.
            Milestone::Suppressed => "notification.withdrawn",
            Milestone::Opened => "notification.opened",
            Milestone::Dismissed => "notification.dismissed",
            Milestone::Redeemed => "notification.redeemed",
        },
        What::Order { .. } => "order.state_changed",
        What::Arrival { .. } => "shopper.arrived_for_pickup",
    }
}

#[cfg(test)]
mod tests {
    use parvis_engine::{
        id::NotificationId,
        matching::{Transition, TransitionCause},
    };

    use super::*;

    fn event(what: What) -> Event {
        let at = Timestamp::from_millis(0);
        Event { at, recorded_at: at, shopper: "C-1".parse().expect("an id"), what }
    }

    #[test]
    fn every_type_that_is_told_can_be_asked_for() {
        let notification = NotificationId::from_u128(1);
        for milestone in Milestone::ALL {
            let told = kind(&event(What::Milestone { notification, milestone, detail: None }));
            assert!(TYPES.contains(&told), "{told}");
        }
        for kind_of in [
            TransitionKind::Approach,
            TransitionKind::Enter,
            TransitionKind::Dwell,
            TransitionKind::Exit,
            TransitionKind::Pass,
        ] {
            let kinds = [RegionKind::Geofence, RegionKind::BeaconRegion, RegionKind::Zone];
            let stores = [None, Some("opera".parse().expect("an id"))];
            for (store, region_kind) in stores.into_iter().flat_map(|store| kinds.map(|kind| (store.clone(), kind))) {
                let at = Timestamp::from_millis(0);
                let told = kind(&event(What::Transition(Transition {
                    kind: kind_of,
                    device: "phone".parse().expect("an id"),
                    region: "shop".parse().expect("an id"),
                    region_kind,
                    store,
                    at,
                    received_at: at,
                    confidence: 1.0,
                    cause: TransitionCause::Fix,
                    entered_at: None,
                    replayed: false,
                })));
                assert!(TYPES.contains(&told), "{told}");
            }
        }
    }
}
