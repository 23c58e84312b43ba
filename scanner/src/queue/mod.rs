//! Reports that wait on disk: a row of files to which is appended and from whose beginning is taken.
//!
//! Each record carries its own length and checksum, so a file that was cut short by a power cut, or damaged in its
//! middle, costs only the records that are hit. What was appended survives the end of the process at once, and a power
//! cut once [`Queue::unsynced`] was synced. A record that was taken out shortly before a crash may come again.
//!
//! Knows nothing of what is in a record, nor of time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

mod segment;

/// The size from which on the next record goes into another file.
pub const SEGMENT_BYTES_MAX: u64 = 256 << 10;
/// The largest record.
pub const RECORD_BYTES_MAX: usize = 256 << 10;

const LOCK: &str = "lock";
const HEAD: &str = "head";
const SUFFIX: &str = "segment";

/// The row.
#[derive(Debug)]
pub struct Queue {
    folder: PathBuf,
    bytes_max: u64,
    segments: BTreeMap<u64, Segment>,
    writer: Option<Writer>,
    reader: Option<Reader>,
    head: File,
    /// Files to which was appended since the last sync.
    unsynced: BTreeSet<u64>,
    losses: Losses,
    /// Held as long as the queue is; a second agent must not take from the same row.
    _lock: File,
}

/// Which record of the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    segment: u64,
    end: u64,
}

/// What was lost since it was last asked for, in records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Given up because there was no room.
    pub full: u64,
    /// Places in files that could not be read; how many records stood there can't be told.
    pub damaged: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    bytes: u64,
    records: u64,
}

#[derive(Debug)]
struct Writer {
    number: u64,
    file: File,
}

/// The oldest file, read into memory.
#[derive(Debug)]
struct Reader {
    number: u64,
    /// The records that are left, each with where it ends.
    records: VecDeque<(u64, Vec<u8>)>,
}

impl Queue {
    /// Opens the queue in a folder, which is made if need be; it may hold so many bytes.
    ///
    /// # Errors
    /// If the folder can't be used, or another process uses it.
    pub fn open(folder: &Path, bytes_max: u64) -> io::Result<Queue> {
        fs::create_dir_all(folder)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(LOCK))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::other("another process uses this queue"),
            fs::TryLockError::Error(error) => error,
        })?;
        let mut head =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(folder.join(HEAD))?;
        let (first, offset) = read_head(&mut head)?.unwrap_or_default();
        let mut queue = Queue {
            folder: folder.to_owned(),
            bytes_max,
            segments: BTreeMap::new(),
            writer: None,
            reader: None,
            head,
            unsynced: BTreeSet::new(),
            losses: Losses::default(),
            _lock: lock,
        };
        for number in numbers(folder)? {
            if number < first {
                fs::remove_file(queue.path(number))?;
                continue;
            }
            let bytes = fs::read(queue.path(number))?;
            let from = if number == first { offset } else { 0 };
            let records = segment::records(&bytes, from).records.len();
            queue.segments.insert(number, Segment { bytes: length(&bytes), records: count(records) });
        }
        Ok(queue)
    }

    /// How many records wait.
    pub fn len(&self) -> u64 {
        self.segments.values().map(|segment| segment.records).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was lost since this was last asked.
    pub fn take_losses(&mut self) -> Losses {
        std::mem::take(&mut self.losses)
    }

    /// Appends a record.
    ///
    /// # Errors
    /// If it can't be written, or is larger than [`RECORD_BYTES_MAX`].
    pub fn append(&mut self, payload: &[u8]) -> io::Result<()> {
        if payload.len() > RECORD_BYTES_MAX {
            return Err(io::Error::other("the record is too large"));
        }
        let record = segment::record(payload);
        let number = self.writer_for(length(&record))?;
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if let Err(error) = writer.file.write_all(&record) {
            // Part of it may stand there; what follows must not stand behind that part in a file of its own length.
            self.writer = None;
            return Err(error);
        }
        self.unsynced.insert(number);
        let segment = self.segments.entry(number).or_default();
        segment.bytes += length(&record);
        segment.records += 1;
        self.make_room()
    }

    /// The oldest record, and which one that is.
    ///
    /// # Errors
    /// If the disk can't be read.
    pub fn oldest(&mut self) -> io::Result<Option<(Place, &[u8])>> {
        loop {
            if self.reader.as_ref().is_some_and(|reader| !reader.records.is_empty()) {
                let front = self.reader.as_ref().and_then(|reader| Some((reader.number, reader.records.front()?)));
                return Ok(front.map(|(segment, (end, payload))| (Place { segment, end: *end }, &payload[..])));
            }
            if let Some(reader) = self.reader.take() {
                self.remove_segment(reader.number)?;
            }
            let Some(number) = self.segments.keys().next().copied() else { return Ok(None) };
            self.read(number)?;
        }
    }

    /// Takes out a record that [`Queue::oldest`] gave. Does nothing if it was given up meanwhile.
    ///
    /// # Errors
    /// If the disk can't be written.
    pub fn remove(&mut self, place: Place) -> io::Result<()> {
        let Some(reader) = self.reader.as_mut().filter(|reader| reader.number == place.segment) else { return Ok(()) };
        if reader.records.front().is_none_or(|(end, _)| *end != place.end) {
            return Ok(());
        }
        reader.records.pop_front();
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.records = segment.records.saturating_sub(1);
        }
        write_head(&mut self.head, place.segment, place.end)?;
        self.oldest().map(drop)
    }

    /// The files whose content a power cut could lose; whoever syncs them makes what was appended until now last.
    ///
    /// # Errors
    /// If the folder is gone.
    pub fn unsynced(&mut self) -> io::Result<Vec<File>> {
        let numbers = std::mem::take(&mut self.unsynced);
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let mut files = vec![self.head.try_clone()?, File::open(&self.folder)?];
        for number in numbers.into_iter().filter(|number| self.segments.contains_key(number)) {
            files.push(File::open(self.path(number))?);
        }
        Ok(files)
    }

    /// The file that a record of this length goes into.
    fn writer_for(&mut self, bytes: u64) -> io::Result<u64> {
        if let Some(writer) = &self.writer {
            let filled = self.segments.get(&writer.number).map_or(0, |segment| segment.bytes);
            if filled > 0 && filled + bytes <= SEGMENT_BYTES_MAX {
                return Ok(writer.number);
            }
        }
        let (head, _) = read_head(&mut self.head)?.unwrap_or_default();
        let number = self.segments.keys().next_back().copied().unwrap_or(head).max(head) + 1;
        let file = OpenOptions::new().create_new(true).append(true).open(self.path(number))?;
        self.writer = Some(Writer { number, file });
        self.segments.insert(number, Segment::default());
        Ok(number)
    }

    fn make_room(&mut self) -> io::Result<()> {
        while self.segments.values().map(|segment| segment.bytes).sum::<u64>() > self.bytes_max {
            let Some((number, segment)) = self.segments.first_key_value().map(|(number, segment)| (*number, *segment))
            else {
                break;
            };
            self.losses.full += segment.records;
            if self.reader.as_ref().is_some_and(|reader| reader.number == number) {
                self.reader = None;
            }
            self.remove_segment(number)?;
        }
        Ok(())
    }

    fn read(&mut self, number: u64) -> io::Result<()> {
        // What is read is closed: appending goes on in another file.
        if self.writer.as_ref().is_some_and(|writer| writer.number == number) {
            self.writer = None;
        }
        let bytes = fs::read(self.path(number))?;
        let (first, offset) = read_head(&mut self.head)?.unwrap_or_default();
        let found = segment::records(&bytes, if first == number { offset } else { 0 });
        self.losses.damaged += found.damaged;
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.records = count(found.records.len());
        }
        self.reader = Some(Reader { number, records: found.records });
        Ok(())
    }

    fn remove_segment(&mut self, number: u64) -> io::Result<()> {
        self.segments.remove(&number);
        if self.writer.as_ref().is_some_and(|writer| writer.number == number) {
            self.writer = None;
        }
        // First the head: if both do not get through, the file is passed over and removed when the queue is opened.
        write_head(&mut self.head, number + 1, 0)?;
        match fs::remove_file(self.path(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:012}.{SUFFIX}"))
    }
}

fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        numbers.extend(number.filter(|_| path.extension().is_some_and(|suffix| suffix == SUFFIX)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Where the oldest record stands: its file and its place in there. A head that can't be read is as good as none.
fn read_head(file: &mut File) -> io::Result<Option<(u64, u64)>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    let numbers = |bytes: &[u8]| Some((read_number(bytes, 0)?, read_number(bytes, 8)?));
    Ok(segment::records(&bytes, 0).records.front().and_then(|(_, payload)| numbers(payload)))
}

fn read_number(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn write_head(file: &mut File, number: u64, offset: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&segment::record(&[number.to_le_bytes(), offset.to_le_bytes()].concat()))
}

fn length(bytes: &[u8]) -> u64 {
    count(bytes.len())
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
