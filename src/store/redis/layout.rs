//! How the keys are laid out, which is written down at the first start; and how those of an older layout are brought here.
//! No node of an older version may run by then: it would not look again.

use parvis_engine::notification::Channel;

use super::{
    call::Call,
    claim::read_message,
    partition::{Names, PARTITIONS, Partition},
    reply, score, scripts,
    settle::read_life,
    shared::Shared,
};
use crate::store::{Cursor, Error, Queue};

/// What the layout is called. In 1 an outbox had no queues, and nobody listed what was given up.
const LAYOUT: u64 = 2;
const OLDEST: u64 = 1;
/// The field that says that not everything is brought here yet, and from which layout.
const UNFINISHED: &str = "unfinished_from";
/// How many members of a set are asked for at once.
const COUNT: usize = 256;

impl Shared {
    /// Looks whether the layout is this version's, and brings an older one here.
    pub(super) async fn check_layout(&self) -> Result<(), Error> {
        let meta = &self.keys.meta;
        for (field, ours) in [("partitions", PARTITIONS as u64), ("layout", LAYOUT)] {
            let get = || Call::command("HGET", meta).arg(field);
            let stored = match self.ask_one::<Option<u64>>(get(), meta).await? {
                // Nothing is written: a node must be able to start when memory is full.
                Some(stored) => stored,
                None => {
                    self.ask(&[Call::command("HSETNX", meta).arg(field).arg(ours).durable()]).await?;
                    self.ask_one(get(), meta).await?
                }
            };
            if (field, stored) == ("layout", OLDEST) {
                self.begin_move().await?;
            } else if stored != ours {
                let why = format!(
                    "field {field} of {meta} is {stored}: it was written by another version, which had {stored} where this one has {ours}"
                );
                return Err(Error::Corrupt(why));
            }
        }
        let unfinished: Option<u64> = self.ask_one(Call::command("HGET", meta).arg(UNFINISHED), meta).await?;
        if unfinished.is_some() {
            // Whoever opens it meanwhile does the same, which harms nobody: what is moved stays where it is.
            self.move_all().await?;
            self.ask(&[Call::command("HDEL", meta).arg(UNFINISHED).durable()]).await?;
            tracing::info!("what is in Redis is brought from layout {OLDEST} to {LAYOUT}");
        }
        Ok(())
    }

    /// Keeps older versions out, unless one has left something that this one would misread.
    async fn begin_move(&self) -> Result<(), Error> {
        let call = |partition| Call::command("HVALS", self.keys.of(partition).transfers());
        for answer in self.ask(&Partition::all().map(call).collect::<Vec<_>>()).await? {
            let transfers: Vec<Vec<u8>> = reply::read(answer, "transfers")?;
            if transfers.iter().any(|transfer| transfer.starts_with(b"+")) {
                let why = "a node of an older version has died in the middle of a change: start a node of that version, \
                    which ends it within seconds, and stop it again";
                return Err(Error::Unavailable(why.to_owned()));
            }
        }
        let call = Call::command("HSET", &self.keys.meta).arg("layout").arg(LAYOUT).arg(UNFINISHED).arg(OLDEST);
        self.ask(&[call.durable()]).await.map(drop)
    }

    async fn move_all(&self) -> Result<(), Error> {
        for names in Partition::all().map(|partition| self.keys.of(partition)) {
            for channel in Channel::ALL {
                self.each(names.outbox(channel), async |found| self.requeue(names, channel, found).await).await?;
            }
            self.each(names.ended(), async |found| self.bury(names, found).await).await?;
        }
        Ok(())
    }

    /// Does something with all members of a sorted set, some at a time.
    async fn each(&self, key: &str, act: impl AsyncFn(Vec<(String, f64)>) -> Result<(), Error>) -> Result<(), Error> {
        let mut cursor = "0".to_owned();
        loop {
            let call = Call::command("ZSCAN", key).arg(&cursor).arg("COUNT").arg(COUNT);
            let (next, found): (String, Vec<(String, f64)>) = self.ask_one(call, key).await?;
            if !found.is_empty() {
                act(found).await?;
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Moves entries to their queues. One that can't be read stays: nobody can claim it, and an erasure finds it.
    async fn requeue(&self, names: &Names, channel: Channel, found: Vec<(String, f64)>) -> Result<(), Error> {
        let messages = self.of_all(names.messages(), &found).await?;
        let mut call = Call::script(&scripts::REQUEUE, &[names.outbox(channel)]).durable();
        for ((id, found), message) in found.iter().zip(messages) {
            let Some(message) = message else { continue };
            match read_message(&message, || format!("field {id} of {}", names.messages())) {
                Ok(message) => {
                    let (queue, found) = (Queue::of(&message), *found);
                    let (least, greatest) = score::bounds(queue);
                    if !(least..=greatest).contains(&(found as i64)) {
                        call = call.arg(id).arg(found as i64).arg(score::of(queue, score::time(found)));
                    }
                }
                Err(error) => tracing::error!("an outbox entry can't be brought here: {error}"),
            }
        }
        self.ask(&[call]).await.map(drop)
    }

    async fn bury(&self, names: &Names, found: Vec<(String, f64)>) -> Result<(), Error> {
        let (messages, lives) =
            (self.of_all(names.messages(), &found).await?, self.of_all(names.lives(), &found).await?);
        let mut call = Call::script(&scripts::BURY, &[names.lives(), names.dead()]).durable();
        for (((id, _), message), life) in found.iter().zip(messages).zip(lives) {
            let (Some(message), Some(life)) = (message, life) else { continue };
            match read_life(names, id, (&message, &life)) {
                Ok((life, _)) => {
                    if let Some(dead) = Cursor::of(&life) {
                        call = call.arg(id).arg(dead.at.as_millis());
                    }
                }
                Err(error) => tracing::error!("a life can't be brought here: {error}"),
            }
        }
        self.ask(&[call]).await.map(drop)
    }

    /// The fields of a hash that members of a set name.
    async fn of_all(&self, key: &str, found: &[(String, f64)]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let ids: Vec<&String> = found.iter().map(|(id, _)| id).collect();
        self.ask_one(Call::command("HMGET", key).arg(ids), key).await
    }
}
