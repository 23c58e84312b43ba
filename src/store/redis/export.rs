//! Everything as rows, partition by partition, while others write: each row is as it was when it was read.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use parvis_engine::{id::ShopperId, notification::Channel};
use redis::FromRedisValue;

use super::{
    call::Call,
    partition::{Names, Partition},
    record, reply, score,
    settle::read_life,
    shared::Shared,
};
use crate::store::{
    Error, JournalQuery, codec,
    rows::{Budget, Durably, Export, Kept, Object, Row, Sent},
};

/// How many fields of a hash are asked for at once.
const COUNT: usize = 256;
/// The most rows of one page.
const PAGE_ROWS: usize = 512;

/// An export that is being read.
pub(super) struct Reading {
    shared: Arc<Shared>,
    kind: Kind,
    /// The partition at hand and those after it.
    partitions: VecDeque<Partition>,
    cursor: String,
    rows: VecDeque<Row>,
}

#[derive(Clone, Copy)]
enum Kind {
    Catalog,
    Budgets,
    Shoppers,
    Messages,
    Events,
    Answers,
    End,
}

impl Kind {
    fn next(self) -> Kind {
        match self {
            Kind::Catalog => Kind::Budgets,
            Kind::Budgets => Kind::Shoppers,
            Kind::Shoppers => Kind::Messages,
            Kind::Messages => Kind::Events,
            Kind::Events => Kind::Answers,
            Kind::Answers | Kind::End => Kind::End,
        }
    }
}

/// The next cursor and what was found.
type Found<T> = (String, T);
type Fields = Vec<(String, Vec<u8>)>;

impl Reading {
    pub(super) fn begin(shared: Arc<Shared>) -> Reading {
        let (partitions, cursor) = (Partition::all().collect(), "0".to_owned());
        Reading { shared, kind: Kind::Catalog, partitions, cursor, rows: VecDeque::new() }
    }

    /// Reads a little further.
    async fn advance(&mut self) -> Result<(), Error> {
        let Some(partition) = self.partitions.front().copied() else {
            self.kind = self.kind.next();
            self.partitions = Partition::all().collect();
            return Ok(());
        };
        let shared = self.shared.clone();
        let (names, cursor) = (shared.keys.of(partition), &self.cursor);
        let (cursor, rows) = match self.kind {
            Kind::Catalog => {
                self.partitions.clear();
                let rows = shared.objects().await?.into_iter().chain(shared.named().await?);
                ("0".to_owned(), rows.collect())
            }
            Kind::Budgets => shared.budgets(names, cursor).await?,
            Kind::Shoppers => shared.shoppers(names, cursor).await?,
            Kind::Messages => shared.sent(names, cursor).await?,
            Kind::Events => shared.events(names, cursor).await?,
            Kind::Answers => shared.answers(names, cursor).await?,
            Kind::End => return Ok(()),
        };
        self.rows.extend(rows);
        if cursor == "0" {
            self.partitions.pop_front();
        }
        self.cursor = cursor;
        Ok(())
    }
}

#[async_trait]
impl Export for Reading {
    fn is_snapshot(&self) -> bool {
        false
    }

    async fn next(&mut self) -> Result<Vec<Row>, Error> {
        while self.rows.is_empty() && !matches!(self.kind, Kind::End) {
            self.advance().await?;
        }
        let count = self.rows.len().min(PAGE_ROWS);
        Ok(self.rows.drain(..count).collect())
    }
}

impl Shared {
    async fn objects(&self) -> Result<Vec<Row>, Error> {
        let catalog = self.catalog().await?;
        let object = |item: crate::store::CatalogItem| {
            Row::Object(Object { kind: item.kind, id: item.id, json: item.json.unwrap_or_default() })
        };
        Ok([Row::Generation(catalog.generation)].into_iter().chain(catalog.items.into_iter().map(object)).collect())
    }

    async fn budgets(&self, names: &Names, cursor: &str) -> Result<Found<Vec<Row>>, Error> {
        let (cursor, fields): Found<Vec<(String, u64)>> = self.scan("HSCAN", &names.budgets, cursor).await?;
        let mut rows = Vec::new();
        for (campaign, spent) in fields.into_iter().filter(|(_, spent)| *spent > 0) {
            let odd = |why| Error::Corrupt(format!("field {campaign:?} of {}: {why}", names.budgets));
            rows.push(Row::Budget(Budget { campaign: campaign.parse().map_err(odd)?, spent }));
        }
        Ok((cursor, rows))
    }

    async fn shoppers(&self, names: &Names, cursor: &str) -> Result<Found<Vec<Row>>, Error> {
        let (cursor, fields): Found<Fields> = self.scan("HSCAN", names.shoppers(), cursor).await?;
        let wakes = self.scores(names.wakes(), &fields).await?;
        let mut rows = Vec::new();
        for ((id, bytes), wake) in fields.iter().zip(wakes) {
            let odd = |why| Error::Corrupt(format!("field {id:?} of {}: {why}", names.shoppers()));
            let id: ShopperId = id.parse().map_err(odd)?;
            let (version, shopper) = record::read(bytes, names, &id)?;
            rows.push(Row::Shopper(Durably { version, wake: wake.map(score::time), state: Arc::new(shopper) }));
        }
        Ok((cursor, rows))
    }

    async fn sent(&self, names: &Names, cursor: &str) -> Result<Found<Vec<Row>>, Error> {
        let (cursor, fields): Found<Fields> = self.scan("HSCAN", names.messages(), cursor).await?;
        if fields.is_empty() {
            return Ok((cursor, Vec::new()));
        }
        let mut waits = vec![false; fields.len()];
        for channel in Channel::ALL {
            let scores = self.scores(names.outbox(channel), &fields).await?;
            waits.iter_mut().zip(scores).for_each(|(waits, score)| *waits |= score.is_some());
        }
        let ids: Vec<&String> = fields.iter().map(|(id, _)| id).collect();
        let call = Call::command("HMGET", names.lives()).arg(ids);
        let lives: Vec<Option<Vec<u8>>> = self.ask_one(call, names.lives()).await?;
        let mut rows = Vec::new();
        for (((id, message), life), waits) in fields.iter().zip(lives).zip(waits) {
            // It was forgotten between the two questions.
            let Some(life) = life else { continue };
            let (life, waiting) = read_life(names, id, (message, &life))?;
            // It was settled between the two questions, and must not be sent again by who takes it in.
            let is_over = life.milestones.iter().any(|step| step.milestone.is_terminal());
            rows.push(Row::Notification(Box::new(Sent { life, waiting: (waits && !is_over).then_some(waiting) })));
        }
        Ok((cursor, rows))
    }

    async fn events(&self, names: &Names, cursor: &str) -> Result<Found<Vec<Row>>, Error> {
        let (cursor, members): Found<Vec<(String, f64)>> = self.scan("ZSCAN", names.journals(), cursor).await?;
        let mut rows = Vec::new();
        for (shopper, _) in members {
            let odd = |why| Error::Corrupt(format!("member {shopper:?} of {}: {why}", names.journals()));
            let shopper = Some(shopper.parse().map_err(odd)?);
            let query = JournalQuery { shopper, limit: usize::MAX, ..JournalQuery::default() };
            rows.extend(self.journal(query).await?.into_iter().map(|event| Row::Event(Box::new(event))));
        }
        Ok((cursor, rows))
    }

    async fn answers(&self, names: &Names, cursor: &str) -> Result<Found<Vec<Row>>, Error> {
        let (cursor, fields): Found<Fields> = self.scan("HSCAN", &names.answers, cursor).await?;
        let times = self.scores(&names.answered, &fields).await?;
        let mut rows = Vec::new();
        for ((key, answer), at) in fields.into_iter().zip(times) {
            let Some(at) = at.map(score::time) else { continue };
            let answer = codec::decode(&answer, || format!("field {key:?} of {}", names.answers))?;
            rows.push(Row::Answer(Kept { key, at, answer }));
        }
        Ok((cursor, rows))
    }

    async fn scan<T: FromRedisValue>(&self, command: &str, key: &str, cursor: &str) -> Result<Found<T>, Error> {
        self.ask_one(Call::command(command, key).arg(cursor).arg("COUNT").arg(COUNT), key).await
    }

    /// The scores of these fields' names in a sorted set.
    async fn scores(&self, key: &str, fields: &Fields) -> Result<Vec<Option<f64>>, Error> {
        if fields.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&String> = fields.iter().map(|(name, _)| name).collect();
        let answer = self.ask(&[Call::command("ZMSCORE", key).arg(names)]).await?.pop();
        reply::read(answer.unwrap_or(redis::Value::Nil), key)
    }
}
