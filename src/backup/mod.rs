//! A store as a file: NDJSON with a header, sections that carry their checksums, and a trailer with counts. Written and
//! read as a stream, by the commands here and by `GET /v1/backup`.
//!
//! It knows no engine: rows come from and go to the `Store` trait alone.

pub mod cli;
mod file;
pub mod format;
mod reading;
mod taking;
mod upgrade;
mod writing;

pub use self::{
    reading::{Lines, Reading, Section, Trailer},
    taking::{Taken, import, survey},
    writing::Writing,
};
