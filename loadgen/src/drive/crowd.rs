//! Whose turn it is: phones report one after the other, round and round, and what a phone keeps for a while goes out when
//! its time has come. Time is an argument.

use std::collections::BTreeMap;

use parvis_loadgen::city::{City, Phone, Ping};

/// So many kept pings at most; beyond that phones keep nothing back, so that the generator's memory has a bound.
const KEPT_MAX: usize = 1 << 20;
/// The time from ping to ping of a phone whose pings go out together, until it is known how long a round takes.
const FIRST_INTERVAL_MS: i64 = 1_000;

/// The phones and what they keep.
pub(crate) struct Crowd {
    phones: Vec<Phone>,
    next: usize,
    batch: usize,
    /// Whether a request holds pings of one phone only.
    one_phone: bool,
    /// By when they go out, then in the order in which they were taken.
    kept: BTreeMap<(i64, u64), Ping>,
    kept_so_far: u64,
    round_began_ms: Option<i64>,
    interval_ms: i64,
}

impl Crowd {
    pub(crate) fn new(city: &City, batch: usize, one_phone: bool) -> Crowd {
        Crowd {
            phones: (0..city.plan().phones).map(|index| city.phone(index)).collect(),
            next: 0,
            batch,
            one_phone,
            kept: BTreeMap::new(),
            kept_so_far: 0,
            round_began_ms: None,
            interval_ms: FIRST_INTERVAL_MS,
        }
    }

    /// The pings of the request that is due at this time, milliseconds since 1970.
    pub(super) fn next(&mut self, city: &City, at_ms: i64, pings: &mut Vec<Ping>) {
        pings.clear();
        if self.one_phone && self.batch > 1 {
            return self.gathered(city, at_ms, pings);
        }
        while pings.len() < self.batch {
            if let Some(ping) = self.released(at_ms) {
                pings.push(ping);
                continue;
            }
            let ping = self.turn(at_ms).step(city, at_ms);
            if ping.delay_ms == 0 || self.kept.len() >= KEPT_MAX {
                pings.push(ping);
            } else {
                self.keep(ping);
            }
        }
    }

    /// A phone's own pings since its last turn, evenly spread over that time.
    fn gathered(&mut self, city: &City, at_ms: i64, pings: &mut Vec<Ping>) {
        let (batch, interval_ms) = (self.batch, self.interval_ms);
        let phone = self.turn(at_ms);
        pings.extend((0..batch as i64).rev().map(|before| phone.step(city, at_ms - before * interval_ms)));
    }

    fn turn(&mut self, at_ms: i64) -> &mut Phone {
        if self.next == 0 {
            if let Some(began_ms) = self.round_began_ms {
                self.interval_ms = ((at_ms - began_ms) / self.batch as i64).max(1);
            }
            self.round_began_ms = Some(at_ms);
        }
        let index = self.next;
        self.next = (index + 1) % self.phones.len();
        &mut self.phones[index]
    }

    fn keep(&mut self, ping: Ping) {
        self.kept.insert((ping.at_ms + i64::from(ping.delay_ms), self.kept_so_far), ping);
        self.kept_so_far += 1;
    }

    fn released(&mut self, at_ms: i64) -> Option<Ping> {
        let first = self.kept.first_entry()?;
        (first.key().0 <= at_ms).then(|| first.remove())
    }
}
