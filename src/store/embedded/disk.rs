//! What the file lies on, and how far it is believed.
//!
//! When a synchronisation fails, kernels take the pages that it was to write for clean: the next one succeeds without
//! them, and reading gives what never reached the disk. So one failure is the last word until the process is started
//! again, and whoever opens a file that was not closed reads it from the disk, not from what the kernel remembers.

use std::{
    fs, io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use redb::{BackendError, Builder, DatabaseError, StorageBackend, backends::FileBackend};

use crate::rename;

/// Where a file's bytes are.
pub(super) trait Disk: Send + Sync {
    /// Opens the file. One that is missing is made, as a whole or not at all.
    fn open(&self) -> Result<Box<dyn StorageBackend>, DatabaseError>;

    /// Writes to the disk what was only remembered, and forgets what is remembered: what is read afterwards is on the
    /// disk. Nobody may have the file open.
    fn settle(&self) -> io::Result<()>;

    /// The file's length.
    fn bytes(&self) -> u64;
}

/// A file of this machine.
#[derive(Debug)]
pub(super) struct Local(pub(super) PathBuf);

/// Notes the first synchronisation that fails, and why.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) backend: Box<dyn StorageBackend>,
    pub(super) failure: Arc<OnceLock<String>>,
}

impl Disk for Local {
    fn open(&self) -> Result<Box<dyn StorageBackend>, DatabaseError> {
        if !self.0.try_exists()? {
            self.make()?;
        }
        let file = fs::File::options().read(true).write(true).open(&self.0)?;
        Ok(Box::new(FileBackend::new(file)?))
    }

    fn settle(&self) -> io::Result<()> {
        let file = fs::File::options().read(true).write(true).open(&self.0)?;
        file.sync_all()?;
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }

    fn bytes(&self) -> u64 {
        fs::metadata(&self.0).map_or(0, |metadata| metadata.len())
    }
}

impl Local {
    /// Makes an empty database elsewhere and gives it its name when it is whole: one whose making was cut short would be
    /// refused for ever.
    fn make(&self) -> Result<(), DatabaseError> {
        let mut unfinished = self.0.clone().into_os_string();
        unfinished.push(".new");
        let file = fs::File::options().read(true).write(true).create(true).truncate(false).open(&unfinished)?;
        file.try_lock().map_err(|_| DatabaseError::DatabaseAlreadyOpen)?;
        if !self.0.try_exists()? {
            file.set_len(0)?;
            drop(Builder::new().create_with_backend(FileBackend::new(file)?)?);
            rename::for_good(Path::new(&unfinished), &self.0)?;
        }
        Ok(())
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.backend.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let result = self.backend.sync_data();
        if let Err(error) = &result {
            // Only the first one tells what happened.
            self.failure.get_or_init(|| error.to_string());
        }
        result
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.query_lock_range(start, end)
    }
}
