//! Rows of another store, taken in. A batch spans partitions and is not taken as a whole, but a repeat of it changes
//! nothing; how far an import has come is written down after its rows.

use parvis_engine::id::ShopperId;

use super::{
    call::Call,
    partition::{Names, Partition},
    record, reply, score, scripts,
    settle::write_life,
    shared::Shared,
};
use crate::{
    report::Event,
    store::{
        Cursor, Error, Queue, codec,
        rows::{self, Batch, Contents, Durably, Row, Sent},
    },
};

/// Which import is going on, and how many of its rows are here.
const IMPORT: &str = "import";
const IMPORTED: &str = "imported";
/// What versions after one more erasure differ by (`lua/shopper.lua`).
const RANGE: u64 = 1 << 32;

impl Shared {
    pub(super) async fn contents(&self) -> Result<Contents, Error> {
        let meta = &self.keys.meta;
        let part = Call::command("HMGET", meta).arg(IMPORT).arg(IMPORTED);
        if let (Some(import), rows) = self.ask_one::<(Option<u64>, Option<u64>)>(part, meta).await? {
            return Ok(Contents::Part { import, rows: rows.unwrap_or(0) });
        }
        let mut calls = [&self.keys.catalog, &self.keys.notes].map(|key| Call::command("EXISTS", key)).to_vec();
        for names in Partition::all().map(|partition| self.keys.of(partition)) {
            let keys = [names.shoppers(), names.messages(), names.journals(), &names.answers, &names.budgets];
            calls.extend(keys.map(|key| Call::command("EXISTS", key)));
        }
        for answer in self.ask(&calls).await? {
            if reply::read::<u64>(answer, "whether a key exists")? > 0 {
                return Ok(Contents::Whole);
            }
        }
        Ok(Contents::Nothing)
    }

    pub(super) async fn import(&self, batch: Batch) -> Result<(), Error> {
        if let Some(refusal) = rows::refusal(self.contents().await?, &batch) {
            return Err(refusal);
        }
        let meta = &self.keys.meta;
        let Batch { import, before, rows, last } = batch;
        let so_far = |rows: u64| Call::command("HSET", meta).arg(IMPORT).arg(import).arg(IMPORTED).arg(rows).durable();
        self.ask(&[so_far(before)]).await?;
        let after = before + rows.len() as u64;
        let mut calls = Vec::new();
        for (number, row) in (before..).zip(rows) {
            self.import_row(number, row, &mut calls)?;
        }
        self.ask(&calls).await?;
        let end = || Call::command("HDEL", meta).arg(IMPORT).arg(IMPORTED).durable();
        self.ask(&[if last { end() } else { so_far(after) }]).await?;
        if last { self.poll_generation().await } else { Ok(()) }
    }

    fn import_row(&self, number: u64, row: Row, calls: &mut Vec<Call>) -> Result<(), Error> {
        let named = |name: &str| self.keys.of(Partition::of_name(name));
        match row {
            Row::Generation(generation) => {
                calls.push(Call::command("HSET", &self.keys.catalog).arg("generation").arg(generation).durable());
            }
            Row::Object(object) => {
                let field = format!("{}\n{}", object.kind, object.id);
                calls.push(Call::command("HSET", &self.keys.catalog).arg(field).arg(object.json).durable());
            }
            Row::Note(note) => calls.push(self.import_note(&note)),
            Row::Budget(budget) => {
                let campaign = budget.campaign.as_str();
                let call = Call::command("HSET", &named(campaign).budgets).arg(campaign).arg(budget.spent);
                calls.push(call.durable());
            }
            Row::Shopper(shopper) => self.import_shopper(&shopper, calls)?,
            Row::Notification(sent) => self.import_notification(&sent, calls)?,
            Row::Event(event) => self.import_event(number, &event, calls)?,
            Row::Answer(kept) => {
                let names = named(&kept.key);
                let call = Call::script(&scripts::ANSWER, &[&names.answers, &names.answered]).arg(&kept.key);
                calls.push(call.arg(codec::encode(&kept.answer)?).arg(kept.at.as_millis()).durable());
            }
        }
        Ok(())
    }

    fn import_shopper(&self, shopper: &Durably, calls: &mut Vec<Call>) -> Result<(), Error> {
        let Durably { version, wake, state } = shopper;
        let (names, id) = (self.of_shopper(&state.id), state.id.as_str());
        let call = Call::script(&scripts::IMPORT_SHOPPER, &[names.shoppers(), names.wakes(), names.counters()]);
        let call = call.arg(id).arg(version / RANGE).arg(record::imported(*version, state)?);
        calls.push(call.arg(wake.map_or(String::new(), |wake| wake.as_millis().to_string())).durable());
        for device in state.devices.keys().map(|device| device.as_str()) {
            let names = self.keys.of(Partition::of_name(device));
            calls.push(Call::command("HSET", names.devices()).arg(device).arg(id).durable());
        }
        for order in state.orders.keys().map(|order| order.as_str()) {
            let names = self.keys.of(Partition::of_name(order));
            calls.push(Call::script(&scripts::IMPORT_ORDER, &[names.orders()]).arg(order).arg(id).durable());
        }
        Ok(())
    }

    fn import_notification(&self, sent: &Sent, calls: &mut Vec<Call>) -> Result<(), Error> {
        let message = &sent.life.notification;
        let (id, shopper) = (message.id.to_string(), message.shopper.as_str());
        let names = self.of_shopper(&message.shopper);
        let mut body = format!("{shopper}\n").into_bytes();
        body.extend(codec::encode(message)?);
        let (life, ended) = write_life(sent)?;
        calls.push(Call::command("HSET", names.messages()).arg(&id).arg(body).durable());
        calls.push(Call::command("HSET", names.lives()).arg(&id).arg(life).durable());
        calls.push(Call::command("SADD", names.messages_of(shopper)).arg(&id));
        let outbox = names.outbox(message.channel);
        calls.push(match sent.waiting {
            Some(waiting) => Call::command("ZADD", outbox).arg(score::of(Queue::of(message), waiting.due)).arg(&id),
            // What comes twice may have been waiting when it was read first.
            None => Call::command("ZREM", outbox).arg(&id),
        });
        if let Some(dead) = Cursor::of(&sent.life) {
            calls.push(Call::command("ZADD", names.dead()).arg(dead.at.as_millis()).arg(&id));
        }
        if let Some(ended) = ended {
            calls.push(Call::command("ZADD", names.ended()).arg(ended.as_millis()).arg(&id));
        }
        Ok(())
    }

    /// Its number in the import keeps it apart from every other; numbers of commits have no place 0.
    fn import_event(&self, number: u64, event: &Event, calls: &mut Vec<Call>) -> Result<(), Error> {
        let (names, shopper) = (self.of_shopper(&event.shopper), event.shopper.as_str());
        let at = event.recorded_at.as_millis();
        let mut member = format!("{number:013x}00000").into_bytes();
        member.extend(codec::encode(event)?);
        calls.push(Call::command("ZADD", names.journal_of(shopper)).arg(at).arg(member).durable());
        calls.push(Call::command("ZADD", names.journals()).arg("LT").arg(at).arg(shopper));
        Ok(())
    }

    fn of_shopper(&self, id: &ShopperId) -> &Names {
        self.keys.of(Partition::of_shopper(id))
    }
}
