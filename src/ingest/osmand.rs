//! The query string of OsmAnd and of Traccar's clients: `?id=&lat=&lon=&timestamp=...`.
//!
//! Times are RFC 3339, `2014-06-04 09:10:11` (UTC), epoch seconds or epoch milliseconds; speeds are knots, as in
//! Traccar's description of the protocol.

use parvis_engine::{
    id::DeviceId,
    observation::{Fix, Observation, Position, Rejected},
    time::Timestamp,
};

use super::{Batch, device, epoch, invalid};

/// Metres per second in one knot.
const MPS_PER_KNOT: f64 = 1_852.0 / 3_600.0;

/// User-equivalent range error of a phone's receiver, metres: what a dilution of precision of 1 stands for.
const METRES_PER_HDOP: f64 = 5.0;

/// Reads the parameters of one message; without a `timestamp` it happened `now`. `known` is the device as the key
/// names it. A message without a position (cells, Wi-Fi) is ignored.
pub fn batch(parameters: &[(String, String)], known: Option<&DeviceId>, now: Timestamp) -> Batch {
    let mut batch = Batch::default();
    let fields = Fields(parameters);
    let Some(fix) = fields.fix(now) else {
        return Batch { ignored: 1, ..batch };
    };
    match device(fields.text("id").or_else(|| fields.text("deviceid")), known) {
        Ok(device) => batch.note(0, &device, fix),
        Err(rejected) => batch.rejected.push((0, rejected)),
    }
    batch
}

struct Fields<'a>(&'a [(String, String)]);

impl<'a> Fields<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, text)| text.as_str()).filter(|text| !text.is_empty())
    }

    fn number(&self, name: &str) -> Result<Option<f64>, Rejected> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
        number.map(Some).ok_or_else(|| invalid(format!("`{name}` is no number: {text:?}")))
    }

    fn fix(&self, now: Timestamp) -> Option<Result<Observation, Rejected>> {
        let position = match (self.text("location"), self.text("lat"), self.text("lon")) {
            (Some(pair), _, _) => pair.split_once(','),
            (None, Some(lat), Some(lon)) => Some((lat, lon)),
            (None, _, _) => return None,
        };
        Some(self.read(position, now))
    }

    fn read(&self, position: Option<(&str, &str)>, now: Timestamp) -> Result<Observation, Rejected> {
        let degrees = |text: &str| text.trim().parse::<f64>().ok().filter(|degrees| degrees.is_finite());
        let Some((Some(lat), Some(lon))) = position.map(|(lat, lon)| (degrees(lat), degrees(lon))) else {
            return Err(invalid("the position must be `lat` and `lon`, or `location=<lat>,<lon>`, in degrees"));
        };
        let accuracy_m = match (self.number("accuracy")?.or(self.number("hacc")?), self.number("hdop")?) {
            (Some(accuracy_m), _) => accuracy_m,
            (None, Some(hdop)) => hdop * METRES_PER_HDOP,
            (None, None) => 0.0,
        };
        Ok(Observation::Fix(Fix {
            at: self.text("timestamp").map_or(Ok(now), at)?,
            position: Position { lat, lon },
            accuracy_m,
            speed_mps: self.number("speed")?.filter(|knots| *knots >= 0.0).map(|knots| knots * MPS_PER_KNOT),
            course_deg: self.number("bearing")?.or(self.number("heading")?).filter(|course| *course >= 0.0),
            floor: None,
        }))
    }
}

fn at(text: &str) -> Result<Timestamp, Rejected> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return epoch(number).ok_or_else(|| invalid("`timestamp` is not a time after 1970"));
    }
    let in_utc = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    match text.parse::<Timestamp>() {
        Ok(at) => Ok(at),
        Err(why) => {
            in_utc().map(|zoned| zoned.timestamp().into()).ok_or_else(|| invalid(format!("`timestamp`: {why}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &[(&str, &str)]) -> Batch {
        let parameters: Vec<_> = query.iter().map(|(name, text)| (name.to_string(), text.to_string())).collect();
        batch(&parameters, None, Timestamp::from_millis(7))
    }

    fn fix(query: &[(&str, &str)]) -> Fix {
        let Observation::Fix(fix) = read(query).reports.remove(0).observation else { panic!("a fix") };
        fix
    }

    #[test]
    fn times_come_in_four_spellings_or_not_at_all() {
        let at = |text| fix(&[("id", "1"), ("lat", "60.0"), ("lon", "30.0"), ("timestamp", text)]).at.as_millis();
        assert_eq!(at("1377177267"), 1_377_177_267_000);
        assert_eq!(at("1442068686579"), 1_442_068_686_579);
        assert_eq!(at("2016-01-27T18:55:47Z"), 1_453_920_947_000);
        assert_eq!(at("2014-06-04 09:10:11"), 1_401_873_011_000);
        assert_eq!(fix(&[("deviceid", "1"), ("location", "60.0,30.0")]).at.as_millis(), 7);
    }

    #[test]
    fn units_are_translated() {
        let fix = fix(&[("id", "1"), ("lat", "1"), ("lon", "2"), ("hdop", "6.0"), ("speed", "36"), ("heading", "9")]);
        assert_eq!((fix.accuracy_m, fix.course_deg), (30.0, Some(9.0)));
        assert!(fix.speed_mps.is_some_and(|speed_mps| (speed_mps - 18.52).abs() < 1e-9));
    }

    #[test]
    fn cells_are_ignored_and_nonsense_is_named() {
        assert_eq!(read(&[("id", "1"), ("cell", "257,02,16,2224")]).ignored, 1);
        assert!(read(&[("lat", "1"), ("lon", "2")]).rejected[0].1.detail.contains("no device"));
        assert!(read(&[("id", "1"), ("lat", "NaN"), ("lon", "2")]).rejected[0].1.detail.contains("`lat`"));
        assert!(
            read(&[("id", "1"), ("lat", "1"), ("lon", "2"), ("speed", "fast")]).rejected[0].1.detail.contains("speed")
        );
        assert!(
            read(&[("id", "1"), ("lat", "1"), ("lon", "2"), ("timestamp", "soon")]).rejected[0]
                .1
                .detail
                .contains("soon")
        );
    }
}
