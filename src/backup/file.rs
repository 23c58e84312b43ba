//! Files that appear whole or not at all, for their owner's eyes only: they hold personal data.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use async_compression::tokio::{bufread::ZstdDecoder, write::ZstdEncoder};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter},
};

use crate::rename;

/// How many bytes are read or written at once.
const BUFFER_BYTES: usize = 1 << 18;
/// The first bytes of a zstd frame (RFC 8878, section 3.1.1).
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Where an export goes.
pub(super) struct Output {
    sink: Box<dyn AsyncWrite + Unpin + Send>,
    /// The file under its temporary name, and its name.
    file: Option<(PathBuf, PathBuf)>,
}

impl Output {
    /// Standard output for `-`; else a file that must not be there yet.
    pub(super) async fn create(path: &Path, compressed: bool) -> Result<Output> {
        if path.as_os_str() == "-" {
            return Ok(Output { sink: sink(tokio::io::stdout(), compressed), file: None });
        }
        if path.exists() {
            bail!("{} is there already; give another name or remove it", path.display());
        }
        let temporary = beside(path, "part");
        remove(&temporary)?;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).await;
        let file = file.with_context(|| format!("{} can't be written", temporary.display()))?;
        Ok(Output { sink: sink(file, compressed), file: Some((temporary, path.to_owned())) })
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sink.write_all(bytes).await.context("the export can't be written")
    }

    /// Makes what was written durable and gives it its name.
    pub(super) async fn finish(mut self) -> Result<()> {
        self.sink.shutdown().await.context("the export can't be written")?;
        drop(self.sink);
        let Some((temporary, path)) = self.file.take() else { return Ok(()) };
        fs::File::open(&temporary)?.sync_all().context("the export can't be written")?;
        put_in_place(&temporary, &path)
    }

    /// Removes what was written.
    pub(super) fn abandon(self) -> Result<()> {
        drop(self.sink);
        self.file.map_or(Ok(()), |(temporary, _)| remove(&temporary))
    }
}

fn sink(raw: impl AsyncWrite + Unpin + Send + 'static, compressed: bool) -> Box<dyn AsyncWrite + Unpin + Send> {
    let buffered = BufWriter::with_capacity(BUFFER_BYTES, raw);
    if compressed { Box::new(ZstdEncoder::new(buffered)) } else { Box::new(buffered) }
}

/// A file to be read, or standard input for `-`; decompressed if it is compressed.
pub(super) async fn open(path: &Path) -> Result<Box<dyn AsyncBufRead + Unpin + Send>> {
    if path.as_os_str() == "-" {
        return plain(BufReader::with_capacity(BUFFER_BYTES, tokio::io::stdin())).await;
    }
    let file = File::open(path).await.with_context(|| format!("{} can't be read", path.display()))?;
    plain(BufReader::with_capacity(BUFFER_BYTES, file)).await
}

async fn plain(mut source: impl AsyncBufRead + Unpin + Send + 'static) -> Result<Box<dyn AsyncBufRead + Unpin + Send>> {
    if !source.fill_buf().await?.starts_with(&ZSTD_MAGIC) {
        return Ok(Box::new(source));
    }
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, ZstdDecoder::new(source))))
}

/// A name in the same folder.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// Gives a file its name for good.
pub(super) fn put_in_place(from: &Path, to: &Path) -> Result<()> {
    rename::for_good(from, to).with_context(|| format!("{} can't be renamed to {}", from.display(), to.display()))
}

/// Removes a file, if there is one.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} can't be removed", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
