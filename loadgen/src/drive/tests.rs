//! The loop on paused time: waits pass at once and exactly as long as they say.

use std::{cell::Cell, rc::Rc};

use parvis_loadgen::{scenario, wire::Format};

use super::*;
use crate::measure::quantile_ms;

/// A server that answers at once, but is silent for a while once, or sends back or breaks off some requests.
struct Server {
    clock: Clock,
    served: Rc<Cell<u64>>,
    silent_at: Option<u64>,
    refuses: u64,
    breaks: u64,
}

const SILENCE: Duration = Duration::from_millis(500);

impl Carrier for Server {
    type Packed = u64;

    fn pack(&mut self, _: &City, pings: &[Ping]) -> u64 {
        pings.len() as u64
    }

    async fn send(&mut self, packed: &u64) -> Reply {
        let number = self.served.replace(self.served.get() + 1);
        if self.silent_at == Some(number) {
            self.clock.sleep(SILENCE).await;
        }
        if number < self.breaks {
            return Reply::Broken("reset".to_owned());
        }
        if number < self.breaks + self.refuses {
            return Reply::Later { wait: Duration::from_secs(1), why: "429".to_owned() };
        }
        Reply::Settled(Verdict { accepted: *packed, ..Verdict::default() })
    }
}

fn city() -> City {
    City::build(&scenario::find("phones").expect("there is one").at_scale(0.001).plan)
}

async fn drive(shape: Shape, seconds: f64, server: impl Fn(Clock) -> Server) -> Run {
    let (clock, city) = (Clock::start(), city());
    let crowd = RefCell::new(Crowd::new(&city, 1, Format::Json.is_of_one_phone()));
    let street = Street { clock, city: &city, crowd, arrivals: None };
    run(&street, Stretch { shape, seconds, batch: 1 }, &mut [server(clock)], |_| ()).await
}

fn calm(clock: Clock) -> Server {
    Server { clock, served: Rc::default(), silent_at: None, refuses: 0, breaks: 0 }
}

#[tokio::test(start_paused = true)]
async fn a_silence_shows_in_all_that_it_holds_up() {
    let quiet = |clock| Server { silent_at: Some(100), ..calm(clock) };
    let run = drive(Shape::Steady { per_s: 100.0 }, 5.0, quiet).await;
    let Run { tally, unsent, .. } = run;
    assert_eq!((tally.sent, tally.accepted, unsent), (500, 500, 0), "what was held up was sent after all");
    // One request met the silence. Fifty were due during it, and waited for what remained of it.
    assert!(tally.answer.max() >= 499_000, "{}", tally.answer.max());
    let held_up = tally.answer.len() - tally.answer.count_between(0, 9_000);
    assert!((45..=51).contains(&held_up), "{held_up}");
    assert!(quantile_ms(&tally.answer, 0.95) > 200.0, "a tenth of all waits");
    assert!(quantile_ms(&tally.late, 0.95) > 200.0, "they were sent late, for there is one connection");
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_back_is_sent_again_and_its_wait_goes_on() {
    let refusing = |clock| Server { refuses: 3, ..calm(clock) };
    let Run { tally, .. } = drive(Shape::Steady { per_s: 1.0 }, 10.0, refusing).await;
    assert_eq!((tally.sent, tally.accepted, tally.refused, tally.refusals), (10, 10, 0, 3));
    assert!(tally.answer.max() >= 2_999_000, "three seconds: {}", tally.answer.max());
    assert_eq!(tally.failures["429"], 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_always_sent_back_is_given_up() {
    let refusing = |clock| Server { refuses: u64::MAX, ..calm(clock) };
    let Run { tally, unsent, seconds } = drive(Shape::Steady { per_s: 1.0 }, 10.0, refusing).await;
    assert_eq!((tally.refused, tally.accepted, tally.refused + unsent), (tally.sent, 0, 10));
    assert!(tally.refusals > 30, "asked again every second: {}", tally.refusals);
    assert!(seconds < 10.0 + OVERTIME.as_secs_f64() + 1.0, "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn what_breaks_is_counted_and_not_timed() {
    let breaking = |clock| Server { breaks: 4, ..calm(clock) };
    let Run { tally, .. } = drive(Shape::Steady { per_s: 10.0 }, 2.0, breaking).await;
    assert_eq!((tally.sent, tally.failed, tally.accepted, tally.answer.len()), (20, 4, 16, 16));
    assert_eq!(tally.failures["reset"], 4);
}

#[tokio::test(start_paused = true)]
async fn each_second_tells_its_rate_and_what_is_behind() {
    let quiet = |clock| Server { silent_at: Some(90), ..calm(clock) };
    let Run { tally, .. } = drive(Shape::Steady { per_s: 100.0 }, 3.0, quiet).await;
    let behind: Vec<_> = tally.series.iter().map(|second| second.backlog).collect();
    assert!((9..=12).contains(&behind[0]), "a tenth of a second into the silence: {behind:?}");
    assert!(behind[1] <= 1, "{behind:?}");
    let accepted: f64 = tally.series.iter().take(2).map(|second| second.per_s).sum();
    assert!((195.0..=205.0).contains(&accepted), "{accepted}");
}

#[test]
fn phones_report_in_turn_and_keep_what_they_keep() {
    let city = city();
    let phones = city.plan().phones;
    let mut crowd = Crowd::new(&city, 10, false);
    let (mut pings, mut late) = (Vec::new(), 0);
    let begin_ms = 1_800_000_000_000;
    for request in 0..2_000 {
        let at_ms = begin_ms + request * 200;
        crowd.next(&city, at_ms, &mut pings);
        assert_eq!(pings.len(), 10);
        for ping in &pings {
            assert!((ping.phone as usize) < phones && ping.at_ms <= at_ms, "{ping:?}");
            assert!(at_ms >= ping.at_ms + i64::from(ping.delay_ms), "it is kept for so long: {ping:?}");
            late += usize::from(ping.delay_ms > 0);
        }
    }
    assert!(late > 100, "some phones keep their pings for a while: {late}");
}

#[test]
fn a_request_of_one_phone_holds_its_pings_in_order() {
    let city = city();
    let mut crowd = Crowd::new(&city, 5, true);
    let mut pings = Vec::new();
    for request in 0..200 {
        crowd.next(&city, 1_800_000_000_000 + request * 1_000, &mut pings);
        assert_eq!(pings.len(), 5);
        assert!(pings.iter().all(|ping| ping.phone == pings[0].phone));
        assert!(pings.is_sorted_by_key(|ping| ping.at_ms));
    }
}
