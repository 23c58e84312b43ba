//! What this machine does with a fixed piece of work, so that figures of different machines can be compared.

#![allow(clippy::disallowed_methods, reason = "a bench measures real time")]

use std::{
    fs::File,
    hint::black_box,
    io::Write,
    time::{Duration, Instant},
};

use crate::{Scale, rate::median, shared::Server};

/// Of the loop: one multiplication that waits for the one before it.
const STEPS: u32 = 10_000_000;

pub(crate) fn part(scale: &Scale) {
    println!("\n| the machine alone | |\n|---|---:|");
    println!("| 4 kB appended and synchronised, a second | {:.0} |", median(synchronised(scale)));
    println!("| a loop of dependent multiplications on one core, ns a step | {:.2} |", median(steps(scale)));
    println!("| Redis, SET of 100 bytes, 16 at once over one connection, a second | {:.0} |", median(sets(scale)));
}

fn synchronised(scale: &Scale) -> Vec<f64> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut file = File::create(folder.path().join("appended")).expect("a file");
    let page = [7_u8; 4_096];
    let rounds = (0..scale.rounds).map(|_| {
        a_second(scale.span, || {
            file.write_all(&page).expect("writes");
            file.sync_data().expect("synchronises");
            1
        })
    });
    rounds.collect()
}

fn steps(scale: &Scale) -> Vec<f64> {
    let rounds = (0..scale.rounds).map(|_| {
        let begun = Instant::now();
        let last = (0..STEPS).fold(black_box(7_u64), |last, _| {
            last.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
        });
        black_box(last);
        begun.elapsed().as_secs_f64() * 1e9 / f64::from(STEPS)
    });
    rounds.collect()
}

fn sets(scale: &Scale) -> Vec<f64> {
    let server = Server::start("everysec");
    let mut connection = server.connect().expect("connects");
    let mut number = 0_u32;
    let rounds = (0..scale.rounds).map(|_| {
        a_second(scale.span, || {
            let mut pipe = redis::pipe();
            for _ in 0..16 {
                number += 1;
                pipe.set(format!("k:{}", number % 100_000), [7_u8; 100].as_slice()).ignore();
            }
            pipe.query::<()>(&mut connection).expect("takes them");
            16
        })
    });
    rounds.collect()
}

fn a_second(span: Duration, mut work: impl FnMut() -> usize) -> f64 {
    let (begun, mut done) = (Instant::now(), 0);
    while done == 0 || begun.elapsed() < span {
        done += work();
    }
    done as f64 / begun.elapsed().as_secs_f64()
}
