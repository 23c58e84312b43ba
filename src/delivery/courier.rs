//! Delivers: takes a credential, sends, and says what came of it. Total: there is always an outcome, in time.
//!
//! It owns credentials, deadlines and the number of requests in flight. It does not retry, except once with a new
//! credential when the old one had served its time; everything else is the lane's business.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use parvis_engine::{
    notification::{Address, Channel, Notification},
    retry::Outcome,
};
use tokio::sync::Semaphore;

use super::{
    Provider, Reply,
    token::Shared,
    transport::{Error, Peer, Transport},
    webpush::vapid::Vapid,
};
use crate::clock::Clock;

/// More requests in flight than this help no provider's latency.
pub(super) const CONCURRENCY_MAX: usize = 10_000;

/// Where a channel's credentials come from.
pub enum Credentials {
    /// One for the whole channel.
    Shared(Shared),
    /// One for each push service.
    Vapid(Vapid),
}

impl Credentials {
    async fn current(&self, address: &Address) -> Result<Arc<str>, Outcome> {
        match self {
            Credentials::Shared(tokens) => tokens.get().await,
            Credentials::Vapid(vapid) => vapid.token(address),
        }
    }

    async fn replace(&self, refused: &str) -> Option<Arc<str>> {
        match self {
            Credentials::Shared(tokens) => tokens.replace(refused).await,
            Credentials::Vapid(_) => None,
        }
    }
}

/// Delivers through one channel.
pub struct Courier {
    provider: Box<dyn Provider>,
    credentials: Credentials,
    peer: Peer,
    concurrency: usize,
    permits: Semaphore,
}

impl Courier {
    /// Delivers with at most `concurrency` requests in flight.
    pub fn new(provider: Box<dyn Provider>, credentials: Credentials, peer: Peer, concurrency: usize) -> Courier {
        let permits = Semaphore::new(concurrency.clamp(1, CONCURRENCY_MAX));
        Courier { provider, credentials, peer, concurrency, permits }
    }
}

/// Delivers through every configured channel.
pub struct Couriers {
    each: Vec<Courier>,
    transport: Arc<dyn Transport>,
    clock: Clock,
    deadline: Duration,
}

impl Couriers {
    /// Delivers through these, each delivery within `deadline`.
    pub fn new(
        each: impl IntoIterator<Item = Option<Courier>>,
        transport: Arc<dyn Transport>,
        clock: Clock,
        deadline: Duration,
    ) -> Couriers {
        Couriers { each: each.into_iter().flatten().collect(), transport, clock, deadline }
    }

    /// The longest that a delivery takes. A lease on what is delivered must be longer.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The channels that are configured.
    pub fn channels(&self) -> impl Iterator<Item = Channel> + '_ {
        self.each.iter().map(|courier| courier.provider.channel())
    }

    /// How many deliveries may be under way in a channel; zero if it is not configured.
    pub fn concurrency(&self, channel: Channel) -> usize {
        self.courier(channel).map_or(0, |courier| courier.concurrency)
    }

    /// The key that web pages subscribe with (`applicationServerKey`), base64url, if there is Web Push.
    pub fn web_push_key(&self) -> Option<String> {
        self.each.iter().find_map(|courier| match &courier.credentials {
            Credentials::Vapid(vapid) => Some(vapid.public_key()),
            Credentials::Shared(_) => None,
        })
    }

    /// Attempts one delivery. Dropping the future gives up on the answer, not on what the provider already has.
    pub async fn deliver(&self, notification: &Notification, address: &Address) -> Outcome {
        let Some(courier) = self.courier(address.channel()) else {
            // An operator can mend it, so the message is not given up.
            return unavailable("channel_not_configured");
        };
        let attempt = self.attempt(courier, notification, address);
        tokio::time::timeout(self.deadline, attempt).await.unwrap_or_else(|_| unavailable("deadline"))
    }

    fn courier(&self, channel: Channel) -> Option<&Courier> {
        self.each.iter().find(|courier| courier.provider.channel() == channel)
    }

    async fn attempt(&self, courier: &Courier, notification: &Notification, address: &Address) -> Outcome {
        match self.exchange(courier, notification, address).await {
            Ok(reply) => courier.provider.outcome(&reply, self.clock.now()),
            Err(outcome) => outcome,
        }
    }

    /// The provider's reply; once more with a new credential if the old one is what it complains about.
    async fn exchange(
        &self,
        courier: &Courier,
        notification: &Notification,
        address: &Address,
    ) -> Result<Reply, Outcome> {
        let _permit = courier.permits.acquire().await.map_err(|_| unavailable("closing"))?;
        let request = |bearer: &str| courier.provider.request(notification, address, bearer, self.clock.now());
        let bearer = courier.credentials.current(address).await?;
        let reply = self.send(courier, request(&bearer)?).await?;
        if !courier.provider.wants_new_credential(&reply) {
            return Ok(reply);
        }
        match courier.credentials.replace(&bearer).await {
            Some(bearer) => self.send(courier, request(&bearer)?).await,
            None => Ok(reply),
        }
    }

    async fn send(&self, courier: &Courier, request: Request<Bytes>) -> Result<Reply, Outcome> {
        self.transport.send(request, courier.peer).await.map_err(|error| {
            tracing::debug!(channel = courier.provider.channel().name(), %error, "no answer");
            match error {
                // Neither time nor an operator makes a private address a push service.
                Error::NotAllowed => Outcome::Rejected { reason: error.name().to_owned() },
                Error::Timeout | Error::Connect(_) | Error::Closed(_) | Error::GoAway { .. } => {
                    unavailable(&error.reason())
                }
            }
        })
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

    use futures_util::future::join_all;
    use parvis_engine::shopper::{ApnsEnvironment, PushTarget};
    use tempfile::TempDir;

    use super::*;
    use crate::{
        delivery::{
            self, Config,
            testing::{
                self,
                server::{Answer, HTTP2, Server, ok},
            },
            transport::Http,
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
        let couriers = delivery::build(&config, folder.path(), clock, Entropy::System, Arc::new(http))
            .unwrap_or_else(|problems| panic!("{problems:?}"));
        (couriers, folder)
    }

    fn fcm_target() -> Address {
        Address::Target(PushTarget::Fcm { token: Some("t".to_owned()), fid: None })
    }

    fn apns_target() -> Address {
        Address::Target(PushTarget::Apns {
            token: "00ff".to_owned(),
            topic: "com.example.shop".to_owned(),
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
        let (couriers, _folder) = couriers(&server, Clock::System);
        let browser = testing::browser_target(&format!("{}/subscription", server.url()));
        for target in [apns_target(), fcm_target(), browser] {
            let offer = testing::offer();
            assert_eq!(any_thread(couriers.deliver(&offer, &target)).await, Outcome::Accepted);
        }
        let requests = server.requests();
        let paths: Vec<&str> = requests.iter().map(|request| request.uri().path()).collect();
        assert_eq!(paths, ["/3/device/00ff", "/token", "/v1/projects/shop/messages:send", "/subscription"]);
        assert!(!testing::browser().decrypt(requests[3].body()).is_empty());
        assert_eq!(couriers.channels().collect::<Vec<_>>(), Channel::ALL);
        let vapid = requests[3].headers()["authorization"].to_str().expect("text");
        let key = couriers.web_push_key().expect("configured");
        assert!(vapid.ends_with(&format!(", k={key}")), "{vapid}");
    }

    #[tokio::test]
    async fn two_hundred_deliveries_share_one_grant() {
        let (server, grants) = google(|_| true).await;
        let (couriers, _folder) = couriers(&server, Clock::System);
        let (offer, target) = (testing::offer(), fcm_target());
        let outcomes = join_all((0..200).map(|_| couriers.deliver(&offer, &target))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Accepted), "{outcomes:?}");
        assert_eq!(grants.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_stale_access_token_is_renewed_once_for_all_and_the_messages_go_again() {
        let (server, grants) = google(|bearer| bearer != "access-0").await;
        let (couriers, _folder) = couriers(&server, Clock::System);
        let (offer, target) = (testing::offer(), fcm_target());
        let outcomes = join_all((0..200).map(|_| couriers.deliver(&offer, &target))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Accepted), "{outcomes:?}");
        assert_eq!(grants.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_access_token_that_is_never_taken_is_not_renewed_for_ever() {
        let (server, grants) = google(|_| false).await;
        let (couriers, _folder) = couriers(&server, Clock::System);
        for _ in 0..5 {
            let outcome = couriers.deliver(&testing::offer(), &fcm_target()).await;
            assert_eq!(testing::meaning(&outcome), ("unavailable", "UNAUTHENTICATED"));
        }
        assert_eq!(grants.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_grant_that_fails_is_shared_and_kills_no_message() {
        let server = Server::start(HTTP2, |_| Answer::Reply(400, &[], r#"{"error":"invalid_grant"}"#.to_owned())).await;
        let (couriers, _folder) = couriers(&server, Clock::System);
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
    async fn a_channel_that_is_not_configured_kills_no_message() {
        let couriers = apns_only(Clock::simulated(testing::now()), testing::Silent::shared());
        let outcome = couriers.deliver(&testing::offer(), &fcm_target()).await;
        assert_eq!(testing::meaning(&outcome), ("unavailable", "channel_not_configured"));
        assert_eq!((couriers.concurrency(Channel::Fcm), couriers.concurrency(Channel::Apns)), (0, 900));
    }

    fn apns_only(clock: Clock, transport: Arc<dyn Transport>) -> Couriers {
        let folder = TempDir::new().expect("a folder");
        std::fs::write(folder.path().join("key.p8"), testing::p256_key().0).expect("writable");
        let text = "[apns]\nkey = \"key.p8\"\nkey_id = \"ABC123DEFG\"\nteam_id = \"DEF123GHIJ\"";
        let config: Config = toml::from_str(text).expect("a configuration");
        delivery::build(&config, folder.path(), clock, Entropy::seeded(1), transport)
            .unwrap_or_else(|problems| panic!("{problems:?}"))
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
            [webpush]
            key = "missing.pem"
            subject = "push@shop.example"
            navigate = "shop://home"
            allow_hosts = ["*"]
        "#;
        let config: Config = toml::from_str(text).expect("a configuration");
        let built =
            delivery::build(&config, Path::new("/nowhere"), Clock::System, Entropy::System, testing::Silent::shared());
        let problems = built.err().expect("problems");
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/connect_timeout",
                "/connections_max",
                "/apns/concurrency",
                "/apns/key_id",
                "/apns/production_url",
                "/apns/key",
                "/fcm/base_url",
                "/fcm/service_account",
                "/webpush/subject",
                "/webpush/navigate",
                "/webpush/allow_hosts",
                "/webpush/key",
            ]
        );
        let unknown = toml::from_str::<Config>("[fcm]\nservice_account = \"x\"\nserver_key = \"y\"");
        assert!(unknown.is_err_and(|error| error.to_string().contains("server_key")));
    }
}
