//! What the bench `counts` reads and how it judges. The bench has no tests of its own, since it brings its own harness.

#[allow(dead_code, reason = "only the bench runs valgrind")]
#[path = "../benches/counts/baseline.rs"]
mod baseline;
#[allow(dead_code, reason = "only the bench runs valgrind")]
#[path = "../benches/counts/callgrind.rs"]
mod callgrind;

use std::{fs, path::Path};

use baseline::{Baseline, Counts, Paths, compare, parse, told, write};
use callgrind::{dumped, instructions};

/// As callgrind 3.19 writes it.
const DUMP: &str = "# callgrind format\nversion: 1\ncreator: callgrind-3.19.0\npid: 27681\ncmd:  ./a\npart: 2\n\n\n\
    desc: I1 cache: \ndesc: Timerange: Basic block 0 - 23021\n\
    desc: Trigger: --dump-after=counts::counted_by_callgrind\n\n\
    positions: line\nevents: Ir\nsummary: 6006\n\n\n\
    ob=(1) /usr/bin/a\nfl=(1) ???\nfn=(1) counts::counted_by_callgrind\n0 6006\n\ntotals: 6006\n";
const FUNCTION: &str = "counted_by_callgrind";

#[test]
fn a_dump_at_the_end_of_the_function_has_its_instructions() {
    assert_eq!(instructions(DUMP, FUNCTION), Ok(6_006));
    let cached = DUMP.replace("events: Ir", "events: Bc Ir Dr").replace("totals: 6006", "totals: 17 6006 4");
    assert_eq!(instructions(&cached, FUNCTION), Ok(6_006), "instructions are found among other events");
}

#[test]
fn a_dump_of_something_else_is_not_taken_for_it() {
    let refused = |from: &str, to: &str| instructions(&DUMP.replace(from, to), FUNCTION).expect_err("refused");
    let ended = refused("--dump-after=counts::counted_by_callgrind", "Program termination");
    assert!(ended.contains("Program termination"), "{ended}");
    let other = refused("--dump-after=counts::counted_by_callgrind", "--dump-after=counts::other");
    assert!(other.contains("counts::other"), "{other}");
    assert!(refused("totals: 6006", "").contains("cut short"));
    assert!(refused("events: Ir", "events: Dr").contains("instructions"));
    assert!(refused("totals: 6006", "totals: many").contains("many"));
    assert!(refused("desc: Trigger: ", "desc: ").contains("caused"));
}

#[test]
fn a_dump_that_is_missing_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("dump.2"), DUMP).expect("writes");
    assert_eq!(dumped(folder.path(), 2, FUNCTION), Ok(6_006));
    assert!(dumped(folder.path(), 4, FUNCTION).expect_err("missing").contains("number 4"));
}

#[test]
fn what_is_told_is_divided_by_the_pings() {
    let counts = Counts { instructions: 60.06, allocations: 2.5, bytes: 12.0 };
    assert_eq!(told("engine/changed 100 250 1200", 6_006), Ok(("engine/changed".to_owned(), counts)));
    for line in ["", "engine/changed", "engine/changed 100 250", "engine/changed 100 250 many", "a 1 2 3 4"] {
        assert!(told(line, 1).is_err(), "{line:?}");
    }
}

const WAS: Counts = Counts { instructions: 1_000.0, allocations: 3.0, bytes: 500.0 };

fn paths(all: &[(&str, Counts)]) -> Paths {
    all.iter().map(|(name, counts)| ((*name).to_owned(), *counts)).collect()
}

fn excess(now: Counts) -> Vec<String> {
    compare(&paths(&[("parse", now)]), Some(&paths(&[("parse", WAS)]))).1
}

#[test]
fn what_is_not_above_the_baseline_passes() {
    for now in [
        WAS,
        Counts { instructions: 1.0, allocations: 0.0, bytes: 1.0 },
        Counts { instructions: 1_100.0, allocations: 3.05, bytes: 550.0 },
    ] {
        assert_eq!(excess(now), [""; 0], "{now:?}");
    }
}

#[test]
fn each_count_above_the_baseline_is_told_with_its_path() {
    let one = |now: Counts, what: &str| {
        let found = excess(now);
        assert!(matches!(&found[..], [only] if only.starts_with("parse: ") && only.contains(what)), "{found:?}");
    };
    one(Counts { allocations: 3.06, ..WAS }, "allocations");
    one(Counts { instructions: 1_101.0, ..WAS }, "instructions");
    one(Counts { bytes: 551.0, ..WAS }, "bytes");
    assert_eq!(excess(Counts { instructions: 2_000.0, allocations: 4.0, bytes: 900.0 }).len(), 3);
}

#[test]
fn allocations_of_a_whole_node_may_wander_as_instructions_do() {
    let found = |allocations| {
        let was = paths(&[("http/unchanged", Counts { allocations: 100.0, ..WAS })]);
        compare(&paths(&[("http/unchanged", Counts { allocations, ..WAS })]), Some(&was)).1
    };
    assert_eq!(found(109.0), [""; 0]);
    assert_eq!(found(111.0).len(), 1);
}

#[test]
fn paths_that_only_one_side_knows_are_told() {
    let (_, found) = compare(&paths(&[("new", WAS)]), Some(&paths(&[("old", WAS)])));
    assert!(found[0].starts_with("old: ") && found[1].starts_with("new: "), "{found:?}");
    let (table, found) = compare(&paths(&[("new", WAS)]), None);
    assert!(found.is_empty() && table.contains("| new | 1000 | new |"), "{found:?}\n{table}");
}

#[test]
fn the_table_has_the_change() {
    let now = Counts { instructions: 900.0, allocations: 4.0, bytes: 500.0 };
    let (table, _) = compare(&paths(&[("parse", now)]), Some(&paths(&[("parse", WAS)])));
    assert!(table.contains("| parse | 900 | -10.0 % | 4.00 | +1.00 | 500 | 0.0 % |"), "{table}");
}

#[test]
fn a_baseline_is_read_as_it_was_written() {
    let two = paths(&[("a", WAS), ("b/1", Counts { allocations: 0.25, ..WAS })]);
    let baseline = Baseline([("debug".to_owned(), two), ("profiling".to_owned(), Paths::new())].into());
    let text = write("# Why.\n# How.\n\n[debug]\n\"old\" = { }\n", &baseline);
    assert!(text.starts_with("# Why.\n# How.\n\n[debug]\n"), "{text}");
    assert_eq!(parse(&text), Ok(baseline));
    assert!(parse("[debug]\na = { instructions = 1 }").expect_err("refused").contains("allocations"));
}

#[test]
fn the_committed_baseline_has_what_continuous_integration_compares() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/counts/baseline.toml");
    let baseline = parse(&fs::read_to_string(path).expect("is there")).expect("sound");
    assert!(baseline.0.get("debug").is_some_and(|paths| !paths.is_empty()));
}
