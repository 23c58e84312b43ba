//! Messages that were given up. Each partition lists its own by the time of it; they are merged at reading.

use std::collections::BTreeMap;

use parvis_engine::id::NotificationId;

use super::{call::Call, hints, partition::Partition, reply, score, settle::read_life, shared::Shared};
use crate::store::{Cursor, DeadQuery, Error, Life};

/// How many of a partition are looked at where most are not wanted.
const PAGE: usize = 128;

impl Shared {
    pub(super) async fn dead(&self, query: DeadQuery) -> Result<Vec<Life>, Error> {
        let (mut lives, mut before) = (Vec::new(), query.before);
        // One more, for the last of the page before comes again.
        let mut asked = hints::look_at(query.limit, Partition::all().count()) + 1;
        while lives.len() < query.limit {
            let (found, is_all) = self.newest(before, asked).await?;
            for life in self.lives(&found).await? {
                if lives.len() < query.limit && query.wants(&life.notification) {
                    lives.push(life);
                }
            }
            if is_all {
                break;
            }
            asked = match found.last() {
                Some((last, _)) => {
                    before = Some(*last);
                    (2 * asked).min(PAGE.max(asked))
                }
                // More were given up in one millisecond than were looked at.
                None => 2 * asked,
            };
        }
        Ok(lives)
    }

    /// The newest before a place, newest first, none of which is missing; and whether these are all. Each partition is
    /// asked for so many.
    async fn newest(&self, before: Option<Cursor>, asked: usize) -> Result<(Vec<(Cursor, Partition)>, bool), Error> {
        let end = before.map_or("+inf".to_owned(), |before| before.at.as_millis().to_string());
        let call = |partition| {
            let call = Call::command("ZRANGE", self.keys.of(partition).dead()).arg(&end).arg("-inf");
            call.arg("BYSCORE").arg("REV").arg("LIMIT").arg(0).arg(asked).arg("WITHSCORES")
        };
        let answers = self.ask(&Partition::all().map(call).collect::<Vec<_>>()).await?;
        let (mut found, mut unseen_before) = (Vec::new(), None);
        for (partition, answer) in Partition::all().zip(answers) {
            let place = self.keys.of(partition).dead();
            let entries: Vec<(String, f64)> = reply::read(answer, place)?;
            let is_cut = entries.len() == asked;
            let mut last = None;
            for (id, at) in entries {
                let odd = |why| Error::Corrupt(format!("member {id:?} of {place}: {why}"));
                let cursor = Cursor { at: score::time(at), id: id.parse().map_err(odd)? };
                last = Some(cursor);
                if before.is_none_or(|before| cursor < before) {
                    found.push((cursor, partition));
                }
            }
            unseen_before = unseen_before.max(last.filter(|_| is_cut));
        }
        found.retain(|(cursor, _)| unseen_before.is_none_or(|unseen| *cursor >= unseen));
        found.sort_unstable_by(|one, other| other.cmp(one));
        Ok((found, unseen_before.is_none()))
    }

    /// The lives of these messages, in the same order. One that is gone is left out, and so is one that can't be read.
    async fn lives(&self, found: &[(Cursor, Partition)]) -> Result<Vec<Life>, Error> {
        let mut groups: BTreeMap<Partition, Vec<String>> = BTreeMap::new();
        for (cursor, partition) in found {
            groups.entry(*partition).or_default().push(cursor.id.to_string());
        }
        let mut calls = Vec::new();
        for (partition, ids) in &groups {
            let names = self.keys.of(*partition);
            calls.extend([names.messages(), names.lives()].map(|key| Call::command("HMGET", key).arg(ids)));
        }
        let mut answers = self.ask(&calls).await?.into_iter();
        let mut lives: BTreeMap<NotificationId, Life> = BTreeMap::new();
        for (partition, ids) in &groups {
            let names = self.keys.of(*partition);
            let mut next = || {
                let answer = answers.next().unwrap_or(redis::Value::Nil);
                reply::read::<Vec<Option<Vec<u8>>>>(answer, &names.tag)
            };
            let (messages, kept) = (next()?, next()?);
            for ((id, message), life) in ids.iter().zip(messages).zip(kept) {
                let (Some(message), Some(life)) = (message, life) else { continue };
                match read_life(names, id, (&message, &life)) {
                    Ok((life, _)) => drop(lives.insert(life.notification.id, life)),
                    // It waits for an operator; the others do not.
                    Err(error) => tracing::error!("a message that was given up is passed over: {error}"),
                }
            }
        }
        Ok(found.iter().filter_map(|(cursor, _)| lives.remove(&cursor.id)).collect())
    }
}
