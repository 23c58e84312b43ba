//! From wire formats to observations in a shopper's inbox. One file per format; each only reads.
//!
//! Nothing here knows HTTP: a broker's message is read by the same functions.

pub mod amazon;
pub mod gateway;
pub mod lines;
pub mod native;
pub mod osmand;
pub mod overland;
pub mod owntracks;
pub mod ranging;
pub mod scanners;
pub mod sightings;
pub mod transistorsoft;

use parvis_engine::{
    id::{DeviceId, ShopperId},
    matching::Transition,
    observation::{Observation, Rejected, Rejection},
    time::Timestamp,
    world::World,
};
use serde_json::Value;

use crate::{
    report::Reporter,
    shard::{self, Answer, Input, Observed, Refusal, Shards},
    store::{self, Store},
};

/// One observation and where it stood in the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Its place in the request, counted from 0.
    pub index: usize,
    /// Which device reported it.
    pub device: DeviceId,
    /// What it reported.
    pub observation: Observation,
}

/// What a request was read as.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// What can be handed on.
    pub reports: Vec<Report>,
    /// What can't be read, by place.
    pub rejected: Vec<(usize, Rejected)>,
    /// Messages that are none of our business: settings, greetings, encrypted ones.
    pub ignored: u64,
}

impl Batch {
    /// Notes one element: a report, or why it is none.
    pub fn note(&mut self, index: usize, device: &DeviceId, read: Result<Observation, Rejected>) {
        match read {
            Ok(observation) => self.reports.push(Report { index, device: device.clone(), observation }),
            Err(rejected) => self.rejected.push((index, rejected)),
        }
    }
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// How many observations were taken.
    pub accepted: u64,
    /// What was not taken, by place in the request.
    pub rejected: Vec<(usize, Rejected)>,
    /// What they caused.
    pub transitions: Vec<Transition>,
    /// A distance within which nothing can change, metres; only if the batch came from one device.
    pub safe_radius_m: Option<f64>,
}

/// A batch was not taken as a whole. Sending all of it again is harmless.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// Why.
    pub cause: Cause,
    /// Observations of other devices in the batch that were taken all the same.
    pub accepted: u64,
}

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// By a shopper's owner.
    Shard(Refusal),
    /// By the store.
    Store(store::Error),
}

/// Devices of one request that are asked about at the same time: enough that few waits are left, and few enough that an
/// inbox has room for a hundred requests. A quarter of an inbox where that is less: who comes with many must not need it
/// empty while those who come alone find room.
const ASKED_AT_ONCE: usize = 256;

/// Hands a batch to the owners of its shoppers and waits until it is durable.
///
/// # Errors
/// If an inbox is full or nothing can be made durable.
pub async fn submit(
    shards: &Shards,
    store: &dyn Store,
    reporter: &Reporter,
    world: &World,
    batch: Batch,
) -> Result<Taken, Refused> {
    let ignored = batch.ignored;
    let handed = hand_on(shards, store, batch).await;
    let Handed { mut taken, strangers, refusal } =
        handed.map_err(|error| Refused { cause: Cause::Store(error), accepted: 0 })?;
    for (device, places) in strangers {
        taken.rejected.extend(places.into_iter().map(|index| (index, shard::nobody(world, &device))));
    }
    taken.rejected.sort_by_key(|(index, _)| *index);
    reporter.ingested(&taken, ignored);
    match refusal {
        Some(cause) => Err(Refused { cause, accepted: taken.accepted }),
        None => Ok(taken),
    }
}

/// What became of a batch, and of whom nobody knows the owner.
struct Handed {
    taken: Taken,
    strangers: Strangers,
    refusal: Option<Cause>,
}

async fn hand_on(shards: &Shards, store: &dyn Store, batch: Batch) -> Result<Handed, store::Error> {
    let mut taken = Taken { rejected: batch.rejected, ..Taken::default() };
    let mut reports: Vec<&Report> = batch.reports.iter().collect();
    // Stable: what one device reports stays in the order in which it came.
    reports.sort_by(|one, other| one.device.cmp(&other.device));
    let by_device: Vec<&[&Report]> = reports.chunk_by(|one, other| one.device == other.device).collect();
    let (owned, strangers) = owned(store, &by_device).await?;
    let mut refusal = None;
    for groups in owned.chunks(ASKED_AT_ONCE.min((shards.at_once() / 4).max(1))) {
        refusal = ask(shards, store, groups, &mut taken).await.err();
        if refusal.is_some() {
            break;
        }
    }
    if by_device.len() != 1 {
        taken.safe_radius_m = None;
    }
    Ok(Handed { taken, strangers, refusal })
}

/// What one device reports, and whose it is.
struct Group<'b> {
    shopper: ShopperId,
    reports: &'b [&'b Report],
}

impl Group<'_> {
    fn device(&self) -> &DeviceId {
        &self.reports[0].device
    }

    fn input(&self) -> (ShopperId, Input) {
        let observations = self.reports.iter().map(|report| report.observation.clone()).collect();
        (self.shopper.clone(), Input::Observed { device: self.device().clone(), observations })
    }
}

type Strangers = Vec<(DeviceId, Vec<usize>)>;

async fn owned<'b>(
    store: &dyn Store,
    by_device: &[&'b [&'b Report]],
) -> Result<(Vec<Group<'b>>, Strangers), store::Error> {
    if by_device.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let devices: Vec<DeviceId> = by_device.iter().map(|reports| reports[0].device.clone()).collect();
    let owners = store.owners(&devices).await?;
    let (mut groups, mut strangers) = (Vec::with_capacity(devices.len()), Vec::new());
    for ((device, reports), owner) in devices.into_iter().zip(by_device).zip(owners) {
        match owner {
            Some(shopper) => groups.push(Group { shopper, reports }),
            None => strangers.push((device, reports.iter().map(|report| report.index).collect())),
        }
    }
    Ok((groups, strangers))
}

/// Asks the owners, all at once. Who was registered to somebody else since is asked about once more.
async fn ask(shards: &Shards, store: &dyn Store, groups: &[Group<'_>], taken: &mut Taken) -> Result<(), Cause> {
    let mut refusal = None;
    let mut late = Vec::new();
    for (group, answer) in groups.iter().zip(observe(shards, groups).await?) {
        match answer {
            Ok(observed) if is_stranger(&observed) => late.push((group, observed)),
            Ok(observed) => note(taken, group.reports, observed),
            Err(cause) => refusal = Some(cause),
        }
    }
    if !late.is_empty() {
        ask_again(shards, store, late, taken).await?;
    }
    refusal.map_or(Ok(()), Err)
}

async fn ask_again(
    shards: &Shards,
    store: &dyn Store,
    late: Vec<(&Group<'_>, Observed)>,
    taken: &mut Taken,
) -> Result<(), Cause> {
    let devices: Vec<DeviceId> = late.iter().map(|(group, _)| group.device().clone()).collect();
    let owners = store.owners(&devices).await.map_err(Cause::Store)?;
    let mut moved = Vec::new();
    for ((group, observed), owner) in late.into_iter().zip(owners) {
        match owner {
            Some(shopper) if shopper != group.shopper => moved.push(Group { shopper, reports: group.reports }),
            Some(_) | None => note(taken, group.reports, observed),
        }
    }
    let mut refusal = None;
    for (group, answer) in moved.iter().zip(observe(shards, &moved).await?) {
        match answer {
            Ok(observed) => note(taken, group.reports, observed),
            Err(cause) => refusal = Some(cause),
        }
    }
    refusal.map_or(Ok(()), Err)
}

async fn observe(
    shards: &Shards,
    groups: &[Group<'_>],
) -> Result<impl Iterator<Item = Result<Observed, Cause>> + use<>, Cause> {
    let answers = shards.submit_all(groups.iter().map(Group::input).collect()).map_err(Cause::Shard)?;
    Ok(answers.all().await.map(|answer| match answer.map_err(Cause::Shard)? {
        Answer::Observed(observed) => Ok(observed),
        Answer::Order { .. } | Answer::Live(_) | Answer::Deleted(_) | Answer::Done => {
            Err(Cause::Shard(Refusal::Unavailable("an observation got another input's answer".to_owned())))
        }
    }))
}

fn is_stranger(observed: &Observed) -> bool {
    let unknown = |result: &Result<(), Rejected>| {
        let nobodys = |reason| matches!(reason, Rejection::UnknownDevice | Rejection::UnlinkedTag);
        result.as_ref().is_err_and(|rejected| nobodys(rejected.reason))
    };
    !observed.results.is_empty() && observed.results.iter().all(unknown)
}

fn note(taken: &mut Taken, reports: &[&Report], observed: Observed) {
    for (report, result) in reports.iter().zip(observed.results) {
        match result {
            Ok(()) => taken.accepted += 1,
            Err(rejected) => taken.rejected.push((report.index, rejected)),
        }
    }
    taken.transitions.extend(observed.transitions);
    taken.safe_radius_m = observed.safe_radius_m;
}

fn invalid(detail: impl Into<String>) -> Rejected {
    Rejected { reason: Rejection::Invalid, detail: detail.into() }
}

/// A required number among an object's fields.
fn number(object: &Value, name: &str) -> Result<f64, Rejected> {
    object.get(name).and_then(Value::as_f64).ok_or_else(|| invalid(format!("`{name}` is missing or no number")))
}

/// An optional number; clients write -1 for what they do not know.
fn positive(object: &Value, name: &str) -> Option<f64> {
    object.get(name).and_then(Value::as_f64).filter(|number| *number >= 0.0)
}

/// Epoch milliseconds begin here; smaller numbers are seconds. As seconds it lies in the year 5138, as
/// milliseconds in 1973.
const MILLIS_FROM: f64 = 100_000_000_000.0;

/// A time as clients write it: RFC 3339, epoch seconds or epoch milliseconds.
fn instant(value: Option<&Value>, name: &str) -> Result<Timestamp, Rejected> {
    let missing = || invalid(format!("`{name}` is missing or no time"));
    let value = value.ok_or_else(missing)?;
    if let Some(text) = value.as_str() {
        return text.parse().map_err(|why| invalid(format!("`{name}`: {why}")));
    }
    epoch(value.as_f64().ok_or_else(missing)?).ok_or_else(|| invalid(format!("`{name}` is not a time after 1970")))
}

fn epoch(number: f64) -> Option<Timestamp> {
    if !number.is_finite() || number <= 0.0 {
        return None;
    }
    let millis = if number < MILLIS_FROM { number * 1_000.0 } else { number };
    // Saturates far beyond what a Timestamp holds.
    Some(Timestamp::from_millis(millis.round() as i64))
}

/// What the request says of the device, apart from the messages in it.
fn device(named: Option<&str>, fallback: Option<&DeviceId>) -> Result<DeviceId, Rejected> {
    match (named, fallback) {
        (Some(name), None) => name.parse().map_err(|why| invalid(format!("the device id: {why}"))),
        (_, Some(device)) => Ok(device.clone()),
        (None, None) => Err(invalid("no device is named; add ?device=<id>, or use a key that is bound to a device")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parvis_engine::{
        observation::{Crossing, Edge},
        shopper::{Device, Shopper},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::{
        shard::Job,
        store::{Change, Commit, Committed, Durable, memory::Memory},
    };

    fn json() -> impl Strategy<Value = Value> {
        let names = prop::sample::select(vec![
            "_type",
            "location",
            "locations",
            "coords",
            "lat",
            "lon",
            "tst",
            "tid",
            "topic",
            "geometry",
            "coordinates",
            "properties",
            "timestamp",
            "device_id",
            "latitude",
            "longitude",
            "Updates",
            "Position",
            "DeviceId",
            "event",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            prop::sample::select(vec!["location", "transition", "beacon", "enter", "d", "", "a b"])
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            let members = prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner.clone(), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(Value::from),
                members.prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_format_panics_or_loses_an_element(value in json()) {
            let bytes = value.to_string();
            let batch = owntracks::batch(bytes.as_bytes(), None);
            let elements = value.as_array().map_or(1, Vec::len);
            prop_assert_eq!(batch.reports.len() + batch.rejected.len() + batch.ignored as usize, elements);
            let _ = overland::batch(bytes.as_bytes(), None);
            let _ = transistorsoft::batch(bytes.as_bytes(), None);
            let _ = amazon::batch(bytes.as_bytes(), None);
            let _ = ranging::batch(bytes.as_bytes(), None, Timestamp::default());
            let _ = native::batch(bytes.as_bytes());
        }

        #[test]
        fn no_query_panics(pairs in prop::collection::vec(("[a-z]{2,8}|lat|lon|timestamp", ".{0,12}"), 0..6)) {
            let _ = osmand::batch(&pairs, None, Timestamp::default());
        }
    }

    fn phone() -> Device {
        Device::new("ios", None, Timestamp::default())
    }

    async fn registered(store: &Memory, owner: &ShopperId, device: Option<&DeviceId>) {
        let record = store.load(std::slice::from_ref(owner)).await.expect("loads").remove(0);
        let mut shopper = Shopper::clone(&record.shopper);
        shopper.devices = device.map(|device| (device.clone(), phone())).into_iter().collect();
        let state = Durable::Replaced { shopper: Arc::new(shopper), wake: None };
        let change = Change { version: record.version, id: owner.clone(), state, tracks: Default::default() };
        let commit = Commit { changes: vec![change], ..Commit::default() };
        assert_eq!(store.commit(commit).await.expect("commits"), Committed::Done);
    }

    #[tokio::test]
    async fn a_device_that_changes_hands_meanwhile_is_asked_about_once_more() {
        let [former, new]: [ShopperId; 2] = ["C-1", "C-2"].map(|id| id.parse().expect("an id"));
        let device: DeviceId = "phone".parse().expect("an id");
        let store = Memory::new();
        registered(&store, &former, Some(&device)).await;
        let (inbox, mut jobs) = tokio::sync::mpsc::channel::<Job>(4);
        let owner = async {
            let job = jobs.recv().await.expect("the first owner is asked");
            assert_eq!(job.shopper, former);
            registered(&store, &former, None).await;
            registered(&store, &new, Some(&device)).await;
            let observed =
                Observed { results: vec![Err(shard::nobody(&World::default(), &device))], ..Observed::default() };
            job.reply.send(Ok(Answer::Observed(observed)));
            let job = jobs.recv().await.expect("the new owner is asked");
            assert_eq!(job.shopper, new);
            job.reply.send(Ok(Answer::Observed(Observed::new(1))));
        };
        let mut batch = Batch::default();
        batch.note(0, &device, Ok(crossing()));
        let shards = Shards::new(vec![inbox]);
        let (taken, ()) = tokio::join!(handed(&shards, &store, batch), owner);
        assert_eq!(taken.expect("taken").accepted, 1);
    }

    fn crossing() -> Observation {
        let region = "shop".parse().expect("an id");
        Observation::Crossing(Crossing { at: Timestamp::default(), region, edge: Edge::Enter })
    }

    /// People with a phone each, and a batch in which every phone speaks twice.
    async fn crowd(store: &Memory, count: usize) -> Batch {
        let mut batch = Batch::default();
        for number in 0..count {
            let owner = format!("C-{number}").parse().expect("an id");
            registered(store, &owner, Some(&format!("phone-{number}").parse().expect("an id"))).await;
        }
        for index in 0..count * 2 {
            let device = format!("phone-{}", index % count).parse().expect("an id");
            batch.note(index, &device, Ok(crossing()));
        }
        batch
    }

    async fn handed(shards: &Shards, store: &Memory, batch: Batch) -> Result<Taken, Refused> {
        let reporter = Reporter::new(&crate::report::Config::default());
        submit(shards, store, &reporter, &World::default(), batch).await
    }

    /// Takes what comes, until nobody can send any more. Gives how many observations that were, job by job.
    async fn take(mut jobs: tokio::sync::mpsc::Receiver<Job>) -> Vec<usize> {
        let mut counts = Vec::new();
        while let Some(job) = jobs.recv().await {
            let Input::Observed { observations, .. } = &job.input else { panic!("an observation") };
            counts.push(observations.len());
            job.reply.send(Ok(Answer::Observed(Observed::new(observations.len()))));
        }
        counts
    }

    #[tokio::test]
    async fn a_batch_for_more_shoppers_than_an_inbox_holds_is_taken() {
        let store = Memory::new();
        let batch = crowd(&store, 7).await;
        let (inbox, jobs) = tokio::sync::mpsc::channel::<Job>(2);
        let hand = async |shards: Shards| handed(&shards, &store, batch).await;
        let (taken, counts) = tokio::join!(hand(Shards::new(vec![inbox])), take(jobs));
        assert_eq!((taken.expect("taken").accepted, counts), (14, vec![2; 7]));
    }

    #[tokio::test]
    async fn of_a_batch_for_a_full_inbox_nothing_is_taken_and_of_one_for_a_dead_one_what_the_others_took() {
        let store = Memory::new();
        let batch = crowd(&store, 20).await;
        let channels = || tokio::sync::mpsc::channel::<Job>(64);
        let ((full, waiting), (living, mut jobs)) = (channels(), channels());
        let filling = Shards::new(vec![full.clone()]);
        let filled: Vec<_> = std::iter::from_fn(|| filling.submit("C-1".parse().ok()?, Input::Wake).ok()).collect();
        assert_eq!(filled.len(), 64);
        let refused = handed(&Shards::new(vec![full, living.clone()]), &store, batch.clone()).await;
        assert_eq!(refused, Err(Refused { cause: Cause::Shard(Refusal::Full), accepted: 0 }));
        assert!(jobs.try_recv().is_err(), "the other shard was asked nothing");
        drop(waiting);

        let (dying, mut doomed) = channels();
        let die = async move { drop(doomed.recv().await) };
        let hand = async |shards: Shards| handed(&shards, &store, batch).await;
        let (refused, (), counts) = tokio::join!(hand(Shards::new(vec![dying, living])), die, take(jobs));
        let refused = refused.expect_err("a part of it is lost");
        assert!(matches!(refused.cause, Cause::Shard(Refusal::Unavailable(_))), "{refused:?}");
        assert_eq!(refused.accepted, counts.iter().sum::<usize>() as u64);
        assert!((2..40).contains(&refused.accepted), "both shards have shoppers");
    }

    #[test]
    fn epoch_seconds_and_milliseconds_are_told_apart() {
        let at = Timestamp::from_millis(1_442_068_686_000);
        assert_eq!(epoch(1_442_068_686.0), Some(at));
        assert_eq!(epoch(1_442_068_686_579.0), Some(at.plus(std::time::Duration::from_millis(579))));
        assert_eq!([epoch(0.0), epoch(-5.0), epoch(f64::NAN), epoch(f64::INFINITY)], [None; 4]);
        assert_eq!(epoch(f64::MAX), Some(Timestamp::MAX));
    }
}
