//! A report as it waits: what was heard, and when by which clock. Pure: times are arguments.

use std::{io, time::Duration};

use parvis_beacons::report::{Heard, Report};
use serde::{Deserialize, Serialize};

use crate::clock::Moment;

/// Wall clocks before this were never set: 2026-01-01T00:00:00Z.
const WALL_MIN_MS: i64 = 1_767_225_600_000;
/// zstd's own default, a good trade on small hosts.
const LEVEL: i32 = 3;
/// The most that a stored record may expand to.
const EXPANDED_BYTES_MAX: usize = 4 << 20;

/// One report that was not sent yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The row of numbers that it is in: a run of the agent, or a part of one. With the number it names the report for
    /// ever.
    pub run: String,
    /// Its number in that row.
    pub seq: u64,
    /// The boot that `at_ms` belongs to; none if the host does not tell.
    pub boot: Option<String>,
    /// When it was made, by the boot's clock.
    pub at_ms: u64,
    /// When it was made, by the wall clock as far as it was known then; milliseconds since 1970.
    pub wall_ms: i64,
    /// What was heard; ages count back from when it was made.
    pub heard: Vec<Heard>,
}

/// The clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Now<'a> {
    /// The boot's clock.
    pub at: Moment,
    /// Which boot that is.
    pub boot: Option<&'a str>,
    /// The wall clock as the server has it; none before the server has answered.
    pub wall_ms: Option<i64>,
}

/// How old a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// So old.
    Known(Duration),
    /// Only the server's clock can tell, and it has not been heard yet.
    Unknown,
    /// It can't be told: one of the wall clocks was wrong.
    Untold,
}

impl Record {
    /// How old it is. Within a boot its clock tells; across boots the wall clocks bridge.
    pub fn age(&self, now: Now<'_>) -> Age {
        if self.boot.is_some() && self.boot.as_deref() == now.boot {
            return Age::Known(now.at.since(Moment(self.at_ms)));
        }
        if self.wall_ms < WALL_MIN_MS {
            return Age::Untold;
        }
        let Some(wall_ms) = now.wall_ms else { return Age::Unknown };
        u64::try_from(wall_ms - self.wall_ms).map_or(Age::Untold, |age| Age::Known(Duration::from_millis(age)))
    }

    /// The report, as of a record that is so old now.
    pub fn report(&self, scanner: &str, age: Duration) -> Report {
        let shift = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let aged = |heard: &Heard| Heard { age_ms: heard.age_ms.saturating_add(shift), ..heard.clone() };
        Report {
            scanner: scanner.to_owned(),
            boot: self.run.clone(),
            seq: self.seq,
            sent_at: None,
            health: None,
            heard: self.heard.iter().map(aged).collect(),
        }
    }

    /// The bytes that wait on disk.
    ///
    /// # Errors
    /// If it can't be compressed.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        compress(self)
    }

    /// Reads them back.
    ///
    /// # Errors
    /// If they are none.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Record> {
        let text = zstd::bulk::decompress(bytes, EXPANDED_BYTES_MAX)?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }
}

/// JSON, compressed.
///
/// # Errors
/// If it can't be compressed.
pub fn compress(value: &impl Serialize) -> io::Result<Vec<u8>> {
    zstd::bulk::compress(&serde_json::to_vec(value).map_err(io::Error::other)?, LEVEL)
}

#[cfg(test)]
mod tests {
    use parvis_beacons::{Ibeacon, Identity, Uuid};

    use super::*;

    const NEW_YEAR_MS: i64 = WALL_MIN_MS + 300 * 86_400_000;

    fn record() -> Record {
        let heard = Heard {
            age_ms: 700,
            identity: Identity::Ibeacon(Ibeacon { uuid: Uuid([1; 16]), major: 7, minor: 1 }),
            rssi_dbm: -63.5,
            rssi_min_dbm: None,
            rssi_max_dbm: None,
            count: 2,
            measured_power_dbm: None,
            battery_v: None,
        };
        let boot = Some("a".to_owned());
        Record { run: "r".to_owned(), seq: 9, boot, at_ms: 50_000, wall_ms: NEW_YEAR_MS, heard: vec![heard] }
    }

    fn now(boot: &str, wall_ms: Option<i64>) -> Now<'_> {
        Now { at: Moment(80_000), boot: Some(boot), wall_ms }
    }

    #[test]
    fn within_a_boot_the_wall_clock_does_not_matter() {
        let half_a_minute = Age::Known(Duration::from_secs(30));
        assert_eq!(record().age(now("a", None)), half_a_minute);
        assert_eq!(record().age(now("a", Some(0))), half_a_minute);
        let report = record().report("opera-3", Duration::from_secs(30));
        assert_eq!((report.heard[0].age_ms, report.seq, report.boot.as_str()), (30_700, 9, "r"));
    }

    #[test]
    fn across_boots_wall_clocks_bridge_or_the_age_is_untold() {
        assert_eq!(record().age(now("b", None)), Age::Unknown);
        assert_eq!(record().age(now("b", Some(NEW_YEAR_MS + 5_000))), Age::Known(Duration::from_secs(5)));
        assert_eq!(record().age(now("b", Some(NEW_YEAR_MS - 1))), Age::Untold);
        let never_set = Record { wall_ms: 1_000, ..record() };
        assert_eq!(never_set.age(now("b", Some(NEW_YEAR_MS))), Age::Untold);
        let unnamed = Record { boot: None, ..record() };
        assert_eq!(unnamed.age(Now { boot: None, ..now("", None) }), Age::Unknown);
    }

    #[test]
    fn bytes_come_back_as_they_were() {
        let bytes = record().to_bytes().expect("bytes");
        assert_eq!(Record::from_bytes(&bytes).expect("a record"), record());
        assert!(Record::from_bytes(&bytes[1..]).is_err());
    }
}
