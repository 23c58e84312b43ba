//! Who a campaign is for: a closed vocabulary that can be validated, explained and traced.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    order::States,
    problem::Problem,
    shopper::{Attribute, Shopper},
    time::Timestamp,
};

/// How deep conditions may be nested.
const DEPTH_MAX: usize = 8;
/// The most conditions of one campaign.
const CONDITIONS_MAX: usize = 64;

/// A condition on a shopper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Audience {
    /// Every one of these holds.
    All(Vec<Audience>),
    /// At least one of these holds.
    Any(Vec<Audience>),
    /// This does not hold.
    Not(Box<Audience>),
    /// The retailer has put the shopper into this group.
    Segment(String),
    /// An interest, as far as it has not faded.
    Interest {
        /// Its name.
        name: String,
        /// The weight that must be left.
        at_least: f64,
    },
    /// Standing in the loyalty programme.
    Loyalty {
        /// The tier.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tier: Option<String>,
        /// The points that the account must hold.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        points_at_least: Option<i64>,
    },
    /// A fact about the shopper; a shopper without it does not match.
    Attribute {
        /// Its name.
        name: String,
        /// It is this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        equals: Option<Attribute>,
        /// It is a number that is not smaller.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_least: Option<f64>,
        /// It is a number that is not greater.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_most: Option<f64>,
        /// It is one of these.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        one_of: Vec<Attribute>,
    },
    /// The shopper has an order in one of these states.
    Order(States),
    /// Whether the shopper is a device that nobody has claimed.
    Anonymous(bool),
}

/// A shopper at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The shopper.
    pub shopper: &'a Shopper,
    /// When.
    pub now: Timestamp,
    /// After what time half of an interest is left.
    pub half_life: Duration,
}

impl Audience {
    /// Whether the condition holds.
    pub fn holds(&self, who: Who<'_>) -> bool {
        let profile = &who.shopper.profile;
        match self {
            Audience::All(parts) => parts.iter().all(|part| part.holds(who)),
            Audience::Any(parts) => parts.iter().any(|part| part.holds(who)),
            Audience::Not(part) => !part.holds(who),
            Audience::Segment(name) => profile.segments.contains(name),
            Audience::Interest { name, at_least } => weight(who, name) >= *at_least,
            Audience::Loyalty { tier, points_at_least } => profile.loyalty.as_ref().is_some_and(|loyalty| {
                tier.as_ref().is_none_or(|tier| loyalty.tier.as_ref() == Some(tier))
                    && points_at_least.is_none_or(|points| loyalty.points >= points)
            }),
            Audience::Attribute { name, equals, at_least, at_most, one_of } => {
                profile.attributes.get(name).is_some_and(|attribute| {
                    equals.as_ref().is_none_or(|wanted| attribute == wanted)
                        && at_least.is_none_or(|least| number(attribute).is_some_and(|number| number >= least))
                        && at_most.is_none_or(|most| number(attribute).is_some_and(|number| number <= most))
                        && (one_of.is_empty() || one_of.contains(attribute))
                })
            }
            Audience::Order(states) => who.shopper.orders.values().any(|order| states.0.contains(&order.state)),
            Audience::Anonymous(wanted) => who.shopper.id.is_anonymous() == *wanted,
        }
    }

    /// The condition that decided, with what the shopper has: the first that fails if this does not hold.
    pub fn describe(&self, who: Who<'_>) -> String {
        let profile = &who.shopper.profile;
        match self {
            Audience::All(parts) => match parts.iter().find(|part| !part.holds(who)) {
                Some(part) => part.describe(who),
                None => joined(parts, who, " and "),
            },
            Audience::Any(parts) => match parts.iter().find(|part| part.holds(who)) {
                Some(part) => part.describe(who),
                None => format!("none of: {}", joined(parts, who, "; ")),
            },
            Audience::Not(part) => format!("not wanted: {}", part.describe(who)),
            Audience::Segment(name) => {
                let has = if profile.segments.contains(name) { "in" } else { "not in" };
                format!("{has} segment {name:?}")
            }
            Audience::Interest { name, at_least } => {
                format!("interest {name:?} is {:.2}, needs {at_least}", weight(who, name))
            }
            Audience::Loyalty { tier, points_at_least } => {
                let has = profile.loyalty.clone().unwrap_or_default();
                let wants = [
                    tier.as_ref().map(|tier| format!("tier {tier:?}")),
                    points_at_least.map(|points| format!("{points} points")),
                ];
                let wants: Vec<String> = wants.into_iter().flatten().collect();
                let tier = has.tier.as_deref().unwrap_or("none");
                format!("loyalty is tier {tier:?} with {} points, needs {}", has.points, wants.join(" and "))
            }
            Audience::Attribute { name, equals, at_least, at_most, one_of } => {
                let has = profile.attributes.get(name).map_or("missing".to_owned(), |has| format!("\"{has}\""));
                let list = one_of.iter().map(Attribute::to_string).collect::<Vec<_>>().join(", ");
                let wants = [
                    equals.as_ref().map(|wanted| format!("\"{wanted}\"")),
                    at_least.map(|least| format!("at least {least}")),
                    at_most.map(|most| format!("at most {most}")),
                    (!one_of.is_empty()).then(|| format!("one of {list}")),
                ];
                let wants: Vec<String> = wants.into_iter().flatten().collect();
                format!("attribute {name:?} is {has}, needs {}", wants.join(" and "))
            }
            Audience::Order(states) => {
                let wants: Vec<&str> = states.0.iter().map(|state| state.name()).collect();
                let has = if self.holds(who) { "has" } else { "has no" };
                format!("{has} order that is {}", wants.join(" or "))
            }
            Audience::Anonymous(_) => {
                if who.shopper.id.is_anonymous() {
                    "is anonymous".to_owned()
                } else {
                    "is known".to_owned()
                }
            }
        }
    }

    /// What is wrong with the condition.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let conditions = self.check("", 1, &mut problems);
        if conditions > CONDITIONS_MAX {
            let message =
                format!("at most {CONDITIONS_MAX} conditions; let the retailer's system make a segment of it");
            problems.push(Problem::new("", message));
        }
        problems
    }

    fn check(&self, path: &str, depth: usize, problems: &mut Vec<Problem>) -> usize {
        if depth > DEPTH_MAX {
            problems.push(Problem::new(path, format!("conditions are nested at most {DEPTH_MAX} deep")));
            return 1;
        }
        let mut wrong = |place: &str, message: &str| problems.push(Problem::new(format!("{path}{place}"), message));
        match self {
            Audience::All(parts) | Audience::Any(parts) => {
                let name = if matches!(self, Audience::All(_)) { "all" } else { "any" };
                if parts.is_empty() {
                    wrong(&format!("/{name}"), "an empty list says nothing; leave it out");
                }
                let below = parts.iter().enumerate();
                1 + below
                    .map(|(at, part)| part.check(&format!("{path}/{name}/{at}"), depth + 1, problems))
                    .sum::<usize>()
            }
            Audience::Not(part) => 1 + part.check(&format!("{path}/not"), depth + 1, problems),
            Audience::Interest { at_least, .. } => {
                if !(at_least.is_finite() && *at_least > 0.0) {
                    wrong("/interest/at_least", "needs a weight greater than 0");
                }
                1
            }
            Audience::Loyalty { tier: None, points_at_least: None } => {
                wrong("/loyalty", "needs tier, points_at_least or both");
                1
            }
            Audience::Attribute { name, equals: None, at_least: None, at_most: None, one_of } if one_of.is_empty() => {
                wrong("/attribute", &format!("needs equals, at_least, at_most or one_of for {name:?}"));
                1
            }
            Audience::Order(states) => {
                if states.0.is_empty() {
                    wrong("/order", "needs at least one state");
                }
                1
            }
            Audience::Segment(_) | Audience::Loyalty { .. } | Audience::Attribute { .. } | Audience::Anonymous(_) => 1,
        }
    }
}

fn weight(who: Who<'_>, name: &str) -> f64 {
    who.shopper.interests.get(name).map_or(0.0, |interest| interest.weight_at(who.now, who.half_life))
}

fn number(attribute: &Attribute) -> Option<f64> {
    match attribute {
        Attribute::Number(number) => Some(*number),
        Attribute::Flag(_) | Attribute::Text(_) => None,
    }
}

fn joined(parts: &[Audience], who: Who<'_>, between: &str) -> String {
    parts.iter().map(|part| part.describe(who)).collect::<Vec<_>>().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shopper::{Interest, Loyalty};

    fn shopper() -> Shopper {
        let mut shopper = Shopper::new("C-1".parse().expect("an id"));
        shopper.profile.segments.insert("newsletter".to_owned());
        shopper.profile.attributes.insert("children".to_owned(), Attribute::Number(2.0));
        shopper.profile.attributes.insert("city".to_owned(), Attribute::Text("Lyon".to_owned()));
        shopper.profile.loyalty = Some(Box::new(Loyalty { tier: Some("gold".to_owned()), points: 120 }));
        let interest = Interest { weight: 2.0, at: Timestamp::from_millis(0), signals: Vec::new() };
        shopper.interests.insert("tv".to_owned(), interest);
        shopper
    }

    fn ask(condition: &str, days: u64) -> (bool, String) {
        let audience: Audience = serde_json::from_str(condition).expect("well formed");
        assert!(audience.problems().is_empty(), "{:?}", audience.problems());
        let now = Timestamp::from_millis(0).plus(Duration::from_secs(days * 86_400));
        let shopper = shopper();
        let who = Who { shopper: &shopper, now, half_life: Duration::from_secs(14 * 86_400) };
        (audience.holds(who), audience.describe(who))
    }

    #[test]
    fn every_condition_can_hold_and_fail() {
        for (condition, holds) in [
            (r#"{"segment":"newsletter"}"#, true),
            (r#"{"segment":"staff"}"#, false),
            (r#"{"loyalty":{"tier":"gold","points_at_least":120}}"#, true),
            (r#"{"loyalty":{"tier":"gold","points_at_least":121}}"#, false),
            (r#"{"loyalty":{"tier":"silver"}}"#, false),
            (r#"{"attribute":{"name":"children","at_least":1,"at_most":2}}"#, true),
            (r#"{"attribute":{"name":"children","at_least":3}}"#, false),
            (r#"{"attribute":{"name":"city","equals":"Lyon"}}"#, true),
            (r#"{"attribute":{"name":"city","one_of":["Paris","Lille"]}}"#, false),
            (r#"{"attribute":{"name":"city","at_least":1}}"#, false),
            (r#"{"attribute":{"name":"unknown","equals":true}}"#, false),
            (r#"{"not":{"attribute":{"name":"unknown","equals":true}}}"#, true),
            (r#"{"order":"shipped"}"#, false),
            (r#"{"anonymous":false}"#, true),
            (r#"{"all":[{"segment":"newsletter"},{"any":[{"segment":"staff"},{"anonymous":false}]}]}"#, true),
            (r#"{"any":[{"segment":"staff"},{"anonymous":true}]}"#, false),
        ] {
            assert_eq!(ask(condition, 0).0, holds, "{condition}");
        }
    }

    #[test]
    fn interests_fade_by_half_in_every_half_life() {
        let condition = r#"{"interest":{"name":"tv","at_least":1.0}}"#;
        assert!(ask(condition, 0).0);
        assert!(ask(condition, 14).0, "exactly half is left");
        assert!(!ask(condition, 15).0);
        assert_eq!(ask(condition, 28).1, "interest \"tv\" is 0.50, needs 1");
    }

    #[test]
    fn the_first_condition_that_fails_is_named() {
        let (_, why) = ask(r#"{"all":[{"segment":"newsletter"},{"loyalty":{"points_at_least":500}}]}"#, 0);
        assert_eq!(why, "loyalty is tier \"gold\" with 120 points, needs 500 points");
    }

    #[test]
    fn empty_and_endless_conditions_are_refused() {
        let mut deep = Audience::Anonymous(true);
        for _ in 0..9 {
            deep = Audience::Not(Box::new(deep));
        }
        assert_eq!(deep.problems().len(), 1);
        for wrong in [r#"{"all":[]}"#, r#"{"loyalty":{}}"#, r#"{"attribute":{"name":"a"}}"#, r#"{"order":[]}"#] {
            let audience: Audience = serde_json::from_str(wrong).expect("well formed");
            assert_eq!(audience.problems().len(), 1, "{wrong}");
        }
        assert!(serde_json::from_str::<Audience>(r#"{"attribute":{"name":"a","equal":1}}"#).is_err(), "a typing error");
    }
}
