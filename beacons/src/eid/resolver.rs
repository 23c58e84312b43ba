//! From what was heard to the beacon that sent it, for many beacons at once.
//!
//! Identifiers are computed ahead, when periods pass; a lookup computes none. The clock is whoever calls.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{
    Registration,
    clock::Clock,
    ephemeral,
    table::{Entry, Table},
};
use crate::Ephemeral;

/// If time goes back by more than this, all is computed anew; by less, and nothing needs to be.
const STEP_BACK_MS: i64 = 1_000;
/// Far from the largest number, so that there is always a later time at which a slot is due.
const NOW_MAX_MS: i64 = i64::MAX / 4;
/// The greatest lateness, so that a beacon that changes every second holds no more than a few thousand identifiers.
const LATENESS_MAX: Duration = Duration::from_secs(3_600);

/// Knows beacons by what they call themselves for the time being.
///
/// A beacon is known by the identifier of the period in which it should be and by those of its neighbours, and by as
/// many more as its clock can have drifted since it was last heard (150 millionths, at most 64 periods). Hearing it
/// tells its drift.
#[derive(Clone, Debug)]
pub struct Resolver<K> {
    slots: Vec<Option<Slot<K>>>,
    free: Vec<usize>,
    by_beacon: BTreeMap<K, usize>,
    table: Table,
    /// When which slot needs other identifiers.
    due: BTreeSet<(i64, usize)>,
    lateness_ms: i64,
    now_ms: i64,
}

#[derive(Clone, Debug)]
struct Slot<K> {
    beacon: K,
    registration: Registration,
    clock: Clock,
    due_ms: i64,
    /// The period of the first of `held`.
    first: i64,
    /// What stands in the table, period by period.
    held: VecDeque<Ephemeral>,
}

impl<K: Clone + Ord> Resolver<K> {
    /// Knows nobody yet. Sightings are resolved if they are not older than `lateness`, of which no more than an hour
    /// counts; the longer, the more is kept for beacons that change often.
    pub fn new(lateness: Duration) -> Resolver<K> {
        Resolver {
            slots: Vec::new(),
            free: Vec::new(),
            by_beacon: BTreeMap::new(),
            table: Table::new(),
            due: BTreeSet::new(),
            lateness_ms: i64::try_from(lateness.min(LATENESS_MAX).as_millis()).unwrap_or(i64::MAX),
            now_ms: 0,
        }
    }

    /// Makes a beacon known, or knows it by another registration. What was learned of its clock is forgotten.
    pub fn insert(&mut self, beacon: K, registration: Registration) {
        self.remove(&beacon);
        let clock = Clock::new(registration.began_at_ms, registration.exponent);
        let slot =
            Slot { beacon: beacon.clone(), registration, clock, due_ms: self.now_ms, first: 0, held: VecDeque::new() };
        let number = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(number) {
            Some(free) => *free = Some(slot),
            None => self.slots.push(Some(slot)),
        }
        self.by_beacon.insert(beacon, number);
        self.renew(number);
    }

    /// Forgets a beacon; tells whether it was known.
    pub fn remove(&mut self, beacon: &K) -> bool {
        let Some(number) = self.by_beacon.remove(beacon) else { return false };
        if let Some(slot) = self.slots.get_mut(number).and_then(Option::take) {
            self.due.remove(&(slot.due_ms, number));
            for (period, eid) in (slot.first..).zip(slot.held) {
                self.table.remove(Entry { eid, slot: number, period });
            }
        }
        self.free.push(number);
        true
    }

    /// Brings the identifiers up to the present, milliseconds since 1970. To be called at least as often as the
    /// shortest period lasts; costs nothing when no period has passed.
    pub fn refresh(&mut self, now_ms: i64) {
        let now_ms = now_ms.clamp(0, NOW_MAX_MS);
        if now_ms < self.now_ms - STEP_BACK_MS {
            self.now_ms = now_ms;
            (0..self.slots.len()).for_each(|number| self.renew(number));
        }
        self.now_ms = self.now_ms.max(now_ms);
        while let Some(number) = self.due.first().filter(|(due_ms, _)| *due_ms <= self.now_ms).map(|(_, slot)| *slot) {
            self.renew(number);
        }
    }

    /// Which beacon called itself so at this time, milliseconds since 1970. Nothing if none of the known ones did, or
    /// if the identifier does not fit the time: an old one that is sent again.
    pub fn resolve(&mut self, heard: Ephemeral, at_ms: i64) -> Option<&K> {
        let fits = |entry: &&Entry| {
            let slot = self.slots.get(entry.slot).and_then(Option::as_ref);
            slot.map(|slot| slot.clock.periods(at_ms))
                .is_some_and(|(first, last)| (first..=last).contains(&entry.period))
        };
        let entry = *self.table.get(heard).find(fits)?;
        let slot = self.slots.get_mut(entry.slot)?.as_mut()?;
        slot.clock.heard(entry.period, at_ms);
        Some(&slot.beacon)
    }

    /// What a beacon's clock is ahead of the time since its registration, at least and at most, milliseconds.
    pub fn offsets_ms(&self, beacon: &K) -> Option<(i64, i64)> {
        let slot = self.slots.get(*self.by_beacon.get(beacon)?)?.as_ref()?;
        Some(slot.clock.offsets_ms(self.now_ms))
    }

    /// Puts into the table what this beacon may call itself until its next due time, and nothing else.
    fn renew(&mut self, number: usize) {
        let Some(slot) = self.slots.get_mut(number).and_then(Option::as_mut) else { return };
        self.due.remove(&(slot.due_ms, number));
        slot.due_ms = slot.clock.next_ms(self.now_ms).max(self.now_ms + 1);
        self.due.insert((slot.due_ms, number));

        let period_s = slot.registration.exponent.period_s();
        let (first, _) = slot.clock.periods(self.now_ms - self.lateness_ms);
        let (_, last) = slot.clock.periods(self.now_ms);
        // One more, for sightings whose time is a little ahead of ours.
        let (first, last) = (first.max(0), last.saturating_add(1).min(i64::from(u32::MAX / period_s)));
        while let Some(eid) = slot.held.front().copied().filter(|_| slot.first < first || slot.first > last) {
            self.table.remove(Entry { eid, slot: number, period: slot.first });
            slot.held.pop_front();
            slot.first += 1;
        }
        if slot.held.is_empty() || slot.first > first {
            for (period, eid) in (slot.first..).zip(slot.held.drain(..)) {
                self.table.remove(Entry { eid, slot: number, period });
            }
            slot.first = first;
        }
        let next = slot.first.saturating_add(i64::try_from(slot.held.len()).unwrap_or(i64::MAX));
        for period in next..=last {
            let clock_s = u32::try_from(period).unwrap_or(u32::MAX).saturating_mul(period_s);
            let eid = ephemeral(&slot.registration.identity_key, slot.registration.exponent, clock_s);
            slot.held.push_back(eid);
            self.table.insert(Entry { eid, slot: number, period });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::eid::{Exponent, IdentityKey};

    const BEGAN_AT_MS: i64 = 1_795_000_000_000;
    const LATENESS: Duration = Duration::from_secs(30);

    fn registration(number: u8, exponent: u8) -> Registration {
        Registration {
            identity_key: IdentityKey::new([number; 16]),
            exponent: Exponent::try_from(exponent).expect("an exponent"),
            began_at_ms: BEGAN_AT_MS,
        }
    }

    /// What a beacon sends when its own clock shows so many milliseconds.
    fn sent(registration: &Registration, clock_ms: i64) -> Ephemeral {
        let clock_s = u32::try_from(clock_ms / 1_000).expect("a clock that has begun");
        ephemeral(&registration.identity_key, registration.exponent, clock_s)
    }

    fn resolver(beacons: u8, exponent: u8) -> Resolver<u8> {
        let mut resolver = Resolver::new(LATENESS);
        (0..beacons).for_each(|number| resolver.insert(number, registration(number, exponent)));
        resolver
    }

    #[test]
    fn each_beacon_is_known_by_what_it_sends_and_by_nothing_else() {
        let mut resolver = resolver(100, 10);
        for hours in [0, 1, 30, 31] {
            let clock_ms = hours * 3_600_000;
            resolver.refresh(BEGAN_AT_MS + clock_ms);
            for number in 0..100 {
                let eid = sent(&registration(number, 10), clock_ms);
                assert_eq!(resolver.resolve(eid, BEGAN_AT_MS + clock_ms), Some(&number), "{hours} h");
            }
            let strange = sent(&registration(200, 10), clock_ms);
            assert_eq!(resolver.resolve(strange, BEGAN_AT_MS + clock_ms), None);
        }
    }

    #[test]
    fn the_period_before_and_the_one_after_are_taken() {
        let beacon = registration(1, 10);
        let now_ms = 50 * 1_024_000 + 512_000;
        for (periods, known) in [(-3, false), (-1, true), (0, true), (1, true), (3, false)] {
            let mut resolver = resolver(2, 10);
            resolver.refresh(BEGAN_AT_MS + now_ms);
            let eid = sent(&beacon, now_ms + periods * 1_024_000);
            assert_eq!(resolver.resolve(eid, BEGAN_AT_MS + now_ms).is_some(), known, "{periods}");
        }
    }

    #[test]
    fn what_is_sent_again_later_is_not_taken() {
        let mut resolver = resolver(1, 4);
        let eid = sent(&registration(0, 4), 1_000_000);
        for (later_ms, known) in [(0, true), (16_000, true), (120_000, false), (86_400_000, false)] {
            let at_ms = BEGAN_AT_MS + 1_000_000 + later_ms;
            resolver.refresh(at_ms);
            assert_eq!(resolver.resolve(eid, at_ms).is_some(), known, "{later_ms}");
        }
    }

    #[test]
    fn late_sightings_are_resolved_up_to_the_lateness() {
        let mut resolver = resolver(1, 0);
        let now_ms = 10_000_000;
        resolver.refresh(BEGAN_AT_MS + now_ms);
        for (age_ms, known) in [(0, true), (29_000, true), (90_000, false)] {
            let eid = sent(&registration(0, 0), now_ms - age_ms);
            assert_eq!(resolver.resolve(eid, BEGAN_AT_MS + now_ms - age_ms).is_some(), known, "{age_ms}");
        }
    }

    #[test]
    fn a_beacon_that_is_gone_is_not_known() {
        let mut resolver = resolver(3, 10);
        resolver.refresh(BEGAN_AT_MS);
        let eid = sent(&registration(1, 10), 0);
        assert!(resolver.remove(&1) && !resolver.remove(&1));
        assert_eq!(resolver.resolve(eid, BEGAN_AT_MS), None);
        assert_eq!(resolver.offsets_ms(&1), None);
        resolver.insert(7, registration(1, 10));
        assert_eq!(resolver.resolve(eid, BEGAN_AT_MS), Some(&7));
    }

    #[test]
    fn time_that_goes_back_is_followed() {
        let mut resolver = resolver(1, 10);
        resolver.refresh(BEGAN_AT_MS + 900_000_000);
        resolver.refresh(BEGAN_AT_MS + 5_000_000);
        let eid = sent(&registration(0, 10), 5_000_000);
        assert_eq!(resolver.resolve(eid, BEGAN_AT_MS + 5_000_000), Some(&0));
    }

    #[test]
    fn a_replayer_moves_a_clock_no_faster_than_it_could_drift() {
        let mut resolver = resolver(1, 6);
        let beacon = registration(0, 6);
        for step in 0..5_000_i64 {
            let clock_ms = 1_000_000 + step * 20_000;
            resolver.refresh(BEGAN_AT_MS + clock_ms);
            for periods in (1..8).rev() {
                resolver.resolve(sent(&beacon, clock_ms - periods * 64_000), BEGAN_AT_MS + clock_ms);
            }
        }
        let (low_ms, high_ms) = resolver.offsets_ms(&0).expect("known");
        let drift_ms = 5_000 * 20_000 * 150 / 1_000_000;
        assert!(low_ms >= -64_000 - drift_ms - 1_000 && high_ms <= 64_000, "{low_ms}..{high_ms}");
    }

    #[test]
    fn no_argument_is_too_large() {
        for began_at_ms in [i64::MIN, -1, i64::MAX] {
            let mut resolver = Resolver::new(Duration::MAX);
            for now_ms in [0, i64::MAX, i64::MIN, i64::MAX, 0] {
                resolver.refresh(now_ms);
                resolver.insert(began_at_ms, Registration { began_at_ms, ..registration(1, 15) });
                assert_eq!(resolver.resolve(Ephemeral([0; 8]), now_ms), None);
            }
        }
    }

    proptest! {
        /// A clock within the specification, heard at any intervals, by scanners whose time is a little wrong, from a
        /// beacon that changes its identifier at any moment of the period.
        #[test]
        fn a_drifting_beacon_is_never_lost(
            exponent in 5_u8..13,
            drift_ppm in -150_i64..=150,
            heard in prop::collection::vec((0.0_f64..8.0, -2_000_i64..2_000, 0.0_f64..1.0), 1..60),
        ) {
            let mut resolver = resolver(1, exponent);
            let beacon = registration(0, exponent);
            let period_ms = i64::from(beacon.exponent.period_s()) * 1_000;
            let mut now_ms = 10 * period_ms;
            for (gap, error_ms, change) in heard {
                // From a second to eleven days.
                now_ms += 10.0_f64.powf(gap * 0.75 + 3.0) as i64;
                let clock_ms = now_ms + now_ms * drift_ppm / 1_000_000;
                let is_changed = clock_ms.rem_euclid(period_ms) as f64 >= change * period_ms as f64;
                let eid = sent(&beacon, if is_changed { clock_ms } else { clock_ms - period_ms });
                resolver.refresh(BEGAN_AT_MS + now_ms);
                prop_assert_eq!(resolver.resolve(eid, BEGAN_AT_MS + now_ms + error_ms), Some(&0));
                let (low_ms, high_ms) = resolver.offsets_ms(&0).expect("known");
                let offset_ms = clock_ms - now_ms;
                prop_assert!((low_ms..=high_ms).contains(&offset_ms), "{} in {}..{}", offset_ms, low_ms, high_ms);
            }
        }

        #[test]
        fn the_table_holds_what_is_needed_and_no_more(exponent in 0_u8..16, hours in prop::collection::vec(0_i64..9_000, 1..8)) {
            let mut resolver = resolver(3, exponent);
            for hours in hours {
                resolver.refresh(BEGAN_AT_MS + hours * 3_600_000);
                let held: usize = resolver.slots.iter().flatten().map(|slot| slot.held.len()).sum();
                let periods = 2 * 64 + 30 + 16;
                prop_assert!(held <= 3 * periods, "{}", held);
                prop_assert_eq!(resolver.due.len(), 3);
            }
        }
    }
}
