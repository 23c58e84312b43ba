//! Puts the files that fuzzing kept through a check.

use std::{fs, panic, path::Path};

/// Every file of `fuzz/corpus/<target>` and `fuzz/regressions/<target>`; at least so many are taken.
///
/// # Panics
/// If a file breaks what is checked, or too few are taken.
pub(crate) fn corpus(target: &str, taken_min: usize, check: impl Fn(&[u8]) -> bool + panic::RefUnwindSafe) {
    let (mut taken, mut broken) = (0, Vec::new());
    for folder in ["corpus", "regressions"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder).join(target);
        for file in fs::read_dir(folder).into_iter().flatten() {
            let path = file.expect("a file").path();
            let bytes = fs::read(&path).expect("is readable");
            match panic::catch_unwind(|| check(&bytes)) {
                Ok(fits) => taken += usize::from(fits),
                Err(_) => broken.push(path),
            }
        }
    }
    assert!(broken.is_empty(), "{broken:?}");
    assert!(taken >= taken_min, "only {taken} files are taken");
}
