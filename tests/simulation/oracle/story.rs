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
    log::{Amendment, Fate, Request, What},
    plan::{Plan, Step},
    run::Run,
    storm::{JUMP_S, Storm},
};

/// From the moment at which a message is judged for the last time until its request arrives: the deadline of a
/// delivery, and what the store takes.
pub(super) const UNDER_WAY: Duration = Duration::from_secs(30);

/// What one node has put into the catalog decides on all of them after this.
pub(super) const SPREADING: Duration = Duration::from_secs(2);

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
    pub(super) node: usize,
    /// How late it was by the node's clock.
    pub(super) told: Timestamp,
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
    pub(super) storm: &'a Storm,
    /// By person, in the order of the answers.
    pub(super) done: Vec<Vec<Done<'a>>>,
    /// In order.
    pub(super) sent: Vec<Sent<'a>>,
    /// When the node had an answer, by message and in order.
    pub(super) replies: BTreeMap<NotificationId, Vec<(Timestamp, &'a Request, Fate)>>,
    /// When nodes ended, be it of their own accord.
    pub(super) ends: Vec<Timestamp>,
    /// When clocks were set.
    pub(super) clock_set: Vec<Timestamp>,
    /// When anything at all went wrong or began anew.
    pub(super) trouble: Vec<Timestamp>,
    /// Changes of the catalog: when asked, when answered.
    pub(super) amendments: Vec<(Timestamp, Timestamp, Amendment)>,
    /// Steps that were asked and not answered yet: the first time.
    open: BTreeMap<(usize, usize), Timestamp>,
    /// What was done about each device, in the order of the first asking.
    moves: BTreeMap<&'a DeviceId, Vec<Move>>,
}

/// Something that decides whose a device is.
struct Move {
    asked: Timestamp,
    answered: Timestamp,
    becomes: Becomes,
}

enum Becomes {
    Owned {
        shopper: ShopperId,
        target: String,
    },
    Unknown,
    /// Unknown, if it was theirs.
    Erased(ShopperId),
}

impl<'a> Story<'a> {
    pub(super) fn new(run: &'a Run) -> Story<'a> {
        let plan = &*run.plan;
        let mut story = Story {
            plan,
            storm: &run.storm,
            done: plan.people.iter().map(|_| Vec::new()).collect(),
            sent: Vec::new(),
            replies: BTreeMap::new(),
            ends: Vec::new(),
            clock_set: Vec::new(),
            trouble: Vec::new(),
            amendments: Vec::new(),
            open: BTreeMap::new(),
            moves: BTreeMap::new(),
        };
        for line in &run.lines {
            story.take(line.at, &line.what);
        }
        story.sort_moves();
        story
    }

    fn take(&mut self, at: Timestamp, what: &'a What) {
        match what {
            What::Asked { person, step, .. } => {
                self.open.entry((*person, *step)).or_insert(at);
            }
            What::Answered { person, step, answer, seen } => {
                let asked = self.open.remove(&(*person, *step)).expect("what was answered was asked");
                let step = &self.plan.people[*person].steps[*step];
                self.done[*person].push(Done { asked, answered: at, step, answer, seen: &seen.0 });
            }
            What::Requested { request, fate, node, told } => {
                let (person, device) = self.plan.targets.get(&request.target).expect("only known targets are called");
                let rule = city::rule(&request.campaign).expect("only known campaigns are sent");
                let (fate, node, told, person) = (*fate, *node, *told, *person);
                self.sent.push(Sent { at, request, fate, node, told, rule, person, device });
            }
            What::Replied { request, fate } => {
                self.replies.entry(request.id).or_default().push((at, request, *fate));
            }
            What::Cut { .. } | What::Stopped { .. } => {
                self.ends.push(at);
                self.trouble.push(at);
            }
            What::ClockSet { .. } => {
                self.clock_set.push(at);
                self.trouble.push(at);
            }
            What::Started { .. } | What::Failed { .. } => self.trouble.push(at),
            What::Settled { .. } | What::Conflict { .. } => {}
            What::Changed { change, asked } => self.amendments.push((*asked, at, *change)),
            What::Counted { .. } | What::Wrong(_) => {}
        }
    }

    fn sort_moves(&mut self) {
        let plan = self.plan;
        for done in self.done.iter().flatten() {
            let moves = |becomes| Move { asked: done.asked, answered: done.answered, becomes };
            match &done.step.input {
                Input::Register { device, registration } => {
                    let (shopper, target) = (done.step.shopper.clone(), token(registration.target.as_ref()));
                    self.moves.entry(device).or_default().push(moves(Becomes::Owned { shopper, target }));
                }
                Input::Deregister { device } => self.moves.entry(device).or_default().push(moves(Becomes::Unknown)),
                Input::Erase => {
                    for (_, device) in plan.targets.values() {
                        let erased = moves(Becomes::Erased(done.step.shopper.clone()));
                        self.moves.entry(device).or_default().push(erased);
                    }
                }
                Input::Observed { .. }
                | Input::Wake
                | Input::Order { .. }
                | Input::Profile(_)
                | Input::Signal(_)
                | Input::Unregistered { .. }
                | Input::Live { .. } => {}
            }
        }
        self.moves.values_mut().for_each(|moves| moves.sort_by_key(|it| it.asked));
    }

    /// Whether somebody asked to be forgotten.
    pub(super) fn erased(&self, person: usize) -> bool {
        self.done[person].iter().any(|done| matches!(done.step.input, Input::Erase))
    }

    /// Steps that nobody ever answered.
    pub(super) fn unanswered(&self) -> usize {
        self.open.len()
    }

    /// Where the fence that moves stands from one moment to another, on every node; none if that is not clear.
    pub(super) fn popup(&self, from: Timestamp, until: Timestamp) -> Option<usize> {
        let mut place = None;
        for (asked, answered, change) in &self.amendments {
            let Amendment::Stands(at) = change else { continue };
            if *asked <= until {
                place = (answered.plus(SPREADING) < from).then_some(*at);
            }
        }
        place
    }

    /// Whether one of these moments lies between two others.
    pub(super) fn any(moments: &[Timestamp], from: Timestamp, until: Timestamp) -> bool {
        moments.iter().any(|at| from <= *at && *at <= until)
    }

    /// How much longer things may seem to have taken because clocks were wrong.
    pub(super) fn blur(&self) -> Duration {
        let most = Duration::from_secs_f64(2.0 * JUMP_S);
        if self.storm.jumps.is_empty() { Duration::from_secs(5) } else { most }
    }

    /// What is certain about a device at a moment.
    pub(super) fn standing(&self, device: &DeviceId, now: Timestamp) -> Standing {
        let mut standing = Standing::Unknown { since: Timestamp::MIN };
        let mut busy_until = Timestamp::MIN;
        for it in self.moves.get(device).into_iter().flatten().take_while(|it| it.asked <= now) {
            let becomes = match &it.becomes {
                Becomes::Owned { shopper, target } => {
                    Standing::Owned { shopper: shopper.clone(), target: target.clone(), since: it.answered }
                }
                Becomes::Unknown => Standing::Unknown { since: it.answered },
                Becomes::Erased(of) => match &standing {
                    Standing::Owned { shopper, .. } if shopper == of => Standing::Unknown { since: it.answered },
                    Standing::Owned { .. } | Standing::Unknown { .. } if busy_until < it.asked => continue,
                    Standing::Owned { .. } | Standing::Unknown { .. } | Standing::Unclear => Standing::Unclear,
                },
            };
            if it.answered > now {
                return Standing::Unclear;
            }
            // Of two things that happened at once, nobody knows which came last.
            standing = if it.asked <= busy_until { Standing::Unclear } else { becomes };
            busy_until = busy_until.max(it.answered);
        }
        standing
    }
}

/// The name of a target at its push service.
pub(super) fn token(target: Option<&PushTarget>) -> String {
    match target {
        Some(PushTarget::Apns { token, .. }) => token.to_string(),
        Some(PushTarget::Fcm { token, .. }) => token.as_deref().unwrap_or_default().to_owned(),
        Some(PushTarget::WebPush { subscription }) => {
            subscription.endpoint.rsplit('/').next().unwrap_or_default().to_owned()
        }
        None => String::new(),
    }
}
