//! Instants with millisecond precision. The engine never asks what time it is: time is an argument.

use std::{fmt, num::NonZero, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An instant, to the millisecond.
///
/// Kept as milliseconds since year 1, counted from one, so that an optional one takes no more room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(NonZero<u64>);

/// The millisecond before year 1, as milliseconds since the Unix epoch.
const BEFORE: i64 = -62_135_596_800_001;

impl Timestamp {
    /// The earliest instant that can be written in RFC 3339 (year 1).
    pub const MIN: Timestamp = Timestamp::at(BEFORE + 1);
    /// The latest instant that can be written in RFC 3339 with any offset (9999-12-30T22:00:00Z).
    pub const MAX: Timestamp = Timestamp::at(253_402_207_200_000);

    /// Milliseconds since the Unix epoch; values outside `MIN..=MAX` are clamped.
    pub fn from_millis(millis: i64) -> Timestamp {
        Timestamp::at(millis).min(Timestamp::MAX)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0.get().cast_signed() + BEFORE
    }

    /// Milliseconds since the Unix epoch; what is before year 1 is its beginning.
    const fn at(millis: i64) -> Timestamp {
        let count = millis.saturating_sub(BEFORE);
        match NonZero::new(count.cast_unsigned()) {
            Some(count_from_one) if count > 0 => Timestamp(count_from_one),
            Some(_) | None => Timestamp(NonZero::<u64>::MIN),
        }
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// This instant moved into the future, saturating at `MAX`.
    #[must_use]
    pub fn plus(self, span: Duration) -> Timestamp {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.as_millis().saturating_add(millis))
    }

    /// This instant moved into the past, saturating at `MIN`.
    #[must_use]
    pub fn minus(self, span: Duration) -> Timestamp {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.as_millis().saturating_sub(millis))
    }

    /// The wall-clock reading in a time zone.
    pub fn in_zone(self, zone: &jiff::tz::TimeZone) -> jiff::Zoned {
        self.as_jiff().to_zoned(zone.clone())
    }

    fn as_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.as_millis()).unwrap_or_default()
    }
}

/// The Unix epoch.
impl Default for Timestamp {
    fn default() -> Timestamp {
        Timestamp::at(0)
    }
}

impl From<jiff::Timestamp> for Timestamp {
    fn from(instant: jiff::Timestamp) -> Timestamp {
        Timestamp::from_millis(instant.as_millisecond())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Timestamp").field(&self.as_millis()).finish()
    }
}

/// Of `2026-11-21T18:30:00.000Z`.
const TEXT_BYTES: usize = 24;

impl Timestamp {
    /// Writes it without going through formatting: a stored shopper has a dozen. The date is by proleptic Gregorian
    /// calendar, counted in years that begin in March, so that a leap day is a year's last (see H. Hinnant,
    /// "chrono-Compatible Low-Level Date Algorithms").
    fn written(self, text: &mut [u8; TEXT_BYTES]) -> &str {
        const DAY_MS: i64 = 86_400_000;
        const ERA_DAYS: i64 = 146_097;
        let (day, in_day_ms) = (self.as_millis().div_euclid(DAY_MS), self.as_millis().rem_euclid(DAY_MS));
        // From 0000-03-01 to 1970-01-01.
        let day = day + 719_468;
        let (era, in_era) = (day.div_euclid(ERA_DAYS), day.rem_euclid(ERA_DAYS));
        let year = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
        let in_year = in_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * in_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let fields = [
            (0, 4, 400 * era + year + i64::from(month <= 2)),
            (5, 2, month),
            (8, 2, in_year - (153 * from_march + 2) / 5 + 1),
            (11, 2, in_day_ms / 3_600_000),
            (14, 2, in_day_ms / 60_000 % 60),
            (17, 2, in_day_ms / 1_000 % 60),
            (20, 3, in_day_ms % 1_000),
        ];
        text.copy_from_slice(b"0000-00-00T00:00:00.000Z");
        for (from, digits, mut value) in fields {
            for place in text[from..from + digits].iter_mut().rev() {
                *place = b'0' + (value % 10) as u8;
                value /= 10;
            }
        }
        std::str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.written(&mut [0; TEXT_BYTES]))
    }
}

/// RFC 3339 with a zone, such as `2026-11-21T18:30:00+01:00`.
impl FromStr for Timestamp {
    type Err = String;

    fn from_str(text: &str) -> Result<Timestamp, String> {
        let instant: jiff::Timestamp = text
            .parse()
            .map_err(|_| format!("{text:?} is not an RFC 3339 time with a zone, such as 2026-11-21T18:30:00Z"))?;
        let millis = instant.as_millisecond();
        if millis <= BEFORE { Err(format!("{text:?} is before year 1")) } else { Ok(Timestamp::at(millis)) }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.written(&mut [0; TEXT_BYTES]))
        } else {
            serializer.serialize_i64(self.as_millis())
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Timestamp::from_millis);
        }
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an RFC 3339 time with a zone, as a string")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Serde form of durations in files and in the API: `"30s"`, `"10min"`, `"1h 30m"`, `"7 days"`.
pub mod duration {
    use super::*;

    /// Reads a duration with a unit.
    ///
    /// # Errors
    /// If it has no unit, is negative, or uses calendar units whose length varies.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let expected =
            || format!("{text:?} is not a duration with a unit, such as \"30s\", \"10min\", \"24h\" or \"7d\"");
        let span: jiff::Span = text.parse().map_err(|_| expected())?;
        let signed = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| expected())?;
        Duration::try_from(signed).map_err(|_| expected())
    }

    /// Writes a duration so that [`parse`] reads it back.
    pub fn format(span: Duration) -> String {
        jiff::SignedDuration::try_from(span).map_or_else(|_| format!("{}s", span.as_secs()), |span| format!("{span:#}"))
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*span))
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// If the text is no duration with a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        parse(&text).map_err(serde::de::Error::custom)
    }

    /// The same for optional durations.
    pub mod option {
        use super::*;

        /// For `#[serde(with)]`.
        ///
        /// # Errors
        /// Those of the serializer.
        pub fn serialize<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
            match span {
                Some(span) => serializer.serialize_some(&format(*span)),
                None => serializer.serialize_none(),
            }
        }

        /// For `#[serde(with)]`.
        ///
        /// # Errors
        /// If the text is no duration with a unit.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            let text = Option::<std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            text.map(|text| parse(&text).map_err(serde::de::Error::custom)).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_rfc_3339() {
        let at: Timestamp = "2026-11-21T18:30:00.25+01:00".parse().expect("valid");
        assert_eq!(at.to_string(), "2026-11-21T17:30:00.250Z");
        assert!("2026-11-21T18:30:00".parse::<Timestamp>().is_err(), "a zone is required");
        assert!(serde_json::from_str::<Timestamp>("1700000000").is_err(), "integers are refused");
    }

    #[test]
    fn an_optional_one_takes_no_more_room() {
        assert_eq!(size_of::<Option<Timestamp>>(), size_of::<Timestamp>());
        let millis = [i64::MIN, -62_135_596_800_000, -1, 0, 1, 253_402_207_200_000, i64::MAX];
        let kept = millis.map(|millis| Timestamp::from_millis(millis).as_millis());
        assert_eq!(kept, millis.map(|it| it.clamp(Timestamp::MIN.as_millis(), Timestamp::MAX.as_millis())));
        assert!(kept.is_sorted() && millis.map(Timestamp::from_millis).is_sorted());
        assert_eq!(
            (Timestamp::default().as_millis(), format!("{:?}", Timestamp::default())),
            (0, "Timestamp(0)".into())
        );
        assert!("0000-12-31T23:59:59.999Z".parse::<Timestamp>().is_err());
    }

    #[test]
    fn the_ends_of_time_can_be_written_and_read() {
        for end in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(end.to_string().parse(), Ok(end));
        }
    }

    #[test]
    fn a_time_is_written_as_the_calendar_has_it() {
        // A prime number of milliseconds near a week, so that every month, weekday and time of day comes up.
        for millis in (Timestamp::MIN.as_millis()..=Timestamp::MAX.as_millis()).step_by(604_801_013) {
            let at = Timestamp::from_millis(millis);
            assert_eq!(at.to_string(), format!("{:.3}", at.as_jiff()));
        }
        for year in 1..=9_999 {
            for day in ["02-28T23:59:59.999", "03-01T00:00:00.000", "12-29T00:00:00.001"] {
                let text = format!("{year:04}-{day}Z");
                assert_eq!(text.parse::<Timestamp>().expect("a time").to_string(), text);
            }
        }
    }

    #[test]
    fn spans_saturate() {
        let early = Timestamp::from_millis(1_000);
        let late = Timestamp::from_millis(3_500);
        assert_eq!(late.since(early), Duration::from_millis(2_500));
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(Timestamp::MAX.plus(Duration::from_secs(1)), Timestamp::MAX);
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration::parse("10min"), Ok(Duration::from_secs(600)));
        assert_eq!(duration::parse("7d"), Ok(Duration::from_secs(604_800)));
        assert!(duration::parse("10").is_err());
        assert!(duration::parse("-3s").is_err());
        assert_eq!(
            duration::parse(&duration::format(Duration::from_millis(90_500))),
            Ok(Duration::from_millis(90_500))
        );
    }
}
