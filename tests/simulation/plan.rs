//! What people do: they register, walk past shops and into them, order, change their minds, get new phones and want to
//! be forgotten. All of it from the seed, before anything runs.

use std::{collections::BTreeMap, time::Duration};

use parvis::shard::Input;
use parvis_engine::{
    change::Registration,
    id::{DeviceId, ShopperId},
    notification::Channel,
    observation::Observation,
    order::{Fulfilment, OrderEvent, OrderState},
    shopper::{Consent, Consents, Profile, PushTarget},
    time::Timestamp,
};

use crate::{
    browser,
    chance::Dice,
    city::{self, at},
    walk,
};

const PEOPLE: usize = 10;
/// The first people share a tablet, two by two.
const SHARING: usize = 6;
/// What a person does about themselves and their devices, one thing after the other; phones and orders go their own
/// ways meanwhile.
const SELF: usize = 0;
const ORDERS: usize = 1;
const PHONES: usize = 2;
const TABLET: usize = 9;

/// Everything that people do in a run.
pub(crate) struct Plan {
    pub(crate) people: Vec<Person>,
    /// Since when push services say that a target is gone.
    pub(crate) gone: BTreeMap<String, Timestamp>,
    /// Through whom, and on which device, each target was registered.
    pub(crate) targets: BTreeMap<String, (usize, DeviceId)>,
}

/// A person, who does several things at a time, repeats what was not answered, and some things without reason.
pub(crate) struct Person {
    pub(crate) id: ShopperId,
    pub(crate) zone: &'static str,
    /// In order of time.
    pub(crate) steps: Vec<Step>,
}

/// One thing that a person does.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Not before then.
    pub(crate) at: Timestamp,
    /// After whatever else of this stream came before.
    pub(crate) stream: usize,
    /// As whom: themselves, or a phone that nobody has claimed.
    pub(crate) shopper: ShopperId,
    pub(crate) input: Input,
}

/// A person in the making.
struct Draft {
    number: usize,
    dice: Dice,
    person: Person,
    phones: Vec<Phone>,
    gone: BTreeMap<String, Timestamp>,
    targets: BTreeMap<String, (usize, DeviceId)>,
}

struct Phone {
    id: DeviceId,
    channel: Channel,
    /// Until then nobody has claimed it.
    claimed: Option<Timestamp>,
    generation: usize,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn new(seed: u64) -> Plan {
        let mut plan = Plan { people: Vec::new(), gone: BTreeMap::new(), targets: BTreeMap::new() };
        for number in 0..PEOPLE {
            let mut draft = Draft::new(number, Dice::new(seed, &format!("person {number}")));
            draft.live();
            if number < SHARING {
                draft.share(&Dice::new(seed, &format!("tablet {}", number / 2)));
            }
            let Draft { mut person, gone, targets, .. } = draft;
            person.steps.sort_by_key(|step| step.at);
            plan.people.push(person);
            plan.gone.extend(gone);
            plan.targets.extend(targets);
        }
        plan
    }
}

impl Draft {
    fn new(number: usize, dice: Dice) -> Draft {
        let start = at(city::START);
        let phones = (0..1 + dice.below(2)).map(|phone| Phone {
            id: format!("phone-{number}-{phone}").parse().expect("an id"),
            channel: *dice.pick(&Channel::PUSH),
            claimed: dice.chance(0.3).then(|| start.plus(dice.span(3_600.0, 25_000.0))),
            generation: 0,
        });
        let phones = phones.collect();
        let zone = city::ZONES[number % 2];
        let id = format!("c-{number}").parse().expect("an id");
        let person = Person { id, zone, steps: Vec::new() };
        Draft { number, dice, person, phones, gone: BTreeMap::new(), targets: BTreeMap::new() }
    }

    fn live(&mut self) {
        let start = at(city::START).plus(self.dice.span(0.0, 300.0));
        self.consent(start);
        for phone in 0..self.phones.len() {
            self.own(phone, start);
        }
        for _ in 0..3 + self.dice.below(3) {
            let start = self.any_time();
            self.walk(start);
        }
        // Many are about when the quiet hours begin.
        if self.dice.chance(0.8) {
            let start = rush(self.number).plus(self.dice.span(300.0, 1_500.0));
            self.walk(start);
        }
        for number in 0..self.dice.below(3) {
            self.order(number);
        }
        if self.dice.chance(0.2) {
            self.disappear();
        }
    }

    /// Any time at which people still do something.
    fn any_time(&self) -> Timestamp {
        let (start, calm) = (at(city::START), at(city::CALM));
        // Most of it while the shops are open, and around the beginning of the quiet hours.
        if self.dice.chance(0.7) {
            return start.plus(self.dice.span(600.0, 8.2 * 3_600.0));
        }
        start.plus(self.dice.span(600.0, calm.since(start).as_secs_f64() - 4_500.0))
    }

    fn does(&mut self, at: Timestamp, shopper: ShopperId, input: Input) {
        self.goes(SELF, at, shopper, input);
    }

    fn goes(&mut self, stream: usize, at: Timestamp, shopper: ShopperId, input: Input) {
        self.person.steps.push(Step { at, stream, shopper, input });
    }

    fn consent(&mut self, start: Timestamp) {
        let id = self.person.id.clone();
        let mut says = vec![(start, [self.dice.chance(0.97), self.dice.chance(0.95), self.dice.chance(0.95)])];
        for _ in 0..self.dice.below(3) {
            let changed = [self.dice.chance(0.7), self.dice.chance(0.7), self.dice.chance(0.7)];
            says.push((self.any_time(), changed));
        }
        for (at, yes) in says {
            let profile = Input::Profile(self.profile(yes, at));
            self.does(at, id.clone(), profile);
        }
    }

    fn profile(&self, yes: [bool; 3], at: Timestamp) -> Profile {
        Profile { time_zone: Some(self.person.zone.into()), consents: consents(yes, at), ..Profile::default() }
    }

    /// A phone through the day: registered, perhaps claimed later, perhaps with new targets, perhaps given away.
    fn own(&mut self, phone: usize, start: Timestamp) {
        self.register(phone, start.plus(Duration::from_secs(1)));
        if let Some(claimed) = self.phones[phone].claimed {
            self.register(phone, claimed);
        }
        let mut from = start;
        while self.dice.chance(0.35) {
            let gone = from.plus(self.dice.span(1_800.0, 20_000.0));
            let back = gone.plus(self.dice.span(300.0, 7_200.0));
            if back.plus(Duration::from_secs(4_500)) > at(city::CALM) {
                break;
            }
            let token = self.token(phone);
            self.gone.insert(token, gone);
            self.phones[phone].generation += 1;
            if self.dice.chance(0.2) {
                self.phones[phone].channel = *self.dice.pick(&Channel::PUSH);
            }
            self.register(phone, back);
            from = back;
        }
        if self.dice.chance(0.1) {
            let (given, taken) = (self.any_time(), self.dice.span(60.0, 3_600.0));
            let (owner, device) = (self.owner(phone, given), self.phones[phone].id.clone());
            self.does(given, owner, Input::Deregister { device });
            self.register(phone, given.plus(taken));
        }
    }

    fn register(&mut self, phone: usize, at: Timestamp) {
        let owner = self.owner(phone, at);
        let target = self.target(phone);
        let known = (!owner.is_anonymous()).then(|| owner.clone());
        let registration = self.registration(known, target, at, phone == 0);
        let device = self.phones[phone].id.clone();
        self.does(at, owner, Input::Register { device, registration });
    }

    fn registration(
        &self,
        shopper: Option<ShopperId>,
        target: PushTarget,
        at: Timestamp,
        preferred: bool,
    ) -> Registration {
        let unknown = shopper.is_none();
        Registration {
            shopper,
            platform: "phone".to_owned(),
            app: None,
            target: Some(target),
            locale: None,
            time_zone: Some(self.person.zone.to_owned()),
            consents: unknown.then(|| consents([true; 3], at)),
            preferred,
            progress: false,
            link: None,
        }
    }

    fn owner(&self, phone: usize, at: Timestamp) -> ShopperId {
        let Phone { id, claimed, .. } = &self.phones[phone];
        if claimed.is_some_and(|claimed| at < claimed) { ShopperId::anonymous(id) } else { self.person.id.clone() }
    }

    fn token(&self, phone: usize) -> String {
        let Phone { channel, generation, .. } = self.phones[phone];
        match channel {
            Channel::Apns => format!("{:064x}", 1 << 40 | self.number << 16 | phone << 8 | generation),
            Channel::Fcm => format!("fcm-{}-{phone}-{generation}", self.number),
            Channel::WebPush => format!("web-{}-{phone}-{generation}", self.number),
            Channel::Webhook => panic!("no phone has that"),
        }
    }

    fn target(&mut self, phone: usize) -> PushTarget {
        let token = self.token(phone);
        self.targets.insert(token.clone(), (self.number, self.phones[phone].id.clone()));
        match self.phones[phone].channel {
            Channel::Apns => {
                PushTarget::Apns { token: token.into(), topic: "example.shop".into(), environment: Default::default() }
            }
            Channel::Fcm => PushTarget::Fcm { token: Some(token.into()), fid: None },
            Channel::WebPush => PushTarget::WebPush { subscription: Box::new(browser::subscription(&token)) },
            Channel::Webhook => panic!("no phone has that"),
        }
    }

    /// One way through the city with one phone or all of them, and how their fixes arrive.
    fn walk(&mut self, start: Timestamp) {
        let phone = self.dice.below(self.phones.len());
        let fixes = walk::fixes(&self.dice, start);
        let together = self.dice.chance(0.6);
        for carried in (0..self.phones.len()).filter(|carried| together || *carried == phone) {
            let device = self.phones[carried].id.clone();
            for walk::Upload { at, fixes } in walk::uploads(&self.dice, fixes.clone()) {
                let observations = fixes.into_iter().map(Observation::Fix).collect();
                let owner = self.owner(carried, at);
                self.goes(PHONES + carried, at, owner, Input::Observed { device: device.clone(), observations });
            }
        }
    }

    /// A tablet of two people, who take it from one another, now and then at the same moment; one of them carries it
    /// about.
    fn share(&mut self, common: &Dice) {
        let tablet: DeviceId = format!("tablet-{}", self.number / 2).parse().expect("an id");
        let start = at(city::START);
        let mut when = start;
        for turn in 0..3 + common.below(6) {
            when = when.plus(common.span(600.0, 9_000.0));
            let (whose, both, apart) = (common.below(2), common.chance(0.4), common.span(0.0, 0.2));
            if when.plus(Duration::from_secs(4_500)) > at(city::CALM) {
                break;
            }
            let is_first = whose == self.number % 2;
            if is_first || both {
                let when = if is_first { when } else { when.plus(apart) };
                let token = format!("tab-{}-{turn}", self.number);
                self.targets.insert(token.clone(), (self.number, tablet.clone()));
                let target = PushTarget::Fcm { token: Some(token.into()), fid: None };
                let id = self.person.id.clone();
                let registration = self.registration(Some(id.clone()), target, when, false);
                self.does(when, id, Input::Register { device: tablet.clone(), registration });
            }
        }
        if self.number.is_multiple_of(2) {
            for _ in 0..3 {
                let fixes = walk::fixes(&self.dice, self.any_time());
                for walk::Upload { at, fixes } in walk::uploads(&self.dice, fixes) {
                    let observations = fixes.into_iter().map(Observation::Fix).collect();
                    let (id, device) = (self.person.id.clone(), tablet.clone());
                    self.goes(TABLET, at, id, Input::Observed { device, observations });
                }
            }
        }
    }

    /// An order from the first word to the last, told in any order and more than once.
    fn order(&mut self, number: usize) {
        use OrderState::{Delivered, OutForDelivery, PickedUp, ReadyForPickup, Registered, Shipped};
        let pickup = self.dice.chance(0.6);
        let states = if pickup {
            vec![Registered, ReadyForPickup, PickedUp]
        } else {
            vec![Registered, Shipped, OutForDelivery, Delivered]
        };
        let order: parvis_engine::id::OrderId = format!("order-{}-{number}", self.person.id).parse().expect("an id");
        let mut happens = self.any_time();
        for (place, state) in states.into_iter().enumerate() {
            let store = format!("store-{}", self.dice.below(3)).parse().expect("an id");
            let event = OrderEvent {
                event: format!("e-{place}").parse().expect("an id"),
                at: happens,
                state,
                shopper: self.person.id.clone(),
                fulfilment: pickup.then_some(Fulfilment::Pickup),
                store: (state == ReadyForPickup).then_some(store),
                eta: None,
                lines: Vec::new(),
                adviser: None,
            };
            let lateness = if self.dice.chance(0.2) { self.dice.span(0.0, 4_000.0) } else { self.dice.span(0.0, 5.0) };
            let repeats = if self.dice.chance(0.2) { 2 } else { 1 };
            for repeat in 0..repeats {
                // Two back ends may tell the same under names of their own.
                let event = if repeat > 0 && self.dice.chance(0.5) {
                    OrderEvent { event: format!("e-{place}-again").parse().expect("an id"), ..event.clone() }
                } else {
                    event.clone()
                };
                let told = happens.plus(lateness + Duration::from_secs(40) * repeat);
                let input = Input::Order { order: order.clone(), event };
                if told.plus(Duration::from_secs(900)) < at(city::CALM) {
                    self.goes(ORDERS, told, self.person.id.clone(), input);
                }
            }
            happens = happens.plus(self.dice.span(60.0, 5_400.0));
        }
    }

    /// Forgotten, and perhaps back later as somebody new.
    fn disappear(&mut self) {
        let (when, id) = (self.any_time(), self.person.id.clone());
        self.does(when, id.clone(), Input::Erase);
        if self.dice.chance(0.6) {
            let soon = self.dice.chance(0.5);
            let back = when.plus(if soon { self.dice.span(0.1, 2.0) } else { self.dice.span(300.0, 3_600.0) });
            let profile = Input::Profile(self.profile([true; 3], back));
            self.does(back, id, profile);
            for phone in 0..self.phones.len() {
                self.register(phone, back.plus(Duration::from_secs(1)));
            }
        }
    }
}

/// Half an hour before a person's quiet hours begin.
fn rush(person: usize) -> Timestamp {
    let begin = ["2026-11-20T20:30:00+01:00", "2026-11-20T20:30:00+00:00"];
    at(begin[person % begin.len()])
}

/// Location, offers, orders.
fn consents(yes: [bool; 3], at: Timestamp) -> Consents {
    let [location, offers, orders] = yes.map(|granted| Some(Consent { granted, at, text: None }));
    Consents { location, offers, orders }
}
