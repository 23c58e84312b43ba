//! A file into a store, and a store counted: both section by section.

use anyhow::{Result, bail, ensure};
use tokio::io::AsyncBufRead;

use super::{
    format,
    reading::{Reading, Section, Trailer},
};
use crate::store::{
    Error, Store,
    rows::{Batch, Contents},
};

/// How an import went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Rows by kind, of the whole file.
    pub rows: Trailer,
    /// How many of them were in the store already, from an import that was interrupted.
    pub before: u64,
}

/// Takes a file into an empty store, or goes on where an interrupted import of the same file has stopped. Until the end
/// of the file is reached and right, the store counts as unfinished and is not served.
///
/// # Errors
/// If the store is not empty, the file is not as it was written, or the store fails; what was taken until then stays.
pub async fn import<R: AsyncBufRead + Unpin>(store: &dyn Store, file: &mut Reading<R>) -> Result<Taken> {
    let import = file.identity();
    let before = match store.contents().await? {
        Contents::Nothing => 0,
        Contents::Part { import: other, rows } if other == import => rows,
        Contents::Part { .. } => bail!(
            "an import of another file into this store has not ended: repeat that one, or begin with an empty store"
        ),
        Contents::Whole => bail!("the store is not empty, and an import needs an empty one"),
    };
    let mut section = file.next().await?;
    loop {
        let lines = match section {
            Section::Rows(lines) => lines,
            Section::End(end) => {
                let rows = end.rows;
                let total = rows.values().sum::<u64>();
                ensure!(before <= total, "{before} rows of this file are in the store, and it has only {total}");
                store.import(Batch { import, before: total, rows: Vec::new(), last: true }).await?;
                return Ok(Taken { rows, before });
            }
        };
        let known = usize::try_from(before.saturating_sub(lines.before)).unwrap_or(usize::MAX).min(lines.len());
        if known == lines.len() {
            section = file.next().await?;
            continue;
        }
        let mut rows = lines.rows()?;
        rows.drain(..known);
        let batch = Batch { import, before: lines.before + known as u64, rows, last: false };
        // The next lines are read while these become durable.
        let (taken, next) = tokio::join!(store.import(batch), file.next());
        taken?;
        section = next?;
    }
}

/// Reads every row of a store and counts them by kind.
///
/// # Errors
/// The first thing that can't be read.
pub async fn survey(store: &dyn Store) -> Result<Trailer, Error> {
    let (mut export, mut counts) = (store.export().await?, Trailer::new());
    loop {
        let rows = export.next().await?;
        if rows.is_empty() {
            return Ok(counts);
        }
        rows.iter().for_each(|row| *counts.entry(format::kind(row).to_owned()).or_default() += 1);
    }
}
