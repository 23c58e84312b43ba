//! Gives a finished file its name so that a power cut does not take it back.

use std::{fs, io, path::Path};

/// Renames a file within a file system, over whatever has the name, and makes the folder durable that holds the name.
pub(crate) fn for_good(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}
