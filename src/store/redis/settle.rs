//! Settlements, reports and lives. A life is kept as facts in the order of their arrival and folded at reading by the
//! code that all engines share, so that how a life grows is said once.

use std::collections::BTreeMap;

use parvis_engine::{id::NotificationId, time::Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    call::Call,
    claim::read_message,
    partition::{Names, Partition, channel_number},
    record::split_line,
    reply, scripts,
    shared::{Shared, Stage},
};
use crate::store::{
    End, Error, Life, Settlement, Step,
    codec::{self, read_part, write_part},
    life::Progress,
};

/// What happened to a message after it was stored.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fact {
    /// A claim ended.
    Settled { at: Timestamp, end: End },
    /// A milestone was reported from outside.
    Reported { step: Step },
}

impl Fact {
    fn write(&self) -> Result<Vec<u8>, Error> {
        let mut framed = Vec::new();
        write_part(&mut framed, &codec::encode(self)?);
        Ok(framed)
    }
}

impl Shared {
    pub(super) async fn settle(&self, settlements: Vec<Settlement>) -> Result<(), Error> {
        let mut calls: BTreeMap<Partition, Call> = BTreeMap::new();
        for settlement in &settlements {
            let partition = Partition::of_shopper(&settlement.shopper);
            let call = calls.remove(&partition).unwrap_or_else(|| settle_call(self.keys.of(partition)));
            calls.insert(partition, add(call, settlement)?);
        }
        self.ask_in(Stage::Settle, &calls.into_values().collect::<Vec<_>>()).await?;
        let mut again = false;
        for settlement in settlements {
            if let End::Again { at, .. } = settlement.end {
                let queue = &self.outbox[channel_number(settlement.channel) - 1];
                queue.lower(Partition::of_shopper(&settlement.shopper), at);
                again = true;
            }
        }
        if again {
            self.grew.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    pub(super) async fn report(&self, id: NotificationId, step: Step) -> Result<bool, Error> {
        let names = self.keys.of(Partition::of_notification(id));
        let (milestone, at) = (step.milestone, step.at.as_millis());
        // How delivery ended is known here alone, so such a report says nothing.
        let fact = if milestone.is_terminal() { Vec::new() } else { Fact::Reported { step }.write()? };
        let call = Call::script(&scripts::REPORT, &[names.lives(), names.ended(), names.counters()]);
        let call = call.arg(id.to_string()).arg(milestone.name()).arg(at).arg(fact).durable();
        match self.ask_one(call, names.lives()).await? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::Corrupt(format!("field {id} of {}: no life", names.lives()))),
        }
    }

    pub(super) async fn life(&self, id: NotificationId) -> Result<Option<Life>, Error> {
        let names = self.keys.of(Partition::of_notification(id));
        let field = |key| Call::command("HGET", key).arg(id.to_string());
        let mut answers = self.ask(&[field(names.messages()), field(names.lives())]).await?.into_iter();
        let mut next = || answers.next().map_or(Ok(None), |answer| reply::read::<Option<Vec<u8>>>(answer, &names.tag));
        let (Some(message), Some(life)) = (next()?, next()?) else { return Ok(None) };
        let notification = read_message(&message, || format!("field {id} of {}", names.messages()))?;
        let place = || format!("field {id} of {}", names.lives());
        let cut = || Error::Corrupt(format!("{}: no life", place()));
        let (_, mut facts) = split_line(&life).ok_or_else(cut)?;
        let mut progress = Progress::begin(&notification);
        while !facts.is_empty() {
            match codec::decode(read_part(&mut facts).ok_or_else(cut)?, place)? {
                Fact::Settled { at, end } => progress.settle(at, &end),
                Fact::Reported { step } => drop(progress.report(step)),
            }
        }
        Ok(Some(progress.of(notification)))
    }
}

fn settle_call(names: &Names) -> Call {
    let outboxes = parvis_engine::notification::Channel::ALL.map(|channel| names.outbox(channel));
    let keys = [names.lives(), names.ended(), names.counters(), outboxes[0], outboxes[1], outboxes[2]];
    Call::script(&scripts::SETTLE, &keys).durable()
}

fn add(call: Call, settlement: &Settlement) -> Result<Call, Error> {
    let (attempts, due) = match &settlement.end {
        End::Terminal { attempts, .. } => (*attempts, String::new()),
        End::Again { at, attempts, .. } => (*attempts, at.as_millis().to_string()),
    };
    let fact = Fact::Settled { at: settlement.at, end: settlement.end.clone() }.write()?;
    let call = call.arg(settlement.id.to_string()).arg(channel_number(settlement.channel)).arg(settlement.lease);
    Ok(call.arg(settlement.at.as_millis()).arg(attempts).arg(due).arg(fact))
}
