//! More and more campaigns, each listening to the tags of some shops; at most three answer who enters.

use parvis_engine::{
    decide::{self, Budgets},
    matching::Transition,
};

use super::{costs, each_us, head};
use crate::{Scale, shop};

const ROUND: usize = 1_000;

pub(crate) fn part(scale: &Scale) {
    let campaigns = scale.growth.campaigns;
    head("campaigns", campaigns);
    let entered = shop::enter();
    let elsewhere = Transition { region: "elsewhere".parse().expect("an id"), ..entered.clone() };
    for (what, transitions) in [
        ("three answer, one is sent", vec![entered]),
        ("none answers", vec![elsewhere]),
        ("nobody entered", Vec::new()),
    ] {
        let cells: Vec<f64> = campaigns
            .iter()
            .map(|&count| {
                let (world, shopper, now) = (shop::world(count, "newsletter"), shop::shopper(), shop::now());
                each_us(&scale.growth, ROUND, || {
                    for _ in 0..ROUND {
                        let decided =
                            decide::campaigns(&world, &mut shopper.clone(), &transitions, &mut Budgets::new(), now);
                        std::hint::black_box(decided);
                    }
                })
            })
            .collect();
        costs(what, &cells);
    }
}
