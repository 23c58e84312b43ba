//! A call that hands in messages, from its head to what became of each target. Knows nothing of how bodies are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use parvis_engine::{
    id::{DeviceId, NotificationId, ShopperId},
    notification::Notification,
    shopper::Shopper,
    time::Timestamp,
};

use super::keep;

use crate::{
    http::{
        Services,
        auth::Caller,
        problem::{Kind, Problem},
    },
    store::Answer,
    submit::{self, Head, Refusal, Target},
};

/// What became of one target.
#[derive(Debug)]
pub(super) enum Given {
    /// Its messages are durable.
    Stored(Vec<NotificationId>),
    /// It gets nothing.
    Refused(Refusal),
}

/// A call whose head is read and whose time is kept.
pub(super) struct Sending<'a> {
    pub(super) request: submit::Request,
    /// What became of each target so far, in their order.
    pub(super) results: Vec<Given>,
    /// How many of them are stored.
    pub(super) stored: usize,
    services: &'a Services,
    /// Whether something of this name came before, so that its messages may be stored already.
    is_repeat: bool,
}

/// Lives that are looked up at a time.
const LOOKUPS: usize = 32;
/// Encryption takes tens of microseconds; others are to have their turn between so many.
const CHECKS_AT_ONCE: usize = 32;

impl<'a> Sending<'a> {
    /// Settles the time of a request for good, before anything of it is stored.
    pub(super) async fn begin(
        services: &'a Services,
        caller: &Caller,
        head: Head,
        key: Option<&str>,
    ) -> Result<Sending<'a>, Problem> {
        let now = services.clock.now();
        let name = head.name(key).map_err(|problem| Problem::invalid(vec![problem]))?;
        let key = format!("send/{}/{}/{name}", caller.name.len(), caller.name);
        let known = services.store.answer(&key).await?;
        let is_repeat = known.is_some();
        let first = match known {
            Some(first) => first,
            None => {
                let problems = head.problems(now);
                if !problems.is_empty() {
                    return Err(Problem::invalid(problems));
                }
                let own = Answer {
                    status: 200,
                    content_type: String::new(),
                    body: head.at.unwrap_or(now).to_string().into_bytes(),
                    request_hash: head.hash(),
                };
                services.store.keep_answer(&key, own.clone(), now).await?;
                // Of two nodes that kept one at the same time, the first one counts.
                services.store.answer(&key).await?.unwrap_or(own)
            }
        };
        if first.request_hash != head.hash() {
            let detail = "another message was sent under this name of a request; use a new name for a new message";
            return Err(Problem::at(Kind::IdempotencyKeyReused, "/request", detail));
        }
        let at = std::str::from_utf8(&first.body).ok().and_then(|text| text.parse().ok());
        let at = at.ok_or_else(|| Problem::new(Kind::Internal, "the request's time can't be read; use a new name"))?;
        let request = submit::Request { caller: caller.name.clone(), name, at, head };
        Ok(Sending { request, results: Vec::new(), stored: 0, services, is_repeat })
    }

    /// How many targets are best taken together.
    pub(super) fn at_once(&self) -> usize {
        let config = &self.services.config;
        config.lines_at_once.min(config.sending_max).max(1)
    }

    /// Takes the next targets. If it fails, the results so far are durable, and of these targets anything may be.
    pub(super) async fn take(&mut self, targets: Vec<Result<Target, Refusal>>) -> Result<(), Problem> {
        let places = u32::try_from(targets.len()).unwrap_or(u32::MAX);
        let busy = || Problem::new(Kind::Full, "too many messages are on their way to the store");
        let _places = self.services.sending.try_acquire_many(places).map_err(|_| busy())?;
        let people = self.people(&targets).await?;
        let now = self.services.clock.now();
        let (mut given, mut outbox) = (Vec::with_capacity(targets.len()), Vec::new());
        for (index, target) in targets.into_iter().enumerate() {
            if index % CHECKS_AT_ONCE == CHECKS_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            given.push(match target.and_then(|target| self.made(&target, &people, now)) {
                Ok(made) => {
                    let ids = made.iter().map(|notification| notification.id).collect();
                    outbox.extend(made);
                    Given::Stored(ids)
                }
                Err(refusal) => Given::Refused(refusal),
            });
        }
        if self.is_repeat {
            outbox = self.new_ones(outbox).await?;
        }
        keep::all(self.services, outbox, now).await?;
        self.stored += given.iter().filter(|given| matches!(given, Given::Stored(_))).count();
        self.results.extend(given);
        Ok(())
    }

    /// The messages for one target, if its services would take them.
    fn made(&self, target: &Target, people: &People, now: Timestamp) -> Result<Vec<Notification>, Refusal> {
        let shopper = people.of(target);
        let made = submit::notifications(&self.request, target, shopper, now)?;
        for notification in &made {
            keep::check(self.services, notification, shopper)?;
        }
        Ok(made)
    }

    /// Whose devices are named, and who is.
    async fn people(&self, targets: &[Result<Target, Refusal>]) -> Result<People, Problem> {
        let store = &self.services.store;
        let (mut devices, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for target in targets.iter().flatten() {
            match target {
                Target::Device(device) => drop(devices.insert(device.clone())),
                Target::Shopper(shopper, _) => drop(ids.insert(shopper.clone())),
                Target::Address(_) => {}
            }
        }
        let devices: Vec<DeviceId> = devices.into_iter().collect();
        let owners = if devices.is_empty() { Vec::new() } else { store.owners(&devices).await? };
        let owners: BTreeMap<_, _> =
            devices.into_iter().zip(owners).filter_map(|(device, owner)| Some((device, owner?))).collect();
        ids.extend(owners.values().cloned());
        let ids: Vec<ShopperId> = ids.into_iter().collect();
        let records = if ids.is_empty() { Vec::new() } else { store.load(&ids).await? };
        let known = ids.into_iter().zip(records).filter(|(_, record)| record.version > 0);
        Ok(People { owners, shoppers: known.map(|(id, record)| (id, record.shopper)).collect() })
    }

    /// Those of which nothing is stored.
    async fn new_ones(&self, outbox: Vec<Notification>) -> Result<Vec<Notification>, Problem> {
        let store = &self.services.store;
        let looked_up = stream::iter(outbox).map(async |notification| {
            let is_known = store.life(notification.id).await?.is_some();
            Ok::<_, Problem>((!is_known).then_some(notification))
        });
        let new: Vec<_> = looked_up.buffered(LOOKUPS).try_collect().await?;
        Ok(new.into_iter().flatten().collect())
    }
}

/// The shoppers that targets name.
struct People {
    owners: BTreeMap<DeviceId, ShopperId>,
    shoppers: BTreeMap<ShopperId, Arc<Shopper>>,
}

impl People {
    fn of(&self, target: &Target) -> Option<&Shopper> {
        let id = match target {
            Target::Device(device) => self.owners.get(device)?,
            Target::Shopper(shopper, _) => shopper,
            Target::Address(_) => return None,
        };
        self.shoppers.get(id).map(Arc::as_ref)
    }
}
