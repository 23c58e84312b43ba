//! The shoppers of one batch, and what each job means for them. Pure: it may be decided again from the same records.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use parvis_engine::{
    change::{
        self, Registration,
        live::{Refusal, Report},
    },
    decide::{self, Budgets, Decided},
    id::{CampaignId, DeviceId, OrderId, ShopperId},
    matching,
    observation::{Observation, Rejected, Rejection},
    order::{Change, OrderEvent},
    time::Timestamp,
    world::World,
};

use super::{Answer, Input, Job, Observed, Work};
use crate::{
    pipeline,
    report::{Reporter, What},
    store::{Commit, Record},
    webhook::Webhooks,
};

/// The shoppers that a batch of jobs touches.
pub struct Batch {
    /// What may still be sent of campaigns with a budget, by this shard.
    pub budgets: Budgets,
    world: Arc<World>,
    /// None for who was withdrawn.
    works: Vec<Option<Work>>,
    places: HashMap<ShopperId, usize>,
    owners: BTreeMap<DeviceId, ShopperId>,
    bonds: Vec<Vec<ShopperId>>,
    now: Timestamp,
}

impl Batch {
    /// Loaded shoppers, and who owned the devices that are to be registered.
    pub fn new(
        world: Arc<World>,
        records: Vec<Record>,
        owners: BTreeMap<DeviceId, ShopperId>,
        budgets: Budgets,
        now: Timestamp,
    ) -> Batch {
        let places = records.iter().enumerate().map(|(place, record)| (record.shopper.id.clone(), place)).collect();
        let works = records.into_iter().map(|record| Some(Work::new(record))).collect();
        Batch { budgets, world, works, places, owners, bonds: Vec::new(), now }
    }

    /// Decides all jobs, in their order.
    pub fn decide(&mut self, jobs: &[Job]) -> Vec<Answer> {
        jobs.iter().map(|job| self.decide_one(&job.shopper, &job.input)).collect()
    }

    /// Adds what the retailer's own systems are to be told of it.
    pub fn tell(&mut self, webhooks: &Webhooks) {
        self.works.iter_mut().flatten().for_each(|work| work.tell(webhooks));
    }

    /// What is to be committed.
    pub fn commit(&self) -> Commit {
        let mut commit = Commit { bonds: self.bonds.clone(), ..Commit::default() };
        for work in self.works.iter().flatten() {
            let (outbox, events) = work.results();
            commit.changes.extend(work.change(&self.world));
            commit.outbox.extend_from_slice(outbox);
            commit.events.extend_from_slice(events);
        }
        commit
    }

    /// Takes out shoppers of whom nothing was committed; gives what was decided for them of campaigns with a budget.
    pub fn withdraw(&mut self, shoppers: &[ShopperId]) -> Budgets {
        let mut taken = Budgets::new();
        for place in shoppers.iter().filter_map(|id| self.places.get(id)) {
            let Some(work) = self.works[*place].take() else { continue };
            for campaign in work.sent().filter(|campaign| self.budgets.contains_key(*campaign)) {
                *taken.entry(campaign.clone()).or_insert(0) += 1;
            }
        }
        taken
    }

    /// Tells what is now durable.
    pub fn report(self, reporter: &Reporter) {
        for work in self.works.into_iter().flatten() {
            let (outbox, events) = work.into_results();
            outbox.iter().for_each(|message| reporter.stored(message));
            events.into_iter().for_each(|event| reporter.send(event));
        }
    }

    /// Campaigns whose budget was missed, with their totals and how often.
    pub fn dry_budgets(&self) -> BTreeMap<CampaignId, (u64, u64)> {
        let mut dry = BTreeMap::new();
        for (campaign, total) in self.works.iter().flatten().flat_map(Work::dry_budgets) {
            dry.entry(campaign.clone()).or_insert((*total, 0)).1 += 1;
        }
        dry
    }

    fn decide_one(&mut self, shopper: &ShopperId, input: &Input) -> Answer {
        if let Input::Register { device, registration } = input {
            return self.register(shopper, device, registration.clone());
        }
        let (world, now) = (&*self.world, self.now);
        let work = self.works[self.places[shopper]].as_mut().expect(LOADED);
        std::mem::swap(&mut work.budgets, &mut self.budgets);
        let answer = match input {
            Input::Observed { device, observations } => {
                Answer::Observed(observed(world, work, device, observations, now))
            }
            Input::Wake => wake(world, work, now),
            Input::Order { order, event } => take_order(world, work, order, event, now),
            Input::Profile(profile) => {
                change::replace_profile(Arc::make_mut(&mut work.shopper), profile.clone());
                work.forget_positions_without_consent();
                Answer::Done
            }
            Input::Signal(signal) => {
                let half_life = world.settings.marketing.interest_half_life;
                work.edit(|shopper| change::signal(shopper, signal, half_life, now));
                Answer::Done
            }
            Input::Deregister { device } => {
                work.release(device);
                Answer::Deleted(work.edit(|shopper| shopper.devices.remove(device).is_some()))
            }
            Input::Unregistered { device, target, since } => {
                work.edit(|shopper| change::remove_target(shopper, device, target, *since, now));
                Answer::Done
            }
            Input::Live { device, report } => Answer::Live(take_report(world, work, device, report, now)),
            Input::Erase => Answer::Deleted(work.erase()),
            Input::Register { .. } => Answer::Done,
        };
        std::mem::swap(&mut work.budgets, &mut self.budgets);
        answer
    }

    /// A device comes to its shopper, from whoever owned it before.
    fn register(&mut self, shopper: &ShopperId, device: &DeviceId, registration: Registration) -> Answer {
        let previous = self.owners.get(device).filter(|owner| *owner != shopper);
        let place = previous.and_then(|owner| self.places.get(owner)).copied();
        // Out of its place while two are changed at once.
        let mut previous = place.and_then(|place| self.works[place].take());
        let work = self.works[self.places[shopper]].as_mut().expect(LOADED);
        let before = previous.as_mut().map(|previous| Arc::make_mut(&mut previous.shopper));
        let settings = &self.world.settings.marketing;
        let carried = registration.link.is_some();
        let gone =
            change::register(Arc::make_mut(&mut work.shopper), before, (device, registration), settings, self.now);
        for device in &gone {
            work.release(device);
        }
        let track = previous.as_mut().and_then(|previous| previous.release(device));
        if let Some(track) = track.filter(|_| !carried) {
            work.adopt(device, track);
        }
        work.forget_positions_without_consent();
        if let (Some(place), Some(previous)) = (place, previous) {
            self.bind(shopper, &previous.shopper.id);
            self.works[place] = Some(previous);
        }
        self.owners.insert(device.clone(), shopper.clone());
        Answer::Done
    }

    /// These two, and whoever is bound to one of them, are committed together.
    fn bind(&mut self, one: &ShopperId, other: &ShopperId) {
        let (mut bound, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.bonds).into_iter().partition(|bond| bond.contains(one) || bond.contains(other));
        bound.push(vec![one.clone(), other.clone()]);
        let mut bond = bound.concat();
        bond.sort_unstable();
        bond.dedup();
        self.bonds = rest;
        self.bonds.push(bond);
    }
}

const LOADED: &str = "every shopper of the batch is loaded";

/// No device, no consent: no processing.
fn observed(world: &World, work: &mut Work, device: &DeviceId, raw: &[Observation], now: Timestamp) -> Observed {
    let refusal = unknown(world, work, device, now).or_else(|| {
        let silent = !work.shopper.profile.consents.allow_location();
        let detail = "the shopper has not consented to the use of locations".to_owned();
        silent.then_some(Rejected { reason: Rejection::NoConsent, detail })
    });
    match refusal {
        None => {
            let (observed, decided) = pipeline::observe(world, work, device, raw, now);
            work.decided(decided, &observed.transitions, now);
            observed
        }
        Some(refusal) => {
            let results = raw.iter().map(|_| Err(refusal.clone())).collect();
            Observed { results, ..Observed::default() }
        }
    }
}

/// Why nobody speaks through a device now, if nobody does.
fn unknown(world: &World, work: &Work, device: &DeviceId, now: Timestamp) -> Option<Rejected> {
    let known = work.shopper.devices.get(device);
    let until = known.and_then(|known| known.linked_until.as_deref());
    if let Some(until) = until.filter(|until| **until <= now) {
        let detail = format!("the tag {device} was linked until {until}; PUT /v1/beacons/{device}/link links it again");
        return Some(Rejected { reason: Rejection::UnlinkedTag, detail });
    }
    known.is_none().then(|| nobody(world, device))
}

/// Why nothing is taken from a device or a tag that is no shopper's.
pub fn nobody(world: &World, device: &DeviceId) -> Rejected {
    if world.registry.tag(device).is_some() {
        let detail = format!("nobody carries the tag {device}; PUT /v1/beacons/{device}/link links it to a shopper");
        return Rejected { reason: Rejection::UnlinkedTag, detail };
    }
    let detail = format!("{device} is not registered; PUT /v1/devices/{device} first");
    Rejected { reason: Rejection::UnknownDevice, detail }
}

/// What time alone has caused on all devices of a shopper.
fn wake(world: &World, work: &mut Work, now: Timestamp) -> Answer {
    work.wake();
    let devices: Vec<DeviceId> = work.shopper.devices.keys().cloned().collect();
    for device in devices {
        let transitions = work.matched(&device, |it| matching::elapsed(world, it, now, now));
        let decided = decide::campaigns(world, &mut work.shopper, &transitions, &mut work.budgets, now);
        work.decided(decided, &transitions, now);
    }
    Answer::Done
}

fn take_order(world: &World, work: &mut Work, order: &OrderId, event: &OrderEvent, now: Timestamp) -> Answer {
    let taken = decide::order(world, &mut work.shopper, order, event, now);
    if taken.change == Change::New {
        work.happened(event.at, What::Order { order: order.clone(), state: event.state }, now);
    }
    work.decided(Decided { decisions: taken.decisions, arrivals: Vec::new() }, &[], now);
    Answer::Order { change: taken.change, notifications: taken.notifications }
}

/// What an app reports of what its phone shows. An activity that shows what is no longer true is changed at once.
fn take_report(
    world: &World,
    work: &mut Work,
    device: &DeviceId,
    report: &Report,
    now: Timestamp,
) -> Result<(), Refusal> {
    let mut taken = Ok(());
    work.edit(|shopper| {
        let result = change::live::report(shopper, device, report, now);
        taken = result.map(drop);
        result.unwrap_or(false)
    });
    if let (Ok(()), Report::Activity(order, _)) = (taken, report) {
        let decision = decide::live::catch_up(world, &mut work.shopper, (device, order), now);
        let decisions = decision.into_iter().collect();
        work.decided(Decided { decisions, ..Decided::default() }, &[], now);
    }
    taken
}

#[cfg(test)]
mod tests {
    use parvis_engine::{
        change::Link,
        id::NotificationId,
        matching::TransitionKind,
        notification::Purpose,
        observation::{Fix, Heard, Position, Sighting},
        region::Geofence,
        registry::{Beacon, Parts, Registry},
        shopper::{Consent, Device, Profile, Send, Shopper},
        world,
    };

    use super::*;
    use crate::{shard::Reply, store::Durable};

    const NOW: i64 = 1_700_000_000_000;

    fn name<T: std::str::FromStr<Err = String>>(text: &str) -> T {
        text.parse().expect("a valid name")
    }

    fn world() -> Arc<World> {
        let shop = serde_json::json!({
            "type": "Feature", "id": "shop", "properties": {"radius_m": 500.0},
            "geometry": {"type": "Point", "coordinates": [2.35, 48.86]},
        });
        let shop = Geofence::compile(serde_json::from_value(shop).expect("well formed")).expect("sound");
        Arc::new(World::new(1, vec![Arc::new(shop)], Vec::new(), Vec::new(), world::Settings::default()))
    }

    fn profile(granted: bool) -> Profile {
        let mut profile = Profile::default();
        profile.consents.location = Some(Consent { granted, at: Timestamp::from_millis(NOW), text: None });
        profile
    }

    fn batch(record: Record) -> Batch {
        Batch::new(world(), vec![record], BTreeMap::new(), Budgets::new(), Timestamp::from_millis(NOW))
    }

    fn job(input: Input) -> Job {
        Job { shopper: name("C-1"), input, reply: Reply::alone().0 }
    }

    /// The shopper's registration of a device without a push target.
    fn register(shopper: &str, device: &str) -> Job {
        let registration = Registration {
            shopper: Some(name(shopper)),
            platform: "ios".to_owned(),
            app: None,
            target: None,
            locale: None,
            time_zone: None,
            consents: None,
            preferred: false,
            progress: false,
            link: None,
        };
        let input = Input::Register { device: name(device), registration };
        Job { shopper: name(shopper), input, reply: Reply::alone().0 }
    }

    fn fix(second: i64) -> Job {
        let fix = Fix {
            at: Timestamp::from_millis(NOW - 60_000 + second * 1_000),
            position: Position { lat: 48.86, lon: 2.35 },
            accuracy_m: 5.0,
            speed_mps: None,
            course_deg: None,
            floor: None,
        };
        job(Input::Observed { device: name("phone"), observations: vec![Observation::Fix(fix)] })
    }

    #[test]
    fn who_withdraws_consent_and_gives_it_again_enters_again() {
        let mut shopper = Shopper::new(name("C-1"));
        shopper.profile = profile(true);
        let device = Device::new("ios".to_owned(), None, Timestamp::from_millis(NOW));
        shopper.devices.insert(name("phone"), device);
        let mut batch = batch(Record { version: 1, shopper: Arc::new(shopper), tracks: Default::default() });
        let kinds = |answer: &Answer| match answer {
            Answer::Observed(observed) => observed.transitions.iter().map(|it| it.kind).collect(),
            Answer::Order { .. } | Answer::Live(_) | Answer::Deleted(_) | Answer::Done => Vec::new(),
        };
        let entered = batch.decide(&[fix(0), fix(10)]);
        assert_eq!([kinds(&entered[0]), kinds(&entered[1])], [vec![TransitionKind::Enter], Vec::new()]);
        batch.decide(&[job(Input::Profile(profile(false)))]);
        assert!(batch.commit().changes[0].tracks.is_empty(), "no position is kept without consent");
        let again = batch.decide(&[job(Input::Profile(profile(true))), fix(20)]);
        assert_eq!(kinds(&again[1]), [TransitionKind::Enter]);
    }

    #[test]
    fn a_tag_speaks_for_who_carries_it_until_its_time_is_over() {
        let tag = serde_json::json!({"id": "cart", "role": "tag", "mac": "c4:be:84:1f:20:33"});
        let tag = Beacon::compile(serde_json::from_value(tag).expect("well formed")).expect("sound");
        let parts = Parts { beacons: vec![Arc::new(tag)], ..Parts::default() };
        let world = Arc::new(World::clone(&world()).with_registry(Registry::new(parts)));
        let mut shopper = Shopper::new(name("C-1"));
        shopper.profile = profile(true);
        let record = Record { version: 1, shopper: Arc::new(shopper), tracks: Default::default() };
        let now = Timestamp::from_millis(NOW);
        let mut batch = Batch::new(world, vec![record], BTreeMap::new(), Budgets::new(), now);
        let sighting = Sighting {
            at: now,
            heard: Heard::Beacon { beacon: name("cart") },
            rssi_dbm: -60.0,
            measured_power_dbm: None,
            count: None,
            distance_m: None,
            observer: Some(name("ceiling")),
        };
        let heard =
            || Input::Observed { device: name("cart"), observations: vec![Observation::Sighting(sighting.clone())] };
        let link = |until: i64| Input::Register {
            device: name("cart"),
            registration: Registration::of_tag(name("C-1"), Link { until: Some(Timestamp::from_millis(NOW + until)) }),
        };
        let reason = |answer: &Answer| match answer {
            Answer::Observed(observed) => observed.results[0].as_ref().map_err(|rejected| rejected.reason).err(),
            Answer::Order { .. } | Answer::Live(_) | Answer::Deleted(_) | Answer::Done => None,
        };
        let inputs = [heard(), link(1), heard(), link(0), heard()];
        let answers = batch.decide(&inputs.map(job));
        let reasons: Vec<_> = answers.iter().map(reason).collect();
        // That it got as far as the scanner shows that the tag was linked.
        let linked = Some(Rejection::UnknownScanner);
        assert_eq!(reasons, [Some(Rejection::UnlinkedTag), None, linked, None, Some(Rejection::UnlinkedTag)]);
    }

    #[test]
    fn those_between_whom_a_device_passes_are_bound() {
        let known =
            |id: &str| Record { version: 0, shopper: Arc::new(Shopper::new(name(id))), tracks: Default::default() };
        let records = ["A", "B", "C", "D", "E"].map(known).to_vec();
        let now = Timestamp::from_millis(NOW);
        let mut batch = Batch::new(world(), records, BTreeMap::new(), Budgets::new(), now);
        batch.decide(
            &[("A", "1"), ("B", "1"), ("C", "2"), ("D", "2"), ("E", "3")].map(|(who, what)| register(who, what)),
        );
        assert_eq!(batch.commit().bonds, [["A", "B"], ["C", "D"]].map(|bond| bond.map(name::<ShopperId>).to_vec()));
        batch.decide(&[register("D", "1")]);
        assert_eq!(batch.commit().bonds, [["A", "B", "C", "D"].map(name::<ShopperId>).to_vec()]);
    }

    #[test]
    fn what_an_anonymous_shopper_was_sent_before_is_given_back_to_no_budget() {
        let (now, phone) = (Timestamp::from_millis(NOW), name::<DeviceId>("phone"));
        let mut anonymous = Shopper::new(name("~phone"));
        anonymous.devices.insert(phone.clone(), Device::new("ios".to_owned(), None, now));
        let notification = NotificationId::derive(now, &anonymous.id, &["few"]);
        let send = Send { at: now, not_before: now, notification, campaign: name("few"), purpose: Purpose::Offer };
        anonymous.sends = [send].into_iter().collect();
        let (id, owner) = (anonymous.id.clone(), name::<ShopperId>("A"));
        let records = [(1, anonymous), (0, Shopper::new(owner.clone()))];
        let records =
            records.map(|(version, it)| Record { version, shopper: Arc::new(it), tracks: Default::default() });
        let owners = BTreeMap::from([(phone, id.clone())]);
        let budgets = Budgets::from([(name("few"), 5)]);
        let mut batch = Batch::new(world(), records.to_vec(), owners, budgets, now);
        batch.decide(&[register("A", "phone")]);
        let work = batch.works[batch.places[&owner]].as_ref().expect(LOADED);
        assert_eq!(work.shopper.sends.len(), 1, "it came along");
        assert_eq!(batch.withdraw(&[owner, id]), Budgets::new());
    }

    #[test]
    fn a_timer_that_comes_after_an_erasure_brings_nobody_back() {
        let known =
            |version| Record { version, shopper: Arc::new(Shopper::new(name("C-1"))), tracks: Default::default() };
        let mut erased = batch(known(0));
        erased.decide(&[job(Input::Wake)]);
        assert!(erased.commit().changes.is_empty());
        let mut held = batch(known(3));
        held.decide(&[job(Input::Wake)]);
        let state = &held.commit().changes[0].state;
        assert!(matches!(state, Durable::Replaced { wake: None, .. }), "{state:?}");
    }
}
