//! What is read without changing anything: shoppers, directories, journal, sizes.

use std::collections::BTreeMap;

use parvis_engine::{
    id::{DeviceId, OrderId, ShopperId},
    notification::Channel,
    shopper::Shopper,
    time::Timestamp,
};

use redis::Value;

use super::{
    call::Call,
    partition::{Names, Partition},
    reply, score,
    shared::Shared,
    tracks,
};
use crate::{
    report::Event,
    store::{Error, JournalQuery, Record, Sizes, codec},
};

/// What stands before an event in its member: the number of the writing and the event's place in it.
const NUMBER_LEN: usize = 18;
/// How many shoppers' journals are read at once by a query over all.
const PAGE: usize = 256;

impl Shared {
    pub(super) async fn load(&self, ids: &[ShopperId]) -> Result<Vec<Record>, Error> {
        let (stored, told) = tokio::join!(self.stored(ids), self.told_tracks(ids));
        let mut records = Vec::with_capacity(ids.len());
        for ((stored, told), id) in stored?.into_iter().zip(told?).zip(ids) {
            let (version, shopper) = stored.unwrap_or_else(|| (0, Shopper::new(id.clone())));
            let key = || self.keys.of(Partition::of_shopper(id)).tracks_of(id.as_str());
            let told = told.map_or(Ok(None), |told| tracks::read(&told, version, key));
            // Tracks sharpen; a shopper without them is still to be served.
            let told = told.inspect_err(|error| tracing::error!("tracks are passed over: {error}")).unwrap_or_default();
            let tracks = tracks::newest(self.tracks.of(id, version), told);
            records.push(Record { version, shopper: shopper.into(), tracks });
        }
        Ok(records)
    }

    /// What other nodes tell of the tracks of these shoppers, in the same order.
    async fn told_tracks(&self, ids: &[ShopperId]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let mut groups: BTreeMap<Partition, Vec<usize>> = BTreeMap::new();
        for (index, id) in ids.iter().enumerate() {
            groups.entry(Partition::of_shopper(id)).or_default().push(index);
        }
        let call = |(partition, indices): (&Partition, &Vec<usize>)| {
            let names = self.keys.of(*partition);
            let mut keys = indices.iter().map(|index| names.tracks_of(ids[*index].as_str()));
            let call = Call::command("MGET", keys.next().unwrap_or_default());
            keys.fold(call, |call, key| call.arg(key))
        };
        let answers = self.ask(&groups.iter().map(call).collect::<Vec<_>>()).await?;
        put_back(ids.len(), answers, groups.into_values().collect())
    }

    pub(super) async fn owners(&self, devices: &[DeviceId]) -> Result<Vec<Option<ShopperId>>, Error> {
        let place = |device: &DeviceId| Partition::of_name(device.as_str());
        let owners = self.decided(devices, |device| (place(device), device.as_str()), (Names::devices, 'd')).await?;
        let read = |(owner, device): (Option<Vec<u8>>, &DeviceId)| {
            let what = || format!("field {device} of {}", self.keys.of(place(device)).devices());
            owner.map(|owner| read_name(&owner, what)).transpose()
        };
        owners.into_iter().zip(devices).map(read).collect()
    }

    pub(super) async fn order_owner(&self, order: &OrderId) -> Result<Option<ShopperId>, Error> {
        let names = self.keys.of(Partition::of_name(order.as_str()));
        // Whether a shopper has an order is locked for itself, so no field tells all locks of one.
        let locks: Vec<(Vec<u8>, Vec<u8>)> =
            self.ask_one(Call::command("HGETALL", names.locks()), names.locks()).await?;
        let of_order = format!("o{order}\n");
        let locks = locks.into_iter().filter(|(name, _)| name.starts_with(of_order.as_bytes()));
        let met = Partition::of_name(order.as_str());
        self.finish_decided(locks.map(|(_, lock)| (met, lock)).collect()).await?;
        let call = Call::command("HGET", names.orders()).arg(order.as_str());
        let owners: Option<Vec<u8>> = self.ask_one(call, names.orders()).await?;
        let least = |owners: Vec<u8>| {
            // Scripts sort by the server's locale.
            let least = owners.split(|byte| *byte == b'\n').min().unwrap_or_default();
            read_name(least, || format!("field {order} of {}", names.orders()))
        };
        owners.map(least).transpose()
    }

    pub(super) async fn journal(&self, query: JournalQuery) -> Result<Vec<Event>, Error> {
        if query.since.zip(query.until).is_some_and(|(since, until)| since >= until) || query.limit == 0 {
            return Ok(Vec::new());
        }
        if let Some(shopper) = &query.shopper {
            return self.journals_of(Partition::of_shopper(shopper), &[shopper.as_str()], &query).await;
        }
        let mut newest = Vec::new();
        for partition in Partition::all() {
            let names = self.keys.of(partition);
            for page in 0.. {
                let call = Call::command("ZRANGE", names.journals()).arg(page * PAGE).arg((page + 1) * PAGE - 1);
                let shoppers: Vec<String> = self.ask_one(call, names.journals()).await?;
                let shoppers: Vec<&str> = shoppers.iter().map(String::as_str).collect();
                newest.extend(self.journals_of(partition, &shoppers, &query).await?);
                // Each shopper's are in order already.
                newest.sort_by(|one: &Event, other| {
                    (one.recorded_at, &one.shopper).cmp(&(other.recorded_at, &other.shopper))
                });
                newest.drain(..newest.len().saturating_sub(query.limit));
                if shoppers.len() < PAGE {
                    break;
                }
            }
        }
        Ok(newest)
    }

    async fn journals_of(
        &self,
        partition: Partition,
        shoppers: &[&str],
        query: &JournalQuery,
    ) -> Result<Vec<Event>, Error> {
        let names = self.keys.of(partition);
        let to = query.until.map_or("+inf".to_owned(), |until| format!("({}", until.as_millis()));
        let from = query.since.map_or("-inf".to_owned(), |since| since.as_millis().to_string());
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
        let call = |shopper: &&str| {
            let call = Call::command("ZRANGE", names.journal_of(shopper)).arg(&to).arg(&from);
            call.arg("BYSCORE").arg("REV").arg("LIMIT").arg(0).arg(limit)
        };
        let answers = self.ask(&shoppers.iter().map(call).collect::<Vec<_>>()).await?;
        let mut events = Vec::new();
        for (shopper, answer) in shoppers.iter().zip(answers) {
            let what = || format!("a row of {}", names.journal_of(shopper));
            let rows: Vec<Vec<u8>> = reply::read(answer, &what())?;
            for row in rows.iter().rev() {
                let body = row.get(NUMBER_LEN..).ok_or_else(|| Error::Corrupt(format!("{}: cut short", what())))?;
                events.push(codec::decode(body, what)?);
            }
        }
        Ok(events)
    }

    pub(super) async fn sizes(&self) -> Result<Sizes, Error> {
        let claimed = self.claimed();
        let mut calls = Vec::new();
        for names in Partition::all().map(|partition| self.keys.of(partition)) {
            calls.push(Call::command("HLEN", names.shoppers()));
            calls.extend(Channel::ALL.map(|channel| Call::command("ZCARD", names.outbox(channel))));
            calls.extend(claimed.iter().map(|queue| {
                let (least, greatest) = score::bounds(*queue);
                Call::command("ZCOUNT", names.outbox(queue.channel)).arg(least).arg(greatest)
            }));
        }
        let mut counts = Vec::with_capacity(calls.len());
        for answer in self.ask(&calls).await? {
            counts.push(reply::read::<u64>(answer, "a size")?);
        }
        let (first, step) = (1 + Channel::ALL.len(), 1 + Channel::ALL.len() + claimed.len());
        let total = |place: usize| counts.iter().skip(place).step_by(step).sum();
        let waiting = Channel::ALL.iter().enumerate().map(|(place, channel)| (*channel, total(place + 1))).collect();
        let queues = claimed.iter().enumerate().map(|(place, queue)| (*queue, total(place + first)));
        Ok(Sizes { shoppers: total(0), waiting, queues: queues.filter(|(_, count)| *count > 0).collect(), bytes: 0 })
    }

    /// The fields of hashes as every transfer that is decided leaves them, be it finished or not. `lock` is what the names
    /// of their locks begin with.
    pub(super) async fn decided<'i, I>(
        &self,
        ids: &'i [I],
        place: impl Fn(&'i I) -> (Partition, &'i str),
        (key, lock): (fn(&Names) -> &str, char),
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let (reads, indices) = self.reads(ids, &place, key);
        // Before the fields, so that what is not locked by then is read as its last transfer has left it.
        let lock_count = |partition: &Partition| Call::command("HLEN", self.keys.of(*partition).locks());
        let mut calls: Vec<Call> = reads.keys().map(lock_count).collect();
        calls.extend(reads.into_values());
        let mut counts = self.ask(&calls).await?;
        let fields = counts.split_off(indices.len());
        let mut locks = 0;
        for count in counts {
            locks += reply::read::<u64>(count, "how many locks there are")?;
        }
        if locks == 0 {
            return put_back(ids.len(), fields, indices);
        }
        let name = |(at, id): (Partition, &str)| (at, format!("{lock}{id}"));
        let names: Vec<(Partition, String)> = ids.iter().map(&place).map(name).collect();
        let locks = self.fields(&names, |(partition, name)| (*partition, name.as_str()), Names::locks).await?;
        let met = locks.into_iter().zip(&names).filter_map(|(lock, (partition, _))| Some((*partition, lock?)));
        self.finish_decided(met.collect()).await?;
        self.fields(ids, place, key).await
    }

    /// The fields of hashes, in the order of the ids: one call for each partition.
    async fn fields<'i, I>(
        &self,
        ids: &'i [I],
        place: impl Fn(&'i I) -> (Partition, &'i str),
        key: fn(&Names) -> &str,
    ) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let (reads, indices) = self.reads(ids, place, key);
        let answers = self.ask(&reads.into_values().collect::<Vec<_>>()).await?;
        put_back(ids.len(), answers, indices)
    }

    /// For each partition the call that reads the fields, and for each call, in the same order, which ids they are of.
    fn reads<'i, I>(
        &self,
        ids: &'i [I],
        place: impl Fn(&'i I) -> (Partition, &'i str),
        key: fn(&Names) -> &str,
    ) -> (BTreeMap<Partition, Call>, Vec<Vec<usize>>) {
        let mut groups: BTreeMap<Partition, (Call, Vec<usize>)> = BTreeMap::new();
        for (index, id) in ids.iter().enumerate() {
            let (partition, field) = place(id);
            let begin = || (Call::command("HMGET", key(self.keys.of(partition))), Vec::new());
            let (call, indices) = groups.entry(partition).or_insert_with(begin);
            call.command.arg(field);
            indices.push(index);
        }
        groups.into_iter().map(|(partition, (call, indices))| ((partition, call), indices)).unzip()
    }
}

/// The values that calls for groups of ids were answered with, in the order of the ids.
fn put_back(count: usize, answers: Vec<Value>, indices: Vec<Vec<usize>>) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let mut found: Vec<Option<Vec<u8>>> = vec![None; count];
    for (answer, indices) in answers.into_iter().zip(indices) {
        let values: Vec<Option<Vec<u8>>> = reply::read(answer, "the values of a group")?;
        for (index, value) in indices.into_iter().zip(values) {
            found[index] = value;
        }
    }
    Ok(found)
}

fn read_name(bytes: &[u8], what: impl Fn() -> String) -> Result<ShopperId, Error> {
    let name = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
    name.ok_or_else(|| Error::Corrupt(format!("{}: no shopper", what())))
}

/// The far end of times, for scores.
pub(super) fn before(horizon: Timestamp) -> String {
    format!("({}", horizon.as_millis())
}
