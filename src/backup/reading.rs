//! The bytes of a file as sections whose checksums are right. What is wrong is named by its line.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail, ensure};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use super::{
    format::{self, Check, Header, LINE_MAX_BYTES, Mark, SECTION_MAX_ROWS, Sum},
    upgrade::{self, Step},
};
use crate::store::rows::Row;

/// A file that is being read.
pub struct Reading<R> {
    source: R,
    steps: &'static [Step],
    header: Header,
    header_line: Vec<u8>,
    identity: u64,
    sum: Sum,
    /// Number of the last line read, counted from 1.
    line: u64,
    rows: u64,
    counts: BTreeMap<String, u64>,
}

/// What comes next in a file.
#[derive(Debug)]
pub enum Section {
    /// Rows, known to be as they were written.
    Rows(Lines),
    /// The end.
    End(End),
}

/// The end of a file.
#[derive(Debug)]
pub struct End {
    /// How many rows of which kind the file has.
    pub rows: Trailer,
    line: Vec<u8>,
}

/// The rows of one section, not yet read.
#[derive(Debug)]
pub struct Lines {
    /// The number of the first line, counted from 1.
    first: u64,
    /// How many rows of the file come before.
    pub before: u64,
    /// With the line that closes the section.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    written: u32,
    steps: &'static [Step],
}

/// How many rows of which kind there are.
pub type Trailer = BTreeMap<String, u64>;

impl<R: AsyncBufRead + Unpin> Reading<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// If it is no header, or of a version that can't be read.
    pub async fn begin(source: R) -> Result<Reading<R>> {
        Reading::begin_with(source, upgrade::STEPS).await
    }

    async fn begin_with(mut source: R, steps: &'static [Step]) -> Result<Reading<R>> {
        let mut line = Vec::new();
        // A file of something else may have no lines at all.
        (&mut source).take(4_096).read_until(b'\n', &mut line).await?;
        let header: Header =
            serde_json::from_slice(&line).map_err(|_| anyhow!("line 1: this is no export of a store"))?;
        ensure!(header.format == format::NAME, "line 1: this is no export of a store, but {:?}", header.format);
        upgrade::check(header.version, steps).map_err(|why| anyhow!("line 1: {why}"))?;
        let mut sum = Sum::new();
        sum.add(&line);
        let identity = format::identity(&line);
        Ok(Reading {
            source,
            steps,
            header,
            header_line: line,
            identity,
            sum,
            line: 1,
            rows: 0,
            counts: BTreeMap::new(),
        })
    }

    /// The first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The first line as it is in the file.
    pub fn header_line(&self) -> &[u8] {
        &self.header_line
    }

    /// Tells this export from every other.
    pub fn identity(&self) -> u64 {
        self.identity
    }

    /// The next section. Its rows were counted and summed up, but not read.
    ///
    /// # Errors
    /// If the file is cut, or is not as it was written; which lines are concerned.
    pub async fn next(&mut self) -> Result<Section> {
        let mut lines = Lines {
            first: self.line + 1,
            before: self.rows,
            bytes: Vec::new(),
            ends: Vec::new(),
            written: self.header.version,
            steps: self.steps,
        };
        loop {
            let start = lines.bytes.len();
            self.read_line(&mut lines.bytes).await?;
            let line = &lines.bytes[start..];
            let name = format::name_of(line).ok_or_else(|| anyhow!("line {}: this is no row of a store", self.line))?;
            if matches!(name, "check" | "end" | "failed") {
                let mark = serde_json::from_slice(line).map_err(|error| anyhow!("line {}: {error}", self.line))?;
                return self.close(mark, lines, start).await;
            }
            *self.counts.entry(name.to_owned()).or_default() += 1;
            self.rows += 1;
            self.sum.add(line);
            lines.ends.push(lines.bytes.len());
            ensure!(lines.ends.len() <= SECTION_MAX_ROWS, "line {}: no checksum in so many rows", self.line);
            ensure!(lines.bytes.len() <= 2 * LINE_MAX_BYTES, "line {}: no checksum in so many bytes", self.line);
        }
    }

    async fn read_line(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let start = bytes.len();
        let limit = LINE_MAX_BYTES as u64;
        (&mut self.source)
            .take(limit)
            .read_until(b'\n', bytes)
            .await
            .map_err(|error| anyhow!("line {}: the file can't be read on: {error}", self.line + 1))?;
        self.line += 1;
        if bytes.ends_with(b"\n") && bytes.len() > start {
            return Ok(());
        }
        ensure!(bytes.len() - start < LINE_MAX_BYTES, "line {}: longer than {} MiB", self.line, LINE_MAX_BYTES >> 20);
        bail!("line {}: the file is cut here, and its end is missing", self.line)
    }

    async fn close(&mut self, mark: Mark, lines: Lines, start: usize) -> Result<Section> {
        let so_far = self.sum.so_far();
        let at = self.line;
        let sum_is = |sha256: &str| match lines.ends.is_empty() {
            _ if sha256 == so_far => Ok(()),
            true => Err(anyhow!("line {at}: the checksum is not that of the file up to here")),
            false => Err(anyhow!("lines {} to {at}: not as they were written, by their checksum", lines.first)),
        };
        match mark {
            Mark::Check(Check { rows, sha256 }) => {
                sum_is(&sha256)?;
                ensure!(rows == self.rows, "line {at}: {rows} rows are announced and {} are here", self.rows);
                self.sum.add(&lines.bytes[start..]);
                Ok(Section::Rows(lines))
            }
            Mark::End(format::End { rows, sha256 }) => {
                sum_is(&sha256)?;
                ensure!(lines.ends.is_empty(), "line {at}: the last rows have no checksum");
                ensure!(rows == self.counts, "line {at}: {rows:?} are announced and {:?} are here", self.counts);
                let more = self.source.fill_buf().await?;
                ensure!(more.is_empty(), "line {}: something follows the end", at + 1);
                Ok(Section::End(End { rows, line: lines.bytes }))
            }
            Mark::Failed(failed) => bail!("line {at}: the export could not go on: {}", failed.why),
        }
    }
}

impl Section {
    /// The lines as they are in the file.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Section::Rows(lines) => &lines.bytes,
            Section::End(end) => &end.line,
        }
    }
}

impl Lines {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Reads the rows, brought to this version of the format.
    ///
    /// # Errors
    /// The first line that is no row.
    pub fn rows(&self) -> Result<Vec<Row>> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let lines = starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end]);
        let read = |(number, line): (u64, &[u8])| {
            upgrade::row(line, self.written, self.steps).map_err(|why| anyhow!("line {number}: {why}"))
        };
        (self.first..).zip(lines).map(read).collect()
    }
}
