//! The lines of the file. The first is a [`Header`]; then come rows, each section of them closed by a [`Check`]; the last
//! is an [`End`], or a [`Failed`] if whoever wrote could not go on.
//!
//! A checksum covers every byte before its line, so a section is known to be whole before any row of it is used.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use parvis_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::store::rows::Row;

/// What the header calls the format.
pub const NAME: &str = "parvis-store";
/// The longest line. The daemon takes no larger object either, unless it is configured to.
pub const LINE_MAX_BYTES: usize = 256 << 20;
/// The most rows between two checksums.
pub const SECTION_MAX_ROWS: usize = 65_536;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`NAME`].
    pub format: String,
    /// The version of the format.
    pub version: u32,
    /// The version of Parvis that wrote it.
    pub parvis: String,
    /// When.
    pub at: Timestamp,
    /// Tells it from every other export.
    pub id: String,
    /// Whether all rows are of one moment.
    pub snapshot: bool,
}

/// Closes a section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Rows up to here.
    pub rows: u64,
    /// Over every byte before this line, hexadecimal.
    pub sha256: String,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Rows by kind.
    pub rows: BTreeMap<String, u64>,
    /// Over every byte before this line, hexadecimal.
    pub sha256: String,
}

/// The last line of an export that could not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Why.
    pub why: String,
}

/// A line that is no row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    /// Closes a section.
    Check(Check),
    /// Ends the file.
    End(End),
    /// Ends it early.
    Failed(Failed),
}

/// The running checksum.
#[derive(Clone)]
pub(super) struct Sum(digest::Context);

impl Sum {
    pub(super) fn new() -> Sum {
        Sum(digest::Context::new(&digest::SHA256))
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of everything so far.
    pub(super) fn so_far(&self) -> String {
        self.0.clone().finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a row's kind is called.
pub(super) fn kind(row: &Row) -> &'static str {
    match row {
        Row::Generation(_) => "generation",
        Row::Object(_) => "object",
        Row::Note(_) => "note",
        Row::Budget(_) => "budget",
        Row::Shopper(_) => "shopper",
        Row::Notification(_) => "notification",
        Row::Event(_) => "event",
        Row::Answer(_) => "answer",
    }
}

/// What the only member of a line's object is called.
pub(super) fn name_of(line: &[u8]) -> Option<&str> {
    let rest = line.strip_prefix(b"{\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
}

/// Tells one export from every other, by its first line.
pub(super) fn identity(header: &[u8]) -> u64 {
    parvis_engine::id::stable_hash(&[&String::from_utf8_lossy(header)])
}
