//! The file, open or between two attempts to open it. After an I/O error redb refuses everything until it is reopened.

use std::{
    fmt, fs, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
};

use redb::{Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, StorageError, WriteTransaction};

use crate::store::{Config, Error};

/// The file.
pub(super) struct File {
    path: PathBuf,
    opener: Opener,
    cache_bytes: usize,
    database: RwLock<Option<Database>>,
    /// Locked after `database`, if both are.
    pinned: Mutex<Vec<Weak<Pinned>>>,
}

/// A snapshot that outlives one call. The file takes it back when it closes, or it could not be opened again.
pub(super) struct Pinned(Mutex<Option<ReadTransaction>>);

/// How the file is opened, with a builder that is set up.
pub(super) type Opener = Box<dyn Fn(&Builder) -> Result<Database, DatabaseError> + Send + Sync>;

impl File {
    /// Opens or makes it.
    pub(super) fn open(config: &Config) -> Result<File, Error> {
        if let Some(folder) = config.path.parent() {
            fs::create_dir_all(folder)
                .map_err(|error| Error::Unavailable(format!("{} can't be made: {error}", folder.display())))?;
        }
        let path = config.path.clone();
        File::open_with(config, Box::new(move |builder| builder.create(&path)))
    }

    pub(super) fn open_with(config: &Config, opener: Opener) -> Result<File, Error> {
        let path = config.path.clone();
        let file = File {
            path,
            opener,
            cache_bytes: config.cache_mib << 20,
            database: RwLock::new(None),
            pinned: Mutex::default(),
        };
        file.connect(config.verify_at_start)?;
        Ok(file)
    }

    /// Reads one snapshot.
    pub(super) fn read<T>(&self, body: impl FnOnce(&ReadTransaction) -> Result<T, Error>) -> Result<T, Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let transaction = database.as_ref().ok_or_else(|| self.closed())?.begin_read()?;
        body(&transaction)
    }

    /// Holds on to the snapshot of this moment. As long as it lives, no page that it shows is used again.
    pub(super) fn pin(&self) -> Result<Arc<Pinned>, Error> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
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
        self.connect(false)
    }

    fn connect(&self, verify: bool) -> Result<(), Error> {
        let mut builder = Builder::new();
        builder.set_cache_size(self.cache_bytes).set_check_integrity_on_open(verify);
        let database = guarded(&self.path, || (self.opener)(&builder))?;
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
        Ok(())
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
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
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

/// Opens a file that may be garbled: the library may panic over it.
fn guarded(path: &Path, open: impl FnOnce() -> Result<Database, DatabaseError>) -> Result<Database, Error> {
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => opened.map_err(|error| refusal(path, error)),
        Err(_) => Err(Error::Corrupt(format!("{} can't be read: its structure is broken", path.display()))),
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).finish_non_exhaustive()
    }
}

fn refusal(path: &Path, error: DatabaseError) -> Error {
    let path = path.display();
    if matches!(error, DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) {
        return Error::Unavailable(format!("{path} is in use by another process"));
    }
    if let DatabaseError::Storage(StorageError::Io(error)) = &error {
        let garbled = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
        let why = format!("{path} can't be opened: {error}");
        return if garbled { Error::Corrupt(why) } else { Error::Unavailable(why) };
    }
    Error::Corrupt(format!("{path} can't be opened: {error}"))
}
