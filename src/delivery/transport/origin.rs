//! The connections to one origin: few, opened one after the other when all announced streams are in use, and given out
//! in the order in which they are asked for. What is sent on them is none of its business.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicU64},
    time::Duration,
};

use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Caller, Error, Peer, Standing,
    condition::Condition,
    connection::{Connection, Speech},
    dial::{Dial, Wire},
    driver::{self, Reins, Rest},
    http1,
};
use crate::clock::Clock;

/// After a failed attempt to connect, doubled with each further one: providers count repeated connects as abuse.
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// The bounds of an origin.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) connections_max: usize,
    pub(super) connect_timeout: Duration,
}

/// All connections to one origin for one caller.
pub(super) struct Origin {
    pub(super) peer: Peer,
    pub(super) authority: String,
    pub(super) caller: Option<Caller>,
    /// When it was last used, as a number that grows with every use of any origin.
    pub(super) used: AtomicU64,
    dialer: Box<dyn Dial>,
    bounds: Bounds,
    tasks: TaskTracker,
    this: Weak<Origin>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connections: Vec<Arc<Connection>>,
    waiting: VecDeque<oneshot::Sender<Result<Stream, Error>>>,
    dialing: Dialing,
    /// Attempts to connect since the last that led to an answer.
    failures: u32,
}

#[derive(Default)]
enum Dialing {
    #[default]
    No,
    Now,
    /// Not yet again, for the last attempt failed.
    Pausing(Error),
}

/// The right to one stream of a connection.
pub(super) struct Stream {
    origin: Arc<Origin>,
    connection: Arc<Connection>,
    is_taken: bool,
}

impl Stream {
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.is_taken {
            let mut state = self.origin.lock();
            let condition = self.connection.condition();
            condition.end();
            if state.failures > 0 && condition.answers() > 0 {
                state.failures = 0;
            }
            if !condition.is_open() {
                self.origin.forget(&mut state, condition);
            }
            if !state.waiting.is_empty() {
                self.origin.give_out(&mut state);
            }
        }
    }
}

impl Origin {
    pub(super) fn new(
        peer: Peer,
        authority: String,
        caller: Option<Caller>,
        dialer: Box<dyn Dial>,
        bounds: Bounds,
    ) -> Arc<Origin> {
        Arc::new_cyclic(|this| Origin {
            peer,
            authority,
            caller,
            used: AtomicU64::new(0),
            dialer,
            bounds,
            tasks: TaskTracker::new(),
            this: Weak::clone(this),
            state: Mutex::default(),
        })
    }

    /// Waits for a stream. Who waits is served in turn; dropping the future gives up the place.
    ///
    /// # Errors
    /// Why there is no connection. Nothing was sent then.
    pub(super) async fn stream(&self) -> Result<Stream, Error> {
        let turn = {
            let mut state = self.lock();
            while state.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                state.waiting.pop_front();
            }
            if state.waiting.is_empty()
                && let Some(stream) = self.take(&state)
            {
                return Ok(stream);
            }
            if let (true, Dialing::Pausing(error)) = (state.connections.is_empty(), &state.dialing) {
                return Err(error.clone());
            }
            let (turn, waiting) = oneshot::channel();
            state.waiting.push_back(turn);
            self.dial_if_needed(&mut state);
            waiting
        };
        turn.await.unwrap_or_else(|_| Err(Error::Connect("the daemon is closing".to_owned())))
    }

    /// Gives streams to those who wait: something has changed.
    pub(super) fn serve(&self) {
        self.give_out(&mut self.lock());
    }

    /// Forgets a connection that takes no more streams.
    pub(super) fn remove(&self, condition: &Arc<Condition>) {
        let mut state = self.lock();
        self.forget(&mut state, condition);
        self.give_out(&mut state);
    }

    /// Whether an idle connection is to stay; if not, it takes no more streams.
    pub(super) fn wants(&self, condition: &Condition, rest: Rest) -> bool {
        let _nobody_takes_one_meanwhile = self.lock();
        let is_replaced = self.caller.as_ref().is_some_and(Caller::is_replaced);
        if condition.in_use() > 0 || (rest == Rest::Stay && !is_replaced) {
            return true;
        }
        condition.close();
        false
    }

    pub(super) fn add_to(&self, standing: &mut Standing) {
        let state = self.lock();
        standing.origins += 1;
        standing.connections += state.connections.len();
        standing.waiting += state.waiting.iter().filter(|turn| !turn.is_closed()).count();
        for connection in &state.connections {
            let condition = connection.condition();
            standing.streams_in_use += condition.in_use();
            standing.streams_announced = standing.streams_announced.saturating_add(condition.announced());
        }
    }

    /// Places in the queue, those of who gave up included.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, state: &mut State, condition: &Arc<Condition>) {
        let before = state.connections.len();
        state.connections.retain(|connection| !Arc::ptr_eq(connection.condition(), condition));
        if state.connections.len() == before {
            return;
        }
        if condition.answers() > 0 {
            state.failures = 0;
        } else if condition.farewell().is_some() || condition.is_owing() {
            // Opened, asked, and ended without an answer: once may be chance, more often is how a peer refuses.
            state.failures += 1;
            if state.failures > 1 && matches!(state.dialing, Dialing::No) {
                let why = match condition.farewell() {
                    Some(word) => Error::GoAway { word: word.to_owned(), may_have_acted: false },
                    None => Error::Connect("the peer answers on no connection".to_owned()),
                };
                self.pause(state, why);
            }
        }
    }

    /// The first connection with room: few connections under little load.
    fn take(&self, state: &State) -> Option<Stream> {
        let connection = state.connections.iter().find(|connection| connection.condition().has_room())?;
        connection.condition().begin();
        let origin = self.this.upgrade()?;
        Some(Stream { origin, connection: Arc::clone(connection), is_taken: true })
    }

    fn give_out(&self, state: &mut State) {
        while let Some(front) = state.waiting.front() {
            if front.is_closed() {
                state.waiting.pop_front();
                continue;
            }
            let Some(stream) = self.take(state) else { break };
            let Some(turn) = state.waiting.pop_front() else { break };
            if let Err(Ok(mut unwanted)) = turn.send(Ok(stream)) {
                // Its drop would lock what is locked.
                unwanted.is_taken = false;
                unwanted.connection.condition().end();
            }
        }
        if let (true, Dialing::Pausing(error)) = (state.connections.is_empty(), &state.dialing) {
            let error = error.clone();
            for turn in state.waiting.drain(..) {
                let _ = turn.send(Err(error.clone()));
            }
        }
        self.dial_if_needed(state);
    }

    fn dial_if_needed(&self, state: &mut State) {
        let is_wanted = !state.waiting.is_empty()
            && state.connections.len() < self.bounds.connections_max
            && !state.connections.iter().any(|connection| connection.condition().is_on_probation());
        if is_wanted
            && matches!(state.dialing, Dialing::No)
            && let Some(origin) = self.this.upgrade()
        {
            state.dialing = Dialing::Now;
            self.tasks.spawn(async move { origin.dial().await });
        }
    }

    async fn dial(self: Arc<Origin>) {
        let opened = tokio::time::timeout(self.bounds.connect_timeout, self.open()).await;
        let opened = opened.unwrap_or_else(|_| Err(Error::Connect("no connection in time".to_owned())));
        let mut state = self.lock();
        match opened {
            Ok(connection) => {
                state.dialing = Dialing::No;
                let condition = Arc::clone(connection.condition());
                state.connections.push(connection);
                // It may have ended in the meantime, and then nobody else would remove it.
                if !condition.is_open() {
                    self.forget(&mut state, &condition);
                }
            }
            Err(error) => {
                tracing::debug!(authority = self.authority, %error, "no connection");
                state.failures += 1;
                self.pause(&mut state, error);
            }
        }
        self.give_out(&mut state);
    }

    /// No attempt for a while; where there is no connection at all, whoever comes is told why.
    fn pause(&self, state: &mut State, why: Error) {
        let doublings = state.failures.saturating_sub(1).min(16);
        let pause = PAUSE_MIN.saturating_mul(1 << doublings).min(PAUSE_MAX);
        state.dialing = Dialing::Pausing(why);
        let origin = Weak::clone(&self.this);
        self.tasks.spawn(async move {
            Clock::System.sleep(pause).await;
            if let Some(origin) = origin.upgrade() {
                let mut state = origin.lock();
                state.dialing = Dialing::No;
                origin.give_out(&mut state);
            }
        });
    }

    async fn open(&self) -> Result<Arc<Connection>, Error> {
        let Wire { io, is_http2 } = self.dialer.dial().await?;
        let closing = CancellationToken::new();
        let origin = Weak::clone(&self.this);
        if !is_http2 {
            let (sender, wire) = http1::open(io).await?;
            let condition = Arc::new(Condition::new(1));
            self.tasks.spawn(http1::drive(wire, Arc::clone(&condition), closing.clone(), origin));
            return Ok(Arc::new(Connection::new(Speech::Http1(sender), condition, closing.drop_guard())));
        }
        let (sender, wire) = driver::open(io).await?;
        let condition = Arc::new(Condition::new(wire.max_concurrent_send_streams()));
        let rest = match self.peer {
            Peer::Apns | Peer::Fcm => Rest::Stay,
            Peer::Issuer | Peer::Subscription | Peer::Webhook { .. } => Rest::Close,
        };
        let reins =
            Reins { condition: Arc::clone(&condition), probe: sender.clone(), closing: closing.clone(), origin, rest };
        self.tasks.spawn(driver::drive(wire, reins));
        Ok(Arc::new(Connection::new(Speech::Http2(Mutex::new(sender)), condition, closing.drop_guard())))
    }
}
