//! Delivers: takes a credential, sends, and says what came of it. Total: there is always an outcome, in time.
//!
//! It owns credentials, deadlines and the number of requests in flight. It does not retry, except once with a new
//! credential when the old one had served its time; everything else is the lane's business.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use parvis_engine::{
    id::{AppId, EndpointId},
    notification::{Address, Channel, Notification},
    problem::Problem,
    retry::{Outcome, Patience},
    time::Timestamp,
};
use tokio::sync::Semaphore;

mod exchange;
mod manage;

use exchange::Exchange;
pub use manage::Unmanaged;

pub use super::credentials::Credentials;
use super::{
    Blame, Config, Meaning, Provider, Reply, Tools,
    apps::{self, Built, Known},
    breaker::Answer,
    quota::Quota,
    transport::{Peer, Transport},
};
use crate::{clock::Clock, webhook::Webhooks};

/// More requests in flight than this help no provider's latency.
pub(super) const CONCURRENCY_MAX: usize = 10_000;

/// Delivers through one channel of one app.
pub struct Courier {
    provider: Box<dyn Provider>,
    credentials: Credentials,
    peer: Peer,
    concurrency: usize,
    permits: Semaphore,
    quota: Option<Arc<Mutex<Quota>>>,
}

impl Courier {
    /// Delivers with at most `concurrency` requests in flight.
    pub fn new(provider: Box<dyn Provider>, credentials: Credentials, peer: Peer, concurrency: usize) -> Courier {
        let permits = Semaphore::new(concurrency.clamp(1, CONCURRENCY_MAX));
        Courier { provider, credentials, peer, concurrency, permits, quota: None }
    }

    /// The same within a quota, which others may share.
    #[must_use]
    pub fn within(self, quota: Arc<Mutex<Quota>>) -> Courier {
        Courier { quota: Some(quota), ..self }
    }

    /// Which service.
    pub fn channel(&self) -> Channel {
        self.provider.channel()
    }
}

/// A way out: one channel in the name of one app, or to one webhook.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The app; of a webhook, the name of its endpoint.
    pub app: AppId,
    /// The channel.
    pub channel: Channel,
}

/// How the credential of a route stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Whose it is.
    pub route: Route,
    /// When the token in use was made, if there is one for all messages.
    pub issued_at: Option<Timestamp>,
    /// When it ends, if it is a certificate.
    pub not_after: Option<Timestamp>,
}

/// Delivers through every configured channel of every app. What a delivery has begun with it ends with, whatever is
/// configured meanwhile.
pub struct Couriers {
    current: ArcSwap<Set>,
    tools: Tools,
}

struct Set {
    apps: BTreeMap<AppId, Vec<Arc<Courier>>>,
    endpoints: BTreeMap<EndpointId, (Arc<Courier>, Patience)>,
    known: Known,
    transport: Arc<dyn Transport>,
    deadline: Duration,
}

/// A configuration that was read and is right, but does not hold yet.
pub struct Prepared(Set);

impl Set {
    fn read(config: &Config, base: &Path, tools: &Tools, before: &Known) -> Result<Set, Vec<Problem>> {
        let mut problems = super::check(config);
        match apps::build(config, base, tools, before) {
            Ok(Built { apps, known }) if problems.is_empty() => {
                let endpoints = tools.webhooks.couriers();
                Ok(Set { apps, endpoints, known, transport: Arc::clone(&tools.transport), deadline: config.deadline })
            }
            Ok(_) => Err(problems),
            Err(found) => {
                problems.extend(found);
                Err(problems)
            }
        }
    }

    /// The way out of an app, or to an endpoint.
    fn courier(&self, name: &str, channel: Channel) -> Option<&Arc<Courier>> {
        if channel == Channel::Webhook {
            return self.endpoints.get(name).map(|(courier, _)| courier);
        }
        self.apps.get(name)?.iter().find(|courier| courier.channel() == channel)
    }
}

impl Couriers {
    pub(super) fn new(config: &Config, base: &Path, tools: Tools) -> Result<Couriers, Vec<Problem>> {
        let set = Set::read(config, base, &tools, &Known::default())?;
        Ok(Couriers { current: ArcSwap::from_pointee(set), tools })
    }

    /// Reads a changed configuration and its keys. Nothing is changed yet.
    ///
    /// # Errors
    /// Everything that is wrong, with paths below the delivery section.
    pub fn prepare(
        &self,
        config: &Config,
        base: &Path,
        transport: Arc<dyn Transport>,
        webhooks: Webhooks,
    ) -> Result<Prepared, Vec<Problem>> {
        let current = self.current.load();
        let same = Arc::ptr_eq(&current.transport, &transport);
        let before = if same { current.known.clone() } else { current.known.clone().without_connections() };
        let tools = Tools { transport, webhooks, ..self.tools.clone() };
        Set::read(config, base, &tools, &before).map(Prepared)
    }

    /// From now on deliveries begin with what was prepared.
    pub fn replace(&self, prepared: Prepared) {
        self.current.store(Arc::new(prepared.0));
    }

    /// The longest that a delivery takes. A lease on what is delivered must be longer.
    pub fn deadline(&self) -> Duration {
        self.current.load().deadline
    }

    /// Everything that is configured.
    pub fn routes(&self) -> Vec<Route> {
        let set = self.current.load();
        let of = |(app, couriers): (&AppId, &Vec<Arc<Courier>>)| -> Vec<Route> {
            couriers.iter().map(|courier| Route { app: app.clone(), channel: courier.channel() }).collect()
        };
        let to =
            |endpoint: &EndpointId| Some(Route { app: endpoint.as_str().parse().ok()?, channel: Channel::Webhook });
        set.apps.iter().flat_map(of).chain(set.endpoints.keys().filter_map(to)).collect()
    }

    /// How patiently messages on a route are tried, if it has a way of its own.
    pub fn patience(&self, route: &Route) -> Option<Patience> {
        let set = self.current.load();
        let endpoint = (route.channel == Channel::Webhook).then(|| set.endpoints.get(route.app.as_str()));
        endpoint.flatten().map(|(_, patience)| patience.clone())
    }

    /// The apps that are configured; the app of whoever names none always is.
    pub fn apps(&self) -> Vec<AppId> {
        self.current.load().apps.keys().cloned().collect()
    }

    /// Why a device can't be registered for an app with a target of this channel, if it can't. As long as no push service
    /// is configured at all, everything can be.
    pub fn refusal(&self, app: &AppId, channel: Option<Channel>) -> Option<Problem> {
        let set = self.current.load();
        let Some(couriers) = set.apps.get(app) else {
            let known: Vec<&str> = set.apps.keys().map(AppId::as_str).collect();
            let message = format!("there is no app {app}; there are {}", known.join(", "));
            return Some(Problem::new("/app", message));
        };
        let channel = channel?;
        let has = couriers.iter().any(|courier| courier.channel() == channel);
        if has || set.apps.values().all(Vec::is_empty) {
            return None;
        }
        let channels: Vec<&str> = couriers.iter().map(|courier| courier.channel().name()).collect();
        let channels = if channels.is_empty() { "no channel".to_owned() } else { channels.join(", ") };
        let message = format!("the app {app} has no {}; it has {channels}", channel.name());
        Some(Problem::new("/target/channel", message))
    }

    /// How many deliveries may be under way on a route; zero if it is not configured.
    pub fn concurrency(&self, route: &Route) -> usize {
        self.current.load().courier(route.app.as_str(), route.channel).map_or(0, |courier| courier.concurrency)
    }

    /// The key that an app's web pages subscribe with (`applicationServerKey`), base64url, if it has Web Push.
    pub fn web_push_key(&self, app: &AppId) -> Option<String> {
        let set = self.current.load();
        match &set.courier(app.as_str(), Channel::WebPush)?.credentials {
            Credentials::Vapid(vapid) => Some(vapid.public_key()),
            Credentials::Shared(_)
            | Credentials::Environments { .. }
            | Credentials::Certificate(_)
            | Credentials::None => None,
        }
    }

    /// How the credentials stand.
    pub fn credentials(&self) -> Vec<Credential> {
        let set = self.current.load();
        let all = set.apps.iter().flat_map(|(app, couriers)| couriers.iter().map(move |courier| (app, courier)));
        all.map(|(app, courier)| Credential {
            route: Route { app: app.clone(), channel: courier.channel() },
            issued_at: courier.credentials.issued_at(),
            not_after: courier.credentials.not_after(),
        })
        .collect()
    }

    /// What would come of a delivery before anything is sent, by the form of message and address alone.
    ///
    /// # Errors
    /// The outcome, if there could be no request.
    pub fn check(&self, notification: &Notification, address: &Address) -> Result<(), Outcome> {
        let set = self.current.load();
        let courier = set.courier(notification.app.as_str(), address.channel());
        let courier = courier.ok_or_else(|| unavailable("channel_not_configured"))?;
        courier.provider.request(notification, address, "", self.tools.clock.now()).map(drop)
    }

    /// Counts a message that is about to be sent, where the provider has quotas.
    ///
    /// # Errors
    /// When it may be sent at the earliest, if not now; then it does not count.
    pub fn take(&self, app: &AppId, address: &Address) -> Result<(), Timestamp> {
        let set = self.current.load();
        let quota = set.courier(app.as_str(), address.channel()).and_then(|courier| courier.quota.as_ref());
        let Some(quota) = quota else { return Ok(()) };
        quota.lock().unwrap_or_else(PoisonError::into_inner).take(address, self.tools.clock.now())
    }

    /// Attempts one delivery. Dropping the future gives up on the answer, not on what the provider already has. Nothing
    /// is sent once the message has expired, however long a credential or a connection was waited for.
    pub async fn deliver(&self, notification: &Notification, address: &Address) -> Outcome {
        self.attempt(notification, address).await.outcome
    }

    /// The same, with what it says of the provider.
    pub async fn attempt(&self, notification: &Notification, address: &Address) -> Attempted {
        let set = self.current.load_full();
        let name =
            if let Address::Endpoint(endpoint) = address { endpoint.as_str() } else { notification.app.as_str() };
        let Some(courier) = set.courier(name, address.channel()) else {
            // An operator can mend it, so the message is not given up.
            return Attempted { outcome: unavailable("channel_not_configured"), answer: Answer::Says };
        };
        let delivery =
            Delivery { courier, notification, address, transport: &*set.transport, clock: &self.tools.clock };
        let attempt = tokio::time::timeout(set.deadline, delivery.attempt());
        tokio::select! { biased;
            ended = attempt => ended.unwrap_or_else(|_| Attempted::failed(unavailable("deadline"))),
            () = self.tools.clock.sleep_until(Some(notification.expires_at)) => {
                Attempted { outcome: unavailable(EXPIRED), answer: Answer::Says }
            }
        }
    }
}

/// What is said of a message that expired while it was being delivered.
const EXPIRED: &str = "expired";

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// For the message.
    pub outcome: Outcome,
    /// For the provider.
    pub answer: Answer,
}

impl Attempted {
    /// The provider or the way to it failed.
    fn failed(outcome: Outcome) -> Attempted {
        let wait = match &outcome {
            Outcome::Throttled { retry_after, .. } | Outcome::Unavailable { retry_after, .. } => *retry_after,
            Outcome::Accepted | Outcome::Unregistered { .. } | Outcome::Rejected { .. } => None,
        };
        Attempted { outcome, answer: Answer::Fails { wait } }
    }
}

/// One delivery that is under way.
struct Delivery<'a> {
    courier: &'a Courier,
    notification: &'a Notification,
    address: &'a Address,
    transport: &'a dyn Transport,
    clock: &'a Clock,
}

impl Delivery<'_> {
    async fn attempt(&self) -> Attempted {
        let reply = match self.exchange().await {
            Ok(reply) => reply,
            Err(attempted) => return attempted,
        };
        let Meaning { outcome, blame } = self.courier.provider.meaning(&reply, self.clock.now());
        if blame.is_some_and(Blame::trips) {
            return Attempted::failed(outcome);
        }
        Attempted { outcome, answer: Answer::Works }
    }

    async fn exchange(&self) -> Result<Reply, Attempted> {
        let Delivery { courier, address, transport, .. } = *self;
        let unasked = |outcome| Attempted { outcome, answer: Answer::Says };
        let exchange = Exchange { courier, address, transport };
        let request = |bearer: &str| {
            let now = self.clock.now();
            if now >= self.notification.expires_at {
                return Err(unasked(unavailable(EXPIRED)));
            }
            courier.provider.request(self.notification, address, bearer, now).map_err(unasked)
        };
        exchange.reply(request).await
    }
}

fn unavailable(reason: &str) -> Outcome {
    Outcome::Unavailable { retry_after: None, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use bytes::Bytes;
    use futures_util::future::join_all;
    use http::Request;
    use parvis_engine::shopper::{ApnsEnvironment, PushTarget};
    use tempfile::TempDir;

    use super::*;
    use crate::{
        delivery::{
            self, Config,
            apns::channels::{self, Channels, Place},
            breaker,
            testing::{
                self,
                server::{Answer, HTTP2, Server, ok},
            },
            transport::{Error, Http},
        },
        entropy::Entropy,
    };

    /// All three channels, at a server that plays all providers and the issuer of tokens.
    fn couriers(server: &Server, clock: Clock) -> (Couriers, TempDir) {
        let folder = TempDir::new().expect("a folder");
        let (p8, _) = testing::p256_key();
        let (account, _) = testing::service_account(&format!("{}/token", server.url()));
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writable");
        write("key.p8", &p8);
        write("vapid.pem", &p8);
        write("account.json", &account);
        let url = server.url();
        let text = format!(
            r#"
            extra_ca = "{}"
            request_timeout = "5s"
            deadline = "8s"
            [apns]
            key = "key.p8"
            key_id = "ABC123DEFG"
            team_id = "DEF123GHIJ"
            production_url = "{url}"
            sandbox_url = "{url}"
            [fcm]
            service_account = "account.json"
            base_url = "{url}"
            [webpush]
            key = "vapid.pem"
            subject = "mailto:push@shop.example"
            allow_hosts = ["localhost"]
            allow_private = true
            "#,
            server.certificate().display()
        );
        let config: Config = toml::from_str(&text).expect("a configuration");
        let http = Http::new(&config, folder.path()).unwrap_or_else(|problems| panic!("{problems:?}"));
        let tools = Tools {
            clock,
            entropy: Entropy::System,
            transport: Arc::new(http),
            store: None,
            webhooks: Default::default(),
        };
        let couriers = delivery::build(&config, folder.path(), tools).unwrap_or_else(|problems| panic!("{problems:?}"));
        (couriers, folder)
    }

    fn fcm_target() -> Address {
        Address::Target(PushTarget::Fcm { token: Some("t".into()), fid: None })
    }

    fn apns_target() -> Address {
        Address::Target(PushTarget::Apns {
            token: "00ff".into(),
            topic: "com.example.shop".into(),
            environment: ApnsEnvironment::Production,
        })
    }

    fn granted(number: usize) -> Answer {
        ok(&format!(r#"{{"access_token":"access-{number}","expires_in":3600,"token_type":"Bearer"}}"#))
    }

    /// Grants numbered tokens and takes messages with the tokens that `accepts` names.
    async fn google(accepts: impl Fn(&str) -> bool + Send + Sync + 'static) -> (Server, Arc<AtomicUsize>) {
        let grants = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&grants);
        let server = Server::start(HTTP2, move |request| {
            if request.uri().path() == "/token" {
                return granted(counted.fetch_add(1, Ordering::SeqCst));
            }
            let bearer = request.headers()["authorization"].to_str().expect("text");
            if accepts(bearer.trim_start_matches("Bearer ")) {
                ok(r#"{"name":"projects/shop/messages/1"}"#)
            } else {
                Answer::Reply(401, &[], r#"{"error":{"code":401,"status":"UNAUTHENTICATED"}}"#.to_owned())
            }
        })
        .await;
        (server, grants)
    }

    /// Lanes run on any thread.
    fn any_thread<F: Future + Send>(delivery: F) -> F {
        delivery
    }

    #[tokio::test]
    async fn all_channels_are_delivered_over_the_wire() {
        let server = Server::start(HTTP2, |request| match request.uri().path() {
            "/token" => granted(0),
            "/subscription" => Answer::Reply(201, &[], String::new()),
            _ => ok(""),
        })
        .await;
        let (couriers, _folder) = couriers(&server, Clock::simulated(testing::now()));
        let browser = testing::browser_target(&format!("{}/subscription", server.url()));
        for target in [apns_target(), fcm_target(), browser] {
            let offer = testing::offer();
            assert_eq!(any_thread(couriers.deliver(&offer, &target)).await, Outcome::Accepted);
        }
        let requests = server.requests();
        let paths: Vec<&str> = requests.iter().map(|request| request.uri().path()).collect();
        assert_eq!(paths, ["/3/device/00ff", "/token", "/v1/projects/shop/messages:send", "/subscription"]);
        assert!(!testing::browser().decrypt(requests[3].body()).is_empty());
        assert_eq!(couriers.routes().into_iter().map(|route| route.channel).collect::<Vec<_>>(), Channel::PUSH);
        let vapid = requests[3].headers()["authorization"].to_str().expect("text");
        let key = couriers.web_push_key(&AppId::default()).expect("configured");
        assert!(vapid.ends_with(&format!(", k={key}")), "{vapid}");
    }

    #[tokio::test]
    async fn two_hundred_deliveries_share_one_grant() {
        let (server, grants) = google(|_| true).await;
        let (couriers, _folder) = couriers(&server, Clock::simulated(testing::now()));
        let (offer, target) = (testing::offer(), fcm_target());
        let outcomes = join_all((0..200).map(|_| couriers.deliver(&offer, &target))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Accepted), "{outcomes:?}");
        assert_eq!(grants.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_stale_access_token_is_renewed_once_for_all_and_the_messages_go_again() {
        let (server, grants) = google(|bearer| bearer != "access-0").await;
        let (couriers, _folder) = couriers(&server, Clock::simulated(testing::now()));
        let (offer, target) = (testing::offer(), fcm_target());
        let outcomes = join_all((0..200).map(|_| couriers.deliver(&offer, &target))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Accepted), "{outcomes:?}");
        assert_eq!(grants.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_access_token_that_is_never_taken_is_not_renewed_for_ever() {
        let (server, grants) = google(|_| false).await;
        let (couriers, _folder) = couriers(&server, Clock::simulated(testing::now()));
        for _ in 0..5 {
            let outcome = couriers.deliver(&testing::offer(), &fcm_target()).await;
            assert_eq!(testing::meaning(&outcome), ("unavailable", "UNAUTHENTICATED"));
        }
        assert_eq!(grants.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_grant_that_fails_is_shared_and_kills_no_message() {
        let server = Server::start(HTTP2, |_| Answer::Reply(400, &[], r#"{"error":"invalid_grant"}"#.to_owned())).await;
        let (couriers, _folder) = couriers(&server, Clock::simulated(testing::now()));
        let (offer, target) = (testing::offer(), fcm_target());
        let outcomes = join_all((0..200).map(|_| couriers.deliver(&offer, &target))).await;
        for outcome in &outcomes {
            assert_eq!(testing::meaning(outcome), ("unavailable", "grant_invalid_grant"));
            assert!(matches!(outcome, Outcome::Unavailable { retry_after: Some(_), .. }), "backed off");
        }
        assert_eq!(server.requests().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_expired_provider_token_is_replaced_when_it_is_old_enough() {
        let clock = Clock::simulated(testing::now());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (bearers, apple) = (Arc::clone(&sent), clock.clone());
        let refuse_from = testing::now().plus(Duration::from_secs(60));
        let network = move |request: Request<Bytes>, _| {
            let bearer = request.headers()["authorization"].clone();
            let mut bearers = bearers.lock().expect("not poisoned");
            let is_first = bearers.first().is_none_or(|first| *first == bearer);
            bearers.push(bearer);
            let refused = is_first && apple.now() >= refuse_from;
            Ok(if refused {
                testing::reply(403, &[], r#"{"reason":"ExpiredProviderToken"}"#)
            } else {
                testing::reply(200, &[], "")
            })
        };
        let couriers = apns_only(clock.clone(), Arc::new(testing::Scripted(network)));
        let deliver = async || couriers.deliver(&testing::offer(), &apns_target()).await;
        assert_eq!(deliver().await, Outcome::Accepted);
        clock.sleep(Duration::from_secs(19 * 60)).await;
        assert_eq!(testing::meaning(&deliver().await), ("unavailable", "ExpiredProviderToken"), "too young");
        clock.sleep(Duration::from_secs(60)).await;
        assert_eq!(deliver().await, Outcome::Accepted, "sent again with a new token");
        let bearers = sent.lock().expect("not poisoned");
        assert_eq!((bearers.len(), &bearers[1], &bearers[2]), (4, &bearers[0], &bearers[0]));
        assert_ne!(bearers[3], bearers[0]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_after_a_message_has_expired_however_long_its_token_took() {
        let clock = Clock::simulated(testing::now());
        let (slow, sent) = (clock.clone(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&sent);
        let network = testing::Scripted(move |_, peer| {
            if peer == Peer::Issuer {
                slow.set_ahead(10_000);
                return Ok(testing::reply(200, &[], r#"{"access_token":"t","expires_in":3600}"#));
            }
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(testing::reply(200, &[], ""))
        });
        let (folder, text) = fcm_only();
        let couriers = built(&folder, &text, clock.clone(), Arc::new(network));
        let expires_at = testing::now().plus(Duration::from_secs(5));
        let brief = Notification { expires_at, ..testing::offer() };
        let attempted = couriers.attempt(&brief, &fcm_target()).await;
        assert_eq!(
            (testing::meaning(&attempted.outcome), attempted.answer),
            (("unavailable", "expired"), breaker::Answer::Says)
        );
        assert_eq!(sent.load(Ordering::SeqCst), 0);
        assert_eq!(couriers.deliver(&testing::offer(), &fcm_target()).await, Outcome::Accepted);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_ends_with_its_message() {
        let couriers = apns_only(Clock::simulated(testing::now()), testing::Silent::shared());
        let expires_at = testing::now().plus(Duration::from_secs(5));
        let brief = Notification { expires_at, ..testing::offer() };
        let started = couriers.tools.clock.now();
        assert_eq!(testing::meaning(&couriers.deliver(&brief, &apns_target()).await), ("unavailable", "expired"));
        assert_eq!(couriers.tools.clock.now().since(started), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_says_of_the_provider_what_is_the_providers() {
        let table = [
            (200, "", breaker::Answer::Works),
            (410, r#"{"reason":"Unregistered","timestamp":1}"#, breaker::Answer::Works),
            (400, r#"{"reason":"PayloadEmpty"}"#, breaker::Answer::Works),
            (429, r#"{"reason":"TooManyRequests"}"#, breaker::Answer::Works),
            (503, r#"{"reason":"Shutdown"}"#, breaker::Answer::Fails { wait: None }),
            (403, r#"{"reason":"InvalidProviderToken"}"#, breaker::Answer::Fails { wait: None }),
        ];
        for (status, body, answer) in table {
            let network = testing::Scripted(move |_, _| Ok(testing::reply(status, &[], body)));
            let couriers = apns_only(Clock::simulated(testing::now()), Arc::new(network));
            let attempted = couriers.attempt(&testing::offer(), &apns_target()).await;
            assert_eq!(attempted.answer, answer, "{body}: {:?}", attempted.outcome);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn apps_of_a_team_share_a_token_and_a_reload_keeps_it() {
        let sent = Arc::new(Mutex::new(Vec::new()));
        let bearers = Arc::clone(&sent);
        let network: Arc<dyn Transport> = Arc::new(testing::Scripted(move |request: Request<Bytes>, _| {
            bearers.lock().expect("not poisoned").push(request.headers()["authorization"].clone());
            Ok(testing::reply(200, &[], ""))
        }));
        let folder = folder_with_keys();
        let (clock, key) = (Clock::simulated(testing::now()), "key_id = \"ABC123DEFG\"\nteam_id = \"DEF123GHIJ\"");
        let text = format!("[apns]\nkey = \"key.p8\"\n{key}\n[apps.loyalty.apns]\nkey = \"key.p8\"\n{key}");
        let couriers = built(&folder, &text, clock.clone(), Arc::clone(&network));
        let loyal = Notification { app: "loyalty".parse().expect("an id"), ..testing::offer() };
        for message in [&testing::offer(), &loyal] {
            assert_eq!(couriers.deliver(message, &apns_target()).await, Outcome::Accepted);
        }
        let alone: Config =
            toml::from_str(&format!("[apps.loyalty.apns]\nkey = \"key.p8\"\n{key}")).expect("a section");
        let prepared = couriers
            .prepare(&alone, folder.path(), Arc::clone(&network), Webhooks::default())
            .unwrap_or_else(|problems| panic!("{problems:?}"));
        couriers.replace(prepared);
        assert_eq!(couriers.deliver(&loyal, &apns_target()).await, Outcome::Accepted);
        assert_eq!(
            testing::meaning(&couriers.deliver(&testing::offer(), &apns_target()).await),
            ("unavailable", "channel_not_configured")
        );
        let other = alone.apps["loyalty"]
            .apns
            .clone()
            .map(|apns| delivery::apns::Config { key: Some("vapid.pem".into()), ..apns });
        let mut other = Config { apns: other, ..alone };
        let wrong = couriers
            .prepare(&other, folder.path(), Arc::clone(&network), Webhooks::default())
            .err()
            .expect("two keys with one id");
        assert_eq!(wrong[0].path, "/apps/loyalty/apns/key");
        other.apps.clear();
        couriers.replace(
            couriers
                .prepare(&other, folder.path(), network, Webhooks::default())
                .unwrap_or_else(|problems| panic!("{problems:?}")),
        );
        assert_eq!(couriers.deliver(&testing::offer(), &apns_target()).await, Outcome::Accepted);
        let bearers = sent.lock().expect("not poisoned");
        assert_eq!((&bearers[1], &bearers[2]), (&bearers[0], &bearers[0]), "one token for the team");
        assert_ne!(bearers[3], bearers[0], "another key, another token");
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_an_outcome() {
        let table = [
            (Error::Timeout, "unavailable", "timeout"),
            (Error::Connect("refused".to_owned()), "unavailable", "connect_failed"),
            (Error::Closed("reset".to_owned()), "unavailable", "connection_closed"),
            (Error::NotAllowed, "rejected", "address_not_allowed"),
        ];
        for (error, meaning, word) in table {
            let network = testing::Scripted(move |_, _| Err(error.clone()));
            let couriers = apns_only(Clock::simulated(testing::now()), Arc::new(network));
            let outcome = couriers.deliver(&testing::offer(), &apns_target()).await;
            assert_eq!(testing::meaning(&outcome), (meaning, word));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_that_is_silent_is_an_outcome_at_the_deadline() {
        let couriers = apns_only(Clock::simulated(testing::now()), testing::Silent::shared());
        let outcome = couriers.deliver(&testing::offer(), &apns_target()).await;
        assert_eq!(testing::meaning(&outcome), ("unavailable", "deadline"));
        assert_eq!(couriers.deadline(), Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn channels_are_managed_with_the_token_of_messages_which_is_renewed_once() {
        let clock = Clock::simulated(testing::now());
        let sent = Arc::new(Mutex::new(Vec::new()));
        let bearers = Arc::clone(&sent);
        let network = move |request: Request<Bytes>, _| {
            let bearer = request.headers()["authorization"].clone();
            let mut bearers = bearers.lock().expect("not poisoned");
            bearers.push(bearer.clone());
            Ok(if bearers.len() > 1 && bearers[0] == bearer {
                testing::reply(403, &[], r#"{"reason":"ExpiredProviderToken"}"#)
            } else {
                testing::reply(200, &[], r#"{"channels":["AA=="]}"#)
            })
        };
        let couriers = apns_only(clock.clone(), Arc::new(testing::Scripted(network)));
        let place = Place { bundle: "com.example.shop".to_owned(), environment: ApnsEnvironment::Production };
        let list = async |app: &str| {
            let ask = |channels: &Channels, bearer: &str| channels.list(&place, bearer);
            couriers.manage(&app.parse().expect("an id"), &place, ask, channels::listed).await
        };
        assert_eq!(list("default").await, Ok(vec!["AA==".to_owned()]));
        clock.sleep(Duration::from_secs(20 * 60)).await;
        assert_eq!(list("default").await, Ok(vec!["AA==".to_owned()]), "asked again with a new token");
        assert_eq!(list("other").await, Err(Unmanaged::UnknownApp("other".parse().expect("an id"))));
        let bearers = sent.lock().expect("not poisoned");
        assert_eq!((bearers.len(), &bearers[1]), (3, &bearers[0]));
        assert_ne!(bearers[2], bearers[0]);
    }

    #[tokio::test(start_paused = true)]
    async fn channels_of_a_service_that_is_silent_are_given_up_at_the_deadline() {
        let couriers = apns_only(Clock::simulated(testing::now()), testing::Silent::shared());
        let place = Place { bundle: "com.example.shop".to_owned(), environment: ApnsEnvironment::Production };
        let ask = |channels: &Channels, bearer: &str| channels.list(&place, bearer);
        let listed = couriers.manage(&AppId::default(), &place, ask, channels::listed).await;
        let (retry_after, reason, blame) = (None, "deadline".to_owned(), Blame::Provider);
        assert_eq!(listed, Err(Unmanaged::Failed(channels::Error::Unavailable { retry_after, reason, blame })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_that_is_not_configured_kills_no_message() {
        let couriers = apns_only(Clock::simulated(testing::now()), testing::Silent::shared());
        let outcome = couriers.deliver(&testing::offer(), &fcm_target()).await;
        assert_eq!(testing::meaning(&outcome), ("unavailable", "channel_not_configured"));
        let concurrency = |channel| couriers.concurrency(&Route { app: AppId::default(), channel });
        assert_eq!((concurrency(Channel::Fcm), concurrency(Channel::Apns)), (0, 900));
    }

    fn apns_only(clock: Clock, transport: Arc<dyn Transport>) -> Couriers {
        let text = "[apns]\nkey = \"key.p8\"\nkey_id = \"ABC123DEFG\"\nteam_id = \"DEF123GHIJ\"";
        built(&folder_with_keys(), text, clock, transport)
    }

    fn fcm_only() -> (TempDir, String) {
        let folder = TempDir::new().expect("a folder");
        let (account, _) = testing::service_account("https://issuer.example/token");
        std::fs::write(folder.path().join("account.json"), account).expect("writable");
        (folder, "[fcm]\nservice_account = \"account.json\"".to_owned())
    }

    /// Two keys.
    fn folder_with_keys() -> TempDir {
        let folder = TempDir::new().expect("a folder");
        for name in ["key.p8", "vapid.pem"] {
            std::fs::write(folder.path().join(name), testing::p256_key().0).expect("writable");
        }
        folder
    }

    fn built(folder: &TempDir, text: &str, clock: Clock, transport: Arc<dyn Transport>) -> Couriers {
        let config: Config = toml::from_str(text).expect("a configuration");
        let tools = Tools { clock, entropy: Entropy::seeded(1), transport, store: None, webhooks: Default::default() };
        delivery::build(&config, folder.path(), tools).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    #[test]
    fn every_problem_of_a_configuration_is_named() {
        let text = r#"
            connect_timeout = "30s"
            connections_max = 0
            [apns]
            key = "missing.p8"
            key_id = "short"
            team_id = "DEF123GHIJ"
            production_url = "http://api.push.apple.com"
            concurrency = 0
            [fcm]
            service_account = "missing.json"
            base_url = "https://fcm.googleapis.com/v1"
            [apps.default.fcm]
            service_account = "missing.json"
            [apps.empty]
            [apps.loyalty.webpush]
            key = "missing.pem"
            subject = "mailto:push@shop.example"
            allow_private = true
            [webpush]
            key = "missing.pem"
            subject = "push@shop.example"
            navigate = "shop://home"
            allow_hosts = ["*"]
        "#;
        let config: Config = toml::from_str(text).expect("a configuration");
        let (clock, entropy, transport) = (Clock::System, Entropy::System, testing::Silent::shared());
        let tools = Tools { clock, entropy, transport, store: None, webhooks: Default::default() };
        let problems = delivery::build(&config, Path::new("/nowhere"), tools).err().expect("problems");
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/connect_timeout",
                "/connections_max",
                "/apps/default",
                "/apps/empty",
                "/apns/concurrency",
                "/apps/loyalty/webpush/allow_private",
                "/apns/key_id",
                "/apns/key",
                "/apns/production_url",
                "/fcm/base_url",
                "/fcm/service_account",
                "/webpush/subject",
                "/webpush/navigate",
                "/webpush/allow_hosts",
                "/webpush/key",
                "/apps/default/fcm/service_account",
                "/apps/loyalty/webpush/key",
            ]
        );
        let unknown = toml::from_str::<Config>("[fcm]\nservice_account = \"x\"\nserver_key = \"y\"");
        assert!(unknown.is_err_and(|error| error.to_string().contains("server_key")));
    }
}
