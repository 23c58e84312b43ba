//! One shopper while a batch is decided.

use std::sync::Arc;

use parvis_engine::{
    decide::{Budgets, Decided, Verdict},
    id::{CampaignId, DeviceId},
    matching::{self, Matched, Subject, Transition},
    notification::Notification,
    per_device::PerDevice,
    shopper::{Shopper, Track},
    time::Timestamp,
    world::World,
};

use crate::{
    report::{Event, What},
    store::{Change, Durable, Record},
    webhook::Webhooks,
};

/// A loaded shopper and what is becoming of it.
#[derive(Debug)]
pub struct Work {
    /// The durable side; copied when it is first changed.
    pub shopper: Arc<Shopper>,
    /// What may still be sent of campaigns with a budget.
    pub budgets: Budgets,
    loaded: Arc<Shopper>,
    version: u64,
    tracks: PerDevice<Track>,
    moved: bool,
    woken: bool,
    erased: bool,
    outbox: Vec<Notification>,
    events: Vec<Event>,
    dry: Vec<(CampaignId, u64)>,
}

impl Work {
    /// A shopper as it was loaded.
    pub fn new(record: Record) -> Work {
        Work {
            loaded: record.shopper.clone(),
            shopper: record.shopper,
            budgets: Budgets::new(),
            version: record.version,
            tracks: record.tracks,
            moved: false,
            woken: false,
            erased: false,
            outbox: Vec::new(),
            events: Vec::new(),
            dry: Vec::new(),
        }
    }

    /// A device's volatile side.
    pub fn track(&mut self, device: &DeviceId) -> &mut Track {
        self.moved = true;
        if !self.tracks.contains_key(device) {
            let id = self.shopper.devices.key(device).unwrap_or(device).clone();
            self.tracks.insert(id, Track::default());
        }
        self.tracks.get_mut(device).expect("it was put there")
    }

    /// Lets matching look at a device, keeps what it found, and gives its transitions.
    pub fn matched(&mut self, device: &DeviceId, look: impl FnOnce(Subject<'_>) -> Matched) -> Vec<Transition> {
        self.track(device);
        let known = self.shopper.devices.get(device);
        let presences = known.map_or(&[][..], |known| &known.presences);
        let left_at = known.and_then(|known| known.left_at);
        let track = self.tracks.get_mut(device).expect("track() has put it there");
        let matched = look(Subject { device, presences, left_at, track });
        let left_at = left_at.max(matched.left_at());
        if let Some(presences) = matched.presences
            && let Some(device) = Arc::make_mut(&mut self.shopper).devices.get_mut(device)
        {
            device.presences = presences;
            device.left_at = left_at;
        }
        matched.transitions
    }

    /// A distance from the device's last fix within which nothing can change, metres.
    pub fn safe_radius_m(&self, world: &World, device: &DeviceId) -> Option<f64> {
        let track = self.tracks.get(device)?;
        track.last.is_some().then(|| matching::safe_radius_m(world, track))
    }

    /// Keeps what was decided: messages for the outbox, everything for the journal.
    pub fn decided(&mut self, decided: Decided, transitions: &[Transition], now: Timestamp) {
        let shopper = self.shopper.id.clone();
        let event = |at: Timestamp, what: What| Event { at, recorded_at: now, shopper: shopper.clone(), what };
        self.events.extend(transitions.iter().map(|it| event(it.at, What::Transition(it.clone()))));
        for arrival in decided.arrivals {
            self.events.push(event(arrival.at, What::Arrival(arrival)));
        }
        for decision in decided.decisions {
            if let Some(total) = super::missed_budget(&decision.verdict) {
                self.dry.push((decision.campaign.clone(), total));
            }
            let (notification, not_before, suppressed) = match decision.verdict {
                Verdict::Suppress(why) => (None, None, Some(why)),
                Verdict::Send(message) => {
                    let (id, not_before) = (message.id, (message.not_before > now).then_some(message.not_before));
                    self.outbox.push(*message);
                    (Some(id), not_before, None)
                }
            };
            let what = What::Decision {
                campaign: decision.campaign,
                device: decision.device,
                cause: decision.cause,
                notification,
                not_before,
                suppressed,
            };
            self.events.push(event(now, what));
        }
    }

    /// Adds what the retailer's own systems are to be told of what happened.
    pub fn tell(&mut self, webhooks: &Webhooks) {
        self.outbox.extend(webhooks.tell(&self.events));
    }

    /// Changes the shopper; what `change` calls no change is dropped again. Gives what it said.
    pub fn edit(&mut self, change: impl FnOnce(&mut Shopper) -> bool) -> bool {
        let mut edited = (*self.shopper).clone();
        let changed = change(&mut edited);
        if changed {
            self.shopper = Arc::new(edited);
        }
        changed
    }

    /// Records something that is not a decision.
    pub fn happened(&mut self, at: Timestamp, what: What, now: Timestamp) {
        self.events.push(Event { at, recorded_at: now, shopper: self.shopper.id.clone(), what });
    }

    /// A timer has fired: the next wake time is set anew whatever came of it, unless the shopper was erased meanwhile.
    pub fn wake(&mut self) {
        self.woken = true;
    }

    /// Nothing of the shopper is to stay; true if there was something. The last thing of its batch.
    pub fn erase(&mut self) -> bool {
        let known = self.version > 0 || !Arc::ptr_eq(&self.loaded, &self.shopper);
        self.shopper = Arc::new(Shopper::new(self.shopper.id.clone()));
        self.tracks.clear();
        self.outbox.clear();
        self.events.clear();
        self.erased = true;
        known
    }

    /// Without consent to the use of locations nothing is known of where devices are or were.
    pub fn forget_positions_without_consent(&mut self) {
        if !self.shopper.profile.consents.allow_location() && !self.tracks.is_empty() {
            self.moved = true;
            self.tracks.clear();
        }
    }

    /// A device no longer belongs here; gives its volatile side.
    pub fn release(&mut self, device: &DeviceId) -> Option<Track> {
        self.moved = true;
        self.tracks.remove(device)
    }

    /// A device with its volatile side has come here.
    pub fn adopt(&mut self, device: &DeviceId, track: Track) {
        self.moved = true;
        self.tracks.insert(device.clone(), track);
    }

    /// The campaigns of messages that were counted since the shopper was loaded, each as often. What came along with an
    /// anonymous shopper was counted before.
    pub fn sent(&self) -> impl Iterator<Item = &CampaignId> {
        let is_new = |id| self.loaded.sends.iter().all(|send| send.notification != id);
        let is_own = |id| self.outbox.iter().any(|message| message.id == id);
        let counted = move |id| is_new(id) && is_own(id);
        self.shopper.sends.iter().filter(move |send| counted(send.notification)).map(|send| &send.campaign)
    }

    /// Campaigns whose budget was missed, with their totals.
    pub fn dry_budgets(&self) -> &[(CampaignId, u64)] {
        &self.dry
    }

    /// What is to be committed of the shopper, if anything. Whatever is recorded counts as a new version, so that a
    /// commit that is tried again because its answer was lost conflicts with itself and records nothing twice.
    pub fn change(&self, world: &World) -> Option<Change> {
        let recorded = !self.events.is_empty() || !self.outbox.is_empty();
        let state = if self.erased {
            Durable::Erased
        } else if (self.woken && self.version > 0) || recorded || !Arc::ptr_eq(&self.loaded, &self.shopper) {
            let wakes = self.shopper.devices.values().filter_map(|it| matching::next_wake(world, &it.presences));
            Durable::Replaced { shopper: self.shopper.clone(), wake: wakes.min() }
        } else if self.moved {
            Durable::Unchanged
        } else {
            return None;
        };
        Some(Change { version: self.version, id: self.shopper.id.clone(), state, tracks: self.tracks.clone() })
    }

    /// The same, for the report.
    pub fn into_results(self) -> (Vec<Notification>, Vec<Event>) {
        (self.outbox, self.events)
    }

    /// The messages for the outbox and the events for the journal.
    pub fn results(&self) -> (&[Notification], &[Event]) {
        (&self.outbox, &self.events)
    }
}

#[cfg(test)]
mod tests {
    use parvis_engine::order::OrderState;

    use super::*;

    #[test]
    fn what_is_recorded_is_a_new_version() {
        let id: parvis_engine::id::ShopperId = "C-1".parse().expect("an id");
        let record = Record { version: 3, shopper: Arc::new(Shopper::new(id)), tracks: Default::default() };
        let mut work = Work::new(record);
        assert!(work.change(&World::default()).is_none(), "nothing has happened");
        let order = "o-1".parse().expect("an id");
        let at = Timestamp::from_millis(0);
        work.happened(at, What::Order { order, state: OrderState::Shipped }, at);
        let change = work.change(&World::default()).expect("a change");
        assert!(matches!(change.state, Durable::Replaced { .. }), "{change:?}");
    }
}
