//! How a notification's life grows, the same for every engine. It knows nothing of where lives are kept.

use parvis_engine::{
    id::NotificationId,
    notification::{Milestone, Notification},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{
    End, Life, Step,
    outbox::{Cursor, dead_at},
};

/// The part of a life that changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    pub(super) milestones: Vec<Step>,
    pub(super) attempts: u32,
}

impl Progress {
    /// The life of a message that is now stored. The store has no clock; what it stores was decided just now.
    pub(super) fn begin(notification: &Notification) -> Progress {
        let step = |milestone, at| Step { milestone, at, detail: None };
        Progress {
            milestones: vec![
                step(Milestone::Observed, notification.observed_at),
                step(Milestone::Decided, notification.decided_at),
                step(Milestone::Stored, notification.decided_at),
            ],
            attempts: 0,
        }
    }

    /// Takes in how a claim ended.
    pub(super) fn settle(&mut self, at: Timestamp, end: &End) {
        let (attempts, attempt_detail) = match end {
            End::Terminal { attempts, .. } => (*attempts, None),
            End::Again { attempts, detail, .. } => (*attempts, detail.clone()),
        };
        if attempts > self.attempts {
            self.milestones.push(Step { milestone: Milestone::Attempted, at, detail: attempt_detail });
            self.attempts = attempts;
        }
        if let End::Terminal { milestone, detail, .. } = end
            && !self.has_ended()
        {
            self.milestones.push(Step { milestone: *milestone, at, detail: detail.clone() });
        }
    }

    /// Takes in a milestone that was reported from outside; false if it says nothing new.
    pub(super) fn report(&mut self, step: Step) -> bool {
        // How delivery ended is known here alone: a report can neither end a life nor end it twice.
        let known = step.milestone.is_terminal() || self.milestones.iter().any(|old| old.milestone == step.milestone);
        if !known {
            self.milestones.push(step);
        }
        !known
    }

    pub(super) fn has_ended(&self) -> bool {
        self.milestones.iter().any(|step| step.milestone.is_terminal())
    }

    /// The time of the last step of a life that has ended.
    pub(super) fn idle_since(&self) -> Option<Timestamp> {
        self.has_ended().then(|| self.milestones.iter().map(|step| step.at).max()).flatten()
    }

    /// Where the message stands in the list of those that were given up, if it was.
    pub(super) fn dead(&self, id: NotificationId) -> Option<Cursor> {
        dead_at(&self.milestones).map(|at| Cursor { at, id })
    }

    pub(super) fn of(self, notification: Notification) -> Life {
        Life { notification, milestones: self.milestones, attempts: self.attempts }
    }
}
