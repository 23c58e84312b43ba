//! What the operator does to the catalog meanwhile, through any node: a campaign is paused and resumed, a fence moves, a
//! budget changes.

use std::time::Duration;

use parvis::catalog::Kind;
use parvis_engine::time::Timestamp;

use crate::{
    chance::Dice,
    city::{self, at},
    log::{Amendment, What},
    people::Town,
};

/// Changes the catalog until the calm begins.
pub(crate) async fn operate(town: Town, dice: Dice) {
    let clock = &town.shared.clock;
    clock.sleep(Duration::from_secs(1)).await;
    for change in [Amendment::Stands(0), Amendment::Speaks(true), Amendment::Allows(2)] {
        put(&town, &dice, change).await;
    }
    let mut speaks = true;
    for _ in 0..4 + dice.below(8) {
        let span_s = at(city::CALM).since(at(city::START)).as_secs_f64();
        let next: Timestamp = clock.now().plus(dice.span(60.0, span_s / 6.0));
        if next > at(city::CALM) {
            return;
        }
        clock.sleep_until(Some(next)).await;
        let change = match dice.below(4) {
            0 => Amendment::Stands(dice.below(3)),
            1 => Amendment::Allows(1 + dice.below(4) as u64),
            _ => {
                speaks = !speaks;
                Amendment::Speaks(speaks)
            }
        };
        put(&town, &dice, change).await;
    }
}

/// Asks one node after the other until one has taken it.
async fn put(town: &Town, dice: &Dice, change: Amendment) {
    let asked = town.shared.clock.now();
    let (kind, object) = match change {
        Amendment::Stands(place) => (Kind::Geofence, city::popup_json(place)),
        Amendment::Speaks(speaks) => (Kind::Campaign, city::flash_json(speaks)),
        Amendment::Allows(total) => (Kind::Campaign, city::raffle_json(total)),
    };
    loop {
        if let Some((_, door)) = town.door(dice.below(town.doors.len()))
            && door.control.put(kind, object.clone())
        {
            town.log.add(What::Changed { change, asked });
            return town.shared.news(&door.bells);
        }
        town.shared.clock.sleep(Duration::from_secs(1)).await;
    }
}
