//! Takes messages together and tells what became of each. Reads nothing itself and acknowledges nothing.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, future, stream};
use parvis_engine::{id::ScannerId, observation::Rejected, time::Timestamp};

use super::{
    Tools,
    config::{Format, Subscription},
    reading::{self, Outcome, Read},
    waiting::Message,
};
use crate::ingest::{
    self, Batch, Cause, Report,
    scanners::{self, Delivery, Refusal, Speaker},
    sightings,
};

/// What became of a message, and how it was read.
pub(super) type Told = (Option<Format>, Outcome);

/// Scanners whose reports are taken at the same time.
const SCANNERS_AT_ONCE: usize = 64;

/// Takes messages together, waits until what they caused is durable, and tells what became of each.
///
/// # Errors
/// If they could not be taken; trying all of them again is harmless.
pub(super) async fn take(tools: &Tools, wanted: &[Subscription], round: &[Message]) -> Result<Vec<Told>, String> {
    let mut told = Vec::with_capacity(round.len());
    let mut observed = Batch::default();
    let mut reported: BTreeMap<ScannerId, Vec<Reported>> = BTreeMap::new();
    // How many observations each message holds, and how many of them were refused.
    let mut counts = vec![(0, 0); round.len()];
    for (place, message) in round.iter().enumerate() {
        let (format, read) = reading::read(wanted, message);
        let outcome = match read {
            Read::Nothing(outcome) => outcome,
            Read::Observations(batch) => {
                counts[place].0 = batch.reports.len() + batch.rejected.len();
                join(&mut observed, batch, place);
                Outcome::Ignored
            }
            Read::Report(scanner, delivery) => {
                counts[place].0 = delivery.batch.sightings.len() + delivery.batch.rejected.len();
                let received_at = message.said.as_ref().map(|said| said.received_at).unwrap_or_default();
                let queue = reported.entry(scanner).or_default();
                queue.push(Reported { delivery: placed(delivery, place), places: vec![place], received_at });
                Outcome::Taken
            }
        };
        told.push((format, outcome));
    }
    let (refused, settled) = future::try_join(observations(tools, observed), reports(tools, reported)).await?;
    for (place, _) in refused.into_iter().chain(settled.refused) {
        counts[place].1 += 1;
    }
    for ((_, outcome), (asked, refused)) in told.iter_mut().zip(counts) {
        if asked > 0 {
            *outcome = if refused < asked { Outcome::Taken } else { Outcome::Rejected };
        }
    }
    for (place, outcome) in settled.outcomes {
        told[place].1 = outcome;
    }
    Ok(told)
}

/// Adds what one message holds to what is handed on together; its place stands for each of its observations.
fn join(together: &mut Batch, batch: Batch, place: usize) {
    together.ignored += batch.ignored;
    together.rejected.extend(batch.rejected.into_iter().map(|(_, rejected)| (place, rejected)));
    together.reports.extend(batch.reports.into_iter().map(|report| Report { index: place, ..report }));
}

async fn observations(tools: &Tools, mut batch: Batch) -> Result<Vec<(usize, Rejected)>, String> {
    if batch == Batch::default() {
        return Ok(Vec::new());
    }
    sightings::settle(&mut batch, &tools.catalog, &tools.fleet, tools.clock.now());
    let world = tools.catalog.world();
    let submitted = ingest::submit(&tools.shards, tools.store.as_ref(), &tools.reporter, &world, batch).await;
    submitted.map(|taken| taken.rejected).map_err(|refused| told_of(&refused.cause))
}

fn told_of(cause: &Cause) -> String {
    match cause {
        Cause::Shard(refusal) => format!("{refusal:?}"),
        Cause::Store(error) => error.to_string(),
    }
}

/// One report of a scanner, of one message or of several that could as well have been one.
struct Reported {
    delivery: Delivery,
    places: Vec<usize>,
    received_at: Timestamp,
}

/// The message's place stands for each of its sightings.
fn placed(mut delivery: Delivery, place: usize) -> Delivery {
    delivery.batch.sightings.iter_mut().for_each(|heard| heard.index = place);
    delivery.batch.rejected.iter_mut().for_each(|(index, _)| *index = place);
    delivery
}

/// What became of reports.
#[derive(Default)]
struct Settled {
    refused: Vec<(usize, Rejected)>,
    /// Of messages that were refused as a whole, or taken before.
    outcomes: Vec<(usize, Outcome)>,
}

/// Takes what each scanner says in its order, and scanners side by side.
async fn reports(tools: &Tools, by_scanner: BTreeMap<ScannerId, Vec<Reported>>) -> Result<Settled, String> {
    let taking = stream::iter(by_scanner).map(|(scanner, queue)| queued(tools, scanner, together(queue)));
    let mut settled = Settled::default();
    let mut taken = std::pin::pin!(taking.buffer_unordered(SCANNERS_AT_ONCE));
    while let Some(of_scanner) = taken.try_next().await? {
        settled.refused.extend(of_scanner.refused);
        settled.outcomes.extend(of_scanner.outcomes);
    }
    Ok(settled)
}

/// Most gateways send a message for each advertisement. Those that follow each other are taken as one report.
fn together(queue: Vec<Reported>) -> Vec<Reported> {
    let plain = |it: &Delivery| it.serial.is_none() && it.sent_at.is_none() && it.health.is_none();
    let mut merged: Vec<Reported> = Vec::with_capacity(queue.len());
    for reported in queue {
        match merged.last_mut() {
            Some(last) if plain(&last.delivery) && plain(&reported.delivery) && alike(last, &reported) => {
                let (into, from) = (&mut last.delivery.batch, reported.delivery.batch);
                into.sightings.extend(from.sightings);
                into.rejected.extend(from.rejected);
                into.ignored += from.ignored;
                into.nonce = from.nonce.or(into.nonce);
                last.places.extend(reported.places);
                last.received_at = reported.received_at;
            }
            Some(_) | None => merged.push(reported),
        }
    }
    merged
}

/// Whether both name the same scanner in what they say.
fn alike(one: &Reported, other: &Reported) -> bool {
    one.delivery.batch.scanner == other.delivery.batch.scanner
}

async fn queued(tools: &Tools, scanner: ScannerId, queue: Vec<Reported>) -> Result<Settled, String> {
    let speaker = Speaker { bound: Some(scanner), named: None };
    let parts = scanners::Tools {
        shards: &tools.shards,
        store: tools.store.as_ref(),
        catalog: &tools.catalog,
        fleet: &tools.fleet,
        reporter: &tools.reporter,
    };
    let mut settled = Settled::default();
    for Reported { delivery, places, received_at } in queue {
        let outcome = match scanners::take(parts, &speaker, delivery, received_at).await {
            Ok(taken) => {
                settled.refused.extend(taken.rejected);
                continue;
            }
            Err(Refusal::NotNow(cause)) => return Err(told_of(&cause)),
            Err(Refusal::Nameless) => Outcome::Unreadable,
            Err(
                Refusal::NotYours { .. }
                | Refusal::Contradiction { .. }
                | Refusal::UnknownScanner(_)
                | Refusal::Replayed,
            ) => Outcome::Rejected,
        };
        settled.outcomes.extend(places.into_iter().map(|place| (place, outcome)));
    }
    Ok(settled)
}
