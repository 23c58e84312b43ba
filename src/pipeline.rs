//! The page: what happens to an observation, from the inbox to a provider's answer.
//!
//! ```text
//! ingest -> normalise -> track -> match -> decide -> outbox -> deliver -> report
//! http mqtt '--------- engine, pure ---------'      store     courier    journal, stream, metrics
//! ```
//!
//! A 2xx answer means that whatever this observation caused is durable. A decision and the state it was made from are
//! one commit.

use parvis_engine::{
    decide::{self, Decided, Suppression, Wanted},
    id::DeviceId,
    matching, normalise,
    observation::Observation,
    retry::{self, Attempt},
    time::Timestamp,
    track,
    world::World,
};

use crate::{
    lane::{Lane, Leased, Verdict},
    shard::{Observed, Shard, Work},
};

/// Decides what a device's observations mean for its shopper. Pure: the same arguments give the same result.
pub fn observe(
    world: &World,
    work: &mut Work,
    device: &DeviceId,
    raw: &[Observation],
    now: Timestamp,
) -> (Observed, Decided) {
    let mut observed = Observed::new(raw.len());
    for (index, raw) in by_time(raw) {
        let until = raw.at();
        let movement = normalise::observation(world, device, raw.clone(), now).and_then(|trusted| {
            observed.transitions.extend(work.matched(device, |it| matching::elapsed(world, it, until, now)));
            track::movement(world, work.track(device), trusted)
        });
        match movement {
            Err(rejected) => observed.results[index] = Err(rejected),
            Ok(movement) => {
                let matched = work.matched(device, |it| matching::transitions(world, it, &movement, now));
                observed.transitions.extend(matched);
            }
        }
    }
    let decided = decide::campaigns(world, &mut work.shopper, &observed.transitions, &mut work.budgets, now);
    observed.safe_radius_m = work.safe_radius_m(world, device);
    (observed, decided)
}

/// A shard: takes what waits, decides all, commits once, then answers. Where another writer was faster, it decides again.
pub async fn run_shard(mut shard: Shard) {
    while let Some(mut jobs) = shard.take().await {
        while !jobs.is_empty() {
            let mut batch = shard.load(&mut jobs).await;
            let answers = batch.decide(&jobs);
            if shard.lease_budgets(&batch).await {
                continue;
            }
            let committed = shard.commit(&mut batch).await;
            jobs = shard.answer(jobs, answers, batch, &committed);
        }
    }
}

/// A lane: claims what is due, judges it again, has it delivered within a rolling window, settles.
pub async fn run_lane(lane: Lane) {
    while let Some(leased) = lane.claim().await {
        for entry in leased {
            lane.deliver_soon(entry);
        }
    }
    lane.finish().await;
}

/// One attempt at one message, and what follows from it.
pub async fn deliver(lane: &Lane, leased: &Leased) -> Verdict {
    let now = lane.tools.clock.now();
    let (notification, attempts) = (&leased.entry.notification, leased.entry.attempts);
    match decide::still_wanted(&leased.world, &leased.shopper, notification, now) {
        Wanted::No(suppression) => return Verdict::Suppressed(suppression),
        Wanted::NotBefore(at) => return Verdict::Postponed(at),
        Wanted::Yes => {}
    }
    let Some(address) = leased.address() else { return Verdict::Suppressed(Suppression::NoTarget) };
    let pass = match lane.permit(leased, &address) {
        Ok(pass) => pass,
        Err(at) => return Verdict::Postponed(at),
    };
    let outcome = lane.deliver(pass, leased, &address).await;
    let attempt =
        Attempt { count: attempts + 1, ended_at: lane.tools.clock.now(), expires_at: notification.expires_at };
    Verdict::Tried(retry::next(outcome, attempt, &lane.patience(), lane.tools.entropy.unit()))
}

fn by_time(raw: &[Observation]) -> Vec<(usize, &Observation)> {
    let mut ordered: Vec<_> = raw.iter().enumerate().collect();
    ordered.sort_by_key(|(_, observation)| observation.at());
    ordered
}
