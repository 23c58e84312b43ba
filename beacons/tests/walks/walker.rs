//! Somebody who walks through a shop, stops at shelves, and walks on.

use parvis_beacons::calibration::Stay;

use crate::{
    chance::Dice,
    shop::{Shop, Spot},
};

/// Where somebody is at a moment, and which way they face.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pose {
    pub(crate) spot: Spot,
    /// A direction of length 1.
    pub(crate) facing: (f64, f64),
    /// Metres walked so far.
    pub(crate) walked_m: f64,
}

/// How somebody walks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gait {
    pub(crate) speed_mps: f64,
    /// The shortest and the longest stop, seconds.
    pub(crate) stops_s: (f64, f64),
}

/// A stretch that is walked, or a stop if it has no length.
#[derive(Clone, Copy, Debug)]
struct Leg {
    from_s: f64,
    until_s: f64,
    start: Pose,
    end: Spot,
}

/// A walk of a given length.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    legs: Vec<Leg>,
    pub(crate) length_s: f64,
}

impl Way {
    /// From shelf to shelf until the time is over.
    pub(crate) fn shopping(shop: &Shop, gait: Gait, length_s: f64, dice: &mut Dice) -> Way {
        let mut pose = Pose { spot: anywhere(shop, dice), facing: (1.0, 0.0), walked_m: 0.0 };
        let (mut legs, mut now_s) = (Vec::new(), 0.0);
        while now_s < length_s {
            let end = anywhere(shop, dice);
            let metres = pose.spot.distance_m(end);
            let facing = direction((end.y_m - pose.spot.y_m).atan2(end.x_m - pose.spot.x_m));
            let start = Pose { facing, ..pose };
            legs.push(Leg { from_s: now_s, until_s: now_s + metres / gait.speed_mps, start, end });
            now_s += metres / gait.speed_mps;
            pose = Pose {
                spot: end,
                facing: direction(dice.between(0.0, std::f64::consts::TAU)),
                walked_m: pose.walked_m + metres,
            };
            let stop_s = dice.between(gait.stops_s.0, gait.stops_s.1);
            legs.push(Leg { from_s: now_s, until_s: now_s + stop_s, start: pose, end });
            now_s += stop_s;
        }
        Way { legs, length_s }
    }

    /// Standing at a place.
    pub(crate) fn standing(spot: Spot, angle: f64, length_s: f64) -> Way {
        let facing = direction(angle);
        let leg = Leg { from_s: 0.0, until_s: length_s, start: Pose { spot, facing, walked_m: 0.0 }, end: spot };
        Way { legs: vec![leg], length_s }
    }

    pub(crate) fn pose(&self, at_s: f64) -> Pose {
        let next = self.legs.partition_point(|leg| leg.from_s <= at_s);
        let leg = self.legs[next.saturating_sub(1)];
        let share = ((at_s - leg.from_s) / (leg.until_s - leg.from_s)).clamp(0.0, 1.0);
        let walked_m = leg.start.walked_m + leg.start.spot.distance_m(leg.end) * share;
        Pose { spot: leg.start.spot.towards(leg.end, share), walked_m, ..leg.start }
    }

    /// In which zone from when to when, to a tenth of a second.
    pub(crate) fn stays(&self, shop: &Shop) -> Vec<Stay<usize>> {
        let mut stays: Vec<Stay<usize>> = Vec::new();
        for tenth in 0..(self.length_s * 10.0) as i64 {
            let zone = shop.zone_of(self.pose(tenth as f64 / 10.0).spot);
            let until_ms = (tenth + 1) * 100;
            match stays.last_mut() {
                Some(last) if last.zone == zone => last.until_ms = until_ms,
                Some(_) | None => stays.push(Stay { from_ms: tenth * 100, until_ms, zone }),
            }
        }
        stays
    }
}

fn direction(angle: f64) -> (f64, f64) {
    (angle.cos(), angle.sin())
}

/// A place in any zone, not right at its border: shelves are within zones.
fn anywhere(shop: &Shop, dice: &mut Dice) -> Spot {
    let zone = dice.below(shop.zones());
    shop.at(zone, dice.between(0.12, 0.88), dice.between(0.12, 0.88))
}
