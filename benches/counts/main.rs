//! Instructions and allocations of one ping on each of the paths in [`paths`]: numbers that do not depend on who else
//! uses the machine, beside those in baseline.toml. Asserts no times.
//!
//! The program runs itself once under callgrind, on one thread besides the embedded store's, and counts memory with its
//! own allocator. More than the baseline allows is a failure. `--write` puts what was counted into the baseline.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench tells whoever runs it")]

mod baseline;
#[path = "../pipeline/caller.rs"]
mod caller;
mod callgrind;
#[allow(dead_code, reason = "other benches need more of it")]
#[path = "../pipeline/city.rs"]
mod city;
#[path = "../delivery/message.rs"]
mod message;
#[path = "../pipeline/node.rs"]
mod node;
mod paths;
#[path = "../decide/shop.rs"]
mod shop;

use std::{env, fs, path::Path, process::ExitCode};

use alloc_tracker::{Allocator, Session};
use baseline::Paths;

/// The daemon's, with a counter in front of it.
#[global_allocator]
static ALLOCATOR: Allocator<mimalloc::MiMalloc> = Allocator::new(mimalloc::MiMalloc);

/// Tells the child that it is one.
const CHILD: &str = "PARVIS_BENCH_COUNTED";

/// How often each path is counted. The least counts: a node's own housekeeping falls into one or the other.
const TIMES: usize = 3;

/// The name of the function below, as callgrind sees it.
const COUNTED: &str = "counted_by_callgrind";

fn main() -> ExitCode {
    if env::var_os(CHILD).is_some() {
        count();
        return ExitCode::SUCCESS;
    }
    match compare() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("counts: {why}");
            ExitCode::FAILURE
        }
    }
}

/// What callgrind looks at: nothing else is between its first and its last instruction.
#[inline(never)]
fn counted_by_callgrind(path: &mut dyn FnMut()) {
    path();
}

/// The child: walks every path several times and says what it asked of the allocator, but for the first walk.
fn count() {
    let session = Session::new().no_stdout().no_file();
    for (name, path) in paths::ALL {
        path(&mut |pings, walk| {
            // What is filled once and kept is no part of a ping.
            walk();
            for time in 1..=TIMES {
                let id = format!("{name} {time}");
                let operation = session.operation(id.clone());
                let span = operation.measure_process().iterations(2 * pings);
                // Its dump has what was executed up to here.
                counted_by_callgrind(&mut || ());
                // There and back: what enters in one walk leaves in the next.
                counted_by_callgrind(&mut || {
                    walk();
                    walk();
                });
                drop(span);
                let report = session.to_report();
                let (_, found) = report.operations().find(|(of, _)| **of == id).expect("it was measured");
                println!("{name} {} {} {}", 2 * pings, found.total_allocations_count(), found.total_bytes_allocated());
            }
        });
    }
}

/// The parent: counts, compares, tells.
fn compare() -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/counts/baseline.toml");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut baseline = baseline::parse(&text)?;
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let profile = profile(&program)?;
    let counted = counted(&program)?;
    let (table, excess) = baseline::compare(&counted, baseline.0.get(&profile));
    println!("\nOne ping, built with profile `{profile}`:\n\n{table}");
    if env::args().any(|argument| argument == "--write") {
        baseline.0.insert(profile, counted);
        fs::write(&path, baseline::write(&text, &baseline)).map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok(());
    }
    if excess.is_empty() {
        return Ok(());
    }
    let renew =
        "If that is meant, or a path is new: scripts/bench counts --write, and commit benches/counts/baseline.toml";
    Err(format!("more than the baseline allows:\n  {}\n{renew}", excess.join("\n  ")))
}

fn counted(program: &Path) -> Result<Paths, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let output = callgrind::run((program, CHILD), COUNTED, folder.path())?;
    if !output.status.success() {
        return Err(format!("the paths can't be walked:\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    let told = String::from_utf8_lossy(&output.stdout);
    let mut counted = Paths::new();
    for (index, line) in told.lines().enumerate() {
        let instructions = callgrind::dumped(folder.path(), 2 * index + 2, COUNTED)?;
        let (name, counts) = baseline::told(line, instructions)?;
        let least = counted.entry(name).or_insert(counts);
        *least = least.least(&counts);
    }
    Ok(counted)
}

/// The cargo profile of a program: the folder that cargo has built it in.
fn profile(program: &Path) -> Result<String, String> {
    let folder = program.parent().and_then(Path::parent).and_then(Path::file_name);
    let name = folder.and_then(|name| name.to_str()).ok_or("cargo has not built this program")?;
    Ok(name.to_owned())
}
