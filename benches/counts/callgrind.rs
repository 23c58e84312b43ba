//! Runs a program under valgrind's callgrind and reads what it dumped. What was counted means nothing here.

use std::{
    fs, io,
    path::Path,
    process::{Command, Output},
};

/// What has to be done where valgrind is not installed.
pub(crate) const INSTALL: &str =
    "there is no valgrind: run scripts/setup, or as root: apt-get install -y --no-install-recommends valgrind";

/// Runs a program so that callgrind dumps, at the end of each call of the function, what all threads have executed since
/// the last dump. Dumps are files `dump.1`, `dump.2` and so on in `folder`. The program finds the variable `marked` in
/// its environment.
///
/// # Errors
/// If it can't be started; [`INSTALL`] if valgrind is missing.
pub(crate) fn run((program, marked): (&Path, &str), function: &str, folder: &Path) -> Result<Output, String> {
    Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-line=no"])
        .arg(format!("--callgrind-out-file={}", folder.join("dump").display()))
        .arg(format!("--dump-after=*{function}*"))
        .arg(program)
        .env(marked, "1")
        // Otherwise the allocator gives memory back by the clock.
        .env("MIMALLOC_PURGE_DELAY", "-1")
        .output()
        .map_err(|error| {
            let is_missing = error.kind() == io::ErrorKind::NotFound;
            if is_missing { INSTALL.to_owned() } else { format!("valgrind can't be started: {error}") }
        })
}

/// The instructions of the dump with this number, which counts from 1.
///
/// # Errors
/// If there is no such dump of this function, or it can't be read.
pub(crate) fn dumped(folder: &Path, number: usize, function: &str) -> Result<u64, String> {
    let path = folder.join(format!("dump.{number}"));
    let text =
        fs::read_to_string(&path).map_err(|error| format!("callgrind has not dumped number {number}: {error}"))?;
    instructions(&text, function).map_err(|why| format!("callgrind's dump {number}: {why}"))
}

/// The instructions of a dump that was made at the end of the function.
///
/// # Errors
/// If that is not what the dump says of itself.
pub(crate) fn instructions(dump: &str, function: &str) -> Result<u64, String> {
    let field = |name: &str| dump.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let trigger = field("desc: Trigger:").ok_or("it does not say what caused it")?;
    if !(trigger.starts_with("--dump-after=") && trigger.contains(function)) {
        return Err(format!("it was caused by {trigger:?}, not by the end of {function}"));
    }
    let events = field("events:").ok_or("it does not say what it counts")?;
    let at = events.split_ascii_whitespace().position(|event| event == "Ir").ok_or("it does not count instructions")?;
    let totals = field("totals:").ok_or("it has no totals; was it cut short?")?;
    let count = totals.split_ascii_whitespace().nth(at).ok_or("its totals are short of a number")?;
    count.parse().map_err(|_| format!("{count:?} is no number of instructions"))
}
