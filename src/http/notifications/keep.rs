//! Makes messages durable that nobody decides any more: whether their services would take them, and the commit.

use std::collections::BTreeSet;

use parvis_engine::{
    notification::{Address, Milestone, Notification, Recipient},
    retry::Outcome,
    shopper::{PushTarget, Shopper},
    time::Timestamp,
};

use crate::{
    http::{
        Services,
        problem::{Kind, Problem},
    },
    report::{Event, What},
    store::{Commit, Committed},
    submit::{Reason, Refusal},
};

/// Another writer holds a shopper for milliseconds.
const COMMITS_MAX: usize = 5;

/// Whether a message's service would take it, as far as that is known without asking. `shopper` is whose it is.
///
/// # Errors
/// Why not.
pub(in crate::http) fn check(
    services: &Services,
    notification: &Notification,
    shopper: Option<&Shopper>,
) -> Result<(), Refusal> {
    let target = |device| -> Option<PushTarget> { shopper?.devices.get(device)?.target.clone() };
    let address = match &notification.recipient {
        Recipient::Address(address) => Some(Address::clone(address)),
        Recipient::Device(device) => target(device).map(Address::Target),
        Recipient::Endpoint(_) => None,
    };
    let Some(address) = address else { return Ok(()) };
    services.couriers.check(notification, &address).map_err(|outcome| refusal(notification, outcome))
}

/// Makes messages durable and tells of them, each once.
///
/// # Errors
/// If that is not possible now. Anything may have been stored; a repeat is harmless.
pub(in crate::http) async fn all(
    services: &Services,
    mut outbox: Vec<Notification>,
    now: Timestamp,
) -> Result<(), Problem> {
    let Services { store, reporter, .. } = services;
    let mut ids = BTreeSet::new();
    outbox.retain(|notification| ids.insert(notification.id));
    for _ in 0..COMMITS_MAX {
        if outbox.is_empty() {
            return Ok(());
        }
        let events: Vec<Event> = outbox.iter().filter_map(|notification| event(notification, now)).collect();
        let told = services.webhooks.tell(&events);
        let all = outbox.iter().chain(&told).cloned().collect();
        let commit = Commit { outbox: all, events: events.clone(), ..Commit::default() };
        let busy = match store.commit(commit).await? {
            Committed::Done => Vec::new(),
            Committed::Conflict(busy) => busy,
        };
        let (again, done) = outbox.into_iter().partition::<Vec<_>, _>(|it| busy.contains(&it.shopper));
        let told = told.iter().filter(|entry| !busy.contains(&entry.shopper));
        done.iter().chain(told).for_each(|notification| reporter.stored(notification));
        events.into_iter().filter(|event| !busy.contains(&event.shopper)).for_each(|event| reporter.send(event));
        outbox = again;
    }
    if outbox.is_empty() {
        return Ok(());
    }
    Err(Problem::new(Kind::Unavailable, "others change the same shoppers; try again"))
}

/// What a person's journal says of the message. Nobody has a journal for an address.
fn event(notification: &Notification, now: Timestamp) -> Option<Event> {
    notification.device()?;
    let what = What::Milestone { notification: notification.id, milestone: Milestone::Stored, detail: None };
    Some(Event { at: now, recorded_at: now, shopper: notification.shopper.clone(), what })
}

/// Why a service would not take a message, for the caller.
fn refusal(notification: &Notification, outcome: Outcome) -> Refusal {
    let (channel, app) = (notification.channel.name(), notification.app.as_str());
    match outcome {
        Outcome::Rejected { reason } => Refusal::new(Reason::Refused, format!("{channel} would say: {reason}")),
        Outcome::Unregistered { reason, .. } => {
            Refusal::new(Reason::NoTarget, format!("{channel} would say: {reason}"))
        }
        Outcome::Accepted | Outcome::Throttled { .. } | Outcome::Unavailable { .. } => {
            Refusal::new(Reason::NotConfigured, format!("app {app:?} has no access to {channel} here"))
        }
    }
}
