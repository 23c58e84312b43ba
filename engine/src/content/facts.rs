//! What a text may name: a closed list, where it is available, and where each value comes from.

use std::collections::BTreeMap;

use minijinja::Value;

use crate::{gates::Case, id::RegionId, matching::TransitionKind, order::Order, shopper::Attribute};

/// What a campaign answers to; it decides what a text may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A transition.
    Transition,
    /// An order that changed.
    Order,
    /// A shopper who comes for an order.
    Pickup,
}

/// Whether a value is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// Always.
    Always,
    /// Not for everybody: the text must say what stands there otherwise.
    Sometimes,
    /// Always where there is a store; without one the message is suppressed if the text does not do without.
    WithStore,
}

/// Every name that does not end in a retailer's own attribute.
const NAMES: [(&str, Given, &[Scope]); 20] = {
    use Given::{Always, Sometimes, WithStore};
    const ALL: &[Scope] = &[Scope::Transition, Scope::Order, Scope::Pickup];
    const PLACE: &[Scope] = &[Scope::Transition, Scope::Pickup];
    const ORDER: &[Scope] = &[Scope::Order, Scope::Pickup];
    [
        ("shopper.locale", Sometimes, ALL),
        ("loyalty.tier", Sometimes, ALL),
        ("loyalty.points", Always, ALL),
        ("device.id", Always, ALL),
        ("device.platform", Always, ALL),
        ("store.id", WithStore, ALL),
        ("store.name", WithStore, ALL),
        ("store.address", Sometimes, ALL),
        ("store.phone", Sometimes, ALL),
        ("region.id", Always, PLACE),
        ("transition", Always, PLACE),
        ("order.id", Always, ORDER),
        ("order.state", Always, ORDER),
        ("order.fulfilment", Sometimes, ORDER),
        ("order.adviser", Sometimes, ORDER),
        ("order.eta", Sometimes, ORDER),
        ("order.eta_date", Sometimes, ORDER),
        ("order.eta_time", Sometimes, ORDER),
        ("order.lines", Always, ORDER),
        ("order.line_count", Always, ORDER),
    ]
};

/// Prefixes behind which a retailer's own names stand.
const OWN: [&str; 2] = ["shopper.attributes.", "store.attributes."];

/// Whether a name may be used, and how sure it is to be there.
pub(super) fn given(name: &str, scope: Scope) -> Result<Given, String> {
    for prefix in OWN {
        if let Some(own) = name.strip_prefix(prefix) {
            return Attribute::Flag(true).check(own).map(|()| Given::Sometimes);
        }
    }
    match NAMES.iter().find(|(known, _, _)| *known == name) {
        Some((_, given, scopes)) if scopes.contains(&scope) => Ok(*given),
        Some(_) => Err(format!("{name} is not available for this trigger")),
        None => {
            let known = NAMES.iter().filter(|(_, _, scopes)| scopes.contains(&scope)).map(|(known, _, _)| *known);
            let known = known.chain(["shopper.attributes.<name>", "store.attributes.<name>"]);
            Err(format!("{name} is not known; there is {}", known.collect::<Vec<_>>().join(", ")))
        }
    }
}

/// Where the values of one message come from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Shopper, device, store and order.
    pub case: &'a Case<'a>,
    /// The region, if one is involved.
    pub region: Option<&'a RegionId>,
    /// The transition, if one is involved.
    pub transition: Option<TransitionKind>,
}

impl Facts<'_> {
    /// The values of these names, nested as texts see them.
    pub(super) fn values<'n>(&self, names: impl Iterator<Item = &'n str>) -> Value {
        nested(names.map(|name| (name, self.value(name))))
    }

    fn value(&self, name: &str) -> Option<Value> {
        let Case { shopper, device_id, device, store, .. } = *self.case;
        if let Some(own) = name.strip_prefix("shopper.attributes.") {
            return shopper.profile.attributes.get(own).map(attribute);
        }
        if let Some(own) = name.strip_prefix("store.attributes.") {
            return store?.spec.attributes.get(own).map(attribute);
        }
        let loyalty = shopper.profile.loyalty.as_ref();
        match name {
            "shopper.locale" => shopper.profile.locale.as_deref().map(Value::from),
            "loyalty.tier" => loyalty?.tier.as_deref().map(Value::from),
            "loyalty.points" => Some(Value::from(loyalty.map_or(0, |loyalty| loyalty.points))),
            "device.id" => Some(Value::from(device_id.map_or("", |id| id.as_str()))),
            "device.platform" => Some(Value::from(device.map_or("", |device| &*device.platform))),
            "store.id" => Some(Value::from(store?.spec.id.as_str())),
            "store.name" => Some(Value::from(store?.spec.name.as_str())),
            "store.address" => store?.spec.address.as_deref().map(Value::from),
            "store.phone" => store?.spec.phone.as_deref().map(Value::from),
            "region.id" => Some(Value::from(self.region?.as_str())),
            "transition" => Some(Value::from(self.transition?.name())),
            _ => self.case.order.and_then(|order| self.of_order(order, name)),
        }
    }

    fn of_order(&self, order: &Order, name: &str) -> Option<Value> {
        let eta = || order.eta.map(|eta| eta.in_zone(&self.case.shopper_zone()));
        match name {
            "order.id" => Some(Value::from(order.id.as_str())),
            "order.state" => Some(Value::from(self.case.order_state().unwrap_or(order.state).name())),
            "order.fulfilment" => Some(Value::from(order.fulfilment?.name())),
            "order.adviser" => order.adviser.as_deref().map(Value::from),
            "order.eta" => Some(Value::from(eta()?.strftime("%Y-%m-%d %H:%M").to_string())),
            "order.eta_date" => Some(Value::from(eta()?.strftime("%Y-%m-%d").to_string())),
            "order.eta_time" => Some(Value::from(eta()?.strftime("%H:%M").to_string())),
            "order.lines" => Some(Value::from(order.line_names())),
            "order.line_count" => Some(Value::from(order.lines.len())),
            _ => None,
        }
    }
}

pub(super) fn attribute(attribute: &Attribute) -> Value {
    /// Whole numbers up to here are exact, and are shown without a point.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match attribute {
        Attribute::Flag(flag) => Value::from(*flag),
        #[allow(clippy::cast_possible_truncation, reason = "whole and within the exact range")]
        Attribute::Number(number) if number.fract() == 0.0 && number.abs() <= EXACT_MAX => Value::from(*number as i64),
        Attribute::Number(number) => Value::from(*number),
        Attribute::Text(text) => Value::from(text.as_str()),
    }
}

/// Builds the tree that texts see. Every group of the closed list is there, also when it is empty.
pub(super) fn nested<'n>(values: impl Iterator<Item = (&'n str, Option<Value>)>) -> Value {
    let mut groups: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
    let mut own: BTreeMap<&str, BTreeMap<&str, Value>> = BTreeMap::new();
    let mut top: BTreeMap<&str, Value> = BTreeMap::new();
    for (name, value) in values {
        let Some((group, rest)) = name.split_once('.') else {
            top.extend(value.map(|value| (name, value)));
            continue;
        };
        let members = groups.entry(group).or_default();
        match rest.split_once('.') {
            Some((_, rest)) => own.entry(group).or_default().extend(value.map(|value| (rest, value))),
            None => members.extend(value.map(|value| (rest, value))),
        }
    }
    for (group, members) in own {
        groups.entry(group).or_default().insert("attributes", Value::from(members));
    }
    for (group, members) in groups {
        top.insert(group, Value::from(members));
    }
    Value::from(top)
}
