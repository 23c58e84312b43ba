//! The marketer's object, as it is written and as it is run.

mod index;

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use self::index::Campaigns;
use crate::{
    audience::Audience,
    content::{Templates, Text, facts::Scope},
    decide::{Cap, Settings, settings},
    id::{CampaignId, RegionId, StoreId},
    matching::TransitionKind,
    notification::Purpose,
    order::States,
    problem::Problem,
    schedule::{QuietHours, Slot},
    time::{Timestamp, duration},
};

/// The shortest and the longest time to live: below it a queue can't be passed, above it no push service stores.
const TTL: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(28 * 86_400));
/// How long an offer is of use if its campaign does not say.
const OFFER_TTL: Duration = Duration::from_secs(3600);
/// How long order news is of use if its campaign does not say.
const ORDER_TTL: Duration = Duration::from_secs(3 * 86_400);
/// The most tags, stores, regions or slots that one campaign lists.
const LIST_MAX: usize = 1_000;

/// A campaign as it stands in a file or a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its id.
    pub id: CampaignId,
    /// What people call it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Offer or order news.
    pub purpose: Purpose,
    /// What it answers to.
    pub on: On,
    /// When it runs.
    #[serde(default, skip_serializing_if = "Active::is_open")]
    pub active: Active,
    /// At what times of the week.
    #[serde(default, skip_serializing_if = "Schedule::is_open")]
    pub schedule: Schedule,
    /// For whom; for everybody if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Audience>,
    /// Its own quiet hours, or none, instead of those of all campaigns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<Quiet>,
    /// How many messages of this campaign one shopper gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<Cap>,
    /// How long a shopper is left in peace by this campaign after a message.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Duration>,
    /// The share of shoppers who get nothing, 0 to 100; always the same people.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub holdout_percent: f64,
    /// What may be sent in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// The highest wins when several campaigns answer the same cause.
    #[serde(default)]
    pub priority: i32,
    /// How long a message is of use after its cause; an hour for offers, three days for order news if absent.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// Which messages replace one another on the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse: Option<Collapse>,
    /// What opens on a tap; a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deep_link: Option<String>,
    /// The language for shoppers whose own is missing; `en` or the only one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_locale: Option<String>,
    /// The texts, by BCP 47 language tag.
    pub content: BTreeMap<String, Text>,
}

/// What a campaign answers to: exactly one of `transition`, `order` and `pickup`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct On {
    /// A device and a region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transition: Option<TransitionKind>,
    /// An order that comes into one of these states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<States>,
    /// A shopper who approaches or enters the store in which an order waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pickup: Option<TransitionKind>,
    /// The region has one of these tags; any region if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The region, or the waiting order, belongs to one of these stores; to any if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<StoreId>,
    /// It is one of these regions; any if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<RegionId>,
}

/// From when to when a campaign runs; `until` is exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Active {
    /// From then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl Active {
    fn is_open(&self) -> bool {
        self.from.is_none() && self.until.is_none()
    }
}

/// At what times of the week, on the store's clock, or the shopper's where there is no store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Only while the store is open. A store whose hours nobody knows counts as closed.
    #[serde(default)]
    pub store_hours: bool,
    /// Only in one of these slots; at any time if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<Slot>,
}

impl Schedule {
    fn is_open(&self) -> bool {
        !self.store_hours && self.slots.is_empty()
    }
}

/// A campaign's own quiet hours: a table, or `"off"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quiet {
    /// None at all.
    Off,
    /// These.
    Hours(QuietHours),
}

impl Serialize for Quiet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Quiet::Off => serializer.serialize_str("off"),
            Quiet::Hours(hours) => hours.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Quiet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quiet, D::Error> {
        struct OffOrHours;
        impl<'de> serde::de::Visitor<'de> for OffOrHours {
            type Value = Quiet;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"off\" or a table with from, to and action")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quiet, E> {
                if text == "off" {
                    Ok(Quiet::Off)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(text), &self))
                }
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Quiet, A::Error> {
                QuietHours::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Quiet::Hours)
            }
        }
        deserializer.deserialize_any(OffOrHours)
    }
}

/// What may be sent in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// So many messages.
    pub total: u64,
}

/// Which messages replace one another on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Collapse {
    /// Those of this campaign.
    Campaign,
    /// Those of this store, of whatever campaign.
    Store,
    /// Those about this order, of whatever campaign.
    Order,
}

/// A campaign, checked and compiled.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// As it was written.
    pub spec: Spec,
    /// How long a message is of use after its cause.
    pub ttl: Duration,
    /// Which messages replace one another.
    pub collapse: Collapse,
    /// The texts.
    pub templates: Templates,
}

impl Campaign {
    /// Checks and compiles a campaign.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(spec: Spec) -> Result<Campaign, Vec<Problem>> {
        let mut problems = Vec::new();
        let scope = check_trigger(&spec, &mut problems);
        check_times(&spec, &mut problems);
        check_gates(&spec, &mut problems);
        if let Some(audience) = &spec.audience {
            problems.extend(audience.problems().into_iter().map(|problem| problem.under("/audience")));
        }
        let link = spec.deep_link.as_deref();
        let templates = Templates::compile(&spec.content, spec.default_locale.as_deref(), link, scope);
        let (ttl, collapse) = match spec.purpose {
            Purpose::Offer => (OFFER_TTL, Collapse::Campaign),
            Purpose::Order => (ORDER_TTL, Collapse::Order),
        };
        let (ttl, collapse) = (spec.ttl.unwrap_or(ttl), spec.collapse.unwrap_or(collapse));
        match templates {
            Ok(templates) if problems.is_empty() => Ok(Campaign { spec, ttl, collapse, templates }),
            Ok(_) => Err(problems),
            Err(more) => Err(problems.into_iter().chain(more).collect()),
        }
    }

    /// The quiet hours that hold for this campaign.
    pub fn quiet_hours<'a>(&'a self, settings: &'a Settings) -> Option<&'a QuietHours> {
        match &self.spec.quiet_hours {
            None => settings.quiet_hours.as_ref(),
            Some(Quiet::Off) => None,
            Some(Quiet::Hours(hours)) => Some(hours),
        }
    }

    /// How far back this campaign's caps and its cooldown look.
    pub(crate) fn look_back(&self) -> Duration {
        let caps = self.spec.caps.iter().map(|cap| cap.per.reach());
        caps.chain(self.spec.cooldown).max().unwrap_or_default()
    }
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

fn check_trigger(spec: &Spec, problems: &mut Vec<Problem>) -> Scope {
    let on = &spec.on;
    let mut wrong = |path: &str, message: &str| problems.push(Problem::new(path, message));
    let placed = !on.tags.is_empty() || !on.regions.is_empty();
    if [on.tags.len(), on.stores.len(), on.regions.len()].into_iter().any(|listed| listed > LIST_MAX) {
        wrong("/on", "at most 1000 tags, stores or regions; give the fences a common tag");
    }
    match (on.transition, &on.order, on.pickup) {
        (Some(_), None, None) => {
            if spec.purpose == Purpose::Order {
                wrong("/purpose", "order news needs an order: trigger it by order or pickup");
            }
            Scope::Transition
        }
        (None, Some(states), None) => {
            if states.0.is_empty() {
                wrong("/on/order", "needs at least one state");
            }
            if placed {
                wrong("/on", "an order has no tags and regions; list its stores");
            }
            Scope::Order
        }
        (None, None, Some(kind)) => {
            if !matches!(kind, TransitionKind::Approach | TransitionKind::Enter) {
                wrong("/on/pickup", "must be \"approach\" or \"enter\"");
            }
            if placed {
                wrong("/on", "a pick-up happens at the order's store; list stores instead of tags and regions");
            }
            Scope::Pickup
        }
        (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) | (None, None, None) => {
            wrong("/on", "needs exactly one of transition, order and pickup");
            Scope::Transition
        }
    }
}

fn check_times(spec: &Spec, problems: &mut Vec<Problem>) {
    if let (Some(from), Some(until)) = (spec.active.from, spec.active.until)
        && from >= until
    {
        problems.push(Problem::new("/active/until", "must be after from"));
    }
    if spec.ttl.is_some_and(|ttl| ttl < TTL.0 || ttl > TTL.1) {
        problems.push(Problem::new("/ttl", "must be 10 s to 28 days"));
    }
    for (at, slot) in spec.schedule.slots.iter().enumerate() {
        if slot.from == slot.to {
            let message = "needs an end that differs from its beginning; all day is \"00:00\" to \"24:00\"";
            problems.push(Problem::new(format!("/schedule/slots/{at}"), message));
        }
    }
    if spec.schedule.slots.len() > LIST_MAX {
        problems.push(Problem::new("/schedule/slots", "at most 1000 slots"));
    }
    if spec.cooldown.is_some_and(|cooldown| cooldown > settings::LOOK_BACK_MAX) {
        problems.push(Problem::new("/cooldown", "at most 366 days"));
    }
    if let Some(Quiet::Hours(quiet)) = &spec.quiet_hours {
        problems.extend(quiet.problems().into_iter().map(|problem| problem.under("/quiet_hours")));
    }
}

fn check_gates(spec: &Spec, problems: &mut Vec<Problem>) {
    problems.extend(settings::cap_problems(&spec.caps));
    problems.extend(settings::percent_problem("/holdout_percent", spec.holdout_percent));
    if spec.budget.is_some_and(|budget| budget.total == 0) {
        problems.push(Problem::new("/budget/total", "must be at least 1; end a campaign with active.until"));
    }
    if spec.purpose == Purpose::Offer {
        if spec.budget.is_some() && spec.on.order.is_some() {
            problems.push(Problem::new(
                "/budget",
                "an offer that answers an order has no budget; trigger it by a transition",
            ));
        }
        return;
    }
    let ignored = [
        ("/quiet_hours", spec.quiet_hours.is_some()),
        ("/caps", !spec.caps.is_empty()),
        ("/cooldown", spec.cooldown.is_some()),
        ("/holdout_percent", spec.holdout_percent != 0.0),
        ("/budget", spec.budget.is_some()),
    ];
    for (path, _) in ignored.into_iter().filter(|(_, written)| *written) {
        problems.push(Problem::new(path, "does not hold for order news; remove it"));
    }
}

#[cfg(test)]
mod tests;
