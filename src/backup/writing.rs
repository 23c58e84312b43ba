//! An export as the bytes of a file, section by section, in the memory of one section.

use std::collections::BTreeMap;

use parvis_engine::time::Timestamp;
use serde::Serialize;

use super::{
    format::{self, Check, End, Failed, Header, LINE_MAX_BYTES, Mark, Sum},
    upgrade,
};
use crate::{
    entropy::Entropy,
    store::{
        Error,
        rows::{Export, Row},
    },
};

/// An export on its way out.
pub struct Writing {
    export: Box<dyn Export>,
    sum: Sum,
    rows: u64,
    counts: BTreeMap<String, u64>,
    stage: Stage,
    failure: Option<String>,
}

enum Stage {
    Header(Header),
    Rows,
    Done,
}

impl Writing {
    /// Writes an export that was begun at a time.
    pub fn new(export: Box<dyn Export>, at: Timestamp, entropy: &Entropy) -> Writing {
        let header = Header {
            format: format::NAME.to_owned(),
            version: upgrade::version(upgrade::STEPS),
            parvis: env!("CARGO_PKG_VERSION").to_owned(),
            at,
            id: format!("{:016x}", entropy.bits()),
            snapshot: export.is_snapshot(),
        };
        Writing {
            export,
            sum: Sum::new(),
            rows: 0,
            counts: BTreeMap::new(),
            stage: Stage::Header(header),
            failure: None,
        }
    }

    /// The next bytes; none after the end. What can't be read ends the file with a line that says why.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let written = match std::mem::replace(&mut self.stage, Stage::Rows) {
            Stage::Done => {
                self.stage = Stage::Done;
                return None;
            }
            Stage::Header(header) => line(&mut bytes, &header),
            Stage::Rows => self.section(&mut bytes).await,
        };
        if let Err(error) = written {
            return Some(self.fail(&error.to_string()));
        }
        self.sum.add(&bytes);
        Some(bytes)
    }

    /// How many rows were written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether all rows are of one moment.
    pub fn is_snapshot(&self) -> bool {
        self.export.is_snapshot()
    }

    /// Why the file has ended early, if it has.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Ends the file early with a line that says why.
    pub fn fail(&mut self, why: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A sentence is always JSON; without it the file is cut, which is as good a refusal.
        drop(line(&mut bytes, &Mark::Failed(Failed { why: why.to_owned() })));
        (self.stage, self.failure) = (Stage::Done, Some(why.to_owned()));
        bytes
    }

    async fn section(&mut self, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let rows = self.export.next().await?;
        if rows.is_empty() {
            self.stage = Stage::Done;
            let end = End { rows: std::mem::take(&mut self.counts), sha256: self.sum.so_far() };
            return line(bytes, &Mark::End(end));
        }
        for row in &rows {
            let before = bytes.len();
            line(bytes, row)?;
            if bytes.len() - before > LINE_MAX_BYTES {
                return Err(too_long(row));
            }
            self.rows += 1;
            *self.counts.entry(format::kind(row).to_owned()).or_default() += 1;
        }
        let mut sum = self.sum.clone();
        sum.add(bytes);
        line(bytes, &Mark::Check(Check { rows: self.rows, sha256: sum.so_far() }))
    }
}

fn line(bytes: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Error> {
    serde_json::to_writer(&mut *bytes, value).map_err(|error| Error::Corrupt(format!("a row is no JSON: {error}")))?;
    bytes.push(b'\n');
    Ok(())
}

fn too_long(row: &Row) -> Error {
    Error::Corrupt(format!("a row of kind {} is longer than {} MiB", format::kind(row), LINE_MAX_BYTES >> 20))
}
