//! A quota of our own before the provider's: says of each message whether it may go now, or not before when. Pure: the
//! time is an argument, and nothing waits here.
//!
//! Token buckets, as FCM counts: a quota of n in a span is a bucket of n tokens that fills evenly within the span.
//! Source: Firebase, "Throttling and quotas": 600,000 messages a minute for a project, 240 a minute and 5,000 an hour
//! for a device.

use std::{collections::BTreeMap, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use parvis_engine::{notification::Address, shopper::PushTarget, time::Timestamp};

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 3_600_000;
/// So many devices are remembered. Who is forgotten is the one that was sent to longest ago, which in most cases has its
/// whole quota again.
const DEVICES_MAX: usize = 65_536;

/// What may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of everything, in a minute.
    pub per_minute: u32,
    /// To one device, in a minute.
    pub device_per_minute: u32,
    /// To one device, in an hour.
    pub device_per_hour: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { per_minute: 600_000, device_per_minute: 240, device_per_hour: 5_000 }
    }
}

/// What was sent, as far as it still counts.
#[derive(Debug)]
pub struct Quota {
    limits: Limits,
    project: Bucket,
    devices: BTreeMap<Key, Device>,
    /// Which device was sent to longest ago.
    order: BTreeMap<u64, Key>,
    sent: u64,
}

impl Quota {
    /// Full buckets.
    ///
    /// A limit of zero counts as one.
    pub fn new(limits: Limits) -> Quota {
        let project = Bucket::new(limits.per_minute, MINUTE_MS);
        Quota { limits, project, devices: BTreeMap::new(), order: BTreeMap::new(), sent: 0 }
    }

    /// Counts a message that is about to be sent.
    ///
    /// # Errors
    /// When it may be sent at the earliest, if not now; then it does not count. Others may be sent meanwhile, so that it
    /// may have to wait again.
    pub fn take(&mut self, address: &Address, now: Timestamp) -> Result<(), Timestamp> {
        let key = key(address);
        let device = key.and_then(|key| self.devices.get(&key));
        let of_device = device.map_or(now, |device| device.minute.ready_at(now).max(device.hour.ready_at(now)));
        let ready_at = self.project.ready_at(now).max(of_device);
        if ready_at > now {
            return Err(ready_at);
        }
        self.project.take(now);
        if let Some(key) = key {
            self.take_device(key, now);
        }
        Ok(())
    }

    fn take_device(&mut self, key: Key, now: Timestamp) {
        self.sent += 1;
        let limits = self.limits;
        let device = self.devices.entry(key).or_insert_with(|| Device {
            minute: Bucket::new(limits.device_per_minute, MINUTE_MS),
            hour: Bucket::new(limits.device_per_hour, HOUR_MS),
            sent: self.sent,
        });
        device.minute.take(now);
        device.hour.take(now);
        self.order.remove(&device.sent);
        device.sent = self.sent;
        self.order.insert(self.sent, key);
        if self.devices.len() > DEVICES_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.devices.remove(&oldest);
        }
    }
}

/// Half of SHA-256: tokens are long, and none of them is to stand in memory twice.
type Key = [u8; 16];

#[derive(Debug)]
struct Device {
    minute: Bucket,
    hour: Bucket,
    /// The number of the last message.
    sent: u64,
}

fn key(address: &Address) -> Option<Key> {
    let name = match address {
        Address::Target(PushTarget::Fcm { token, fid }) => token.as_ref().or(fid.as_ref())?,
        Address::Target(PushTarget::Apns { .. } | PushTarget::WebPush { .. })
        | Address::ApnsChannel { .. }
        | Address::FcmTopic { .. }
        | Address::FcmCondition { .. }
        | Address::Endpoint(_) => return None,
    };
    digest(&SHA256, name.as_bytes()).as_ref().first_chunk().copied()
}

/// A bucket that is known by what was taken from it and has not come back: a token weighs as many units as the span has
/// milliseconds, and each millisecond brings back as many units as the bucket has tokens. So nothing is rounded.
#[derive(Debug)]
struct Bucket {
    tokens: u64,
    span_ms: u64,
    missing: u64,
    at: Timestamp,
}

impl Bucket {
    fn new(tokens: u32, span_ms: u64) -> Bucket {
        Bucket { tokens: u64::from(tokens.max(1)), span_ms, missing: 0, at: Timestamp::MIN }
    }

    /// When there is a token, not before `now`.
    fn ready_at(&self, now: Timestamp) -> Timestamp {
        let room = self.tokens * self.span_ms - self.span_ms;
        let excess = self.missing_at(now).saturating_sub(room);
        let wait = Duration::from_millis(excess.div_ceil(self.tokens));
        if excess == 0 { now } else { now.max(self.counted_at(now)).plus(wait) }
    }

    fn take(&mut self, now: Timestamp) {
        self.missing = self.missing_at(now) + self.span_ms;
        self.at = self.counted_at(now).max(now);
    }

    fn missing_at(&self, now: Timestamp) -> u64 {
        let past_ms = u64::try_from(now.since(self.counted_at(now)).as_millis()).unwrap_or(u64::MAX);
        self.missing.saturating_sub(past_ms.saturating_mul(self.tokens))
    }

    /// When what is missing was counted. A clock that went back does not bring tokens back; one that went back by more
    /// than the span was wrong before, and what is missing counts from now.
    fn counted_at(&self, now: Timestamp) -> Timestamp {
        if self.at.since(now) > Duration::from_millis(self.span_ms) { now } else { self.at }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::testing;

    fn device(name: usize) -> Address {
        Address::Target(PushTarget::Fcm { token: Some(format!("token-{name}").into()), fid: None })
    }

    /// Everything that was sent. A message may go if no stretch of time that ends with it saw more than a full bucket and
    /// what comes back within the stretch.
    struct Naive {
        tokens: i64,
        span_ms: i64,
        sent_ms: Vec<i64>,
    }

    impl Naive {
        fn new(tokens: u32, span_ms: u64) -> Naive {
            Naive { tokens: tokens.into(), span_ms: i64::try_from(span_ms).expect("small"), sent_ms: Vec::new() }
        }

        fn may(&self, now_ms: i64) -> bool {
            (0..self.sent_ms.len()).all(|first| {
                let count = i64::try_from(self.sent_ms.len() - first).expect("few") + 1;
                (count - self.tokens) * self.span_ms <= self.tokens * (now_ms - self.sent_ms[first])
            })
        }
    }

    proptest! {
        /// Each answer is the naive one, and so is the time: it is right, and a millisecond earlier is too early.
        #[test]
        fn it_is_what_a_naive_count_says(
            limits in (1_u32..8, 1_u32..5, 1_u32..9),
            steps in proptest::collection::vec((0_u32..20_000, 0_usize..3), 1..120),
        ) {
            let limits =
                Limits { per_minute: limits.0, device_per_minute: limits.1, device_per_hour: limits.2 };
            let mut quota = Quota::new(limits);
            let mut project = Naive::new(limits.per_minute, MINUTE_MS);
            let mut devices: Vec<_> = (0..3)
                .map(|_| (Naive::new(limits.device_per_minute, MINUTE_MS), Naive::new(limits.device_per_hour, HOUR_MS)))
                .collect();
            let mut now = testing::now();
            for (pause_ms, name) in steps {
                now = now.plus(Duration::from_millis(pause_ms.into()));
                let (minute, hour) = &mut devices[name];
                let may = |at_ms| project.may(at_ms) && minute.may(at_ms) && hour.may(at_ms);
                match quota.take(&device(name), now) {
                    Ok(()) => {
                        prop_assert!(may(now.as_millis()));
                        for naive in [&mut project, minute, hour] {
                            naive.sent_ms.push(now.as_millis());
                        }
                    }
                    Err(ready_at) => {
                        prop_assert!(ready_at > now);
                        prop_assert!(may(ready_at.as_millis()));
                        prop_assert!(!may(ready_at.as_millis() - 1));
                    }
                }
            }
        }

        /// No clock makes it panic, and one that goes back brings nothing back.
        #[test]
        fn any_clock_will_do(times in proptest::collection::vec(any::<i64>(), 1..60)) {
            let mut quota = Quota::new(Limits { per_minute: 3, device_per_minute: 2, device_per_hour: 2 });
            for millis in times {
                let now = Timestamp::from_millis(millis).max(Timestamp::MIN).min(Timestamp::MAX);
                if let Err(ready_at) = quota.take(&device(0), now) {
                    prop_assert!(ready_at >= now);
                }
            }
        }
    }

    #[test]
    fn a_clock_that_goes_back_brings_no_tokens_back() {
        let mut quota = Quota::new(Limits { per_minute: 1, device_per_minute: 1, device_per_hour: 9 });
        let now = testing::now();
        assert_eq!(quota.take(&device(0), now), Ok(()));
        let minute_later = now.plus(Duration::from_secs(60));
        assert_eq!(quota.take(&device(0), now.minus(Duration::from_secs(30))), Err(minute_later));
        let day_before = now.minus(Duration::from_secs(24 * 3600));
        let soon = day_before.plus(Duration::from_secs(60));
        assert_eq!(quota.take(&device(0), day_before), Err(soon), "the day is not waited for");
        assert_eq!(quota.take(&device(0), minute_later), Ok(()));
    }

    #[test]
    fn one_device_does_not_slow_another_and_topics_count_for_the_project_alone() {
        let mut quota = Quota::new(Limits { per_minute: 5, device_per_minute: 1, device_per_hour: 9 });
        let now = testing::now();
        let topic = Address::FcmTopic { topic: "news".to_owned() };
        assert_eq!(quota.take(&device(0), now), Ok(()));
        assert_eq!(quota.take(&device(0), now), Err(now.plus(Duration::from_secs(60))));
        assert_eq!(quota.take(&device(1), now), Ok(()), "what was refused did not count");
        for _ in 0..3 {
            assert_eq!(quota.take(&topic, now), Ok(()));
        }
        assert_eq!(quota.take(&topic, now), Err(now.plus(Duration::from_secs(12))));
    }

    #[test]
    fn the_devices_that_are_remembered_are_bounded() {
        let mut quota = Quota::new(Limits { device_per_minute: 4, ..Limits::default() });
        let now = testing::now();
        for _ in 0..4 {
            assert_eq!(quota.take(&device(0), now), Ok(()));
        }
        for name in 1..=DEVICES_MAX {
            assert_eq!(quota.take(&device(name), now), Ok(()));
        }
        assert_eq!((quota.devices.len(), quota.order.len()), (DEVICES_MAX, DEVICES_MAX));
        assert_eq!(quota.take(&device(0), now), Ok(()), "it was forgotten");
        assert_eq!(quota.take(&device(DEVICES_MAX), now), Ok(()));
        assert_eq!(quota.devices.len(), DEVICES_MAX);
    }
}
