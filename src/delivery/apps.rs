//! The retailer's apps: which push services each has, and which credentials they share.
//!
//! A credential is known by what it is, not by the app that names it: Apple counts new tokens for each team, so two apps
//! of one team have one token, and a reload keeps every token whose key is still the same.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use aws_lc_rs::digest::{SHA256, digest};
use parvis_engine::{id::AppId, notification::Channel, problem::Problem};
use serde::{Deserialize, Serialize};

use super::{
    Config, Tools,
    apns::{self, TeamKey},
    courier::{self, Courier, Credentials},
    fcm,
    quota::Quota,
    token::{Kept, Shared},
    transport::{Party, Peer},
    webpush,
    webpush::vapid::Vapid,
};
use crate::store::Queue;

/// The push services of one app; section `[delivery.apps.<name>]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct App {
    /// Apple Push Notification service.
    pub apns: Option<apns::Config>,
    /// Firebase Cloud Messaging.
    pub fcm: Option<fcm::Config>,
    /// Web Push.
    pub webpush: Option<webpush::Config>,
}

/// One app: where it stands in the section, and what it has.
#[derive(Clone)]
pub(super) struct Part<'a> {
    id: AppId,
    prefix: String,
    apns: Option<&'a apns::Config>,
    fcm: Option<&'a fcm::Config>,
    pub(super) webpush: Option<&'a webpush::Config>,
}

/// The couriers of every app, and the credentials that they share.
#[derive(Default)]
pub(super) struct Built {
    pub(super) apps: BTreeMap<AppId, Vec<Arc<Courier>>>,
    pub(super) known: Known,
}

/// Credentials by what they are.
#[derive(Clone, Default)]
pub(super) struct Known {
    apns: BTreeMap<String, Arc<Shared>>,
    fcm: BTreeMap<String, Arc<Shared>>,
    vapid: BTreeMap<String, Arc<Vapid>>,
    /// What was sent to each project.
    quotas: BTreeMap<String, Arc<Mutex<Quota>>>,
}

impl Known {
    /// Without those that work through connections.
    pub(super) fn without_connections(mut self) -> Known {
        self.fcm.clear();
        self
    }
}

/// Every app: the tables directly in the section are the app of whoever names none.
pub(super) fn parts(config: &Config) -> Vec<Part<'_>> {
    let Config { apns, fcm, webpush, .. } = config;
    let default = Part {
        id: AppId::default(),
        prefix: String::new(),
        apns: apns.as_ref(),
        fcm: fcm.as_ref(),
        webpush: webpush.as_ref(),
    };
    let named = config.apps.iter().map(|(id, app)| Part {
        id: id.clone(),
        prefix: format!("/apps/{id}"),
        apns: app.apns.as_ref(),
        fcm: app.fcm.as_ref(),
        webpush: app.webpush.as_ref(),
    });
    std::iter::once(default).chain(named).collect()
}

/// What can't work, whatever stands in the files.
pub(super) fn check(config: &Config) -> Vec<Problem> {
    let parts = parts(config);
    let mut problems = Vec::new();
    if config.apps.contains_key(AppId::DEFAULT) {
        let message = "the tables directly in [delivery] are this app; write its services there";
        problems.push(Problem::new("/apps/default", message));
    }
    for (index, part) in parts.iter().enumerate().skip(1) {
        let queue = |id: &AppId| Queue::new(Channel::Apns, id.as_str(), None);
        if let Some(other) = parts[..index].iter().find(|other| queue(&other.id) == queue(&part.id)) {
            let message =
                format!("would share its place in the outbox with the app {}; give it another name", other.id);
            problems.push(Problem::new(part.prefix.clone(), message));
        }
        if part.apns.is_none() && part.fcm.is_none() && part.webpush.is_none() {
            problems.push(Problem::new(part.prefix.clone(), "has none of apns, fcm and webpush"));
        }
    }
    for part in &parts {
        let concurrencies = [
            ("apns", part.apns.map(|part| part.concurrency)),
            ("fcm", part.fcm.map(|part| part.concurrency)),
            ("webpush", part.webpush.map(|part| part.concurrency)),
        ];
        let wrong = |concurrency: usize| !(1..=courier::CONCURRENCY_MAX).contains(&concurrency);
        for (service, _) in concurrencies.iter().filter(|(_, set)| set.is_some_and(wrong)) {
            let message = format!("must be from 1 to {}", courier::CONCURRENCY_MAX);
            problems.push(Problem::new(format!("{}/{service}/concurrency", part.prefix), message));
        }
    }
    let private: Vec<_> = parts.iter().filter_map(|part| Some((part, part.webpush?.allow_private))).collect();
    if let Some((part, _)) = private.iter().find(|(_, allowed)| *allowed != private[0].1) {
        let message = "must be the same for all apps, for they share connections";
        problems.push(Problem::new(format!("{}/webpush/allow_private", part.prefix), message));
    }
    problems
}

/// Reads keys and makes the couriers of every app; credentials that were known before are used on.
pub(super) fn build(config: &Config, base: &Path, tools: &Tools, before: &Known) -> Result<Built, Vec<Problem>> {
    let mut builder = Builder { base, tools, before, known: Known::default(), keys: BTreeMap::new() };
    let (mut apps, mut problems) = (BTreeMap::new(), Vec::new());
    for part in parts(config) {
        let built = [
            part.apns.map(|it| ("apns", builder.apns(it))),
            part.fcm.map(|it| ("fcm", builder.fcm(it))),
            part.webpush.map(|it| ("webpush", builder.webpush(it))),
        ];
        let mut couriers = Vec::new();
        for (service, built) in built.into_iter().flatten() {
            match built {
                Ok(courier) => couriers.push(Arc::new(courier)),
                Err(found) => {
                    let prefix = format!("{}/{service}", part.prefix);
                    problems.extend(found.into_iter().map(|problem| problem.under(&prefix)));
                }
            }
        }
        apps.insert(part.id, couriers);
    }
    if problems.is_empty() { Ok(Built { apps, known: builder.known }) } else { Err(problems) }
}

/// What works but may not be meant, with paths below the delivery section.
pub(super) fn remarks(config: &Config, base: &Path) -> Vec<Problem> {
    let mut remarks = Vec::new();
    for part in parts(config) {
        let Some((fcm, project)) = part.fcm.and_then(|fcm| Some((fcm, fcm.project.as_ref()?))) else { continue };
        let account = super::read(base, &fcm.service_account, "", &mut Vec::new());
        let account = account.and_then(|json| fcm::grant::Account::from_json(&json).ok());
        if let Some(account) = account.filter(|account| account.project_id != *project) {
            let message = format!(
                "the service account belongs to the project {}; it needs the right to send for {project}",
                account.project_id
            );
            remarks.push(Problem::new(format!("{}/fcm/project", part.prefix), message));
        }
    }
    remarks
}

/// Where a key and its id stand: the key's path in the section, its file, its id.
type KeyFile<'a> = (&'static str, Option<&'a PathBuf>, Option<&'a String>);

struct Builder<'a> {
    base: &'a Path,
    tools: &'a Tools,
    before: &'a Known,
    known: Known,
    /// Apple's keys by team and key id, each with the hash of its file.
    keys: BTreeMap<String, String>,
}

impl Builder<'_> {
    fn apns(&mut self, part: &apns::Config) -> Result<Courier, Vec<Problem>> {
        let apns::Built { provider, credential } = apns::build(part, self.base, self.tools.clock.clone())?;
        let credentials = match credential {
            apns::Credential::Certificate(identity) => Credentials::Certificate(identity),
            apns::Credential::Keys { production, sandbox } => {
                let production = self.team(part, ("/key", part.key.as_ref(), part.key_id.as_ref()), production)?;
                match sandbox {
                    None => Credentials::Shared(production),
                    Some(sandbox) => {
                        let place = ("/sandbox_key", part.sandbox_key.as_ref(), part.sandbox_key_id.as_ref());
                        Credentials::Environments { production, sandbox: self.team(part, place, sandbox)? }
                    }
                }
            }
        };
        Ok(Courier::new(Box::new(provider), credentials, Peer::Apns, part.concurrency))
    }

    /// The token of a team's key, shared by all apps that have it.
    fn team(&mut self, part: &apns::Config, key: KeyFile<'_>, source: TeamKey) -> Result<Arc<Shared>, Vec<Problem>> {
        let (path, file, key_id) = key;
        let missing = || vec![Problem::new(path, "is missing")];
        let (file, key_id) = (file.ok_or_else(missing)?, key_id.ok_or_else(missing)?);
        let name = format!("{}/{key_id}", part.team_id.as_ref().ok_or_else(missing)?);
        let hash = self.hash(file, path)?;
        if self.keys.entry(name.clone()).or_insert_with(|| hash.clone()) != &hash {
            let message = format!("is another key than the one that stands elsewhere for the key id {key_id}");
            return Err(vec![Problem::new(path, message)]);
        }
        let known = format!("{name}/{hash}");
        let before = self.known.apns.get(&known).or_else(|| self.before.apns.get(&known)).cloned();
        let tokens = before.unwrap_or_else(|| {
            let tokens = Shared::new(Box::new(source), self.tools.clock.clone(), apns::TOKEN_LIMITS);
            let tokens = tokens.of(Party::new(&known));
            Arc::new(match self.tools.store.clone() {
                Some(store) => tokens.kept(Kept::new(store, format!("apns-token/{name}"), hash)),
                None => tokens,
            })
        });
        self.known.apns.insert(known, Arc::clone(&tokens));
        Ok(tokens)
    }

    fn fcm(&mut self, part: &fcm::Config) -> Result<Courier, Vec<Problem>> {
        let Tools { clock, transport, .. } = self.tools;
        let (provider, source) = fcm::build(part, self.base, clock.clone(), Arc::clone(transport))?;
        let known = self.hash(&part.service_account, "/service_account")?;
        let before = self.known.fcm.get(&known).or_else(|| self.before.fcm.get(&known)).cloned();
        let fresh = || Arc::new(Shared::new(Box::new(source), clock.clone(), fcm::TOKEN_LIMITS));
        let tokens = before.unwrap_or_else(fresh);
        self.known.fcm.insert(known.clone(), Arc::clone(&tokens));
        let limits = part.quota();
        let project = format!("{known} {:?} {limits:?}", part.project);
        let before = self.known.quotas.get(&project).or_else(|| self.before.quotas.get(&project)).cloned();
        let quota = before.unwrap_or_else(|| Arc::new(Mutex::new(Quota::new(limits))));
        self.known.quotas.insert(project, Arc::clone(&quota));
        let courier = Courier::new(Box::new(provider), Credentials::Shared(tokens), Peer::Fcm, part.concurrency);
        Ok(courier.within(quota))
    }

    fn webpush(&mut self, part: &webpush::Config) -> Result<Courier, Vec<Problem>> {
        let Tools { clock, entropy, .. } = self.tools;
        let (provider, vapid) = webpush::build(part, self.base, clock.clone(), entropy.clone())?;
        if part.public_key.as_ref().is_some_and(|given| given.trim_end_matches('=') != vapid.public_key()) {
            let message = format!("is not the public half of the key, which is {}", vapid.public_key());
            return Err(vec![Problem::new("/public_key", message)]);
        }
        // The hosts are part of it: a token is made only for a host that may be called.
        let known = format!("{} {} {:?}", vapid.public_key(), part.subject, part.allow_hosts);
        let before = self.known.vapid.get(&known).or_else(|| self.before.vapid.get(&known)).cloned();
        let vapid = before.unwrap_or_else(|| Arc::new(vapid));
        self.known.vapid.insert(known, Arc::clone(&vapid));
        Ok(Courier::new(Box::new(provider), Credentials::Vapid(vapid), Peer::Subscription, part.concurrency))
    }

    /// Tells which key a file holds without telling the key.
    fn hash(&self, file: &Path, path: &str) -> Result<String, Vec<Problem>> {
        let mut problems = Vec::new();
        let bytes = super::read(self.base, file, path, &mut problems).ok_or(problems)?;
        Ok(digest(&SHA256, &bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
