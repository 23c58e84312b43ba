//! Settlements, reports and lives. A life is kept as facts in the order of their arrival and folded at reading by the
//! code that all engines share, so that how a life grows is said once.

use std::collections::BTreeMap;

use parvis_engine::{id::NotificationId, notification::Milestone, time::Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    call::Call,
    claim::read_message,
    item::{Message, number, write_messages},
    partition::{Names, Partition, channel_number},
    record::split_line,
    reply, score, scripts,
    shared::{Shared, Stage},
};
use crate::store::{
    End, Error, Life, Queue, Settlement, Step,
    codec::{self, read_part, write_part},
    life::Progress,
    rows::{Sent, Waiting},
};

/// What happened to a message after it was stored.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fact {
    /// A claim ended.
    Settled { at: Timestamp, end: End },
    /// A milestone was reported from outside.
    Reported { step: Step },
    /// All this was known when the message came from another store.
    Imported { milestones: Vec<Step>, attempts: u32 },
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
        settlements.iter().for_each(Settlement::check);
        // What adds nothing is told for itself: it must work when memory is full.
        let mut groups: BTreeMap<(Partition, bool), Vec<&Settlement>> = BTreeMap::new();
        for settlement in &settlements {
            let group = (Partition::of_shopper(&settlement.shopper), !settlement.then.is_empty());
            groups.entry(group).or_default().push(settlement);
        }
        let call = |((partition, adds), group)| settle_call(self.keys.of(partition), adds, group);
        let calls = groups.into_iter().map(call).collect::<Result<Vec<_>, _>>()?;
        self.ask_in(Stage::Settle, &calls).await?;
        let mut grew = false;
        for Settlement { shopper, queue, end, then, .. } in settlements {
            let again = if let End::Again { at, .. } = end { Some((queue, at)) } else { None };
            let then = then.iter().map(|message| (Queue::of(message), message.not_before));
            for (queue, due) in again.into_iter().chain(then) {
                self.lower(queue, Partition::of_shopper(&shopper), due);
                grew = true;
            }
        }
        if grew {
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
        read_life(names, &id.to_string(), (&message, &life)).map(|(life, _)| Some(life))
    }
}

/// Folds a life from its facts; and how its entry of the outbox waits, if it has one.
pub(super) fn read_life(names: &Names, id: &str, (message, life): (&[u8], &[u8])) -> Result<(Life, Waiting), Error> {
    let notification = read_message(message, || format!("field {id} of {}", names.messages()))?;
    let place = || format!("field {id} of {}", names.lives());
    let cut = || Error::Corrupt(format!("{}: no life", place()));
    let (head, mut facts) = split_line(life).ok_or_else(cut)?;
    let mut words = head.split(' ');
    let attempts = words.next().and_then(|word| word.parse().ok()).ok_or_else(cut)?;
    let due = words.nth(1).and_then(|word| word.parse().ok()).map(Timestamp::from_millis).ok_or_else(cut)?;
    let mut progress = Progress::begin(&notification);
    while !facts.is_empty() {
        match codec::decode(read_part(&mut facts).ok_or_else(cut)?, place)? {
            Fact::Settled { at, end } => progress.settle(at, &end),
            Fact::Reported { step } => drop(progress.report(step)),
            Fact::Imported { milestones, attempts } => progress = Progress { milestones, attempts },
        }
    }
    Ok((progress.of(notification), Waiting { due, attempts }))
}

/// A life from another store, as it is kept here; and when its latest step was, if it is over.
pub(super) fn write_life(sent: &Sent) -> Result<(Vec<u8>, Option<Timestamp>), Error> {
    let Sent { life: Life { notification, milestones, attempts }, waiting } = sent;
    let progress = Progress { milestones: milestones.clone(), attempts: *attempts };
    let fresh = Waiting { due: notification.not_before, attempts: *attempts };
    let Waiting { due, attempts: tried } = waiting.unwrap_or(fresh);
    let latest = milestones.iter().map(|step| step.at).max().unwrap_or(notification.decided_at);
    let reported: String = milestones.iter().map(|step| format!("{},", step.milestone.name())).collect();
    let mut kept = format!("{tried} 0 {} {} {reported}\n", due.as_millis(), latest.as_millis()).into_bytes();
    kept.extend(Fact::Imported { milestones: progress.milestones.clone(), attempts: *attempts }.write()?);
    Ok((kept, progress.idle_since()))
}

fn settle_call(names: &Names, adds: bool, settlements: Vec<&Settlement>) -> Result<Call, Error> {
    let own: Vec<String> = match adds {
        true => settlements.iter().map(|it| names.messages_of(it.shopper.as_str())).collect(),
        false => Vec::new(),
    };
    let keys: Vec<&str> = names.shopper_script.iter().chain(&own).map(String::as_str).collect();
    let mut call = Call::script(if adds { &scripts::SETTLE_AND_ADD } else { &scripts::SETTLE }, &keys);
    let mut word = |bytes: &[u8]| {
        call.command.arg(bytes);
    };
    number(settlements.len(), &mut word);
    for (place, settlement) in (names.shopper_script.len() + 1..).zip(settlements) {
        write(settlement, if adds { place } else { 0 }, &mut word)?;
    }
    Ok(call.durable())
}

/// Tells the script a settlement; `place` is that of the key with the ids of its shopper's messages, or 0.
fn write(settlement: &Settlement, place: usize, word: &mut impl FnMut(&[u8])) -> Result<(), Error> {
    let Settlement { shopper, queue, id, lease, at, end, then } = settlement;
    word(id.to_string().as_bytes());
    number(channel_number(queue.channel), word);
    number(lease, word);
    number(at.as_millis(), word);
    let (attempts, due) = match end {
        End::Terminal { attempts, .. } => (*attempts, None),
        End::Again { at, attempts, .. } => (*attempts, Some(*at)),
    };
    number(attempts, word);
    word(due.map_or(String::new(), |due| due.as_millis().to_string()).as_bytes());
    word(due.map_or(String::new(), |due| score::of(*queue, due).to_string()).as_bytes());
    let is_dead = matches!(end, End::Terminal { milestone: Milestone::Dead, .. });
    number(u8::from(is_dead), word);
    word(&Fact::Settled { at: *at, end: end.clone() }.write()?);
    word(shopper.as_str().as_bytes());
    number(place, word);
    let then = then.iter().map(Message::new).collect::<Result<Vec<_>, _>>()?;
    write_messages(&then, word);
    Ok(())
}
