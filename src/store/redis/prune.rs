//! Forgetting: ended lives, journal rows and answers, a bounded number in each call, so that no server is held up.

use parvis_engine::time::Timestamp;

use super::{
    call::Call,
    partition::{Names, Partition},
    read::before,
    record::split_line,
    reply, scripts,
    shared::Shared,
};
use crate::store::{Error, Horizon};

/// How many are forgotten in one call.
const STEP: usize = 256;

impl Shared {
    pub(super) async fn prune(&self, horizon: Horizon) -> Result<(), Error> {
        while self.prune_lives(horizon.rows).await? {}
        while self.prune_rows(horizon.rows).await? {}
        while self.prune_answers(horizon.answers).await? {}
        Ok(())
    }

    /// True if there may be more.
    async fn prune_lives(&self, horizon: Timestamp) -> Result<bool, Error> {
        let ended = self.old(Names::ended, horizon).await?;
        let fields = |(partition, ids): &(Partition, Vec<String>)| {
            Call::command("HMGET", self.keys.of(*partition).messages()).arg(ids)
        };
        let answers = self.ask(&ended.iter().map(fields).collect::<Vec<_>>()).await?;
        let mut calls = Vec::new();
        for ((partition, ids), answer) in ended.iter().zip(answers) {
            let names = self.keys.of(*partition);
            let messages: Vec<Option<Vec<u8>>> = reply::read(answer, names.messages())?;
            // Of a message that can't be read it is not known whose it is, and it goes nevertheless.
            let shopper = |message: &Option<Vec<u8>>| {
                message.as_deref().and_then(split_line).map_or(String::new(), |(shopper, _)| shopper.to_owned())
            };
            let own: Vec<String> = messages.iter().map(|message| names.messages_of(&shopper(message))).collect();
            let keys = [names.messages(), names.lives(), names.ended(), names.dead()];
            let keys: Vec<&str> = keys.into_iter().chain(own.iter().map(String::as_str)).collect();
            calls.push(Call::script(&scripts::PRUNE_LIVES, &keys).arg(horizon.as_millis()).arg(ids));
        }
        self.ask(&calls).await?;
        Ok(may_be_more(&ended))
    }

    /// True if there may be more.
    async fn prune_rows(&self, horizon: Timestamp) -> Result<bool, Error> {
        let old = self.old(Names::journals, horizon).await?;
        let call = |(partition, shoppers): &(Partition, Vec<String>)| {
            let names = self.keys.of(*partition);
            let own: Vec<String> = shoppers.iter().map(|shopper| names.journal_of(shopper)).collect();
            let keys: Vec<&str> = [names.journals()].into_iter().chain(own.iter().map(String::as_str)).collect();
            Call::script(&scripts::PRUNE_ROWS, &keys).arg(horizon.as_millis()).arg(shoppers)
        };
        self.ask(&old.iter().map(call).collect::<Vec<_>>()).await?;
        Ok(may_be_more(&old))
    }

    /// True if there may be more.
    async fn prune_answers(&self, horizon: Timestamp) -> Result<bool, Error> {
        let call = |partition| {
            let names = self.keys.of(partition);
            Call::script(&scripts::PRUNE_ANSWERS, &[&names.answers, &names.answered]).arg(horizon.as_millis()).arg(STEP)
        };
        let mut more = false;
        for answer in self.ask(&Partition::all().map(call).collect::<Vec<_>>()).await? {
            more |= reply::read::<usize>(answer, "how many answers were forgotten")? == STEP;
        }
        Ok(more)
    }

    /// The first members of a sorted set whose time is before a horizon, of each partition that has any.
    async fn old(
        &self,
        key: impl Fn(&Names) -> &str,
        horizon: Timestamp,
    ) -> Result<Vec<(Partition, Vec<String>)>, Error> {
        let call = |partition| {
            let call = Call::command("ZRANGE", key(self.keys.of(partition))).arg("-inf").arg(before(horizon));
            call.arg("BYSCORE").arg("LIMIT").arg(0).arg(STEP)
        };
        let answers = self.ask(&Partition::all().map(call).collect::<Vec<_>>()).await?;
        let mut old = Vec::new();
        for (partition, answer) in Partition::all().zip(answers) {
            let members: Vec<String> = reply::read(answer, key(self.keys.of(partition)))?;
            if !members.is_empty() {
                old.push((partition, members));
            }
        }
        Ok(old)
    }
}

fn may_be_more(old: &[(Partition, Vec<String>)]) -> bool {
    old.iter().any(|(_, members)| members.len() == STEP)
}
