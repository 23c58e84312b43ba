//! A message that was given up is tried anew: as a new message, once however often it is asked for.

use std::time::Duration;

use parvis_engine::{
    decide::{self, Wanted},
    id::NotificationId,
    notification::{Body, Milestone, Notification, Recipient},
    shopper::Shopper,
    time::Timestamp,
    world::World,
};

use crate::store::Life;

/// Why a message is not tried anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spent {
    /// It was not given up: it waits, or has ended in this other way.
    NotDead(Option<Milestone>),
    /// The device is gone or can't be reached any more.
    NoTarget,
    /// It would not be sent, for this reason.
    Unwanted(&'static str),
}

impl Spent {
    /// The name in the API.
    pub fn name(&self) -> &'static str {
        match self {
            Spent::NotDead(_) => "not_dead",
            Spent::NoTarget => "no_target",
            Spent::Unwanted(reason) => reason,
        }
    }
}

/// The id of the message that tries a dead one anew; none if it is not dead.
pub fn replay_id(life: &Life) -> Option<NotificationId> {
    // When it was given up stays what it is, so that a repeat gives the same id.
    let dead = life.milestones.iter().find(|step| step.milestone == Milestone::Dead)?;
    let old = &life.notification;
    Some(NotificationId::derive(dead.at, &old.shopper, &["replay", &old.id.to_string()]))
}

/// The message that tries a dead one anew, with `ttl` or as long a life as that one had from now on.
///
/// # Errors
/// Why it is not tried.
pub fn replay(
    life: &Life,
    shopper: &Shopper,
    world: &World,
    ttl: Option<Duration>,
    now: Timestamp,
) -> Result<Notification, Spent> {
    let end = life.milestones.iter().find(|step| step.milestone.is_terminal());
    let id = replay_id(life).ok_or_else(|| Spent::NotDead(end.map(|step| step.milestone)))?;
    let old = &life.notification;
    let (channel, app) = match &old.recipient {
        Recipient::Address(_) | Recipient::Endpoint(_) => (old.channel, old.app.clone()),
        Recipient::Device(id) => {
            let device = shopper.devices.get(id);
            let place = device.and_then(|device| Some((device.target.as_ref()?.channel(), device.app())));
            let place = place.ok_or(Spent::NoTarget)?;
            // What the phone shows all the time has an address of its own, of the same service.
            if matches!(old.body, Body::Live(_)) { (old.channel, old.app.clone()) } else { place }
        }
    };
    let span = ttl.unwrap_or_else(|| old.expires_at.since(old.not_before.max(old.observed_at)));
    let anew = Notification {
        id,
        replays: Some(old.id),
        channel,
        app,
        decided_at: now,
        not_before: now,
        expires_at: now.plus(span),
        ..old.clone()
    };
    match decide::still_wanted(world, shopper, &anew, now) {
        Wanted::Yes | Wanted::NotBefore(_) => Ok(anew),
        Wanted::No(reason) => Err(Spent::Unwanted(reason.name())),
    }
}

#[cfg(test)]
mod tests {
    use parvis_engine::{
        notification::{Address, Channel, Content, Origin, Purpose},
        shopper::{Consent, Device, PushTarget},
    };

    use super::*;
    use crate::store::Step;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + second * 1_000)
    }

    fn fcm(token: &str) -> PushTarget {
        PushTarget::Fcm { token: Some(token.into()), fid: None }
    }

    fn life(recipient: Recipient, end: Option<Milestone>) -> Life {
        let shopper = "C-1".parse().expect("an id");
        let id = NotificationId::derive(at(0), &shopper, &["x"]);
        let notification = Notification {
            id,
            shopper,
            recipient,
            channel: Channel::Fcm,
            app: Default::default(),
            origin: Origin::Request { request: "r".to_owned(), purpose: Purpose::Order },
            replays: None,
            body: Body::Content(Content::default()),
            collapse: "key".to_owned(),
            observed_at: at(0),
            decided_at: at(0),
            not_before: at(100),
            expires_at: at(700),
        };
        let step = |milestone| Step { milestone, at: at(200), detail: None };
        Life { notification, milestones: end.map(step).into_iter().collect(), attempts: 3 }
    }

    fn shopper() -> Shopper {
        let mut shopper = Shopper::new("C-1".parse().expect("an id"));
        shopper.profile.consents.orders = Some(Consent { granted: true, at: at(0), text: None });
        shopper.devices.insert("d".parse().expect("an id"), Device::new("web", Some(fcm("t")), at(0)));
        shopper
    }

    fn device() -> Recipient {
        Recipient::Device("d".parse().expect("an id"))
    }

    #[test]
    fn a_replay_lives_as_long_as_the_dead_one_and_is_one_message_however_often() {
        let dead = life(device(), Some(Milestone::Dead));
        let world = World::default();
        let once = replay(&dead, &shopper(), &world, None, at(1_000)).expect("a replay");
        let twice = replay(&dead, &shopper(), &world, None, at(2_000)).expect("a replay");
        assert_eq!((once.id, once.replays, once.collapse.as_str()), (twice.id, Some(dead.notification.id), "key"));
        assert_ne!(once.id, dead.notification.id);
        assert_eq!((once.expires_at, twice.expires_at), (at(1_600), at(2_600)));
        let ttl = Some(Duration::from_secs(60));
        assert_eq!(replay(&dead, &shopper(), &world, ttl, at(1_000)).expect("a replay").expires_at, at(1_060));
    }

    #[test]
    fn a_replay_goes_where_the_device_can_be_reached_now() {
        let mut moved = shopper();
        let device_now = moved.devices.get_mut("d").expect("there");
        device_now.target = Some(PushTarget::Apns {
            token: "00".repeat(32).into(),
            topic: "com.example".into(),
            environment: Default::default(),
        });
        let dead = life(device(), Some(Milestone::Dead));
        let replayed = replay(&dead, &moved, &World::default(), None, at(1_000)).expect("a replay");
        assert_eq!(replayed.channel, Channel::Apns);
        let address = Recipient::Address(Box::new(Address::Target(fcm("t"))));
        let to_address = life(address.clone(), Some(Milestone::Dead));
        let nobody = Shopper::new("C-1".parse().expect("an id"));
        let replayed = replay(&to_address, &nobody, &World::default(), None, at(1_000)).expect("a replay");
        assert_eq!(replayed.recipient, address);
    }

    #[test]
    fn what_is_not_tried_anew_is_told_by_name() {
        let name = |life: &Life, shopper: &Shopper| {
            replay(life, shopper, &World::default(), None, at(1_000)).expect_err("refused").name()
        };
        let dead = life(device(), Some(Milestone::Dead));
        for alive in [None, Some(Milestone::Accepted), Some(Milestone::Expired)] {
            assert_eq!(name(&life(device(), alive), &shopper()), "not_dead");
        }
        let mut unreachable = shopper();
        unreachable.devices.get_mut("d").expect("there").target = None;
        assert_eq!(name(&dead, &unreachable), "no_target");
        unreachable.devices.remove(&"d".parse().expect("an id"));
        assert_eq!(name(&dead, &unreachable), "no_target");
        let mut withdrawn = shopper();
        withdrawn.profile.consents.orders = None;
        assert_eq!(name(&dead, &withdrawn), "no_consent");
    }
}
