//! What people write, read from real folders: every problem with its line, precedence, and the catalog over files,
//! store and API.

mod beacons;
mod broken;
mod catalog;
mod ledger;
mod registry;
mod shipped;
mod writers;

use std::{fs, path::Path};

use parvis::{check, config::Source};
use tempfile::TempDir;

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        write(folder.path(), name, text);
    }
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).expect("the folder is writable");
}

/// What `check` writes, line by line, with the folder's name left out; and whether all is well.
fn check(source: &Source) -> (Vec<String>, bool) {
    let mut out = Vec::new();
    let well = check::run(source, &mut out).expect("memory takes everything");
    let text = String::from_utf8(out).expect("text");
    let folder = format!("{}/", source.folder().display());
    (text.lines().map(|line| line.replace(&folder, "")).collect(), well)
}
