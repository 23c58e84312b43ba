//! Shards and store without HTTP, beside the disk alone.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::{fs::File, io::Write, path::Path, time::Instant};

use parvis::{
    clock::Clock,
    config::Source,
    shard::{Answer, Input, Shards},
};
use parvis_engine::observation::Observation;
use tokio::runtime::Runtime;

use crate::{
    Scale,
    city::{Phone, Walk, crowd, hands, node_folder, register},
    node::Node,
    rate::{Asker, Rate, median, rate},
};

pub(crate) struct Direct {
    pub(crate) shards: Shards,
    pub(crate) phones: Vec<Phone>,
    pub(crate) turn: usize,
}

impl Asker for Direct {
    async fn ask(&mut self) -> usize {
        self.turn = (self.turn + 1) % self.phones.len();
        let phone = &mut self.phones[self.turn];
        let observations = vec![Observation::Fix(phone.next(Clock::System.now()))];
        let input = Input::Observed { device: phone.id.clone(), observations };
        let answer = self.shards.ask(phone.shopper.clone(), input).await;
        let Ok(Answer::Observed(observed)) = answer else { panic!("no answer: {answer:?}") };
        assert_eq!(observed.results, [Ok(())]);
        assert_eq!(observed.transitions.len(), usize::from(phone.walk == Walk::Border));
        1
    }
}

/// Askers who ask these nodes in turn.
pub(crate) fn askers(nodes: &[Node], crowd: Vec<Phone>, count: usize) -> Vec<Direct> {
    let shards = nodes.iter().map(|node| node.shards.clone()).cycle();
    hands(crowd, count).into_iter().zip(shards).map(|(phones, shards)| Direct { shards, phones, turn: 0 }).collect()
}

/// Shards, their commits and the embedded store; no HTTP.
pub(crate) fn part(scale: &Scale) {
    let folder = node_folder(scale.fences[1], None);
    println!(
        "\n| through shards and store, {} circles, askers at once | {} | {} | {} |",
        scale.fences[1], scale.askers[0], scale.askers[1], scale.askers[2]
    );
    println!("|---|---:|---:|---:|");
    let runtime = Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let config = parvis::config::load(&Source::new(folder.path())).expect("a configuration");
        let store = parvis::store::open(config.store.below(folder.path())).await.expect("opens");
        register(&*store, 0..scale.phones).await;
        let nodes = [Node::start(folder.path(), store.clone(), Clock::System).await];
        for (walk, what) in Walk::ALL {
            let mut cells = Vec::new();
            let mut crowd = crowd(scale.phones, walk);
            for count in scale.askers {
                let mut askers = askers(&nodes, crowd, count);
                let Rate { pings_per_s, cpu_us_per_ping, .. } = rate(&mut askers, scale).await;
                crowd = askers.into_iter().flat_map(|asker| asker.phones).collect();
                cells.push(format!("{pings_per_s:.0}/s, {cpu_us_per_ping:.1} µs"));
            }
            println!("| {what} | {} |", cells.join(" | "));
        }
        drop(nodes);
        store.close().await.expect("closes");
    });
    let cells = scale.askers.map(|group| format!("{:.0}/s", raw(scale, folder.path(), group)));
    println!("| the same bytes written and synchronised, so many at once | {} |", cells.join(" | "));
}

/// Changes a second that the disk alone takes: a shopper and a transition each, one synchronisation for a group.
fn raw(scale: &Scale, folder: &Path, group: usize) -> f64 {
    let shopper = rmp_serde::to_vec_named(&Phone::new(1, Walk::Border).shopper()).expect("encodes");
    // A presence and a journal row.
    let bytes = vec![7_u8; (shopper.len() + 420) * group];
    let mut file = File::create(folder.join("raw")).expect("a file");
    let rounds = (0..scale.rounds).map(|_| {
        let (begun, mut written) = (Instant::now(), 0);
        while written == 0 || begun.elapsed() < scale.span {
            file.write_all(&bytes).expect("writes");
            file.sync_data().expect("synchronises");
            written += group;
        }
        written as f64 / begun.elapsed().as_secs_f64()
    });
    median(rounds.collect())
}
