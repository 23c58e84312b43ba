//! A token that outlives the process: in a note of the store, so that a restart and other nodes go on with it.
//!
//! A provider that counts new tokens sees one, however often nodes start: whoever needs one takes what is noted, and
//! of several who make one at the same time the first to note it wins. The note is a secret and is never told.

use std::sync::Arc;

use parvis_engine::{retry::Outcome, time::Timestamp};
use serde::{Deserialize, Serialize};

use super::{Source, Token};
use crate::store::{Error, Note, Store};

/// One more than nodes can start together in practice.
const TRIES_MAX: usize = 16;

/// Where a token is kept.
pub struct Kept {
    store: Arc<dyn Store>,
    name: String,
    key: String,
}

/// What stands in the note.
#[derive(Serialize, Deserialize)]
struct Written {
    /// What the token was made with; another key's token is of no use.
    key: String,
    text: String,
    issued_at: Timestamp,
    renew_at: Timestamp,
    expires_at: Timestamp,
}

impl Kept {
    /// In the note with this name. `key` tells which key makes the tokens without telling the key.
    pub fn new(store: Arc<dyn Store>, name: String, key: String) -> Kept {
        Kept { store, name, key }
    }

    /// The noted token if it is fresh and not the refused one; else a new one, or the one that another node has noted
    /// meanwhile.
    pub(super) async fn obtain(
        &self,
        source: &dyn Source,
        refused: Option<&str>,
        now: Timestamp,
    ) -> Result<Token, Outcome> {
        for _ in 0..TRIES_MAX {
            let note = self.store.note(&self.name).await.map_err(|error| away(&error))?;
            let version = note.as_ref().map_or(0, |note| note.version);
            let noted = note.and_then(|note| self.read(&note));
            let fits = |token: &Token| now < token.renew_at && !token.is_ahead(now) && refused != Some(&*token.text);
            if let Some(token) = noted.filter(fits) {
                return Ok(token);
            }
            let token = source.issue().await?;
            let bytes = self.write(&token)?;
            if self.store.keep_note(&self.name, bytes, version).await.map_err(|error| away(&error))?.is_some() {
                return Ok(token);
            }
        }
        Err(unavailable("token_contended"))
    }

    fn read(&self, note: &Note) -> Option<Token> {
        let Written { key, text, issued_at, renew_at, expires_at } = serde_json::from_slice(&note.bytes).ok()?;
        (key == self.key).then(|| Token { text: text.into(), issued_at, renew_at, expires_at })
    }

    fn write(&self, token: &Token) -> Result<Vec<u8>, Outcome> {
        let Token { text, issued_at, renew_at, expires_at } = token.clone();
        let written = Written { key: self.key.clone(), text: text.to_string(), issued_at, renew_at, expires_at };
        serde_json::to_vec(&written).map_err(|_| unavailable("token_not_kept"))
    }
}

/// Without the store nothing is claimed either, so the message waits rather than the provider gets one token too many.
fn away(error: &Error) -> Outcome {
    tracing::warn!("the token that nodes share can't be read: {error}");
    unavailable("token_store")
}

fn unavailable(reason: &str) -> Outcome {
    Outcome::Unavailable { retry_after: None, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    use async_trait::async_trait;
    use futures_util::future::join_all;

    use super::*;
    use crate::{
        clock::Clock,
        delivery::token::{Limits, Shared},
        store::memory::Memory,
    };

    const MINUTE: Duration = Duration::from_secs(60);
    const LIMITS: Limits = Limits { age_min: Duration::from_secs(20 * 60), gap_min: Duration::ZERO };

    struct Signs {
        clock: Clock,
        issued: Arc<AtomicU32>,
    }

    #[async_trait]
    impl Source for Signs {
        async fn issue(&self) -> Result<Token, Outcome> {
            let number = self.issued.fetch_add(1, Ordering::SeqCst);
            self.clock.sleep(Duration::from_millis(5)).await;
            let now = self.clock.now();
            let (renew_at, expires_at) = (now.plus(40 * MINUTE), now.plus(55 * MINUTE));
            Ok(Token { text: format!("token-{number}").into(), issued_at: now, renew_at, expires_at })
        }
    }

    struct Rig {
        store: Arc<dyn Store>,
        clock: Clock,
        issued: Arc<AtomicU32>,
    }

    impl Rig {
        fn new() -> Rig {
            let clock = Clock::simulated(Timestamp::from_millis(1_700_000_000_000));
            Rig { store: Arc::new(Memory::new()), clock, issued: Arc::default() }
        }

        fn node(&self, key: &str) -> Shared {
            let source = Signs { clock: self.clock.clone(), issued: Arc::clone(&self.issued) };
            let kept = Kept::new(Arc::clone(&self.store), "apns-token/TEAM/KEY".to_owned(), key.to_owned());
            Shared::new(Box::new(source), self.clock.clone(), LIMITS).kept(kept)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_goes_on_with_the_token() {
        let rig = Rig::new();
        assert_eq!(rig.node("k").get().await.as_deref(), Ok("token-0"));
        rig.clock.sleep(39 * MINUTE).await;
        assert_eq!(rig.node("k").get().await.as_deref(), Ok("token-0"));
        assert_eq!(rig.issued.load(Ordering::SeqCst), 1);
        rig.clock.sleep(MINUTE).await;
        assert_eq!(rig.node("k").get().await.as_deref(), Ok("token-1"));
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_start_together_end_with_one_token() {
        let rig = Rig::new();
        let nodes: Vec<Shared> = (0..8).map(|_| rig.node("k")).collect();
        let texts = join_all(nodes.iter().map(Shared::get)).await;
        assert!(texts.iter().all(|text| text == &texts[0]), "{texts:?}");
        rig.clock.sleep(41 * MINUTE).await;
        let texts = join_all(nodes.iter().map(Shared::get)).await;
        assert!(texts.iter().all(|text| text == &texts[0]), "{texts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_token_is_replaced_by_one_node_and_the_others_take_it() {
        let rig = Rig::new();
        let (one, other) = (rig.node("k"), rig.node("k"));
        assert_eq!(one.get().await, other.get().await);
        let refused = one.get().await.expect("a token");
        assert_eq!(one.replace(&refused).await, None, "too young");
        rig.clock.sleep(21 * MINUTE).await;
        let next = one.replace(&refused).await.expect("another");
        assert_ne!(next, refused);
        assert_eq!(other.replace(&refused).await, Some(Arc::clone(&next)));
        assert_eq!(rig.issued.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_noted_is_believed_only_if_it_can_be() {
        let rig = Rig::new();
        assert_eq!(rig.node("k").get().await.as_deref(), Ok("token-0"));
        assert_eq!(rig.node("another key").get().await.as_deref(), Ok("token-1"));
        rig.store.keep_note("apns-token/TEAM/KEY", b"{}".to_vec(), 2).await.expect("kept").expect("nobody was faster");
        assert_eq!(rig.node("k").get().await.as_deref(), Ok("token-2"));
        rig.clock.set_ahead(-3_600_000);
        assert_eq!(rig.node("k").get().await.as_deref(), Ok("token-3"), "that one comes from the future");
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_store_no_token_is_made() {
        let rig = Rig::new();
        rig.store.close().await.expect("closes");
        assert!(matches!(rig.node("k").get().await, Err(Outcome::Unavailable { .. })));
        assert_eq!(rig.issued.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_token_is_never_shown() {
        let at = Timestamp::MIN;
        let token = Token { text: "secret".into(), issued_at: at, renew_at: at, expires_at: at };
        assert!(!format!("{token:?}").contains("secret"));
    }
}
