//! How well the zones that were told agree with where somebody was. Weighs by time, not by readings.

use std::collections::BTreeMap;

/// Where somebody was for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay<Z> {
    /// From when.
    pub from_ms: i64,
    /// Until before when.
    pub until_ms: i64,
    /// In which zone.
    pub zone: Z,
}

/// How well zones were told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement<Z> {
    /// For how long which zone (or none) was told, by the zone that it truly was: the confusion matrix, milliseconds.
    pub confusion: BTreeMap<Z, BTreeMap<Option<Z>, i64>>,
    /// How often another zone was told than the one before.
    pub switches: usize,
    /// How often the zone truly changed.
    pub true_switches: usize,
    /// For each stay in a zone that was told while it lasted: after what time, milliseconds, shortest first.
    pub delays_ms: Vec<i64>,
    /// Stays that ended before their zone was told.
    pub missed: usize,
}

impl<Z> Default for Judgement<Z> {
    fn default() -> Judgement<Z> {
        let confusion = BTreeMap::new();
        Judgement { confusion, switches: 0, true_switches: 0, delays_ms: Vec::new(), missed: 0 }
    }
}

impl<Z: Ord + Clone> Judgement<Z> {
    /// For how long there was a truth to judge by, milliseconds.
    pub fn judged_ms(&self) -> i64 {
        self.confusion.values().flat_map(BTreeMap::values).sum()
    }

    /// The share of that time in which the true zone was told; absent if there was none.
    pub fn accuracy(&self) -> Option<f64> {
        let right = |(zone, told): (&Z, &BTreeMap<Option<Z>, i64>)| told.get(&Some(zone.clone())).copied().unwrap_or(0);
        let right_ms: i64 = self.confusion.iter().map(right).sum();
        let judged_ms = self.judged_ms();
        (judged_ms > 0).then(|| right_ms as f64 / judged_ms as f64)
    }

    /// The delay that this share (0 to 1) of the told stays did not exceed, milliseconds.
    pub fn delay_ms(&self, share: f64) -> Option<i64> {
        let last = self.delays_ms.len().checked_sub(1)?;
        self.delays_ms.get((share.clamp(0.0, 1.0) * last as f64).round() as usize).copied()
    }

    /// Both together, such as the walks of two people.
    #[must_use]
    pub fn and(mut self, other: Judgement<Z>) -> Judgement<Z> {
        for (zone, told) in other.confusion {
            let row = self.confusion.entry(zone).or_default();
            told.into_iter().for_each(|(told, span_ms)| *row.entry(told).or_insert(0) += span_ms);
        }
        self.switches += other.switches;
        self.true_switches += other.true_switches;
        self.missed += other.missed;
        self.delays_ms.extend(other.delays_ms);
        self.delays_ms.sort_unstable();
        self
    }
}

/// Judges what was told of one walker.
///
/// `truth` are stays in the order of time that do not overlap; time between them is not judged. `told` are the moments
/// at which another zone, or none, was told, in the order of time; before the first, none was. Silence between two
/// zones is no switch of its own.
pub fn judge<Z: Ord + Clone>(truth: &[Stay<Z>], told: &[(i64, Option<Z>)]) -> Judgement<Z> {
    let mut judgement = Judgement::default();
    let mut before: Option<&Z> = None;
    for stay in truth {
        let spans = spans(stay, told);
        for (zone, from_ms, until_ms) in &spans {
            let row = judgement.confusion.entry(stay.zone.clone()).or_default();
            *row.entry(zone.cloned()).or_insert(0) += until_ms - from_ms;
        }
        if before == Some(&stay.zone) {
            continue;
        }
        judgement.true_switches += usize::from(before.is_some());
        match spans.iter().find(|(zone, ..)| *zone == Some(&stay.zone)) {
            Some((_, from_ms, _)) => judgement.delays_ms.push(from_ms - stay.from_ms),
            None => judgement.missed += 1,
        }
        before = Some(&stay.zone);
    }
    judgement.delays_ms.sort_unstable();
    let (Some(first), Some(last)) = (truth.first(), truth.last()) else { return judgement };
    let all = Stay { from_ms: first.from_ms, until_ms: last.until_ms, zone: () };
    let zones: Vec<&Z> = spans(&all, told).into_iter().filter_map(|(zone, ..)| zone).collect();
    judgement.switches = zones.windows(2).filter(|pair| pair[0] != pair[1]).count();
    judgement
}

/// What was told during a stay, and from when to when.
fn spans<'a, Z, T>(stay: &Stay<T>, told: &'a [(i64, Option<Z>)]) -> Vec<(Option<&'a Z>, i64, i64)> {
    let mut spans = Vec::new();
    let next = told.partition_point(|(at_ms, _)| *at_ms <= stay.from_ms);
    let mut zone = next.checked_sub(1).and_then(|at| told[at].1.as_ref());
    let mut from_ms = stay.from_ms;
    for (at_ms, after) in told[next..].iter().take_while(|(at_ms, _)| *at_ms < stay.until_ms) {
        spans.push((zone, from_ms, *at_ms));
        (zone, from_ms) = (after.as_ref(), *at_ms);
    }
    if from_ms < stay.until_ms {
        spans.push((zone, from_ms, stay.until_ms));
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn stay(from_ms: i64, until_ms: i64, zone: char) -> Stay<char> {
        Stay { from_ms, until_ms, zone }
    }

    #[test]
    fn a_walk_is_judged_by_time() {
        let truth = [stay(0, 10_000, 'a'), stay(10_000, 20_000, 'b'), stay(25_000, 30_000, 'c')];
        let told = [(1_000, Some('a')), (12_000, Some('b')), (16_000, Some('a')), (22_000, None), (29_000, Some('a'))];
        let judgement = judge(&truth, &told);
        let row = |zone: char| judgement.confusion[&zone].iter().map(|(told, ms)| (*told, *ms)).collect::<Vec<_>>();
        assert_eq!(row('a'), [(None, 1_000), (Some('a'), 9_000)]);
        assert_eq!(row('b'), [(Some('a'), 6_000), (Some('b'), 4_000)]);
        assert_eq!(row('c'), [(None, 4_000), (Some('a'), 1_000)]);
        assert_eq!(judgement.accuracy(), Some(13.0 / 25.0));
        assert_eq!((judgement.switches, judgement.true_switches), (2, 2));
        assert_eq!((judgement.delays_ms.as_slice(), judgement.missed), ([1_000, 2_000].as_slice(), 1));
        assert_eq!(judgement.delay_ms(1.0), Some(2_000));
    }

    #[test]
    fn what_was_told_early_has_no_delay() {
        let judgement = judge(&[stay(0, 5_000, 'a'), stay(5_000, 9_000, 'b')], &[(0, Some('a')), (4_000, Some('b'))]);
        assert_eq!((judgement.delays_ms.as_slice(), judgement.missed), ([0, 0].as_slice(), 0));
        assert_eq!(judgement.accuracy(), Some(8.0 / 9.0));
    }

    #[test]
    fn stays_in_the_same_zone_are_one() {
        let judgement = judge(&[stay(0, 5_000, 'a'), stay(6_000, 9_000, 'a')], &[(7_000, Some('a'))]);
        assert_eq!((judgement.true_switches, judgement.missed), (0, 1), "the first stay ended before it was told");
    }

    #[test]
    fn nothing_to_judge_by_is_no_accuracy() {
        assert_eq!(judge::<char>(&[], &[(0, Some('a'))]), Judgement::default());
        assert_eq!(Judgement::<char>::default().accuracy(), None);
        assert_eq!(Judgement::<char>::default().delay_ms(0.5), None);
    }

    type Walk = (Vec<Stay<char>>, Vec<(i64, Option<char>)>);

    fn walk() -> impl Strategy<Value = Walk> {
        let zone = || prop::sample::select(vec!['a', 'b', 'c']);
        let stays = prop::collection::vec((0_i64..3_000, 1_i64..9_000, zone()), 0..8);
        let told = prop::collection::btree_map(0_i64..80_000, prop::option::of(zone()), 0..20);
        (stays, told).prop_map(|(stays, told)| {
            let mut at_ms = 0;
            let stays = stays.into_iter().map(|(pause_ms, span_ms, zone)| {
                let from_ms = at_ms + pause_ms;
                at_ms = from_ms + span_ms;
                stay(from_ms, at_ms, zone)
            });
            (stays.collect(), told.into_iter().collect())
        })
    }

    proptest! {
        #[test]
        fn every_moment_of_truth_is_judged_once((truth, told) in walk()) {
            let judgement = judge(&truth, &told);
            let span_ms: i64 = truth.iter().map(|stay| stay.until_ms - stay.from_ms).sum();
            prop_assert_eq!(judgement.judged_ms(), span_ms);
            // Against asking for every tenth of a second.
            let told_at = |ms: i64| told.iter().rev().find(|(at_ms, _)| *at_ms <= ms).and_then(|(_, zone)| *zone);
            let moments = truth.iter().flat_map(|stay| (stay.from_ms..stay.until_ms).step_by(100).map(move |ms| (ms, stay.zone)));
            let right = moments.filter(|(ms, zone)| told_at(*ms) == Some(*zone)).count() as f64 / 10.0;
            let accuracy = judgement.accuracy().unwrap_or(0.0) * span_ms as f64 / 1_000.0;
            let edges = (told.len() + truth.len()) as f64;
            prop_assert!((accuracy - right).abs() <= 0.1 * edges + 1e-9, "{} {}", accuracy, right);
        }

        #[test]
        fn the_truth_is_right_and_parts_add_up((truth, told) in walk(), cut in 0_usize..8) {
            let exact: Vec<_> = truth.iter().map(|stay| (stay.from_ms, Some(stay.zone))).collect();
            let judgement = judge(&truth, &exact);
            prop_assert!(judgement.accuracy().is_none_or(|accuracy| accuracy == 1.0));
            prop_assert_eq!((judgement.switches, judgement.missed), (judgement.true_switches, 0));
            let (one, other) = truth.split_at(cut.min(truth.len()));
            let both = judge(one, &told).and(judge(other, &told));
            prop_assert_eq!(both.confusion, judge(&truth, &told).confusion);
        }
    }
}
