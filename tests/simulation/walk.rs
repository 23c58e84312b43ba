//! Ways through the city, as a phone measures them, and how the measurements arrive: one by one or in batches, late,
//! out of order, repeated.

use parvis_engine::{
    observation::{Fix, Position},
    time::Timestamp,
};

use crate::{
    chance::Dice,
    city::{Fence, fences, moved, offset_m, popup},
};

/// Fixes that are sent together.
pub(crate) struct Upload {
    pub(crate) at: Timestamp,
    pub(crate) fixes: Vec<Fix>,
}

/// One way from somewhere past or into up to three fences and away again.
pub(crate) fn fixes(dice: &Dice, start: Timestamp) -> Vec<Fix> {
    let mut fences = fences();
    fences.extend((0..3).map(popup));
    let away = |fence: &Fence| {
        let (angle, far_m) = (dice.between(0.0, std::f64::consts::TAU), dice.between(330.0, 420.0));
        moved(fence.center, far_m * angle.cos(), far_m * angle.sin())
    };
    let stops: Vec<&Fence> = (0..1 + dice.below(3)).map(|_| dice.pick(&fences)).collect();
    let speed_mps = dice.between(1.2, 7.0);
    let mut here = away(stops[0]);
    let mut now = start;
    let mut fixes = Vec::new();
    for stop in &stops {
        let goal = moved(stop.center, dice.between(-40.0, 40.0), dice.between(-40.0, 40.0));
        go(dice, (&mut here, goal), speed_mps, &mut now, &mut fixes);
        for _ in 0..dice.below(9) {
            now = now.plus(dice.span(15.0, 45.0));
            fixes.push(measured(dice, here, now));
        }
    }
    let last = stops[stops.len() - 1];
    let goal = away(last);
    go(dice, (&mut here, goal), speed_mps, &mut now, &mut fixes);
    fixes
}

/// When and with what company each fix is sent.
pub(crate) fn uploads(dice: &Dice, fixes: Vec<Fix>) -> Vec<Upload> {
    let mut uploads = Vec::new();
    let mut rest = fixes.as_slice();
    while let Some(first) = rest.first() {
        let live = dice.chance(0.6);
        let count = if live { 1 } else { 2 + dice.below(6) }.min(rest.len());
        let (together, later) = rest.split_at(count);
        rest = later;
        let newest = together.iter().map(|fix| fix.at).max().unwrap_or(first.at);
        let lateness = if live { dice.span(0.1, 4.0) } else { dice.span(0.1, 240.0) };
        let at = newest.plus(lateness);
        let mut together = together.to_vec();
        dice.shuffle(&mut together);
        if together.len() > 2 && dice.chance(0.2) {
            let held = together.pop().expect("more than two");
            uploads.push(Upload { at: at.plus(dice.span(1.0, 300.0)), fixes: vec![held] });
        }
        if dice.chance(0.05) {
            uploads.push(Upload { at: at.plus(dice.span(0.0, 60.0)), fixes: together.clone() });
        }
        uploads.push(Upload { at, fixes: together });
    }
    uploads
}

fn go(dice: &Dice, (here, goal): (&mut Position, Position), speed_mps: f64, now: &mut Timestamp, fixes: &mut Vec<Fix>) {
    loop {
        let (east, north) = offset_m(*here, goal);
        let left_m = east.hypot(north);
        if left_m < 1.0 {
            return;
        }
        let span = dice.span(15.0, 45.0);
        let share = (speed_mps * span.as_secs_f64() / left_m).min(1.0);
        *here = moved(*here, east * share, north * share);
        *now = now.plus(span);
        fixes.push(measured(dice, *here, *now));
    }
}

/// Where the phone believes to be: off by up to its accuracy.
fn measured(dice: &Dice, position: Position, at: Timestamp) -> Fix {
    let accuracy_m = *dice.pick(&[0.0, 5.0, 12.0, 30.0]);
    let (angle, off_m) = (dice.between(0.0, std::f64::consts::TAU), dice.between(0.0, accuracy_m));
    let position = moved(position, off_m * angle.cos(), off_m * angle.sin());
    Fix { at, position, accuracy_m, speed_mps: None, course_deg: None, floor: None }
}
