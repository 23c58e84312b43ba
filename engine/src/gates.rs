//! The marketer's sentences, one function each. A gate is pure and says Pass, Defer or Suppress; it must not know
//! of the gates beside it, and whom it holds for stands in the table, not in the gate.

mod case;

pub use self::case::Case;
use crate::{
    audience::Who,
    decide::{Cap, Per, Suppression},
    id::{RegionId, stable_hash},
    matching::TransitionKind,
    notification::{Cause, Purpose},
    order::OrderState,
    region::RegionKind,
    schedule::{self, QuietAction},
    shopper::{Device, Presence, PresenceState, PushTarget, Send},
    time::Timestamp,
};

/// A gate's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Nothing against it.
    Pass,
    /// Not before then.
    Defer(Timestamp),
    /// No.
    Suppress(Suppression),
}

/// The numbers that gates saw, if anybody wants to read them.
#[derive(Debug, Default)]
pub struct Notes(Option<Vec<String>>);

impl Notes {
    /// Keeps nothing.
    pub fn none() -> Notes {
        Notes(None)
    }

    /// Keeps everything.
    pub fn kept() -> Notes {
        Notes(Some(Vec::new()))
    }

    /// What was kept, in one sentence.
    pub fn text(self) -> String {
        self.0.unwrap_or_default().join("; ")
    }

    fn add(&mut self, note: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.0 {
            notes.push(note());
        }
    }
}

/// A gate with what it holds for.
#[derive(Debug)]
pub struct Gate {
    /// Its name.
    pub name: &'static str,
    /// The marketer's sentence.
    pub sentence: &'static str,
    /// Whether it holds for order news; it always holds for offers.
    pub for_orders: bool,
    /// Whether it is asked when the message is decided.
    pub when_decided: bool,
    /// Whether it is asked when the message is about to be sent.
    pub when_sent: bool,
    /// The function.
    pub judge: fn(&Case<'_>, &mut Notes) -> Answer,
}

macro_rules! gates {
    ($(($name:ident, $orders:literal, $decided:literal, $sent:literal, $sentence:literal)),* $(,)?) => {
        [$(Gate {
            name: stringify!($name),
            sentence: $sentence,
            for_orders: $orders,
            when_decided: $decided,
            when_sent: $sent,
            judge: $name,
        }),*]
    };
}

/// Every gate, in the order in which refusals are explained. Columns: holds for order news, asked when decided,
/// asked when sent.
#[rustfmt::skip]
pub static GATES: [Gate; 15] = gates![
    (consent,       true,  true,  true,  "Only to those who said yes."),
    (active,        true,  true,  true,  "From Monday until the sale is over."),
    (expiry,        true,  true,  true,  "Not when it is too late to be of use."),
    (target,        true,  true,  true,  "Only to a device that can be reached."),
    (place,         true,  true,  false, "A text about the store only where there is one."),
    (schedule,      true,  true,  true,  "Only while the store is open, on Saturday mornings."),
    (audience,      true,  true,  false, "Only gold members who like television sets."),
    (zone,          false, true,  false, "In an aisle only once they linger, and once on a visit."),
    (presence,      false, false, true,  "Not after they have left."),
    (order,         true,  false, true,  "Not once the order has moved on."),
    (quiet_hours,   false, true,  true,  "Not between nine in the evening and eight in the morning."),
    (frequency_cap, false, true,  false, "At most three offers a day."),
    (cooldown,      false, true,  false, "The same offer not twice within a week."),
    (holdout,       false, true,  false, "Ten percent get nothing, so that we see what it brings."),
    (budget,        false, true,  false, "Ten thousand of them, then it is over."),
];

/// Asks the gates that hold for the campaign's purpose and that `asked` chooses. The first refusal counts; without
/// one, the latest deferral.
pub fn judge(case: &Case<'_>, asked: impl Fn(&Gate) -> bool) -> Answer {
    let mut not_before = None;
    for gate in GATES.iter().filter(|gate| gate.holds_for(case.campaign.spec.purpose) && asked(gate)) {
        match (gate.judge)(case, &mut Notes::none()) {
            Answer::Pass => {}
            Answer::Defer(until) => not_before = not_before.max(Some(until)),
            Answer::Suppress(reason) => return Answer::Suppress(reason),
        }
    }
    not_before.map_or(Answer::Pass, Answer::Defer)
}

impl Gate {
    /// Whether messages of this purpose pass through the gate.
    pub fn holds_for(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Offer => true,
            Purpose::Order => self.for_orders,
        }
    }
}

/// "Only to those who said yes."
fn consent(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let consents = &case.shopper.profile.consents;
    let located = match case.cause {
        Cause::Transition { .. } | Cause::Pickup { .. } => true,
        Cause::Order { .. } => false,
    };
    let purpose = consent_to(case.campaign.spec.purpose);
    let missing = if located && !consents.allow_location() {
        Some("location")
    } else {
        (!consents.allow(case.campaign.spec.purpose)).then_some(purpose)
    };
    notes.add(|| missing.map_or(format!("yes to {purpose}"), |missing| format!("no yes to {missing}")));
    missing.map_or(Answer::Pass, |to| Answer::Suppress(no_consent(to)))
}

/// "From Monday until the sale is over."
fn active(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let active = &case.campaign.spec.active;
    notes.add(|| {
        let shown = |at: Option<Timestamp>| at.map_or("open".to_owned(), |at| at.to_string());
        format!("from {} until {}", shown(active.from), shown(active.until))
    });
    if active.from.is_some_and(|from| case.now < from) || active.until.is_some_and(|until| case.now >= until) {
        return Answer::Suppress(Suppression::Inactive { from: active.from, until: active.until });
    }
    Answer::Pass
}

/// "Not when it is too late to be of use."
fn expiry(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let expires_at = case.expires_at;
    notes.add(|| format!("of use until {expires_at}"));
    expired(expires_at, case.now).map_or(Answer::Pass, Answer::Suppress)
}

pub(crate) fn expired(expires_at: Timestamp, now: Timestamp) -> Option<Suppression> {
    (now >= expires_at).then_some(Suppression::Expired { expires_at })
}

/// "Only to a device that can be reached."
fn target(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let Some(device) = case.device else {
        notes.add(|| "the shopper has no such device".to_owned());
        return Answer::Suppress(Suppression::NoDevice);
    };
    let fits = |target: &&PushTarget| case.channel.is_none_or(|channel| channel == target.channel());
    let Some(target) = device.target.as_ref().filter(fits) else {
        notes.add(|| "the device has no push target for this".to_owned());
        return Answer::Suppress(Suppression::NoTarget);
    };
    notes.add(|| format!("by {}", target.channel().name()));
    Answer::Pass
}

/// "A text about the store only where there is one."
fn place(case: &Case<'_>, notes: &mut Notes) -> Answer {
    notes.add(|| case.store.map_or("no store".to_owned(), |store| format!("store {}", store.spec.id)));
    if case.campaign.templates.needs_store() && case.store.is_none() {
        let named = case.region.and_then(|region| region.store.clone());
        let store = named.or_else(|| case.order.and_then(|order| order.store.clone()));
        return Answer::Suppress(Suppression::NoStore { store });
    }
    Answer::Pass
}

/// "Only while the store is open, on Saturday mornings."
fn schedule(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let schedule = &case.campaign.spec.schedule;
    if !schedule.store_hours && schedule.slots.is_empty() {
        notes.add(|| "at any time".to_owned());
        return Answer::Pass;
    }
    let local = case.now.in_zone(&case.store_zone());
    let shown = || local.strftime("%a %H:%M %Q").to_string();
    let closed = schedule.store_hours && !case.hours().is_some_and(|hours| hours.open(&local));
    let outside = !schedule.slots.is_empty() && !schedule.slots.iter().any(|slot| slot.holds(&local));
    notes.add(|| format!("{}, store {}", shown(), if closed { "closed or hours unknown" } else { "not closed" }));
    if closed || outside {
        let rule = if closed { "store_hours" } else { "slots" };
        return Answer::Suppress(Suppression::OutsideSchedule { rule: rule.to_owned(), local: shown() });
    }
    Answer::Pass
}

/// "Only gold members who like television sets."
fn audience(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let Some(audience) = &case.campaign.spec.audience else {
        notes.add(|| "everybody".to_owned());
        return Answer::Pass;
    };
    let half_life = case.world.settings.marketing.interest_half_life;
    let who = Who { shopper: case.shopper, now: case.now, half_life };
    notes.add(|| audience.describe(who));
    if audience.holds(who) {
        return Answer::Pass;
    }
    Answer::Suppress(Suppression::NotInAudience { condition: audience.describe(who) })
}

pub(crate) fn no_consent(to: &str) -> Suppression {
    Suppression::NoConsent { to: to.to_owned() }
}

/// The consent that a purpose needs.
pub(crate) fn consent_to(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Offer => "offers",
        Purpose::Order => "orders",
    }
}

/// "In an aisle only once they linger, and once on a visit."
fn zone(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let zone = case.region.filter(|region| region.kind == RegionKind::Zone);
    let (Some(zone), Cause::Transition { transition, .. }) = (zone, case.cause) else {
        notes.add(|| "about no zone".to_owned());
        return Answer::Pass;
    };
    let region = zone.id.clone();
    if *transition != TransitionKind::Dwell {
        notes.add(|| format!("{} of a zone", transition.name()));
        return Answer::Suppress(Suppression::Unsettled { region });
    }
    let dwelt = |device: &&Device| device.presences.iter().any(|it| it.region == region && it.dwelled);
    let devices = case.shopper.devices.values().filter(dwelt).count();
    notes.add(|| format!("{devices} devices have dwelt in {region} on this visit"));
    if devices > 1 { Answer::Suppress(Suppression::ToldHere { region }) } else { Answer::Pass }
}

/// "Not after they have left."
fn presence(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let Cause::Transition { transition: TransitionKind::Enter | TransitionKind::Dwell, region } = case.cause else {
        notes.add(|| "needs no presence".to_owned());
        return Answer::Pass;
    };
    // A tag is in the zone, and the phone gets the message.
    let any = case.region.is_some_and(|region| region.kind == RegionKind::Zone);
    let devices = case.shopper.devices.iter().filter(|(id, _)| any || Some(*id) == case.device_id);
    let there = |presence: &&Presence| presence.region == *region && presence.state == PresenceState::Inside;
    let inside = devices.flat_map(|(_, device)| &device.presences).filter(there).min_by_key(|it| it.since);
    notes.add(|| inside.map_or(format!("not in {region}"), |inside| format!("in {region} since {}", inside.since)));
    // Who came back later is there on another visit, which has its own message.
    if inside.is_none_or(|inside| inside.since > case.observed_at) {
        return Answer::Suppress(left(region));
    }
    Answer::Pass
}

pub(crate) fn left(region: &RegionId) -> Suppression {
    Suppression::Left { region: region.clone() }
}

/// "Not once the order has moved on."
fn order(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let Some(order) = case.order else {
        notes.add(|| "about no order".to_owned());
        return Answer::Pass;
    };
    notes.add(|| format!("order {} is {} since {}", order.id, order.state.name(), order.at));
    let newer = match case.cause {
        Cause::Pickup { .. } => (order.state != OrderState::ReadyForPickup).then_some((order.state, order.at)),
        Cause::Order { .. } => order.told_after(case.observed_at),
        Cause::Transition { .. } => None,
    };
    newer.map_or(Answer::Pass, |(state, at)| Answer::Suppress(Suppression::OrderMovedOn { state, at }))
}

/// "Not between nine in the evening and eight in the morning."
fn quiet_hours(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let Some(quiet) = case.campaign.quiet_hours(&case.world.settings.marketing) else {
        notes.add(|| "none".to_owned());
        return Answer::Pass;
    };
    let until = quiet.until(case.now, &case.shopper_zone());
    notes.add(|| {
        let local = case.now.in_zone(&case.shopper_zone()).strftime("%H:%M %Q").to_string();
        format!("{local} for the shopper, quiet from {} to {}", quiet.from, quiet.to)
    });
    match (until, quiet.action) {
        (None, _) => Answer::Pass,
        (Some(until), QuietAction::Defer) if until < case.expires_at => Answer::Defer(until),
        (Some(until), QuietAction::Defer | QuietAction::Drop) => Answer::Suppress(Suppression::QuietHours { until }),
    }
}

/// "At most three offers a day."
fn frequency_cap(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let of_campaign = |send: &Send| send.campaign == case.campaign.spec.id;
    let all = case.world.settings.marketing.caps.iter().map(|cap| (cap, "global"));
    let own = case.campaign.spec.caps.iter().map(|cap| (cap, "campaign"));
    let mut exceeded = None;
    for (cap, scope) in all.chain(own) {
        let sent = counted(case, cap, |send| scope == "global" || of_campaign(send));
        notes.add(|| format!("{scope}: {sent} of {} per {}", cap.count, cap.per));
        if sent >= cap.count && exceeded.is_none() {
            exceeded = Some((cap, scope, sent));
        }
    }
    exceeded.map_or(Answer::Pass, |(cap, scope, sent)| {
        let (scope, per) = (scope.to_owned(), cap.per.to_string());
        Answer::Suppress(Suppression::FrequencyCap { scope, count: cap.count, per, sent })
    })
}

/// "The same offer not twice within a week."
fn cooldown(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let mine = case.shopper.sends.iter().filter(|send| send.campaign == case.campaign.spec.id);
    let last = mine.map(due).max();
    notes.add(|| last.map_or("never sent".to_owned(), |last| format!("last at {last}")));
    match (case.campaign.spec.cooldown, last) {
        (Some(pause), Some(last)) if last.plus(pause) > case.now => {
            Answer::Suppress(Suppression::Cooldown { until: last.plus(pause) })
        }
        (Some(_) | None, _) => Answer::Pass,
    }
}

/// "Ten percent get nothing, so that we see what it brings."
fn holdout(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let (shopper, campaign) = (case.shopper.id.as_str(), case.campaign.spec.id.as_str());
    let all = ("global", case.world.settings.marketing.holdout_percent, stable_hash(&["holdout", shopper]));
    let own = ("campaign", case.campaign.spec.holdout_percent, stable_hash(&["holdout", campaign, shopper]));
    let mut held = None;
    for (scope, percent, hash) in [all, own] {
        // In steps of a ten-thousandth of a percent.
        let share = (hash % 1_000_000) as f64 / 10_000.0;
        notes.add(|| format!("{scope}: {share:.4} in 100, held below {percent}"));
        if share < percent && held.is_none() {
            held = Some((scope, percent));
        }
    }
    held.map_or(Answer::Pass, |(scope, percent)| {
        Answer::Suppress(Suppression::Holdout { scope: scope.to_owned(), percent })
    })
}

/// "Ten thousand of them, then it is over."
fn budget(case: &Case<'_>, notes: &mut Notes) -> Answer {
    let Some(budget) = case.campaign.spec.budget else {
        notes.add(|| "none".to_owned());
        return Answer::Pass;
    };
    notes.add(|| format!("{} left here of {}", case.budget_left, budget.total));
    if case.budget_left == 0 {
        return Answer::Suppress(Suppression::Budget { total: budget.total });
    }
    Answer::Pass
}

/// When a message reaches the shopper: a deferred one when the quiet hours are over.
fn due(send: &Send) -> Timestamp {
    send.at.max(send.not_before)
}

/// Counts by the time at which a message is due, and what is still to come as well, so that no window of that
/// length, now or later, holds more than the cap.
fn counted(case: &Case<'_>, cap: &Cap, counts: impl Fn(&Send) -> bool) -> u32 {
    let from = match cap.per {
        Per::Day => schedule::day_start(case.now, &case.shopper_zone()),
        Per::Rolling(span) => Timestamp::from_millis(case.now.minus(span).as_millis() + 1),
    };
    let sends = case.shopper.sends.iter().filter(|send| send.purpose == Purpose::Offer && due(send) >= from);
    u32::try_from(sends.filter(|send| counts(send)).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
