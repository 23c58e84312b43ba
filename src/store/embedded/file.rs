//! The file, open or between two attempts to open it. After an I/O error redb refuses everything until it is reopened;
//! after a failed synchronisation it is not reopened by this process.

use std::{
    fmt, fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak},
};

use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, RepairSession, StorageError, WriteTransaction,
};

use super::disk::{Disk, Local, Watched};
use crate::store::{Config, Error};

/// The file.
pub(super) struct File {
    path: PathBuf,
    disk: Box<dyn Disk>,
    cache_bytes: usize,
    database: RwLock<Option<Database>>,
    /// Why a synchronisation failed, if one did.
    failure: Arc<OnceLock<String>>,
    /// Locked after `database`, if both are.
    pinned: Mutex<Vec<Weak<Pinned>>>,
}

/// A snapshot that outlives one call. The file takes it back when it closes, or it could not be opened again.
pub(super) struct Pinned(Mutex<Option<ReadTransaction>>);

const IN_USE: &str = "is in use by another process";

impl File {
    /// Opens or makes it.
    pub(super) fn open(config: &Config) -> Result<File, Error> {
        if let Some(folder) = config.path.parent() {
            fs::create_dir_all(folder)
                .map_err(|error| Error::Unavailable(format!("{} can't be made: {error}", folder.display())))?;
        }
        File::open_on(config, Box::new(Local(config.path.clone())))
    }

    /// Whether another process has it open.
    pub(super) fn is_in_use(path: &Path) -> bool {
        let opened = guarded(|| Builder::new().open(path));
        let refused = opened.and_then(Result::err).map(|error| refusal(path, error));
        matches!(refused, Some(Error::Unavailable(why)) if why.ends_with(IN_USE))
    }

    pub(super) fn open_on(config: &Config, disk: Box<dyn Disk>) -> Result<File, Error> {
        let (path, cache_bytes) = (config.path.clone(), config.cache_mib << 20);
        let file = File {
            path,
            disk,
            cache_bytes,
            database: RwLock::new(None),
            failure: Arc::default(),
            pinned: Mutex::default(),
        };
        file.connect(config.verify_at_start)?;
        Ok(file)
    }

    /// Reads one snapshot.
    pub(super) fn read<T>(&self, body: impl FnOnce(&ReadTransaction) -> Result<T, Error>) -> Result<T, Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        let transaction = database.as_ref().ok_or_else(|| self.closed())?.begin_read()?;
        body(&transaction)
    }

    /// Reads one snapshot of a file that nobody has read yet and that may be garbled.
    pub(super) fn read_first<T>(&self, body: impl FnOnce(&ReadTransaction) -> Result<T, Error>) -> Result<T, Error> {
        guarded(|| self.read(body)).unwrap_or_else(|| Err(self.broken()))
    }

    /// Holds on to the snapshot of this moment. As long as it lives, no page that it shows is used again.
    pub(super) fn pin(&self) -> Result<Arc<Pinned>, Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        let transaction = database.as_ref().ok_or_else(|| self.closed())?.begin_read()?;
        let snapshot = Arc::new(Pinned(Mutex::new(Some(transaction))));
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.retain(|old| old.strong_count() > 0);
        pinned.push(Arc::downgrade(&snapshot));
        Ok(snapshot)
    }

    /// Begins to write. Only the writer may.
    pub(super) fn begin(&self) -> Result<WriteTransaction, Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        Ok(database.as_ref().ok_or_else(|| self.closed())?.begin_write()?)
    }

    pub(super) fn is_open(&self) -> bool {
        self.database.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Closes it and opens it again. No transaction of this thread may be alive.
    pub(super) fn reopen(&self) -> Result<(), Error> {
        self.close();
        self.check()?;
        self.connect(false)
    }

    /// Whether the disk may still be believed.
    pub(super) fn check(&self) -> Result<(), Error> {
        let Some(why) = self.failure.get() else { return Ok(()) };
        let path = self.path.display();
        Err(Error::Unavailable(format!(
            "{path} could not be synchronised ({why}); nothing is written before a restart"
        )))
    }

    fn connect(&self, verify: bool) -> Result<(), Error> {
        let builder = |verify| {
            let mut builder = Builder::new();
            builder.set_cache_size(self.cache_bytes).set_check_integrity_on_open(verify);
            builder
        };
        let mut trusting = builder(verify);
        trusting.set_repair_callback(RepairSession::abort);
        let database = match self.open_database(&trusting)? {
            Some(database) => database,
            None => {
                self.disk.settle().map_err(|error| {
                    Error::Unavailable(format!("{} can't be synchronised: {error}", self.path.display()))
                })?;
                let repaired = self.open_database(&builder(verify))?;
                repaired.ok_or_else(|| Error::Corrupt(format!("{} can't be repaired", self.path.display())))?
            }
        };
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
        Ok(())
    }

    /// Opens it with this builder; none if the builder forbids the repair that it needs.
    fn open_database(&self, builder: &Builder) -> Result<Option<Database>, Error> {
        let open = || {
            let backend = self.disk.open()?;
            builder.create_with_backend(Watched { backend, failure: self.failure.clone() })
        };
        match guarded(open) {
            Some(Ok(database)) => Ok(Some(database)),
            Some(Err(DatabaseError::RepairAborted)) => Ok(None),
            Some(Err(error)) => Err(refusal(&self.path, error)),
            None => Err(self.broken()),
        }
    }

    pub(super) fn close(&self) {
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        for snapshot in self.pinned.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if let Some(snapshot) = snapshot.upgrade() {
                drop(snapshot.0.lock().unwrap_or_else(PoisonError::into_inner).take());
            }
        }
        drop(database.take());
    }

    pub(super) fn bytes(&self) -> u64 {
        self.disk.bytes()
    }

    fn broken(&self) -> Error {
        Error::Corrupt(format!("{} can't be read: its structure is broken", self.path.display()))
    }

    fn closed(&self) -> Error {
        Error::Unavailable(format!("{} is closed", self.path.display()))
    }
}

impl Pinned {
    /// Reads of the snapshot.
    pub(super) fn read<T>(&self, body: impl FnOnce(&ReadTransaction) -> Result<T, Error>) -> Result<T, Error> {
        let transaction = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = || Error::Unavailable("the file was closed while a snapshot of it was being read".to_owned());
        body(transaction.as_ref().ok_or_else(closed)?)
    }
}

/// Reads a file that may be garbled: the library may panic over it, which gives none.
fn guarded<T>(read: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(read)).ok()
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).finish_non_exhaustive()
    }
}

fn refusal(path: &Path, error: DatabaseError) -> Error {
    let path = path.display();
    if matches!(error, DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) {
        return Error::Unavailable(format!("{path} {IN_USE}"));
    }
    if let DatabaseError::Storage(StorageError::Io(error)) = &error {
        let garbled = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
        let why = format!("{path} can't be opened: {error}");
        return if garbled { Error::Corrupt(why) } else { Error::Unavailable(why) };
    }
    Error::Corrupt(format!("{path} can't be opened: {error}"))
}
