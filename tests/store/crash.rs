//! The process is killed at any moment, its start included: what was acknowledged is there, and nothing is half there.
//!
//! The child checks what the one before it left and then goes on, so that every kill is followed by a check.
//! `PARVIS_CRASH_ROUNDS` sets how often it is killed.

mod check;
mod told;
mod work;

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use parvis::entropy::Entropy;

use self::told::Told;
use crate::rig::open;

/// Tells the child which folder is its own; without it the child has nothing to do.
const FOLDER: &str = "PARVIS_STORE_CRASH_FOLDER";
const ROUNDS: &str = "PARVIS_CRASH_ROUNDS";
/// So often unless the environment says otherwise.
const ROUNDS_USUAL: u64 = 200;
/// Then everything is checked, and the next folder begins empty: its first start is killed too.
const ROUNDS_OF_A_FOLDER: u64 = 20;

/// How far the child comes before it is killed: so many lines.
fn goal(dice: &Entropy) -> u64 {
    match dice.bits() % 10 {
        // While it opens the file, while it checks, as soon as it works.
        early @ 0..3 => early + 1,
        _ => 10 + dice.bits() % 90,
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_being_killed() {
    let rounds = std::env::var(ROUNDS).map_or(ROUNDS_USUAL, |rounds| rounds.parse().expect("a number of rounds"));
    let dice = Entropy::System;
    let (mut begun, mut steps) = (0, 0);
    while begun < rounds {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut told = Told::default();
        for _ in 0..ROUNDS_OF_A_FOLDER {
            run_and_kill(folder.path(), goal(&dice), &mut told);
            begun += 1;
        }
        let store = open(folder.path()).await;
        check::check(&*store, &told, 1).await;
        store.close().await.expect("closes");
        steps += told.steps.values().sum::<i64>();
    }
    assert!(steps > i64::try_from(rounds).expect("small"), "the children did something: {steps} steps");
    eprintln!("killed {begun} times in {steps} steps");
}

/// Lets a child work until it has said so much, then kills it.
fn run_and_kill(folder: &Path, lines: u64, told: &mut Told) {
    let mut child = Command::new(std::env::current_exe().expect("this test's file"))
        .args(["crash::child", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts itself");
    told.kills += 1;
    let mut input = child.stdin.take().expect("piped");
    input.write_all(told.to_string().as_bytes()).expect("the child listens");
    drop(input);
    told.forget_checked();
    let mut heard = 0;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        // The last line may have been cut by the kill.
        let Ok(line) = line else { break };
        heard += u64::from(told.hear(&line));
        if heard == lines {
            child.kill().expect("can be killed");
        }
    }
    let status = child.wait().expect("ends");
    assert!(!status.success() && heard >= lines, "the child ended by itself after {heard} lines: {status}");
}

/// Not a test of its own: the process that is killed.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let mut told = Told::default();
    std::io::stdin().lines().for_each(|line| assert!(told.hear(&line.expect("text")), "the parent speaks plainly"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        say("opening");
        let store = open(Path::new(&folder)).await;
        say("opened");
        check::check(&*store, &told, 40).await;
        say("checked");
        work::work(store).await;
    });
}

/// In one write, with a line break before it: the test runner has begun a line of its own.
fn say(line: &str) {
    std::io::stdout().write_all(format!("\n{line} .\n").as_bytes()).expect("the parent listens");
}
