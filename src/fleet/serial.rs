//! Which reports of a scanner were taken: nothing is taken twice, nothing old is taken for new.
//!
//! A boot is a row of numbers: a host begins a new one with each start, and whenever fresh reports begin to pass a
//! backlog, so that reports of two rows come side by side. Holds no more than a window of the current row and of some
//! before. Knows only this process' life.

use std::collections::VecDeque;

/// Which report this is, by the scanner's own count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    /// Names the row.
    pub boot: String,
    /// Counts the reports of that row, from 1.
    pub seq: u64,
}

/// What a report is, by its serial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not seen before.
    New,
    /// Taken before.
    Repeat,
    /// Older than what can still be told apart from what was taken.
    Old,
}

/// What was taken of one scanner.
#[derive(Clone, Debug, Default)]
pub(super) struct Serials {
    current: Option<Boot>,
    /// Boots before the current one, newest first.
    former: VecDeque<Boot>,
}

#[derive(Clone, Debug)]
struct Boot {
    name: String,
    /// The sequence number below the first that counts: what is missing is missing above it.
    base: u64,
    /// The greatest that was taken.
    highest: u64,
    /// Whether `highest - n` was taken, for n from 0.
    window: u128,
    taken: u64,
}

/// So many boots are told from each other.
const FORMER_MAX: usize = 16;

impl Serials {
    /// What a report with this serial is.
    pub(super) fn judge(&self, serial: &Serial) -> Standing {
        match &self.current {
            Some(boot) if boot.name == serial.boot => boot.judge(serial.seq),
            // A host whose backlog is under way sends again what it got no answer to.
            Some(_) | None => {
                let former = self.former.iter().find(|boot| boot.name == serial.boot);
                former.map_or(Standing::New, |boot| boot.judge(serial.seq))
            }
        }
    }

    /// A report with this serial was taken.
    pub(super) fn take(&mut self, serial: &Serial) {
        if let Some(boot) = self.former.iter_mut().find(|boot| boot.name == serial.boot) {
            return boot.take(serial.seq);
        }
        match &mut self.current {
            Some(boot) if boot.name == serial.boot => boot.take(serial.seq),
            current => {
                // Of the first boot that is seen here an unknown part came before.
                let base = if current.is_some() { 0 } else { serial.seq.saturating_sub(1) };
                let boot = Boot { name: serial.boot.clone(), base, highest: serial.seq, window: 1, taken: 1 };
                if let Some(before) = current.replace(boot) {
                    self.former.push_front(before);
                    self.former.truncate(FORMER_MAX);
                }
            }
        }
    }

    /// Reports of the current boot that have not arrived, though later ones have.
    pub(super) fn missing(&self) -> u64 {
        self.current.as_ref().map_or(0, |boot| (boot.highest - boot.base).saturating_sub(boot.taken))
    }
}

impl Boot {
    fn judge(&self, seq: u64) -> Standing {
        if seq > self.highest {
            return Standing::New;
        }
        let back = self.highest - seq;
        if back >= u64::from(u128::BITS) {
            return Standing::Old;
        }
        if self.window >> back & 1 == 1 { Standing::Repeat } else { Standing::New }
    }

    fn take(&mut self, seq: u64) {
        if self.judge(seq) != Standing::New {
            return;
        }
        self.taken += 1;
        if seq > self.highest {
            let ahead = seq - self.highest;
            self.window = u32::try_from(ahead).ok().and_then(|ahead| self.window.checked_shl(ahead)).unwrap_or(0) | 1;
            self.highest = seq;
        } else {
            self.window |= 1 << (self.highest - seq);
            self.base = self.base.min(seq.saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn serial(boot: &str, seq: u64) -> Serial {
        Serial { boot: boot.to_owned(), seq }
    }

    #[test]
    fn what_was_kept_over_a_boot_is_new_and_what_was_sent_is_a_repeat() {
        let mut serials = Serials::default();
        for seq in [4, 5] {
            serials.take(&serial("monday", seq));
        }
        assert_eq!(serials.judge(&serial("monday", 5)), Standing::Repeat);
        serials.take(&serial("tuesday", 1));
        assert_eq!(serials.judge(&serial("monday", 5)), Standing::Repeat, "its answer was lost");
        assert_eq!(serials.judge(&serial("monday", 7)), Standing::New);
        serials.take(&serial("monday", 7));
        assert_eq!(serials.judge(&serial("monday", 7)), Standing::Repeat);
        assert_eq!(serials.judge(&serial("monday", 6)), Standing::New, "it was overtaken");
        serials.take(&serial("monday", 200));
        assert_eq!(serials.judge(&serial("monday", 7)), Standing::Old);
        assert_eq!(serials.judge(&serial("tuesday", 1)), Standing::Repeat);
    }

    #[test]
    fn gaps_are_counted_and_filled() {
        let mut serials = Serials::default();
        serials.take(&serial("monday", 40));
        assert_eq!(serials.missing(), 0, "what came before this process is not missing");
        serials.take(&serial("monday", 44));
        assert_eq!(serials.missing(), 3);
        serials.take(&serial("monday", 42));
        assert_eq!(serials.missing(), 2);
        serials.take(&serial("tuesday", 3));
        assert_eq!(serials.missing(), 2);
        serials.take(&serial("tuesday", u64::MAX));
        assert_eq!(serials.judge(&serial("tuesday", 3)), Standing::Old);
    }

    #[test]
    fn boots_are_bounded() {
        let mut serials = Serials::default();
        (0..1_000).for_each(|boot| serials.take(&serial(&boot.to_string(), 1)));
        assert_eq!(serials.former.len(), FORMER_MAX);
    }

    proptest! {
        #[test]
        fn nothing_is_taken_twice(seqs in prop::collection::vec((0_usize..3, 1_u64..400), 1..200)) {
            let (mut serials, mut taken) = (Serials::default(), BTreeSet::new());
            for (row, seq) in seqs {
                let serial = serial(["a", "b", "c"][row], seq);
                let standing = serials.judge(&serial);
                prop_assert_eq!(standing == Standing::Repeat, taken.contains(&(row, seq)) && standing != Standing::Old);
                if standing == Standing::New {
                    prop_assert!(taken.insert((row, seq)));
                    serials.take(&serial);
                }
            }
        }
    }
}
