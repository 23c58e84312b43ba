//! Faults by name, and what a request is about as far as a scope can ask. Looks at nothing but what it is given.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use parvis_engine::{notification::Channel, time::Timestamp};

use super::behaviour::{Effect, Fault, Scope};
use crate::entropy::Entropy;

/// How many faults there may be at a time.
const FAULTS_MAX: usize = 256;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject<'a> {
    pub(super) channel: Channel,
    pub(super) app: Option<&'a str>,
    pub(super) topic: Option<&'a str>,
    pub(super) target: &'a str,
}

/// The faults that hold, by name. The first that fits and has an effect is taken, in the order of names.
#[derive(Debug, Default)]
pub(super) struct Faults {
    named: Mutex<BTreeMap<String, Fault>>,
}

impl Scope {
    fn fits(&self, subject: &Subject<'_>) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| wanted.as_deref().is_none_or(|w| found == Some(w));
        self.channel.is_none_or(|channel| channel == subject.channel)
            && is(&self.app, subject.app)
            && is(&self.topic, subject.topic)
            && self.target.as_deref().is_none_or(|prefix| subject.target.starts_with(prefix))
    }
}

impl Faults {
    /// Why the fault cannot be had, if so.
    pub(super) fn set(&self, name: &str, fault: Fault, now: Timestamp) -> Result<(), String> {
        if let Some(problem) = fault.behaviour.problem() {
            return Err(problem);
        }
        let mut named = self.named();
        if named.len() == FAULTS_MAX && !named.contains_key(name) {
            return Err(format!("there are {FAULTS_MAX} faults already"));
        }
        named.insert(name.to_owned(), Fault { behaviour: fault.behaviour.begun(now), ..fault });
        Ok(())
    }

    pub(super) fn clear(&self, name: &str) -> bool {
        self.named().remove(name).is_some()
    }

    pub(super) fn all(&self) -> BTreeMap<String, Fault> {
        self.named().clone()
    }

    /// What a valid request gets; counts it for the fault that it gets.
    pub(super) fn next(&self, subject: &Subject<'_>, entropy: &Entropy) -> Effect {
        let mut named = self.named();
        let fitting = named.values_mut().filter(|fault| fault.scope.fits(subject));
        let mut effects = fitting.map(|fault| fault.behaviour.next(entropy));
        effects.find(|effect| *effect != Effect::Answer).unwrap_or(Effect::Answer)
    }

    fn named(&self) -> MutexGuard<'_, BTreeMap<String, Fault>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::behaviour::Behaviour, *};

    const SUBJECT: Subject<'static> =
        Subject { channel: Channel::Apns, app: Some("shop"), topic: Some("com.example.shop"), target: "ab12" };

    #[test]
    fn every_part_of_a_scope_must_fit() {
        let text = |text: &str| Some(text.to_owned());
        let all = Scope {
            channel: Some(Channel::Apns),
            app: text("shop"),
            topic: text("com.example.shop"),
            target: text("ab"),
        };
        assert!(Scope::default().fits(&SUBJECT));
        assert!(all.fits(&SUBJECT));
        for other in [
            Scope { channel: Some(Channel::Fcm), ..all.clone() },
            Scope { app: text("other"), ..all.clone() },
            Scope { topic: text("com.example"), ..all.clone() },
            Scope { target: text("b1"), ..all.clone() },
        ] {
            assert!(!other.fits(&SUBJECT), "{other:?}");
        }
        assert!(!all.fits(&Subject { app: None, ..SUBJECT }));
    }

    #[test]
    fn the_first_fault_with_an_effect_counts() {
        let (faults, entropy, now) = (Faults::default(), Entropy::seeded(1), Timestamp::default());
        let fault = |behaviour| Fault { scope: Scope::default(), behaviour };
        faults.set("b", fault(Behaviour::Reset { times: Some(1) }), now).expect("fits");
        faults.set("a", fault(Behaviour::Silent { times: Some(1) }), now).expect("fits");
        let effects: Vec<Effect> = (0..3).map(|_| faults.next(&SUBJECT, &entropy)).collect();
        assert_eq!(effects, [Effect::Silence, Effect::Reset, Effect::Answer]);
        assert!(faults.clear("a") && !faults.clear("a"));
        assert_eq!(faults.all().len(), 1);
    }

    #[test]
    fn there_is_a_limit() {
        let (faults, now) = (Faults::default(), Timestamp::default());
        let fault = || Fault { scope: Scope::default(), behaviour: Behaviour::Normal };
        for number in 0..FAULTS_MAX {
            faults.set(&number.to_string(), fault(), now).expect("fits");
        }
        assert!(faults.set("0", fault(), now).is_ok());
        assert_eq!(faults.set("more", fault(), now).expect_err("too many"), "there are 256 faults already");
    }
}
