//! Random histories against a naive phone: it does what it is sent, and knows nothing of deciding.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::notification::LiveState;

/// What happens next to an order or on the phone.
#[derive(Clone, Debug)]
enum Happening {
    /// An event of the order; the number names it.
    Event(usize),
    /// The oldest or the newest message that waits is sent.
    Sent { newest: bool },
    /// The app reports its token, if an activity has begun.
    Token,
    /// Apple says that the token is gone, because the shopper put the activity away.
    Gone,
    /// Time passes.
    Minutes(u64),
}

/// A phone with what it shows.
#[derive(Debug, Default)]
struct Phone {
    /// The activity's token as long as it is on the screen, and what it shows.
    activity: Option<(String, LiveState)>,
    begun: usize,
    ended: usize,
    words: Vec<NotificationId>,
    /// When urgent changes came, by activity.
    urgent: BTreeMap<usize, Vec<Timestamp>>,
    /// What each event made of the order, told or not.
    put_away: bool,
}

struct Play {
    world: World,
    shopper: Arc<Shopper>,
    phone: Phone,
    waiting: Vec<Notification>,
    ids: BTreeSet<NotificationId>,
    now: Timestamp,
    tokens: usize,
}

impl Play {
    fn new(told: &str) -> Play {
        let world = world(vec![news("n", told)]);
        let (shopper, phone) = (iphone(), Phone::default());
        Play { world, shopper, phone, waiting: Vec::new(), ids: BTreeSet::new(), now: minute(0), tokens: 0 }
    }

    fn happens(&mut self, happening: &Happening, events: &[OrderEvent]) {
        match happening {
            Happening::Minutes(minutes) => self.now = self.now.plus(Duration::from_secs(minutes * 60)),
            Happening::Event(which) => {
                if let Some(event) = events.get(*which) {
                    let taken = take_at(&self.world, &mut self.shopper, event, self.now);
                    self.decided(taken.decisions);
                }
            }
            Happening::Token => self.report(),
            Happening::Gone => {
                if let Some((token, _)) = self.phone.activity.take() {
                    self.phone.put_away = true;
                    remove_target(Arc::make_mut(&mut self.shopper), &phone(), &live_target(&token), None, self.now);
                }
            }
            Happening::Sent { newest } => {
                let at = if *newest { self.waiting.len().saturating_sub(1) } else { 0 };
                if at < self.waiting.len() {
                    let message = self.waiting.remove(at);
                    self.send(&message);
                }
            }
        }
    }

    fn report(&mut self) {
        let Some((token, _)) = &self.phone.activity else { return };
        tell(&mut self.shopper, Report::Activity(id(), super::token(token)), self.now);
        let decision = catch_up(&self.world, &mut self.shopper, (&phone(), &id()), self.now);
        self.decided(decision.into_iter().collect());
    }

    fn decided(&mut self, decisions: Vec<Decision>) {
        let messages = decisions.into_iter().filter_map(|it| it.verdict.message().cloned());
        // The store takes an id once.
        self.waiting.extend(messages.filter(|message| self.ids.insert(message.id)));
    }

    fn send(&mut self, message: &Notification) {
        if decide::still_wanted(&self.world, &self.shopper, message, self.now) != Wanted::Yes {
            return;
        }
        let Some(Address::Target(PushTarget::Apns { token, topic, .. })) = address(&self.shopper, message) else {
            return;
        };
        if *topic == *TOPIC {
            assert!(message.content().is_some(), "a plain message has words");
            self.phone.words.push(message.id);
            return;
        }
        let live = live_of(message);
        self.phone.words.extend(live.alert.as_ref().map(|_| message.id));
        match live.event {
            LiveEvent::Start => {
                assert_eq!((token.as_str(), self.phone.activity.is_some()), ("a0", false));
                self.tokens += 1;
                self.phone.begun += 1;
                self.phone.activity = Some((format!("b{}", self.tokens), live.state));
            }
            LiveEvent::Update | LiveEvent::End => {
                let Some((known, shown)) = &mut self.phone.activity else {
                    assert!(self.phone.put_away || self.phone.ended > 0, "{live:?} for nothing");
                    return;
                };
                assert_eq!(*known, token);
                assert!(live.state.at >= shown.at, "it goes back: {shown:?} {live:?}");
                *shown = live.state;
                if live.event == LiveEvent::End {
                    self.phone.ended += 1;
                    self.phone.activity = None;
                }
            }
        }
        if live.urgent {
            self.phone.urgent.entry(self.tokens).or_default().push(message.decided_at);
        }
    }

    /// Everything that waits is sent, the app reports what it has, and what comes of that is sent.
    fn settle(&mut self) {
        for _ in 0..3 {
            while !self.waiting.is_empty() {
                self.happens(&Happening::Sent { newest: false }, &[]);
            }
            self.report();
        }
        assert!(self.waiting.is_empty());
    }

    fn order(&self) -> Option<LiveState> {
        self.shopper.orders.get(&id()).map(|order| state(&self.world, order))
    }
}

fn any_event() -> impl Strategy<Value = OrderEvent> {
    let states = prop::sample::select(OrderState::ALL.to_vec());
    let store = prop::option::of(Just("paris-1"));
    (0_u64..90, states, store, prop::option::of(0_u64..900)).prop_map(|(minutes, state, store, eta)| OrderEvent {
        state,
        store: store.map(|store| store.parse().expect("an id")),
        eta: eta.map(minute),
        ..becomes("shipped", minutes)
    })
}

/// Named events; most histories do not end early.
fn any_events() -> impl Strategy<Value = Vec<OrderEvent>> {
    prop::collection::vec(any_event(), 1..14).prop_map(|events| {
        let named = events.into_iter().enumerate().map(|(at, event)| {
            let early_end = event.state.is_final() && at % 3 != 0;
            let state = if early_end { OrderState::Shipped } else { event.state };
            OrderEvent { event: format!("E-{at}").parse().expect("an id"), state, ..event }
        });
        named.collect()
    })
}

fn any_happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0_usize..14).prop_map(Happening::Event),
        4 => any::<bool>().prop_map(|newest| Happening::Sent { newest }),
        2 => Just(Happening::Token),
        1 => (1_u64..40).prop_map(Happening::Minutes),
    ]
}

fn any_told() -> impl Strategy<Value = String> {
    let states = prop::sample::subsequence(OrderState::ALL.to_vec(), 1..12);
    states.prop_map(|states| serde_json::to_string(&states).expect("serialises"))
}

proptest! {
    #[test]
    fn an_activity_begins_once_ends_once_and_shows_what_is_true(
        told in any_told(),
        events in any_events(),
        happenings in prop::collection::vec(any_happening(), 0..60),
    ) {
        let mut play = Play::new(&told);
        play.now = minute(90);
        for happening in &happenings {
            play.happens(happening, &events);
        }
        for which in 0..events.len() {
            play.happens(&Happening::Event(which), &events);
        }
        play.settle();
        prop_assert!(play.phone.begun <= 1 && play.phone.ended <= play.phone.begun, "{:?}", play.phone);
        let now = play.order().expect("it has events");
        if let Some((_, shown)) = &play.phone.activity {
            prop_assert_eq!(shown, &now);
            prop_assert!(!now.state.is_final(), "a done order is not shown for ever");
        }
        for times in play.phone.urgent.values() {
            for from in times {
                let within = times.iter().filter(|at| **at >= *from && at.since(*from) < HOUR).count();
                prop_assert!(within <= 6, "{within} urgent changes in an hour");
            }
        }
    }

    #[test]
    fn words_that_were_decided_and_are_still_wanted_reach_the_shopper_once(
        told in any_told(),
        events in any_events(),
        happenings in prop::collection::vec(prop_oneof![9 => any_happening(), 1 => Just(Happening::Gone)], 0..60),
    ) {
        let mut play = Play::new(&told);
        play.now = minute(90);
        let mut decided = BTreeSet::new();
        let all = happenings.into_iter().chain((0..events.len()).map(Happening::Event));
        for happening in all {
            play.happens(&happening, &events);
            decided.extend(play.waiting.iter().filter(|it| it.content().is_some()).map(|it| (it.id, it.observed_at)));
        }
        let newest = play.shopper.orders[&id()].told.values().map(|told| told.at).max();
        play.settle();
        let words = play.phone.words.clone();
        let once: BTreeSet<NotificationId> = words.iter().copied().collect();
        prop_assert_eq!(once.len(), words.len(), "nothing is said twice");
        for (id, at) in decided.into_iter().filter(|(_, at)| Some(*at) == newest) {
            prop_assert!(once.contains(&id), "the newest news of {at} is lost");
        }
    }

    #[test]
    fn the_way_that_events_took_does_not_matter_for_what_is_shown(
        told in any_told(),
        events in any_events(),
        seed in prop::collection::vec(any::<u32>(), 14),
    ) {
        let mut order: Vec<usize> = (0..events.len()).collect();
        order.sort_by_key(|at| seed[*at]);
        let shown = |order: Vec<usize>| {
            let mut play = Play::new(&told);
            tell(&mut play.shopper, Report::NoStart, minute(0));
            // The app has begun it, so that it is there whichever event comes first.
            play.phone.activity = Some(("b0".to_owned(), LiveState { at: minute(0), ..first() }));
            play.report();
            play.now = minute(90);
            for at in order {
                play.happens(&Happening::Event(at), &events);
            }
            play.settle();
            (play.phone.ended, play.phone.activity.as_ref().map(|(_, shown)| shown.clone()), play.order())
        };
        let (ended, in_time, is) = shown((0..events.len()).collect());
        let (ended_too, shuffled, is_too) = shown(order);
        prop_assert_eq!(&is, &is_too);
        // Once it has ended it is gone: an end that came in the middle can't be taken back.
        if ended == 0 && ended_too == 0 {
            prop_assert_eq!(&in_time, &shuffled);
            prop_assert_eq!(in_time, is);
        }
    }

    #[test]
    fn an_app_that_draws_by_itself_comes_to_the_same(events in any_events(), told in any_told()) {
        let world = world(vec![news("n", &told)]);
        let mut shopper = android();
        let (mut begun, mut ended, mut newest) = (0, 0, None::<LiveState>);
        for event in &events {
            for decision in take_at(&world, &mut shopper, event, minute(90)).decisions {
                let Some(Body::Live(live)) = decision.verdict.message().map(|it| it.body.clone()) else { continue };
                prop_assert_eq!(ended, 0, "nothing after the end");
                match live.event {
                    LiveEvent::Start => begun += 1,
                    LiveEvent::Update => {}
                    LiveEvent::End => ended += 1,
                }
                newest = Some(live.state);
            }
        }
        prop_assert!(begun <= 1 && ended <= begun);
        let order = state(&world, &shopper.orders[&id()]);
        if begun == 1 && ended == 0 {
            prop_assert_eq!(newest, Some(order));
        } else if begun == 0 {
            // The first event had to be an end, or nothing was shown.
            prop_assert!(newest.is_none());
        }
    }
}

fn first() -> LiveState {
    LiveState {
        state: OrderState::Registered,
        step: 0,
        steps: 5,
        fulfilment: None,
        eta: None,
        store: None,
        at: minute(0),
    }
}
