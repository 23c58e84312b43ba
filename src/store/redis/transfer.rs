//! What spans partitions: shoppers who change together, and the directories of devices and orders. It changes in
//! stages, all transfers of a batch in step: prepare (judge and lock, everywhere but at home), decide (apply at home and
//! write down the rest), finish (apply the rest and unlock), forget. A transfer is committed when it is decided.

use std::collections::BTreeMap;

use parvis_engine::{
    id::{DeviceId, OrderId, ShopperId},
    shopper::Shopper,
};

use super::{
    call::Call,
    commit::Verdict,
    item::{Item, State, number},
    lock::Suspect,
    partition::{Names, Partition},
    record, reply,
    script::Script,
    scripts,
    shared::{Shared, Stage},
};
use crate::store::{
    Error,
    codec::{read_part, write_part},
};

/// What takes effect as a whole.
#[derive(Debug)]
pub(super) struct Unit {
    pub(super) items: Vec<Item>,
    /// Whom a conflict concerns.
    pub(super) told: Vec<ShopperId>,
}

/// One unit on its way.
#[derive(Debug)]
struct Transfer {
    id: String,
    unit: Unit,
    home: Partition,
    parts: BTreeMap<Partition, Part>,
    /// Somebody has a newer version: all that can be is that this very unit was applied and the answer was lost.
    only_asks: bool,
    verdict: Option<Verdict>,
}

/// What a transfer says to one partition: keys besides those that every script takes, and words, framed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    keys: Vec<String>,
    words: Vec<u8>,
}

/// What becomes of an entry of a directory; the letters are those of the scripts.
#[derive(Debug)]
struct Operation<'u> {
    kind: &'static [u8],
    name: &'u str,
    shopper: &'u ShopperId,
    others: Vec<&'u ShopperId>,
}

impl Unit {
    pub(super) fn alone(item: Item) -> Unit {
        Unit { told: vec![item.id.clone()], items: vec![item] }
    }

    /// Whether it makes room, and so must work when memory is full.
    fn frees(&self) -> bool {
        self.items.iter().all(|item| matches!(item.state, State::Erased))
    }
}

impl Transfer {
    fn others(&self) -> impl Iterator<Item = (Partition, &Part)> {
        self.parts.iter().filter(|(partition, _)| **partition != self.home).map(|(partition, part)| (*partition, part))
    }

    /// What the home writes down, to be read by [`read_rest`].
    fn rest(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        for (partition, part) in self.others() {
            write_part(&mut rest, &[u8::try_from(partition.number()).unwrap_or(u8::MAX)]);
            let mut keys = Vec::new();
            part.keys.iter().for_each(|key| write_part(&mut keys, key.as_bytes()));
            write_part(&mut rest, &keys);
            write_part(&mut rest, &part.words);
        }
        rest
    }

    fn suspect(&self) -> Suspect {
        let locked = self.others().map(|(partition, _)| partition).collect();
        Suspect { id: self.id.clone(), home: self.home, locked }
    }
}

impl Shared {
    /// Transfers units, and tells what became of each.
    pub(super) async fn transfer(&self, units: Vec<Unit>) -> Result<Vec<(Unit, Verdict)>, Error> {
        if units.is_empty() {
            return Ok(Vec::new());
        }
        let mut transfers = self.plan(units).await?;
        let result = self.take_stages(&mut transfers).await;
        if result.is_err() {
            let suspects = transfers.iter().map(Transfer::suspect).filter(|suspect| !suspect.locked.is_empty());
            self.suspects().extend(suspects);
        }
        result?;
        let tell = |transfer: Transfer| (transfer.unit, transfer.verdict.unwrap_or(Verdict::Conflict));
        Ok(transfers.into_iter().map(tell).collect())
    }

    async fn take_stages(&self, transfers: &mut [Transfer]) -> Result<(), Error> {
        self.prepare(transfers).await?;
        let decided = self.decide(transfers).await?;
        self.release(transfers, &decided).await?;
        let calls: Vec<Call> = decided
            .iter()
            .map(|place| &transfers[*place])
            .flat_map(|it| it.others().map(|(partition, part)| self.finish_call(&it.id, partition, part)))
            .collect();
        self.ask_in(Stage::Finish, &calls).await?;
        let with_rest = decided.iter().map(|place| &transfers[*place]).filter(|it| it.others().next().is_some());
        let calls: Vec<Call> = with_rest.map(|it| self.forget_call(&it.id, it.home)).collect();
        self.ask_in(Stage::Forget, &calls).await?;
        Ok(())
    }

    /// Finds out what each unit means for which partition, from what is stored now.
    async fn plan(&self, units: Vec<Unit>) -> Result<Vec<Transfer>, Error> {
        let known = |item: &&Item| item.version > 0;
        let ids: Vec<ShopperId> =
            units.iter().flat_map(|unit| &unit.items).filter(known).map(|it| it.id.clone()).collect();
        let stored: BTreeMap<ShopperId, (u64, Shopper)> =
            self.stored(&ids).await?.into_iter().flatten().map(|it| (it.1.id.clone(), it)).collect();
        let plan = |unit: Unit| {
            let version = |item: &Item| stored.get(&item.id).map_or(0, |(version, _)| *version);
            let only_asks = unit.items.iter().filter(known).any(|item| version(item) != item.version);
            let home = unit.items.first().map_or(Partition::of_name(""), Item::partition);
            let parts = self.divide(&unit, &stored);
            Transfer { id: self.new_id(), unit, home, parts, only_asks, verdict: None }
        };
        Ok(units.into_iter().map(plan).collect())
    }

    fn divide(&self, unit: &Unit, stored: &BTreeMap<ShopperId, (u64, Shopper)>) -> BTreeMap<Partition, Part> {
        let mut items: BTreeMap<Partition, Vec<&Item>> = BTreeMap::new();
        for item in &unit.items {
            items.entry(item.partition()).or_default().push(item);
        }
        let mut operations: BTreeMap<Partition, Vec<Operation<'_>>> = BTreeMap::new();
        for operation in operations_of(unit, stored) {
            operations.entry(Partition::of_name(operation.name)).or_default().push(operation);
        }
        let mut parts = BTreeMap::new();
        for partition in Partition::all() {
            let (items, operations) = (items.remove(&partition), operations.remove(&partition));
            if items.is_some() || operations.is_some() {
                let part = self.part(partition, &items.unwrap_or_default(), &operations.unwrap_or_default());
                parts.insert(partition, part);
            }
        }
        parts
    }

    fn part(&self, partition: Partition, items: &[&Item], operations: &[Operation<'_>]) -> Part {
        let names = self.keys.of(partition);
        let Part { mut keys, mut words } = Part::default();
        let mut word = |bytes: &[u8]| write_part(&mut words, bytes);
        number(items.len(), &mut word);
        for item in items {
            let own = item.keys(names);
            let place = names.shopper_script.len() + keys.len() + 1;
            item.write(if own.is_some() { place } else { 0 }, &mut word);
            keys.extend(own.into_iter().flatten());
        }
        number(operations.len(), &mut word);
        for Operation { kind, name, shopper, others } in operations {
            word(kind);
            word(name.as_bytes());
            word(shopper.as_str().as_bytes());
            number(others.len(), &mut word);
            others.iter().for_each(|other| word(other.as_str().as_bytes()));
        }
        Part { keys, words }
    }

    async fn prepare(&self, transfers: &mut [Transfer]) -> Result<(), Error> {
        let (mut asked, mut calls) = (Vec::new(), Vec::new());
        for (place, transfer) in transfers.iter().enumerate().filter(|(_, transfer)| !transfer.only_asks) {
            for (partition, part) in transfer.others() {
                let home = transfer.home.number().to_string();
                let script = if transfer.unit.frees() { &scripts::PREPARE_ERASURE } else { &scripts::PREPARE };
                asked.push((place, partition));
                calls.push(self.part_call(script, partition, &[transfer.id.as_bytes(), home.as_bytes()], part));
            }
        }
        let answers = self.ask_in(Stage::Prepare, &calls).await?;
        for ((place, partition), answer) in asked.into_iter().zip(answers) {
            let (word, more): (String, String) = reply::read(answer, self.keys.of(partition).locks())?;
            let transfer = &mut transfers[place];
            match self.verdict((&word, &more), partition)? {
                Verdict::Done(_) => transfer.only_asks |= word == "already",
                refusal @ (Verdict::Conflict | Verdict::Directory | Verdict::Locked(_)) => {
                    transfer.verdict = Some(refusal);
                }
            }
        }
        Ok(())
    }

    /// Gives the places of those that were decided.
    async fn decide(&self, transfers: &mut [Transfer]) -> Result<Vec<usize>, Error> {
        let open: Vec<usize> = (0..transfers.len()).filter(|place| transfers[*place].verdict.is_none()).collect();
        let call = |place: &usize| {
            let it = &transfers[*place];
            let (rest, asks) = (it.rest(), if it.only_asks { b"1" } else { b"0" });
            let part = it.parts.get(&it.home).cloned().unwrap_or_default();
            let script = if it.unit.frees() { &scripts::DECIDE_ERASURE } else { &scripts::DECIDE };
            self.part_call(script, it.home, &[it.id.as_bytes(), asks, &rest], &part)
        };
        let answers = self.ask_in(Stage::Decide, &open.iter().map(call).collect::<Vec<_>>()).await?;
        let mut decided = Vec::new();
        for (place, answer) in open.into_iter().zip(answers) {
            let transfer = &mut transfers[place];
            let (word, more): (String, String) = reply::read(answer, self.keys.of(transfer.home).transfers())?;
            if word == "decided" {
                decided.push(place);
            }
            let verdict =
                if word == "already" { Verdict::Done(0) } else { self.verdict((&word, &more), transfer.home)? };
            transfer.verdict = Some(verdict);
        }
        Ok(decided)
    }

    /// Unlocks what was prepared and not decided.
    async fn release(&self, transfers: &[Transfer], decided: &[usize]) -> Result<(), Error> {
        let undone = (0..transfers.len()).filter(|place| !decided.contains(place)).map(|place| &transfers[place]);
        let release = |transfer: &Transfer, partition| {
            Call::script(&scripts::RELEASE, &[self.keys.of(partition).locks()]).arg(&transfer.id)
        };
        let calls: Vec<Call> =
            undone.flat_map(|it| it.others().map(move |(partition, _)| release(it, partition))).collect();
        self.ask(&calls).await.map(drop)
    }

    pub(super) fn finish_call(&self, id: &str, partition: Partition, part: &Part) -> Call {
        self.part_call(&scripts::FINISH, partition, &[id.as_bytes()], part)
    }

    pub(super) fn forget_call(&self, id: &str, home: Partition) -> Call {
        Call::command("HDEL", self.keys.of(home).transfers()).arg(id)
    }

    fn part_call(&self, script: &'static Script, partition: Partition, head: &[&[u8]], part: &Part) -> Call {
        let keys = self.keys.of(partition).shopper_script.iter().chain(&part.keys);
        let mut call = Call::script(script, &keys.map(String::as_str).collect::<Vec<_>>());
        for word in head {
            call.command.arg(*word);
        }
        let mut words = &part.words[..];
        while let Some(word) = read_part(&mut words) {
            call.command.arg(word);
        }
        call.durable()
    }

    /// The id of a new transfer. All are of one length, so that none begins with another.
    fn new_id(&self) -> String {
        format!("{:016x}{:016x}", self.entropy.bits(), self.entropy.bits())
    }

    /// What is stored of these shoppers, in the same order.
    pub(super) async fn stored(&self, ids: &[ShopperId]) -> Result<Vec<Option<(u64, Shopper)>>, Error> {
        let rows = self.decided(ids, |id| (Partition::of_shopper(id), id.as_str()), (Names::shoppers, 's'));
        let read = |(row, id): (Option<Vec<u8>>, &ShopperId)| {
            row.map(|row| record::read(&row, self.keys.of(Partition::of_shopper(id)), id)).transpose()
        };
        rows.await?.into_iter().zip(ids).map(read).collect()
    }
}

/// What a home has written down for the others; none if it can't be read.
pub(super) fn read_rest(mut rest: &[u8]) -> Option<Vec<(Partition, Part)>> {
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let [number] = read_part(&mut rest)? else { return None };
        let mut framed = read_part(&mut rest)?;
        let mut keys = Vec::new();
        while !framed.is_empty() {
            keys.push(std::str::from_utf8(read_part(&mut framed)?).ok()?.to_owned());
        }
        let words = read_part(&mut rest)?.to_vec();
        parts.push((Partition::numbered(i64::from(*number))?, Part { keys, words }));
    }
    Some(parts)
}

fn operations_of<'u>(unit: &'u Unit, stored: &'u BTreeMap<ShopperId, (u64, Shopper)>) -> Vec<Operation<'u>> {
    let mut devices: BTreeMap<&DeviceId, Operation<'u>> = BTreeMap::new();
    let mut orders: BTreeMap<(&OrderId, &ShopperId), Operation<'u>> = BTreeMap::new();
    for item in &unit.items {
        let Some(after) = after(item) else { continue };
        let before = (item.version > 0).then(|| stored.get(&item.id)).flatten().map(|(_, shopper)| shopper);
        let operation = |kind, name| Operation { kind, name, shopper: &item.id, others: Vec::new() };
        let has = |device: &DeviceId| after.is_some_and(|shopper| shopper.devices.contains_key(device));
        let had = |device: &DeviceId| before.is_some_and(|shopper| shopper.devices.contains_key(device));
        for device in after.iter().flat_map(|it| it.devices.keys()).filter(|device| !had(device)) {
            let others = unit.items.iter().filter(|it| it.id != item.id && gives_up(it, device)).map(|it| &it.id);
            let taken = Operation { others: others.collect(), ..operation(b"t", device.as_str()) };
            devices.insert(device, taken);
        }
        for device in before.iter().flat_map(|it| it.devices.keys()).filter(|device| !has(device)) {
            devices.entry(device).or_insert_with(|| operation(b"d", device.as_str()));
        }
        let has = |order: &OrderId| after.is_some_and(|shopper| shopper.orders.contains_key(order));
        let had = |order: &OrderId| before.is_some_and(|shopper| shopper.orders.contains_key(order));
        for order in after.iter().flat_map(|it| it.orders.keys()).filter(|order| !had(order)) {
            orders.insert((order, &item.id), operation(b"a", order.as_str()));
        }
        for order in before.iter().flat_map(|it| it.orders.keys()).filter(|order| !has(order)) {
            orders.insert((order, &item.id), operation(b"r", order.as_str()));
        }
    }
    devices.into_values().chain(orders.into_values()).collect()
}

/// What an item makes of the shopper: nothing if it stays, nobody if it is erased.
fn after(item: &Item) -> Option<Option<&Shopper>> {
    match &item.state {
        State::Replaced { shopper, .. } => Some(Some(shopper)),
        State::Erased => Some(None),
        State::Unchanged | State::NotSpokenOf => None,
    }
}

fn gives_up(item: &Item, device: &DeviceId) -> bool {
    after(item).is_some_and(|after| after.is_none_or(|shopper| !shopper.devices.contains_key(device)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_returns_as_it_was_and_no_cut_one_does() {
        let home = Partition::numbered(9).expect("there is");
        let part = Part { keys: vec!["p:{x}:of:A".to_owned(), String::new()], words: vec![3, 0, 0, 0, 1, 2, 3] };
        let parts = [(7, part.clone()), (9, Part::default()), (60, Part::default())];
        let parts: BTreeMap<_, _> =
            parts.into_iter().map(|(number, part)| (Partition::numbered(number).expect("there is"), part)).collect();
        let unit = Unit { items: Vec::new(), told: Vec::new() };
        let transfer = Transfer { id: String::new(), unit, home, parts, only_asks: false, verdict: None };
        let rest = transfer.rest();
        let read = read_rest(&rest).expect("whole");
        assert_eq!(read.iter().map(|(partition, _)| partition.number()).collect::<Vec<_>>(), [7, 60]);
        assert_eq!(read[0].1, part);
        for cut in [1, 5, rest.len() / 2] {
            assert_eq!(read_rest(&rest[..rest.len() - cut]), None, "{cut}");
        }
    }
}
