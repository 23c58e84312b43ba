//! Credentials that are made once and shared by all who need them.
//!
//! Whoever finds no valid token makes one while the others wait for it; a failure is shared as well and backed off. A
//! token that is kept in the store outlives a restart and is shared by nodes. This module must not know what a token is
//! good for, and never tells one.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use parvis_engine::{retry::Outcome, time::Timestamp};
use tokio::sync::Mutex;

mod kept;

pub use kept::Kept;

use super::transport::Party;
use crate::clock::Clock;

/// The first wait after a failed issue; it doubles with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(5);
/// The longest wait after a failed issue.
const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// A token from further ahead was made by a clock that was wrong: it would look young for ever.
const AHEAD_MAX: Duration = Duration::from_secs(10 * 60);

/// A credential and its life.
#[derive(Clone)]
pub struct Token {
    /// What goes into the request.
    pub text: Arc<str>,
    /// When it was made.
    pub issued_at: Timestamp,
    /// From then on a new one is made, while this one is still used.
    pub renew_at: Timestamp,
    /// From then on it is not used.
    pub expires_at: Timestamp,
}

impl Token {
    fn is_ahead(&self, now: Timestamp) -> bool {
        self.issued_at > now.plus(AHEAD_MAX)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("issued_at", &self.issued_at).finish_non_exhaustive()
    }
}

/// Makes tokens.
#[async_trait]
pub trait Source: Send + Sync {
    /// A new token.
    ///
    /// # Errors
    /// What the failure means for a message that needs the token.
    async fn issue(&self) -> Result<Token, Outcome>;
}

/// How often a token that a provider refused may be replaced.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A token younger than this is never replaced.
    pub age_min: Duration,
    /// Replacements are at least this far apart.
    pub gap_min: Duration,
}

/// One token for all.
pub struct Shared {
    source: Box<dyn Source>,
    kept: Option<Kept>,
    party: Option<Party>,
    clock: Clock,
    limits: Limits,
    current: ArcSwapOption<Token>,
    renewal: Mutex<Renewal>,
}

#[derive(Default)]
struct Renewal {
    failures: u32,
    blocked: Option<Blocked>,
    replaced_at: Option<Timestamp>,
}

/// A failure that others share instead of asking again.
struct Blocked {
    since: Timestamp,
    until: Timestamp,
    outcome: Outcome,
}

impl Shared {
    /// No token yet; the first one is made when it is needed.
    pub fn new(source: Box<dyn Source>, clock: Clock, limits: Limits) -> Shared {
        Shared {
            source,
            kept: None,
            party: None,
            clock,
            limits,
            current: ArcSwapOption::empty(),
            renewal: Mutex::default(),
        }
    }

    /// The same with a token that outlives this process: it is looked for before one is made.
    #[must_use]
    pub fn kept(self, kept: Kept) -> Shared {
        Shared { kept: Some(kept), ..self }
    }

    /// The same, and requests with it travel on this party's connections.
    #[must_use]
    pub fn of(self, party: Party) -> Shared {
        Shared { party: Some(party), ..self }
    }

    /// Whose connections requests with it travel on.
    pub fn party(&self) -> Option<&Party> {
        self.party.as_ref()
    }

    /// When the token in use was made.
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.current.load().as_ref().map(|token| token.issued_at)
    }

    /// A valid token.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(&self) -> Result<Arc<str>, Outcome> {
        let now = self.clock.now();
        if let Some(token) = self.current.load_full().filter(|token| now < token.expires_at && !token.is_ahead(now)) {
            if now >= token.renew_at
                && let Ok(mut renewal) = self.renewal.try_lock()
            {
                // The old one still serves if this fails.
                return Ok(self.renew(&mut renewal, None).await.unwrap_or_else(|_| Arc::clone(&token.text)));
            }
            return Ok(Arc::clone(&token.text));
        }
        let mut renewal = self.renewal.lock().await;
        self.renew(&mut renewal, None).await
    }

    /// Another token than the one that a provider refused, unless it would be too soon for another.
    pub async fn replace(&self, refused: &str) -> Option<Arc<str>> {
        let mut renewal = self.renewal.lock().await;
        let now = self.clock.now();
        if let Some(token) = self.current.load_full() {
            if &*token.text != refused {
                return Some(Arc::clone(&token.text));
            }
            let is_young = !token.is_ahead(now) && now.since(token.issued_at) < self.limits.age_min;
            if is_young || renewal.replaced_at.is_some_and(|at| at <= now && now.since(at) < self.limits.gap_min) {
                return None;
            }
        }
        renewal.replaced_at = Some(now);
        self.current.store(None);
        self.renew(&mut renewal, Some(refused)).await.ok()
    }

    /// Makes a token unless another task just has, or has just failed to. The refused one is not taken again.
    async fn renew(&self, renewal: &mut Renewal, refused: Option<&str>) -> Result<Arc<str>, Outcome> {
        let now = self.clock.now();
        if let Some(token) = self.current.load_full().filter(|token| now < token.renew_at && !token.is_ahead(now)) {
            return Ok(Arc::clone(&token.text));
        }
        if let Some(Blocked { until, outcome, .. }) =
            renewal.blocked.as_ref().filter(|blocked| (blocked.since..blocked.until).contains(&now))
        {
            return Err(with_retry_after(outcome.clone(), until.since(now)));
        }
        let obtained = match &self.kept {
            None => self.source.issue().await,
            Some(kept) => kept.obtain(&*self.source, refused, now).await,
        };
        match obtained {
            Ok(token) => {
                let text = Arc::clone(&token.text);
                self.current.store(Some(Arc::new(token)));
                renewal.failures = 0;
                renewal.blocked = None;
                Ok(text)
            }
            Err(outcome) => {
                let wait = BACKOFF_MIN.saturating_mul(1 << renewal.failures.min(10)).min(BACKOFF_MAX);
                let wait = wait.max(asked(&outcome).unwrap_or_default());
                renewal.failures = renewal.failures.saturating_add(1);
                let since = self.clock.now();
                renewal.blocked = Some(Blocked { since, until: since.plus(wait), outcome: outcome.clone() });
                Err(with_retry_after(outcome, wait))
            }
        }
    }
}

fn asked(outcome: &Outcome) -> Option<Duration> {
    match outcome {
        Outcome::Throttled { retry_after, .. } | Outcome::Unavailable { retry_after, .. } => *retry_after,
        Outcome::Accepted | Outcome::Unregistered { .. } | Outcome::Rejected { .. } => None,
    }
}

fn with_retry_after(outcome: Outcome, wait: Duration) -> Outcome {
    match outcome {
        Outcome::Throttled { reason, .. } => Outcome::Throttled { retry_after: Some(wait), reason },
        Outcome::Unavailable { reason, .. } => Outcome::Unavailable { retry_after: Some(wait), reason },
        Outcome::Accepted | Outcome::Unregistered { .. } | Outcome::Rejected { .. } => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    struct Counting {
        clock: Clock,
        issued: Arc<AtomicU32>,
        fails: Arc<AtomicU32>,
    }

    #[async_trait]
    impl Source for Counting {
        async fn issue(&self) -> Result<Token, Outcome> {
            let number = self.issued.fetch_add(1, Ordering::SeqCst);
            self.clock.sleep(Duration::from_millis(200)).await;
            if self.fails.load(Ordering::SeqCst) > 0 {
                self.fails.fetch_sub(1, Ordering::SeqCst);
                return Err(Outcome::Unavailable { retry_after: None, reason: "grant".to_owned() });
            }
            let now = self.clock.now();
            Ok(Token {
                text: format!("token-{number}").into(),
                issued_at: now,
                renew_at: now.plus(40 * MINUTE),
                expires_at: now.plus(55 * MINUTE),
            })
        }
    }

    fn shared(limits: Limits, fails: u32) -> (Shared, Arc<AtomicU32>, Clock) {
        let clock = Clock::simulated(Timestamp::from_millis(1_700_000_000_000));
        let issued = Arc::new(AtomicU32::new(0));
        let source =
            Counting { clock: clock.clone(), issued: Arc::clone(&issued), fails: Arc::new(AtomicU32::new(fails)) };
        (Shared::new(Box::new(source), clock.clone(), limits), issued, clock)
    }

    const ANY: Limits = Limits { age_min: Duration::ZERO, gap_min: MINUTE };
    const OLD: Limits = Limits { age_min: Duration::from_secs(20 * 60), gap_min: Duration::ZERO };

    #[tokio::test(start_paused = true)]
    async fn two_hundred_share_one_issue_and_one_renewal() {
        let (shared, issued, clock) = shared(ANY, 0);
        let texts = join_all((0..200).map(|_| shared.get())).await;
        assert!(texts.iter().all(|text| text.as_deref() == Ok("token-0")));
        clock.sleep(41 * MINUTE).await;
        let texts = join_all((0..200).map(|_| shared.get())).await;
        assert_eq!(texts.iter().filter(|text| text.as_deref() == Ok("token-1")).count(), 1, "others did not wait");
        assert_eq!(shared.get().await.as_deref(), Ok("token-1"));
        assert_eq!(issued.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_shared_and_backed_off() {
        let (shared, issued, clock) = shared(ANY, 2);
        let outcomes = join_all((0..200).map(|_| shared.get())).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(Outcome::Unavailable { .. }))));
        assert_eq!(issued.load(Ordering::SeqCst), 1);
        clock.sleep(BACKOFF_MIN).await;
        assert!(shared.get().await.is_err());
        clock.sleep(BACKOFF_MIN).await;
        assert!(shared.get().await.is_err(), "the wait has doubled");
        assert_eq!(issued.load(Ordering::SeqCst), 2);
        clock.sleep(BACKOFF_MIN).await;
        assert_eq!(shared.get().await.as_deref(), Ok("token-2"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_renewal_leaves_the_old_token_in_use() {
        let clock = Clock::simulated(Timestamp::from_millis(1_700_000_000_000));
        let fails = Arc::new(AtomicU32::new(0));
        let source = Counting { clock: clock.clone(), issued: Arc::default(), fails: Arc::clone(&fails) };
        let shared = Shared::new(Box::new(source), clock.clone(), ANY);
        assert_eq!(shared.get().await.as_deref(), Ok("token-0"));
        fails.store(1, Ordering::SeqCst);
        clock.sleep(41 * MINUTE).await;
        assert_eq!(shared.get().await.as_deref(), Ok("token-0"));
        clock.sleep(MINUTE).await;
        assert_eq!(shared.get().await.as_deref(), Ok("token-2"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_once_for_all() {
        let (shared, issued, clock) = shared(ANY, 0);
        shared.get().await.expect("a token");
        let texts = join_all((0..200).map(|_| shared.replace("token-0"))).await;
        assert!(texts.iter().all(|text| text.as_deref() == Some("token-1")));
        assert_eq!(shared.replace("token-1").await, None, "not twice within the gap");
        clock.sleep(MINUTE).await;
        assert_eq!(shared.replace("token-1").await.as_deref(), Some("token-2"));
        assert_eq!(issued.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_clock_that_was_wrong_has_left_is_not_used() {
        const DAY_MS: i64 = 24 * 3_600_000;
        let (shared, issued, clock) = shared(OLD, 1);
        clock.set_ahead(DAY_MS);
        assert!(shared.get().await.is_err());
        clock.set_ahead(0);
        assert_eq!(shared.get().await.as_deref(), Ok("token-1"), "the wait was a day ahead");
        clock.set_ahead(DAY_MS);
        assert_eq!(shared.get().await.as_deref(), Ok("token-2"));
        clock.set_ahead(DAY_MS - 60_000);
        assert_eq!(shared.get().await.as_deref(), Ok("token-2"), "clocks may differ a little");
        clock.set_ahead(0);
        assert_eq!(shared.replace("token-2").await.as_deref(), Some("token-3"), "it only looked young");
        clock.set_ahead(DAY_MS);
        assert_eq!(shared.get().await.as_deref(), Ok("token-4"));
        clock.set_ahead(0);
        assert_eq!(shared.get().await.as_deref(), Ok("token-5"));
        assert_eq!(issued.load(Ordering::SeqCst), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn a_young_token_is_not_replaced() {
        let (shared, issued, clock) = shared(OLD, 0);
        shared.get().await.expect("a token");
        clock.sleep(19 * MINUTE).await;
        assert_eq!(shared.replace("token-0").await, None);
        clock.sleep(MINUTE).await;
        assert_eq!(shared.replace("token-0").await.as_deref(), Some("token-1"));
        assert_eq!(issued.load(Ordering::SeqCst), 2);
    }
}
