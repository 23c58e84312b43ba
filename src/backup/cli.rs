//! `parvis export`, `import`, `backup`, `restore` and `verify`.

use std::{fs, io::Write, path::Path, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use futures_util::TryStreamExt;
use http_body_util::BodyStream;
use tokio_util::io::StreamReader;

use super::{
    file::{self, Output},
    reading::{Reading, Section, Trailer},
    taking::{self, Taken},
    writing::Writing,
};
use crate::{
    client::Client,
    clock::Clock,
    config::{self, Source},
    entropy::Entropy,
    store::{self, Config, Embedded, Kind, Store},
};

/// Carries out `parvis export`: the store of a daemon that is stopped.
///
/// # Errors
/// If the store can't be read, or the file can't be written.
pub async fn export(source: &Source, out: &Path, compressed: bool, told: &mut impl Write) -> Result<()> {
    let config = configured(source)?;
    must_be_there(&config)?;
    let store = store::open(config).await?;
    let exported = write(&*store, Output::create(out, compressed).await?).await;
    store.close().await?;
    let written = exported?;
    if out.as_os_str() != "-" {
        writeln!(told, "{} holds {} rows", out.display(), written.rows())?;
        if !written.is_snapshot() {
            writeln!(told, "they are not of one moment: right only if no node wrote meanwhile")?;
        }
    }
    Ok(())
}

async fn write(store: &dyn Store, mut output: Output) -> Result<Writing> {
    let mut writing = Writing::new(store.export().await?, Clock::System.now(), &Entropy::System);
    while let Some(bytes) = writing.next().await {
        output.write(&bytes).await?;
    }
    if let Some(why) = writing.failure() {
        output.abandon()?;
        bail!("{why}");
    }
    output.finish().await?;
    Ok(writing)
}

/// Carries out `parvis import`: into a store that is empty, or holds a part of this import.
///
/// # Errors
/// If the store is not empty, or the file is not as it was written.
pub async fn import(source: &Source, from: &Path, told: &mut impl Write) -> Result<()> {
    let config = configured(source)?;
    ensure!(config.kind != Kind::Memory, "a store in memory would be gone at once");
    if from.as_os_str() != "-" {
        check(from).await?;
    }
    let mut reading = Reading::begin(file::open(from).await?).await?;
    let store = store::open_to_import(config).await?;
    let taken = taking::import(&*store, &mut reading).await;
    store.close().await?;
    let Taken { rows, before } = taken?;
    if before > 0 {
        writeln!(told, "{before} rows were there already")?;
    }
    list(&rows, told)
}

/// Carries out `parvis backup`: of a running daemon, which goes on meanwhile.
///
/// # Errors
/// If the daemon can't be asked or says no, or what it sent is not whole.
pub async fn backup(url: String, key_file: &Path, out: &Path, compressed: bool, told: &mut impl Write) -> Result<()> {
    let key = fs::read_to_string(key_file).with_context(|| format!("{} can't be read", key_file.display()))?;
    let body = Client::new(url, key.trim()).open("/v1/backup").await?;
    let mut output = Output::create(out, compressed).await?;
    let frames = BodyStream::new(body).map_err(std::io::Error::other);
    let bytes = frames.try_filter_map(|frame| std::future::ready(Ok(frame.into_data().ok())));
    match copy(StreamReader::new(Box::pin(bytes)), &mut output).await {
        Ok(rows) => {
            output.finish().await?;
            if out.as_os_str() != "-" { list(&rows, told) } else { Ok(()) }
        }
        Err(error) => {
            output.abandon()?;
            Err(error)
        }
    }
}

/// Carries out `parvis restore`: a fresh file beside, verified, then renamed into place.
///
/// # Errors
/// If there is a store and `force` is not given, the file is not as it was written, or the disk fails.
pub async fn restore(source: &Source, from: &Path, force: bool, told: &mut impl Write) -> Result<()> {
    let config = configured(source)?;
    ensure!(config.kind == Kind::Embedded, "only the embedded store is a file; use `parvis import` for others");
    let path = config.path.clone();
    if path.exists() {
        ensure!(force, "{} is there already; --force replaces it", path.display());
        ensure!(!Embedded::is_in_use(&config).await, "{} is in use by another process", path.display());
    }
    if from.as_os_str() != "-" {
        check(from).await?;
    }
    let fresh = Config { path: file::beside(&path, "restoring"), verify_at_start: true, ..config };
    file::remove(&fresh.path)?;
    let restored = fill(&fresh, from).await;
    if restored.is_err() {
        file::remove(&fresh.path)?;
    }
    let rows = restored?;
    file::put_in_place(&fresh.path, &path)?;
    list(&rows, told)
}

async fn fill(fresh: &Config, from: &Path) -> Result<Trailer> {
    let mut reading = Reading::begin(file::open(from).await?).await?;
    let store = store::open_to_import(fresh.clone()).await?;
    let taken = taking::import(&*store, &mut reading).await;
    store.close().await?;
    let rows = taken?.rows;
    let found = read_all(fresh.clone()).await?;
    ensure!(found == rows, "the store that was made has {found:?} and the file {rows:?}");
    Ok(rows)
}

/// Carries out `parvis verify`: every page's checksum, and every row read.
///
/// # Errors
/// What is wrong with the store.
pub async fn verify(source: &Source, told: &mut impl Write) -> Result<()> {
    let config = configured(source)?;
    must_be_there(&config)?;
    list(&read_all(Config { verify_at_start: true, ..config }).await?, told)
}

async fn read_all(config: Config) -> Result<Trailer> {
    let store: Arc<dyn Store> = store::open(config).await?;
    let rows = taking::survey(&*store).await;
    store.close().await?;
    Ok(rows?)
}

/// Reads a file to its end before anything is done with it.
async fn check(path: &Path) -> Result<()> {
    let whole = async {
        let mut reading = Reading::begin(file::open(path).await?).await?;
        while let Section::Rows(_) = reading.next().await? {}
        anyhow::Ok(())
    };
    whole.await.with_context(|| path.display().to_string())
}

/// Writes what comes, once each section is known to be whole.
async fn copy(source: impl tokio::io::AsyncBufRead + Unpin, output: &mut Output) -> Result<Trailer> {
    let mut reading = Reading::begin(source).await?;
    output.write(reading.header_line()).await?;
    loop {
        let section = reading.next().await?;
        output.write(section.bytes()).await?;
        if let Section::End(end) = section {
            return Ok(end.rows);
        }
    }
}

/// The store's section. Other sections may be wrong: nothing else of the node is started.
fn configured(source: &Source) -> Result<Config> {
    let (config, findings) = config::read(source);
    let concerns = |subject: &str| subject.is_empty() || subject == "store" || subject.starts_with("store.");
    let wrong = findings.iter().filter(|finding| concerns(&finding.subject)).map(ToString::to_string);
    let wrong: Vec<_> = wrong.collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(config.store.below(&source.folder()))
}

/// Refuses to read a store that opening would make.
fn must_be_there(config: &Config) -> Result<()> {
    ensure!(
        config.kind != Kind::Memory,
        "a store in memory is gone with its daemon; `parvis backup` asks a running one"
    );
    let missing = config.kind == Kind::Embedded && !config.path.exists();
    ensure!(!missing, "there is no store at {}", config.path.display());
    Ok(())
}

fn list(rows: &Trailer, told: &mut impl Write) -> Result<()> {
    rows.iter().try_for_each(|(kind, number)| writeln!(told, "{number:>12} {kind}"))?;
    Ok(())
}
