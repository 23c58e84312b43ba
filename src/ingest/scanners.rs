//! From what scanners hear to observations of the tags' owners, and to the fleet's health.
//!
//! A scanner speaks for itself only, and hears only what is registered: other people's devices leave no trace but a
//! number. Knows neither HTTP nor brokers.

use std::sync::Arc;

use parvis_beacons::{Identity, report};
use parvis_engine::{
    beacons as parvis_beacons,
    id::{DeviceId, ScannerId},
    observation::{Heard, Observation, Rejected, Rejection, Sighting},
    registry::{Beacon, Role},
    time::Timestamp,
    world::World,
};

use super::{
    Batch, Cause, Report,
    gateway::{self, Format},
    hand_on, invalid,
};
use crate::{
    catalog::Catalog,
    fleet::{self, Admission, Fleet, Serial},
    json::{self, Malformed},
    report::Reporter,
    shard::Shards,
    store::Store,
};

/// What taking works with.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// The shoppers' owners.
    pub shards: &'a Shards,
    /// Whose tags are whose.
    pub store: &'a dyn Store,
    /// Where the world comes from.
    pub catalog: &'a Catalog,
    /// How scanners and beacons fare.
    pub fleet: &'a Fleet,
    /// Who is told what happened.
    pub reporter: &'a Reporter,
}

/// Who speaks, as far as that is known apart from the report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Speaker {
    /// The only scanner that may speak here: the key's, or the topic's.
    pub bound: Option<ScannerId>,
    /// The scanner that the sender names beside the report.
    pub named: Option<ScannerId>,
}

/// One report of a scanner.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delivery {
    /// What it heard.
    pub batch: gateway::Batch,
    /// Which of its reports it is, if it counts them.
    pub serial: Option<Serial>,
    /// Its own clock when it was sent.
    pub sent_at: Option<Timestamp>,
    /// How it says that it fares.
    pub health: Option<report::Health>,
}

impl From<gateway::Batch> for Delivery {
    fn from(batch: gateway::Batch) -> Delivery {
        Delivery { batch, ..Delivery::default() }
    }
}

/// What became of a report. It is durable.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// Sightings that were taken: of tags for their owners, of other registered beacons for the fleet's health.
    pub accepted: u64,
    /// Sightings of beacons that nobody registered.
    pub unknown: u64,
    /// Sightings of tags that nobody carries.
    pub unlinked: u64,
    /// Messages that are none of our business.
    pub ignored: u64,
    /// What was not taken, by place in the report.
    pub rejected: Vec<(usize, Rejected)>,
    /// The same report was taken before, and nothing was done.
    pub repeat: bool,
}

/// Why a report was not taken.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// Nobody says which scanner it is.
    Nameless,
    /// The sender may not speak for this scanner.
    NotYours {
        /// For whom it may.
        bound: ScannerId,
        /// For whom it did.
        named: ScannerId,
    },
    /// The report names another scanner than the request does.
    Contradiction {
        /// Beside the report.
        named: ScannerId,
        /// In it.
        said: ScannerId,
    },
    /// Nobody registered the scanner.
    UnknownScanner(ScannerId),
    /// It is older than what was taken already.
    Replayed,
    /// Not now.
    NotNow(Cause),
}

/// The longest name of a boot, bytes.
const BOOT_MAX: usize = 128;

/// Reads what a scanner host or a gateway sends. `topic` is a broker's.
///
/// # Errors
/// Where it can't be read.
pub fn read(format: Format, topic: Option<&str>, bytes: &[u8], received_at: Timestamp) -> Result<Delivery, Malformed> {
    match format {
        Format::Parvis => read_own(bytes, received_at),
        Format::Theengs | Format::Minew | Format::Ruuvi | Format::Espresense | Format::Raw => {
            gateway::read(format, topic, bytes, received_at).map(Delivery::from)
        }
    }
}

/// In one pass if all is right, otherwise once more to name the mistake.
fn read_own(bytes: &[u8], received_at: Timestamp) -> Result<Delivery, Malformed> {
    let report: report::Report = match serde_json::from_slice(bytes) {
        Ok(report) => report,
        Err(_) => json::typed(bytes)?,
    };
    let at = |pointer: &str, detail: String| Malformed { pointer: pointer.to_owned(), detail };
    if report.boot.is_empty() || report.boot.len() > BOOT_MAX {
        return Err(at("/boot", format!("`boot` has from 1 to {BOOT_MAX} bytes")));
    }
    let sent_at = report.sent_at.as_deref().map(str::parse).transpose().map_err(|why| at("/sent_at", why))?;
    let batch = gateway::report::sightings(&report, received_at)?;
    Ok(Delivery { batch, serial: Some(Serial { boot: report.boot, seq: report.seq }), sent_at, health: report.health })
}

/// Takes a report: what it says of tags goes to the tags' owners, what it says of beacons and of the scanner itself to
/// the fleet. Returns when it is durable.
///
/// # Errors
/// Why it was not taken. Sending it again is harmless.
pub async fn take(
    tools: Tools<'_>,
    speaker: &Speaker,
    delivery: Delivery,
    received_at: Timestamp,
) -> Result<Taken, Refusal> {
    let taken = try_take(tools, speaker, delivery, received_at).await;
    tools.reporter.scanner_report(match &taken {
        Ok(taken) if taken.repeat => "repeat",
        Ok(_) => "taken",
        Err(Refusal::Nameless | Refusal::Contradiction { .. }) => "nameless",
        Err(Refusal::NotYours { .. }) => "not_yours",
        Err(Refusal::UnknownScanner(_)) => "unknown_scanner",
        Err(Refusal::Replayed) => "replayed",
        Err(Refusal::NotNow(_)) => "not_now",
    });
    if let Ok(taken) = &taken {
        let counts = [
            ("accepted", taken.accepted),
            ("unknown_beacon", taken.unknown),
            ("unlinked_tag", taken.unlinked),
            ("ignored", taken.ignored),
        ];
        counts.into_iter().for_each(|(result, count)| tools.reporter.scanner_sightings(result, count));
        for (_, rejected) in &taken.rejected {
            tools.reporter.scanner_sightings(rejected.reason.name(), 1);
        }
    }
    taken
}

async fn try_take(
    tools: Tools<'_>,
    speaker: &Speaker,
    delivery: Delivery,
    received_at: Timestamp,
) -> Result<Taken, Refusal> {
    let Delivery { batch, serial, sent_at, health } = delivery;
    let scanner = who(speaker, batch.scanner.as_ref())?;
    let world = tools.catalog.world();
    tools.fleet.renew(&world, &tools.catalog.eid_keys(), received_at);
    let (admission, change) = tools.fleet.admit(&scanner, serial.as_ref(), received_at);
    change.into_iter().for_each(|change| tools.reporter.fleet(change));
    match admission {
        Admission::Taken => {}
        Admission::Repeat => return Ok(Taken { repeat: true, ..Taken::default() }),
        Admission::Replayed => return Err(Refusal::Replayed),
        Admission::Quarantined => return Err(Refusal::UnknownScanner(scanner)),
    }
    let sorted = Sorted::new(batch.sightings, &world, tools.fleet, received_at);
    let noted = tools.fleet.note(
        &fleet::Report {
            scanner: &scanner,
            serial: serial.as_ref(),
            sent_at,
            health: health.as_ref(),
            sightings: &sorted.known,
            strangers: &sorted.strangers,
        },
        received_at,
    );
    noted.changes.into_iter().for_each(|change| tools.reporter.fleet(change));
    let mut taken =
        Taken { unknown: sorted.unknown, ignored: batch.ignored as u64, rejected: batch.rejected, ..Taken::default() };
    let reports = reports(sorted, &noted.cloned, &scanner, &mut taken);
    submit(tools, reports, &mut taken).await.map_err(Refusal::NotNow)?;
    if let Some(serial) = &serial {
        tools.fleet.take(&scanner, serial);
    }
    Ok(taken)
}

/// Which scanner speaks.
fn who(speaker: &Speaker, said: Option<&ScannerId>) -> Result<ScannerId, Refusal> {
    let Speaker { bound, named } = speaker;
    if let (Some(named), Some(said)) = (named, said)
        && named != said
    {
        return Err(Refusal::Contradiction { named: named.clone(), said: said.clone() });
    }
    match (bound, said.or(named.as_ref())) {
        (Some(bound), Some(named)) if bound != named => {
            Err(Refusal::NotYours { bound: bound.clone(), named: named.clone() })
        }
        (Some(scanner), _) | (None, Some(scanner)) => Ok(scanner.clone()),
        (None, None) => Err(Refusal::Nameless),
    }
}

/// The sightings of a report, by what they are about.
struct Sorted {
    /// Of registered beacons.
    known: Vec<fleet::Sighting>,
    /// What the fleet need not know of each.
    more: Vec<More>,
    /// So many of others.
    unknown: u64,
    /// Those among them that say they are the retailer's.
    strangers: Vec<Identity>,
}

struct More {
    index: usize,
    measured_power_dbm: Option<f64>,
    count: Option<u32>,
    /// Whether what was heard changes, so that the engine must be told who it was.
    rotates: bool,
    identity: Identity,
}

impl Sorted {
    fn new(sightings: Vec<gateway::Heard>, world: &World, fleet: &Fleet, now: Timestamp) -> Sorted {
        let resolved = resolved(&sightings, fleet, now);
        let mut resolved = resolved.into_iter();
        let (mut known, mut more) = (Vec::with_capacity(sightings.len()), Vec::with_capacity(sightings.len()));
        let (mut unknown, mut strangers) = (0, Vec::new());
        for heard in sightings {
            let identity = heard.identity;
            let rotates = matches!(identity, Identity::Ephemeral { .. });
            let beacon = if rotates {
                resolved.next().flatten().and_then(|beacon| world.registry.beacon(&beacon))
            } else {
                let by_address = || heard.mac.and_then(|mac| world.registry.heard(&Identity::Mac { mac }.into()));
                world.registry.heard(&identity.into()).or_else(by_address)
            };
            let Some(beacon) = beacon else {
                unknown += 1;
                strangers.push(identity);
                continue;
            };
            let (at, rssi_dbm) = (heard.at.unwrap_or(now), heard.rssi_dbm);
            known.push(fleet::Sighting { beacon: beacon.clone(), at, rssi_dbm, battery_v: heard.battery_v });
            let gateway::Heard { index, measured_power_dbm, count, .. } = heard;
            more.push(More { index, measured_power_dbm, count, rotates, identity });
        }
        Sorted { known, more, unknown, strangers: fleet.ours(strangers) }
    }
}

/// The beacons behind the ephemeral identities, in the order in which these stand.
fn resolved(sightings: &[gateway::Heard], fleet: &Fleet, now: Timestamp) -> Vec<Option<parvis_engine::id::BeaconId>> {
    let ephemeral = sightings.iter().filter_map(|heard| match heard.identity {
        Identity::Ephemeral { eid } => Some((eid, heard.at.unwrap_or(now))),
        Identity::Ibeacon(_) | Identity::Eddystone { .. } | Identity::Mac { .. } => None,
    });
    let ephemeral: Vec<_> = ephemeral.collect();
    if ephemeral.is_empty() { Vec::new() } else { fleet.resolve(&ephemeral, now) }
}

/// What concerns the tags' owners. The rest has done its part in the fleet.
fn reports(sorted: Sorted, cloned: &[bool], scanner: &ScannerId, taken: &mut Taken) -> Vec<Report> {
    let mut reports = Vec::new();
    let mut last: Option<(Arc<Beacon>, DeviceId)> = None;
    for ((sighting, more), cloned) in sorted.known.into_iter().zip(sorted.more).zip(cloned) {
        let fleet::Sighting { beacon, at, rssi_dbm, .. } = sighting;
        if *cloned {
            taken.rejected.push((more.index, refused_as_cloned(beacon.spec.id.as_str())));
            continue;
        }
        match beacon.spec.role {
            Role::Fixed | Role::Reference => taken.accepted += 1,
            Role::Tag => {
                let device = match &last {
                    Some((tag, device)) if Arc::ptr_eq(tag, &beacon) => device.clone(),
                    // A beacon's id is a device's: both are names of the same form.
                    Some(_) | None => match beacon.spec.id.as_str().parse() {
                        Ok(device) => device,
                        Err(why) => {
                            taken.rejected.push((more.index, invalid(why)));
                            continue;
                        }
                    },
                };
                let heard = if more.rotates {
                    Heard::Beacon { beacon: beacon.spec.id.clone() }
                } else {
                    Heard::Identity(beacon.identity.unwrap_or(more.identity))
                };
                let observation = Observation::Sighting(Sighting {
                    at,
                    heard,
                    rssi_dbm,
                    measured_power_dbm: more.measured_power_dbm,
                    count: more.count,
                    distance_m: None,
                    observer: Some(scanner.clone()),
                });
                last = Some((beacon, device.clone()));
                reports.push(Report { index: more.index, device, observation });
            }
        }
    }
    reports
}

/// A beacon that is heard in two places at once is believed in neither.
pub(super) fn refused_as_cloned(beacon: &str) -> Rejected {
    let detail = format!("beacon {beacon:?} is heard in two places at once; it is believed when it no longer is");
    Rejected { reason: Rejection::Cloned, detail }
}

async fn submit(tools: Tools<'_>, reports: Vec<Report>, taken: &mut Taken) -> Result<(), Cause> {
    if reports.is_empty() {
        return Ok(());
    }
    let batch = Batch { reports, ..Batch::default() };
    let handed = hand_on(tools.shards, tools.store, batch).await.map_err(Cause::Store)?;
    tools.reporter.ingested(&handed.taken, 0);
    taken.unlinked += handed.strangers.iter().map(|(_, places)| places.len() as u64).sum::<u64>();
    taken.accepted += handed.taken.accepted;
    for (index, rejected) in handed.taken.rejected {
        // The link is over, or was ended since the owner was looked up.
        if matches!(rejected.reason, Rejection::UnknownDevice | Rejection::UnlinkedTag) {
            taken.unlinked += 1;
        } else {
            taken.rejected.push((index, rejected));
        }
    }
    taken.rejected.sort_by_key(|(index, _)| *index);
    handed.refusal.map_or(Ok(()), Err)
}
