//! The one thread that writes. It takes whatever waits, makes it durable with one synchronisation, brings memory up to
//! date and only then answers.
//!
//! A panic here is a bug that leaves the store without a writer: callers get `Unavailable` from then on, and the daemon's
//! panic hook ends the process, since only a restart can help.

use std::sync::Arc;

use tokio::sync::{
    mpsc::{self, error::TryRecvError},
    oneshot,
};

use super::{
    calls::{Call, Reply},
    erasure::Scrub,
    file::File,
    group::Group,
    tables,
    volatile::{Effect, Extent, Volatile},
};
use crate::store::Error;

/// A call and who waits for its reply.
pub(super) struct Job {
    pub(super) call: Call,
    pub(super) reply: oneshot::Sender<Result<Reply, Error>>,
}

/// The writer.
pub(super) struct Writer {
    pub(super) file: Arc<File>,
    pub(super) volatile: Arc<Volatile>,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) group_max: usize,
    pub(super) extent: Extent,
    /// The newest number of the last durable transaction.
    pub(super) durable: u64,
    /// The newest number given out; ahead of `durable` after a failure.
    pub(super) sequence: u64,
    pub(super) scrub: Option<Scrub>,
    pub(super) doubt: Option<Doubt>,
    /// Set while the disk refuses, so that chores do not spin.
    pub(super) resting: bool,
}

/// A transaction whose commit failed: only the reopened file can tell whether it took effect.
pub(super) struct Doubt {
    sequence: u64,
    effects: Vec<Effect>,
    scrub: Option<Scrub>,
}

impl Writer {
    /// Works until everybody is gone, or until it is told to close.
    pub(super) fn run(mut self) {
        while let Some(jobs) = self.wait() {
            let closing = jobs.iter().any(|job| matches!(job.call, Call::Close));
            let (calls, replies): (Vec<_>, Vec<_>) = jobs.into_iter().map(|job| (job.call, job.reply)).unzip();
            let result = self.write(calls);
            if closing {
                self.jobs.close();
                self.file.close();
            }
            answer(replies, result);
            if closing {
                break;
            }
        }
        self.file.close();
    }

    /// What is to be done next: nothing but chores if nobody asks, none if it is over.
    fn wait(&mut self) -> Option<Vec<Job>> {
        let mut jobs = Vec::new();
        if self.has_chores() {
            match self.jobs.try_recv() {
                Ok(job) => jobs.push(job),
                Err(TryRecvError::Empty) => return Some(jobs),
                Err(TryRecvError::Disconnected) => return None,
            }
        } else {
            jobs.push(self.jobs.blocking_recv()?);
        }
        while jobs.len() < self.group_max
            && let Ok(job) = self.jobs.try_recv()
        {
            jobs.push(job);
        }
        Some(jobs)
    }

    fn has_chores(&self) -> bool {
        !self.resting && (self.scrub.is_some() || self.extent.is_wasteful())
    }

    /// Makes calls durable and takes in their effects.
    fn write(&mut self, calls: Vec<Call>) -> Result<Vec<Reply>, Error> {
        let mends = calls.iter().filter(|call| matches!(call, Call::Mend)).count();
        if mends > 0 && self.file.begin().is_err() {
            self.file.close();
        }
        self.recover()?;
        if mends > 0 && mends == calls.len() {
            return Ok(calls.iter().map(|_| Reply::Done).collect());
        }
        let mut effects = Vec::new();
        let mut scrub = self.scrub.clone();
        let result = self.transact(calls, &mut effects, &mut scrub);
        let rested = std::mem::replace(&mut self.resting, result.is_err());
        match result {
            Ok(replies) => {
                if rested {
                    tracing::info!("the store writes again");
                }
                self.accept(self.sequence, effects, scrub);
                Ok(replies)
            }
            Err(error) => self.fail(error, Doubt { sequence: self.sequence, effects, scrub }, !rested),
        }
    }

    fn transact(
        &mut self,
        calls: Vec<Call>,
        effects: &mut Vec<Effect>,
        scrub: &mut Option<Scrub>,
    ) -> Result<Vec<Reply>, Error> {
        let transaction = self.file.begin()?;
        let mut group = Group::begin(&self.volatile, &transaction, effects, &mut self.sequence)?;
        let replies = calls.into_iter().map(|call| group.perform(call)).collect::<Result<Vec<_>, _>>()?;
        if let Some(pass) = scrub {
            *pass = group.scrub(pass)?;
        }
        group.compact(self.extent)?;
        group.cut_segment(self.extent)?;
        group.finish()?;
        transaction.commit()?;
        Ok(replies)
    }

    fn accept(&mut self, sequence: u64, effects: Vec<Effect>, scrub: Option<Scrub>) {
        self.durable = sequence;
        self.volatile.apply(effects, &mut self.extent);
        self.scrub = scrub.filter(|pass| !pass.is_done()).or_else(|| Scrub::begin(self.volatile.erasures()));
    }

    /// After a failure. The file has to be reopened, and then it says whether the transaction took effect after all;
    /// replies are lost then, but "unavailable" promises nothing either way. Only the first of several is logged.
    fn fail(&mut self, error: Error, doubt: Doubt, is_first: bool) -> Result<Vec<Reply>, Error> {
        if is_first {
            tracing::warn!(error = %error, "the store can't write: it refuses changes until it can");
        }
        self.file.close();
        self.doubt = Some(doubt);
        let recovered = self.recover();
        if let Err(last) = self.file.check() {
            tracing::error!(error = %last, "the store refuses changes until the daemon is restarted");
        } else if let Err(again) = recovered {
            tracing::warn!(error = %again, "the store's file can't be reopened now");
        }
        Err(error)
    }

    /// Opens the file again if it had to be closed, and settles what was in doubt.
    fn recover(&mut self) -> Result<(), Error> {
        if !self.file.is_open() {
            self.file.reopen()?;
        }
        let Some(doubt) = &self.doubt else { return Ok(()) };
        let stored = self.file.read(tables::sequence)?;
        let took_effect = stored == doubt.sequence;
        if !took_effect && stored != self.durable {
            self.file.close();
            return Err(Error::Corrupt("the file was changed by somebody else".to_owned()));
        }
        if let Some(Doubt { sequence, effects, scrub }) = self.doubt.take() {
            if took_effect {
                self.accept(sequence, effects, scrub);
            } else {
                self.volatile.undo(&effects);
            }
        }
        Ok(())
    }
}

fn answer(replies: Vec<oneshot::Sender<Result<Reply, Error>>>, result: Result<Vec<Reply>, Error>) {
    match result {
        Ok(values) => replies.into_iter().zip(values).for_each(|(reply, value)| drop(reply.send(Ok(value)))),
        Err(error) => replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone())))),
    }
}
