//! What is tried by name: a city, the form in which its phones report, and how much of it comes when. Runs nothing.

use crate::{
    city::{Gait, Plan},
    wire::Format,
};

/// One thing that is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it shows, in a sentence.
    pub about: &'static str,
    /// Where it happens.
    pub plan: Plan,
    /// How phones report.
    pub format: Format,
    /// So many pings are in one request.
    pub batch: usize,
    /// How much comes, and when.
    pub load: Load,
    /// Who takes the messages that come of it.
    pub providers: Providers,
}

/// How much comes, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// So many connections are open at once.
    pub connections: usize,
    /// How the rate goes.
    pub shape: Shape,
    /// How long it goes on, seconds.
    pub seconds: u32,
    /// Whether connections stay open from request to request.
    pub keep_alive: bool,
    /// Whether HTTP/2 is spoken, by prior knowledge; HTTP/1.1 if not.
    pub http2: bool,
}

/// How the rate goes. Rates are pings a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// As fast as answers come: a closed loop.
    Saturate,
    /// Half of what the same scenario reached when saturated, as [`Shape::Steady`].
    HalfOfSaturated,
    /// The same all the time.
    Steady {
        /// Pings a second.
        per_s: f64,
    },
    /// From one rate to another in a straight line, and then on with the last.
    Ramp {
        /// Pings a second at the beginning.
        from_per_s: f64,
        /// Pings a second at the end.
        to_per_s: f64,
        /// How long the way takes, seconds.
        seconds: f64,
    },
    /// Calm for some time, so many times as much for the same time, and calm again.
    Burst {
        /// Pings a second when it is calm.
        per_s: f64,
        /// How many times as many come in the burst.
        factor: f64,
        /// When the burst begins, and how long it lasts, seconds.
        seconds: f64,
    },
}

/// Who takes the messages that come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Providers {
    /// Nobody: phones register without a push target.
    None,
    /// Services that answer at once.
    Fast,
    /// Services that take their time.
    Slow {
        /// Milliseconds from a request to its answer.
        answer_ms: u32,
    },
}

impl Shape {
    /// When the ping number `n`, counted from 0, is due in an open loop, seconds from the beginning: the moment up to
    /// which the integral of the rate is `n`. Nothing if the rate depends on the answers, or if that many never come.
    pub fn due(&self, n: u64) -> Option<f64> {
        let n = n as f64;
        let due_s = match *self {
            Shape::Saturate | Shape::HalfOfSaturated => return None,
            Shape::Steady { per_s } => n / per_s,
            Shape::Ramp { from_per_s, to_per_s, seconds } => {
                let ramped = (from_per_s + to_per_s) / 2.0 * seconds;
                if n > ramped {
                    seconds + (n - ramped) / to_per_s
                } else if n == 0.0 {
                    0.0
                } else {
                    // The root of from t + (to - from) t^2 / 2 seconds = n, in the form that loses no digits where the
                    // slope is small.
                    let slope = (to_per_s - from_per_s) / seconds;
                    2.0 * n / (from_per_s + (from_per_s * from_per_s + 2.0 * slope * n).max(0.0).sqrt())
                }
            }
            Shape::Burst { per_s, factor, seconds } => {
                let (calm, burst) = (per_s * seconds, per_s * factor * seconds);
                if n <= calm {
                    n / per_s
                } else if n <= calm + burst {
                    seconds + (n - calm) / (per_s * factor)
                } else {
                    2.0 * seconds + (n - calm - burst) / per_s
                }
            }
        };
        due_s.is_finite().then_some(due_s)
    }
}

/// Every scenario.
pub fn all() -> Vec<Scenario> {
    vec![country(), shops(), phones(), stadium(), slow_providers(), hot_fence(), campaigns(), aisle()]
}

/// The scenario of this name.
pub fn find(name: &str) -> Option<Scenario> {
    all().into_iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// The same with so much of everything, 0 to 1: fences, their vertices where they are many, phones, campaigns,
    /// rates and time. For a look whether it still runs.
    pub fn at_scale(mut self, fraction: f64) -> Scenario {
        let of = |count: usize, least: usize| ((count as f64 * fraction).round() as usize).max(least.min(count));
        let plan = &mut self.plan;
        plan.fences = of(plan.fences, 20);
        plan.hot_vertices = plan.hot_vertices.map(|vertices| of(vertices, 100));
        plan.phones = of(plan.phones, 50);
        plan.beacons = of(plan.beacons, 24);
        plan.campaigns = of(plan.campaigns, 3);
        self.batch = self.batch.min(plan.phones);
        let load = &mut self.load;
        load.connections = of(load.connections, 4);
        load.seconds = of(load.seconds as usize, 3) as u32;
        load.shape = match load.shape {
            Shape::Saturate | Shape::HalfOfSaturated => load.shape,
            Shape::Steady { per_s } => Shape::Steady { per_s: per_s * fraction },
            Shape::Ramp { from_per_s, to_per_s, seconds } => Shape::Ramp {
                from_per_s: from_per_s * fraction,
                to_per_s: to_per_s * fraction,
                seconds: seconds * fraction,
            },
            Shape::Burst { per_s, factor, seconds } => {
                Shape::Burst { per_s: per_s * fraction, factor, seconds: seconds * fraction }
            }
        };
        self
    }
}

const SEED: u64 = 0x5eed_c177;

fn plan(fences: usize, phones: usize, gait: Gait) -> Plan {
    Plan {
        seed: SEED,
        fences,
        polygon_share: 0.5,
        vertices: 30,
        hot_vertices: None,
        phones,
        beacons: 0,
        campaigns: 0,
        gait,
    }
}

fn saturated(connections: usize) -> Load {
    Load { connections, shape: Shape::Saturate, seconds: 60, keep_alive: true, http2: false }
}

fn country() -> Scenario {
    Scenario {
        name: "country",
        about: "100,000 fences, half of them polygons, and a million phones of people who move, in batches of 100",
        plan: Plan { campaigns: 10, ..plan(100_000, 1_000_000, Gait::Stroll) },
        format: Format::Ndjson,
        batch: 100,
        load: saturated(64),
        providers: Providers::None,
    }
}

fn shops() -> Scenario {
    Scenario {
        name: "shops",
        about: "23,000 circles around shops, entered or left on most moves, in batches of 100",
        plan: Plan { polygon_share: 0.0, ..plan(23_000, 460_000, Gait::Border) },
        format: Format::Ndjson,
        batch: 100,
        load: saturated(64),
        providers: Providers::None,
    }
}

fn phones() -> Scenario {
    Scenario {
        name: "phones",
        about: "one ping a request from 50,000 phones, on connections that stay open",
        plan: Plan { campaigns: 10, ..plan(10_000, 50_000, Gait::Stroll) },
        format: Format::Json,
        batch: 1,
        load: saturated(256),
        providers: Providers::Fast,
    }
}

fn stadium() -> Scenario {
    Scenario {
        name: "stadium",
        about: "a stadium empties: for a minute ten times as many pings as before and after",
        plan: Plan { campaigns: 10, ..plan(5_000, 50_000, Gait::Crowd) },
        format: Format::Json,
        batch: 1,
        load: Load {
            connections: 256,
            shape: Shape::Burst { per_s: 2_000.0, factor: 10.0, seconds: 60.0 },
            seconds: 180,
            keep_alive: true,
            http2: false,
        },
        providers: Providers::Fast,
    }
}

fn slow_providers() -> Scenario {
    Scenario {
        name: "slow-providers",
        about: "offers to people who enter shops, while push services take two seconds for each",
        plan: Plan { campaigns: 10, ..plan(2_000, 20_000, Gait::Border) },
        format: Format::Ndjson,
        batch: 100,
        load: Load { shape: Shape::Steady { per_s: 2_000.0 }, ..saturated(16) },
        providers: Providers::Slow { answer_ms: 2_000 },
    }
}

fn hot_fence() -> Scenario {
    Scenario {
        name: "hot-fence",
        about: "one fence of 50,000 vertices, and everybody near its border",
        plan: Plan { hot_vertices: Some(50_000), ..plan(1_000, 100_000, Gait::Rim) },
        format: Format::Ndjson,
        batch: 100,
        load: saturated(64),
        providers: Providers::None,
    }
}

fn campaigns() -> Scenario {
    Scenario {
        name: "campaigns",
        about: "1,000 campaigns, and shops entered or left on most moves",
        plan: Plan { campaigns: 1_000, ..plan(23_000, 230_000, Gait::Border) },
        format: Format::Ndjson,
        batch: 100,
        load: saturated(64),
        providers: Providers::None,
    }
}

fn aisle() -> Scenario {
    Scenario {
        name: "aisle",
        about: "people between shelves whose phones hear 1,200 beacons in 100 shops",
        plan: Plan { beacons: 1_200, campaigns: 10, ..plan(100, 10_000, Gait::Aisle) },
        format: Format::Sightings,
        batch: 100,
        load: saturated(64),
        providers: Providers::None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many pings have come by `at_s`: the integral of the rate, by the rule of the trapezium, which is exact for
    /// straight lines, from bend to bend.
    fn come(shape: &Shape, at_s: f64) -> f64 {
        let bends = match *shape {
            Shape::Saturate | Shape::HalfOfSaturated | Shape::Steady { .. } => vec![],
            Shape::Ramp { seconds, .. } => vec![seconds],
            Shape::Burst { seconds, .. } => vec![seconds, 2.0 * seconds],
        };
        let ends = bends.iter().copied().filter(|bend| *bend < at_s).chain([at_s]);
        let mut from_s = 0.0;
        let mut whole = 0.0;
        for to_s in ends {
            // Within the piece, so that it does not matter whose the bends are.
            let [first, last] = [0.25, 0.75].map(|share| rate(shape, from_s + share * (to_s - from_s)));
            whole += (first + last) / 2.0 * (to_s - from_s);
            from_s = to_s;
        }
        whole
    }

    fn rate(shape: &Shape, at_s: f64) -> f64 {
        match *shape {
            Shape::Saturate | Shape::HalfOfSaturated => 0.0,
            Shape::Steady { per_s } => per_s,
            Shape::Ramp { from_per_s, to_per_s, seconds } => {
                from_per_s + (to_per_s - from_per_s) * (at_s / seconds).min(1.0)
            }
            Shape::Burst { per_s, factor, seconds } => {
                if (seconds..2.0 * seconds).contains(&at_s) {
                    per_s * factor
                } else {
                    per_s
                }
            }
        }
    }

    fn shapes() -> impl Strategy<Value = Shape> {
        let per_s = || 0.5..500_000.0_f64;
        prop_oneof![
            per_s().prop_map(|per_s| Shape::Steady { per_s }),
            (per_s(), per_s(), 0.1..600.0).prop_map(|(from_per_s, to_per_s, seconds)| Shape::Ramp {
                from_per_s,
                to_per_s,
                seconds
            }),
            (0.1..600.0, per_s()).prop_map(|(seconds, to_per_s)| Shape::Ramp { from_per_s: 0.0, to_per_s, seconds }),
            (per_s(), 1.0..50.0, 0.1..600.0).prop_map(|(per_s, factor, seconds)| Shape::Burst {
                per_s,
                factor,
                seconds
            }),
        ]
    }

    proptest! {
        #[test]
        fn by_the_time_that_a_ping_is_due_all_before_it_have_come(shape in shapes(), n in 0_u64..100_000_000) {
            let due_s = shape.due(n).expect("an open loop");
            prop_assert!((come(&shape, due_s) - n as f64).abs() <= 1e-9 * n.max(1) as f64, "{}", come(&shape, due_s));
            prop_assert!(shape.due(n + 1).expect("an open loop") >= due_s);
        }
    }

    #[test]
    fn what_never_comes_is_never_due() {
        assert_eq!(Shape::Saturate.due(0), None);
        assert_eq!(Shape::HalfOfSaturated.due(7), None);
        let ends = Shape::Ramp { from_per_s: 10.0, to_per_s: 0.0, seconds: 2.0 };
        assert_eq!((ends.due(0), ends.due(10), ends.due(11)), (Some(0.0), Some(2.0), None));
        assert_eq!(Shape::Steady { per_s: 0.0 }.due(1), None);
    }

    #[test]
    fn names_are_single_and_lead_to_their_scenario() {
        for scenario in all() {
            assert_eq!(find(scenario.name), Some(scenario.clone()));
            assert!(scenario.batch <= scenario.format.batch_max());
            assert!(!scenario.format.is_of_one_phone() || scenario.batch == 1, "{}", scenario.name);
        }
        assert_eq!(find("village"), None);
    }

    #[test]
    fn a_small_scale_is_small_and_a_whole_one_is_the_same() {
        for scenario in all() {
            assert_eq!(scenario.clone().at_scale(1.0), scenario);
            let small = scenario.clone().at_scale(0.001);
            assert!(small.plan.fences <= 100 && small.plan.phones <= 1_000, "{small:?}");
            assert!(small.load.seconds >= 3 && small.load.connections >= 4 && small.batch >= 1, "{small:?}");
            assert_eq!(small.plan.campaigns == 0, scenario.plan.campaigns == 0);
            assert_eq!(small.plan.beacons == 0, scenario.plan.beacons == 0);
        }
    }
}
