//! What is known of a connection, shared by those who use it and the task that drives it. Only facts: no decisions about
//! other connections.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// The state of one connection.
pub(super) struct Condition {
    /// No new streams otherwise; what runs goes on.
    open: AtomicBool,
    in_use: AtomicUsize,
    announced: AtomicUsize,
    /// What the peer seems to bear after it has refused a stream; until it answers again.
    ceiling: AtomicUsize,
    answers: AtomicU64,
    /// Whether something was asked since the last answer.
    owing: AtomicBool,
    resting: AtomicBool,
    roused: Notify,
    farewell: OnceLock<String>,
    epitaph: OnceLock<String>,
}

impl Condition {
    /// Open, with as many streams as the peer has announced.
    pub(super) fn new(announced: usize) -> Condition {
        Condition {
            open: AtomicBool::new(true),
            in_use: AtomicUsize::new(0),
            announced: AtomicUsize::new(announced),
            ceiling: AtomicUsize::new(usize::MAX),
            answers: AtomicU64::new(0),
            owing: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            roused: Notify::new(),
            farewell: OnceLock::new(),
            epitaph: OnceLock::new(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::SeqCst)
    }

    /// Takes no more streams.
    pub(super) fn close(&self) {
        self.open.store(false, Ordering::SeqCst);
    }

    pub(super) fn in_use(&self) -> usize {
        self.in_use.load(Ordering::SeqCst)
    }

    pub(super) fn announced(&self) -> usize {
        self.announced.load(Ordering::SeqCst)
    }

    /// True if the number has changed.
    pub(super) fn announce(&self, streams: usize) -> bool {
        self.announced.swap(streams, Ordering::SeqCst) != streams
    }

    pub(super) fn has_room(&self) -> bool {
        self.is_open() && self.in_use() < self.announced().min(self.ceiling.load(Ordering::SeqCst))
    }

    /// Whether more streams may be announced soon: a provider may allow but one until it has seen a token.
    pub(super) fn is_on_probation(&self) -> bool {
        self.is_open() && self.announced() == 1 && self.answers() == 0
    }

    /// A stream is taken. To be called where nobody else takes one at the same time.
    pub(super) fn begin(&self) {
        self.in_use.fetch_add(1, Ordering::SeqCst);
        self.owing.store(true, Ordering::SeqCst);
        if self.resting.load(Ordering::SeqCst) && self.resting.swap(false, Ordering::SeqCst) {
            self.roused.notify_one();
        }
    }

    /// A stream is given back, answered or not.
    pub(super) fn end(&self) {
        self.in_use.fetch_sub(1, Ordering::SeqCst);
    }

    /// The peer lives.
    pub(super) fn heard(&self) {
        self.owing.store(false, Ordering::SeqCst);
    }

    /// The peer has answered a request.
    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::SeqCst);
        self.heard();
        if self.ceiling.load(Ordering::Relaxed) != usize::MAX {
            self.ceiling.store(usize::MAX, Ordering::SeqCst);
        }
    }

    /// The peer has refused a stream that is still counted. A connection that bears none at all is closed.
    pub(super) fn refused(&self) {
        let others = self.in_use().saturating_sub(1);
        self.ceiling.fetch_min(others, Ordering::SeqCst);
        if others == 0 {
            self.close();
        }
    }

    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::SeqCst)
    }

    pub(super) fn is_owing(&self) -> bool {
        self.owing.load(Ordering::SeqCst)
    }

    /// Waits, without any timer running, until a stream is taken. Is there at once if one is in use.
    pub(super) async fn rest(&self) {
        self.resting.store(true, Ordering::SeqCst);
        if self.in_use() == 0 {
            self.roused.notified().await;
        }
        self.resting.store(false, Ordering::SeqCst);
    }

    /// The peer's word for its goodbye.
    pub(super) fn farewell(&self) -> Option<&str> {
        self.farewell.get().map(String::as_str)
    }

    pub(super) fn bid_farewell(&self, word: String) {
        // The first word is the reason; what follows is consequence.
        let _ = self.farewell.set(word);
    }

    /// Why we ended it.
    pub(super) fn epitaph(&self) -> Option<&str> {
        self.epitaph.get().map(String::as_str)
    }

    pub(super) fn bury(&self, why: &str) {
        self.close();
        let _ = self.epitaph.set(why.to_owned());
    }
}
