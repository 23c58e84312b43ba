//! The log, sorted by person and by message.

use std::{collections::BTreeMap, time::Duration};

use parvis::shard::{Answer, Input};
use parvis_engine::{
    id::{DeviceId, NotificationId, ShopperId},
    shopper::PushTarget,
    time::Timestamp,
};

use crate::{
    city::{self, Rule},
    log::{Fate, Request, What},
    plan::{Plan, Step},
    run::Run,
};

/// From the moment at which a message is judged for the last time until its request arrives: the deadline of a
/// delivery, and what the store takes.
pub(super) const UNDER_WAY: Duration = Duration::from_secs(25);

/// A step that was answered.
pub(super) struct Done<'a> {
    /// First asked; from then on it may have had its effect.
    pub(super) asked: Timestamp,
    pub(super) answered: Timestamp,
    pub(super) step: &'a Step,
    pub(super) answer: &'a Answer,
    pub(super) seen: &'a parvis::store::Record,
}

/// A request that has reached a push service.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) at: Timestamp,
    pub(super) request: &'a Request,
    pub(super) fate: Fate,
    pub(super) rule: &'static Rule,
    pub(super) person: usize,
    pub(super) device: &'a DeviceId,
}

/// What is certain about a device at a moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Standing {
    /// Registered for this shopper, with this target, since then.
    Owned { shopper: ShopperId, target: String, since: Timestamp },
    /// Not registered, since then.
    Unknown { since: Timestamp },
    /// Something is under way.
    Unclear,
}

/// The log, sorted.
pub(super) struct Story<'a> {
    pub(super) plan: &'a Plan,
    /// By person, in order.
    pub(super) done: Vec<Vec<Done<'a>>>,
    /// In order.
    pub(super) sent: Vec<Sent<'a>>,
    /// When the node had an answer, by message and in order.
    pub(super) replies: BTreeMap<NotificationId, Vec<(Timestamp, &'a Request, Fate)>>,
    pub(super) cuts: Vec<Timestamp>,
    /// Steps that were asked and never answered: the first time, by person.
    open: BTreeMap<usize, (Timestamp, &'a Step)>,
}

impl<'a> Story<'a> {
    pub(super) fn new(run: &'a Run) -> Story<'a> {
        let plan = &*run.plan;
        let done = plan.people.iter().map(|_| Vec::new()).collect();
        let (sent, replies, cuts) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut story = Story { plan, done, sent, replies, cuts, open: BTreeMap::new() };
        for line in &run.lines {
            story.take(line.at, &line.what);
        }
        story
    }

    fn take(&mut self, at: Timestamp, what: &'a What) {
        match what {
            What::Asked { person, step } => {
                self.open.entry(*person).or_insert((at, &self.plan.people[*person].steps[*step]));
            }
            What::Answered { person, answer, seen, .. } => {
                let (asked, step) = self.open.remove(person).expect("what was answered was asked");
                self.done[*person].push(Done { asked, answered: at, step, answer, seen: &seen.0 });
            }
            What::Requested { request, fate } => {
                let (person, device) = self.plan.targets.get(&request.target).expect("only known targets are called");
                let rule = city::rule(&request.campaign).expect("only known campaigns are sent");
                self.sent.push(Sent { at, request, fate: *fate, rule, person: *person, device });
            }
            What::Replied { request, fate } => {
                self.replies.entry(request.id).or_default().push((at, request, *fate));
            }
            What::Cut => self.cuts.push(at),
            What::Started | What::Settled { .. } | What::Failed { .. } => {}
        }
    }

    /// Whether somebody asked to be forgotten.
    pub(super) fn erased(&self, person: usize) -> bool {
        self.done[person].iter().any(|done| matches!(done.step.input, Input::Erase))
    }

    /// What is certain about a device at a moment.
    pub(super) fn standing(&self, person: usize, device: &DeviceId, now: Timestamp) -> Standing {
        let mut standing = Standing::Unknown { since: Timestamp::MIN };
        for done in &self.done[person] {
            let changed = match &done.step.input {
                Input::Register { device: of, registration } if of == device => {
                    let (shopper, since) = (done.step.shopper.clone(), done.answered);
                    Standing::Owned { shopper, target: token(registration.target.as_ref()), since }
                }
                Input::Deregister { device: of } if of == device => Standing::Unknown { since: done.answered },
                Input::Erase => match &standing {
                    Standing::Owned { shopper, .. } if *shopper == done.step.shopper => {
                        Standing::Unknown { since: done.answered }
                    }
                    Standing::Owned { .. } | Standing::Unknown { .. } | Standing::Unclear => continue,
                },
                _ => continue,
            };
            if done.asked > now {
                break;
            }
            if done.answered > now {
                return Standing::Unclear;
            }
            standing = changed;
        }
        standing
    }
}

/// The name of a target at its push service.
pub(super) fn token(target: Option<&PushTarget>) -> String {
    match target {
        Some(PushTarget::Apns { token, .. }) => token.clone(),
        Some(PushTarget::Fcm { token, .. }) => token.clone().unwrap_or_default(),
        Some(PushTarget::WebPush { subscription }) => {
            subscription.endpoint.rsplit('/').next().unwrap_or_default().to_owned()
        }
        None => String::new(),
    }
}
