//! The power goes: what was synchronised is on the disk, and of what came after it any part, in any order, torn.

use super::{
    Store, begin,
    disk::{Cut, Disk, Event, apply, left},
    load::{observe, step},
    start,
};

/// Steps of the load.
const STEPS: i64 = 77;
/// Bytes that a disk writes as a whole.
const SECTORS: [usize; 2] = [512, 4_096];

/// What a power cut between two synchronisations may leave.
fn cuts(seed: u64) -> Vec<Cut> {
    let torn = SECTORS.iter().map(|sector| Cut::Torn(*sector, seed));
    [Cut::Nothing, Cut::Everything, Cut::Head, Cut::Tail].into_iter().chain(torn).collect()
}

/// Works on a disk that is recorded; gives what could be seen after each step.
async fn record(disk: &Disk) -> Vec<Vec<String>> {
    let store = begin(disk);
    let mut seen = vec![observe(&store, STEPS)];
    for n in 0..STEPS {
        step(&store, n).await.expect("a good disk");
        disk.answered(seen.len());
        seen.push(observe(&store, STEPS));
    }
    store.close().await.expect("closes");
    seen
}

/// What is seen in the store that a disk with these bytes holds.
fn look(bytes: Vec<u8>, what: &str) -> (Disk, Vec<String>) {
    let disk = Disk::of(bytes);
    disk.record();
    let store = start(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let seen = observe(&store, STEPS);
    (disk, seen)
}

#[tokio::test]
async fn what_was_answered_survives_a_power_cut_at_any_moment() {
    let disk = Disk::new();
    let mut platter = disk.platter(Cut::Nothing);
    disk.record();
    let seen = record(&disk).await;
    let (mut waiting, mut answered, mut images, mut ahead) = (Vec::new(), 0, 0_u64, 0);
    for event in disk.history() {
        match event {
            Event::Did(op) => waiting.push(op),
            Event::Answered(calls) => answered = calls,
            Event::Synced => {
                for cut in cuts(images) {
                    images += 1;
                    let what = format!("{answered} answered, {cut:?}");
                    let (again, state) = look(left(&platter, &waiting, cut), &what);
                    let next = seen.get(answered + 1) == Some(&state);
                    if !next && seen[answered] != state {
                        let expected = seen.get(answered + 1).unwrap_or(&seen[answered]);
                        let differs = [&seen[answered], expected].map(|seen| first_difference(seen, &state));
                        panic!("{what}: from before and after the next step: {differs:#?}");
                    }
                    ahead += u64::from(next && seen[answered] != state);
                    // Once in a while the power goes again while the file is being repaired.
                    if images.is_multiple_of(13) {
                        let torn = again.platter(Cut::Torn(512, images));
                        assert_eq!(look(torn, &what).1, state, "{what}, twice");
                    }
                }
                waiting.iter().for_each(|op| apply(&mut platter, op));
                waiting.clear();
            }
        }
    }
    assert!(images > 400, "{images} images");
    assert!(ahead > 30, "some cuts came after a step was written: {ahead}");
}

fn first_difference<'a>(left: &'a [String], right: &'a [String]) -> Option<(&'a String, &'a String)> {
    left.iter().zip(right).find(|(left, right)| left != right)
}
