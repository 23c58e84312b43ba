//! Wall-clock time: opening hours, time slots, quiet hours and calendar days, right in nights that have 23 or 25
//! hours.
//!
//! Whether a slot or opening hours hold is read off the clock on the wall. Quiet hours and days are spans between
//! two instants, so that their end is always after their beginning.

use std::{collections::BTreeMap, fmt, str::FromStr};

use jiff::{
    Zoned,
    civil::{self, Date, Weekday},
    tz::TimeZone,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{problem::Problem, time::Timestamp};

/// The most spans that one day may have.
const SPANS_MAX: usize = 8;
/// The most exceptional days that opening hours may have.
const EXCEPTIONS_MAX: usize = 400;

/// A reading of the clock on the wall, to the minute; `24:00` is the end of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    const MIDNIGHT: TimeOfDay = TimeOfDay(24 * 60);

    fn seconds(self) -> u32 {
        u32::from(self.0) * 60
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for TimeOfDay {
    type Err = String;

    fn from_str(text: &str) -> Result<TimeOfDay, String> {
        let wrong = || format!("{text:?} is not a time of day such as \"09:00\" (\"00:00\" to \"24:00\")");
        let (hours, minutes) = text.split_once(':').ok_or_else(wrong)?;
        let digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(hours) || !digits(minutes) {
            return Err(wrong());
        }
        let (hours, minutes): (u16, u16) = (hours.parse().map_err(|_| wrong())?, minutes.parse().map_err(|_| wrong())?);
        let total = hours * 60 + minutes;
        if minutes > 59 || total > Self::MIDNIGHT.0 { Err(wrong()) } else { Ok(TimeOfDay(total)) }
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TimeOfDay, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// From a time of day, inclusive, to another, exclusive; if that is not later, to that time on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span(pub TimeOfDay, pub TimeOfDay);

impl Span {
    fn holds_on_its_day(self, second: u32) -> bool {
        let (from, to) = (self.0.seconds(), self.1.seconds());
        from <= second && (second < to || to <= from)
    }

    fn holds_on_the_next_day(self, second: u32) -> bool {
        let (from, to) = (self.0.seconds(), self.1.seconds());
        to <= from && second < to
    }
}

/// Weekly opening hours with exceptional days. A day that is not named is closed.
///
/// `{"mon": [["09:00","12:00"],["14:00","19:00"]], "exceptions": {"2026-12-25": []}}`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hours {
    /// Mondays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mon: Vec<Span>,
    /// Tuesdays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tue: Vec<Span>,
    /// Wednesdays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub wed: Vec<Span>,
    /// Thursdays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thu: Vec<Span>,
    /// Fridays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fri: Vec<Span>,
    /// Saturdays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sat: Vec<Span>,
    /// Sundays.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sun: Vec<Span>,
    /// Days on which other hours hold, by date; an empty list is a closed day.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exceptions: BTreeMap<Date, Vec<Span>>,
}

impl Hours {
    /// Whether it is open at an instant. Hours that run past midnight belong to the day on which they begin.
    pub fn open(&self, local: &Zoned) -> bool {
        let second = second_of_day(local);
        let today = self.on(local.date());
        let yesterday = local.date().yesterday().map_or(&[][..], |date| self.on(date));
        today.iter().any(|span| span.holds_on_its_day(second))
            || yesterday.iter().any(|span| span.holds_on_the_next_day(second))
    }

    /// What is wrong with these hours.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let days = [&self.mon, &self.tue, &self.wed, &self.thu, &self.fri, &self.sat, &self.sun];
        for (name, spans) in DAY_NAMES.iter().zip(days) {
            check_spans(spans, &format!("/{name}"), &mut problems);
        }
        for (date, spans) in &self.exceptions {
            check_spans(spans, &format!("/exceptions/{date}"), &mut problems);
        }
        if self.exceptions.len() > EXCEPTIONS_MAX {
            let message = format!("at most {EXCEPTIONS_MAX} exceptional days; remove those that are past");
            problems.push(Problem::new("/exceptions", message));
        }
        problems
    }

    fn on(&self, date: Date) -> &[Span] {
        if let Some(spans) = self.exceptions.get(&date) {
            return spans;
        }
        match date.weekday() {
            Weekday::Monday => &self.mon,
            Weekday::Tuesday => &self.tue,
            Weekday::Wednesday => &self.wed,
            Weekday::Thursday => &self.thu,
            Weekday::Friday => &self.fri,
            Weekday::Saturday => &self.sat,
            Weekday::Sunday => &self.sun,
        }
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Day {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

/// A time slot on some days of the week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// On which days it begins; on every day if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Day>,
    /// From then on.
    pub from: TimeOfDay,
    /// Until then, exclusive; on the next day if that is not later.
    pub to: TimeOfDay,
}

impl Slot {
    /// Whether the slot holds at an instant.
    pub fn holds(&self, local: &Zoned) -> bool {
        let (span, second) = (Span(self.from, self.to), second_of_day(local));
        let on = |weekday: Weekday| self.days.is_empty() || self.days.contains(&day(weekday));
        on(local.weekday()) && span.holds_on_its_day(second)
            || on(local.weekday().previous()) && span.holds_on_the_next_day(second)
    }
}

/// What becomes of an offer in quiet hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuietAction {
    /// It waits for their end.
    #[default]
    Defer,
    /// It is not sent.
    Drop,
}

/// Hours in which no offer is sent, on the shopper's own clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuietHours {
    /// From then on.
    pub from: TimeOfDay,
    /// Until then, exclusive; on the next day if that is not later.
    pub to: TimeOfDay,
    /// What becomes of an offer.
    #[serde(default)]
    pub action: QuietAction,
}

impl QuietHours {
    /// The end of the quiet hours that hold at an instant, if any do.
    ///
    /// A time that the clocks skip is taken after the gap; an end that they show twice is the second of the two.
    pub fn until(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let today = at.in_zone(zone).date();
        let days = [today.yesterday().ok(), Some(today)];
        days.into_iter().flatten().find_map(|date| {
            let begin = instant(date, self.from, zone, jiff::tz::Disambiguation::Compatible)?;
            let last = if self.to <= self.from { date.tomorrow().ok()? } else { date };
            let end = instant(last, self.to, zone, jiff::tz::Disambiguation::Later)?;
            (begin <= at && at < end).then_some(end)
        })
    }

    /// What is wrong with these hours.
    pub fn problems(&self) -> Vec<Problem> {
        if self.from == self.to {
            vec![Problem::new("/to", "quiet hours need an end that differs from their beginning")]
        } else {
            Vec::new()
        }
    }
}

/// The first instant of the calendar day that an instant lies in.
pub fn day_start(at: Timestamp, zone: &TimeZone) -> Timestamp {
    let local = at.in_zone(zone);
    local.start_of_day().map_or(at, |start| start.timestamp().into())
}

const DAY_NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn check_spans(spans: &[Span], path: &str, problems: &mut Vec<Problem>) {
    if spans.len() > SPANS_MAX {
        problems.push(Problem::new(path, format!("at most {SPANS_MAX} spans a day")));
    }
    for (at, span) in spans.iter().enumerate() {
        if span.0 == span.1 {
            let message = "a span needs an end that differs from its beginning; all day is [\"00:00\",\"24:00\"]";
            problems.push(Problem::new(format!("{path}/{at}"), message));
        }
    }
}

fn second_of_day(local: &Zoned) -> u32 {
    let time = local.time();
    let number = |part: i8| u32::from(part.unsigned_abs());
    number(time.hour()) * 3600 + number(time.minute()) * 60 + number(time.second())
}

fn day(weekday: Weekday) -> Day {
    match weekday {
        Weekday::Monday => Day::Mon,
        Weekday::Tuesday => Day::Tue,
        Weekday::Wednesday => Day::Wed,
        Weekday::Thursday => Day::Thu,
        Weekday::Friday => Day::Fri,
        Weekday::Saturday => Day::Sat,
        Weekday::Sunday => Day::Sun,
    }
}

fn instant(date: Date, time: TimeOfDay, zone: &TimeZone, choice: jiff::tz::Disambiguation) -> Option<Timestamp> {
    let (date, minutes) = if time == TimeOfDay::MIDNIGHT { (date.tomorrow().ok()?, 0) } else { (date, time.0) };
    let wall = civil::Time::new(i8::try_from(minutes / 60).ok()?, i8::try_from(minutes % 60).ok()?, 0, 0).ok()?;
    let zoned = zone.to_ambiguous_zoned(date.to_datetime(wall)).disambiguate(choice).ok()?;
    Some(zoned.timestamp().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> TimeZone {
        TimeZone::get("Europe/Paris").expect("bundled")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn local(text: &str) -> Zoned {
        at(text).in_zone(&zone())
    }

    fn quiet(from: &str, to: &str) -> QuietHours {
        QuietHours { from: from.parse().expect("a time"), to: to.parse().expect("a time"), action: QuietAction::Defer }
    }

    #[test]
    fn times_of_day_are_checked() {
        assert_eq!("24:00".parse::<TimeOfDay>().expect("the end of the day").to_string(), "24:00");
        for wrong in ["9:00", "24:01", "12:60", "12", "", "1a:00", "+1:00"] {
            assert!(wrong.parse::<TimeOfDay>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn hours_have_breaks_nights_and_exceptions() {
        let hours: Hours = serde_json::from_str(
            r#"{"mon":[["09:00","12:00"],["14:00","19:00"]],"fri":[["18:00","02:00"]],
                "exceptions":{"2026-11-23":[],"2026-11-29":[["10:00","24:00"]]}}"#,
        )
        .expect("valid");
        assert!(hours.problems().is_empty());
        assert!(hours.open(&local("2026-11-16T09:00:00+01:00")), "the first second");
        assert!(!hours.open(&local("2026-11-16T12:00:00+01:00")), "noon break");
        assert!(hours.open(&local("2026-11-16T18:59:59+01:00")));
        assert!(!hours.open(&local("2026-11-16T19:00:00+01:00")), "the end is outside");
        assert!(hours.open(&local("2026-11-21T01:59:00+01:00")), "Friday night runs into Saturday");
        assert!(!hours.open(&local("2026-11-21T02:00:00+01:00")));
        assert!(!hours.open(&local("2026-11-23T10:00:00+01:00")), "a closed Monday");
        assert!(hours.open(&local("2026-11-29T23:59:00+01:00")), "an open Sunday");
        let text = serde_json::to_string(&hours).expect("serialises");
        assert_eq!(serde_json::from_str::<Hours>(&text).expect("reads back"), hours);
    }

    #[test]
    fn slots_belong_to_the_day_on_which_they_begin() {
        let slot =
            Slot { days: vec![Day::Sat], from: "22:00".parse().expect("a time"), to: "03:00".parse().expect("a time") };
        assert!(slot.holds(&local("2026-11-21T23:00:00+01:00")), "Saturday night");
        assert!(slot.holds(&local("2026-11-22T02:00:00+01:00")), "into Sunday");
        assert!(!slot.holds(&local("2026-11-21T02:00:00+01:00")), "not the night before");
    }

    #[test]
    fn quiet_hours_end_on_the_wall_clock_in_short_and_long_nights() {
        let night = quiet("21:00", "08:00");
        let end = |text: &str| night.until(at(text), &zone()).map(|end| end.to_string());
        assert_eq!(end("2026-03-28T22:00:00+01:00").as_deref(), Some("2026-03-29T06:00:00.000Z"), "ten hours");
        assert_eq!(end("2026-10-24T22:00:00+02:00").as_deref(), Some("2026-10-25T07:00:00.000Z"), "twelve hours");
        assert_eq!(end("2026-10-25T07:59:59+01:00").as_deref(), Some("2026-10-25T07:00:00.000Z"));
        assert_eq!(end("2026-10-25T08:00:00+01:00"), None);
        assert_eq!(end("2026-10-25T20:59:59+01:00"), None);
    }

    #[test]
    fn quiet_hours_that_end_in_a_repeated_or_skipped_hour_end_once() {
        let night = quiet("23:00", "02:30");
        // 02:00 to 03:00 comes twice on 25 October 2026 in Paris.
        let first = night.until(at("2026-10-25T02:10:00+02:00"), &zone());
        let second = night.until(at("2026-10-25T02:10:00+01:00"), &zone());
        assert_eq!(first, Some(at("2026-10-25T02:30:00+01:00")));
        assert_eq!(second, first, "still quiet when the hour repeats");
        assert_eq!(night.until(at("2026-10-25T02:30:00+01:00"), &zone()), None);
        // 02:00 to 03:00 does not come on 29 March 2026.
        assert_eq!(night.until(at("2026-03-29T01:59:00+01:00"), &zone()), Some(at("2026-03-29T03:30:00+02:00")));
    }

    #[test]
    fn days_begin_at_local_midnight() {
        assert_eq!(day_start(at("2026-10-25T12:00:00+01:00"), &zone()), at("2026-10-25T00:00:00+02:00"));
        let tokyo = TimeZone::get("Asia/Tokyo").expect("bundled");
        assert_eq!(day_start(at("2026-11-21T15:00:00Z"), &tokyo), at("2026-11-21T15:00:00Z"));
    }
}
