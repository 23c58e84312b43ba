//! `parvis keys`: makes keys and lists what is kept of them. A key is shown once and never stored.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail, ensure};
use parvis_engine::id::{DeviceId, ScannerId};

use crate::{
    config::{self, Source},
    entropy::Entropy,
    http::auth::{KeyFile, KeyRecord, Scope, new_key},
    rename,
};

/// `parvis keys`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// The daemon's `parvis.toml`, or the folder that holds it; it says where keys are kept.
    #[arg(long, global = true, default_value = "config")]
    config: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Makes a key and prints it; only its hash is kept. A running daemon knows it after SIGHUP or a restart.
    New {
        /// Names it in logs, such as the program that will use it.
        #[arg(long)]
        name: String,
        /// What it is for, separated by commas.
        #[arg(long, value_delimiter = ',', required = true)]
        scope: Vec<Scope>,
        /// The only device that it may speak for.
        #[arg(long)]
        device: Option<DeviceId>,
        /// The only scanner that it may speak for.
        #[arg(long)]
        scanner: Option<ScannerId>,
    },
    /// Lists names, scopes and bindings.
    List,
}

/// Carries out `parvis keys`.
///
/// # Errors
/// If the configuration or the keys file can't be read, or the key makes no sense.
pub fn run(args: Args, out: &mut impl Write) -> anyhow::Result<()> {
    let source = Source { environment: std::env::vars().collect(), ..Source::new(args.config) };
    // Other sections may be wrong; only where keys are kept matters here.
    let (config, _) = config::read(&source);
    let file = source.folder().join(&config.http.auth.keys_file);
    match args.action {
        Action::New { name, scope, device, scanner } => {
            let wanted = Wanted { name, scopes: scope.into_iter().collect(), device, scanner };
            create(&file, wanted, &Entropy::System, out)
        }
        Action::List => list(&file, out),
    }
}

/// A key that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Names it in logs; unique in its file.
    pub name: String,
    /// What it is for.
    pub scopes: BTreeSet<Scope>,
    /// The only device that it may speak for.
    pub device: Option<DeviceId>,
    /// The only scanner that it may speak for.
    pub scanner: Option<ScannerId>,
}

/// Makes a key, appends what is kept of it to the file, and prints the key.
///
/// # Errors
/// If it makes no sense, or the file can't be read or replaced.
pub fn create(file: &Path, wanted: Wanted, entropy: &Entropy, out: &mut impl Write) -> anyhow::Result<()> {
    ensure!(!wanted.name.trim().is_empty(), "a key needs a name, such as the program that will use it");
    ensure!(!wanted.scopes.is_empty(), "a key needs at least one scope: {}", Scope::ALL.map(Scope::name).join(", "));
    ensure!(wanted.device.is_none() || wanted.scanner.is_none(), "a key is bound to a device or a scanner, not both");
    let mut keys = read(file)?;
    if keys.keys.iter().any(|record| record.name == wanted.name) {
        bail!("{} has a key named {:?} already", file.display(), wanted.name);
    }
    let (key, record) = new_key(entropy, &wanted.name, wanted.scopes);
    keys.keys.push(KeyRecord { device: wanted.device, scanner: wanted.scanner, ..record });
    replace(file, &toml::to_string(&keys)?).with_context(|| format!("{} can't be written", file.display()))?;
    writeln!(out, "{key}")?;
    Ok(())
}

/// Lists names, scopes and bindings.
///
/// # Errors
/// If the file can't be read.
pub fn list(file: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    for record in read(file)?.keys {
        let scopes = record.scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>().join(",");
        let device = record.device.map(|device| format!(" device {device}")).unwrap_or_default();
        let scanner = record.scanner.map(|scanner| format!(" scanner {scanner}")).unwrap_or_default();
        writeln!(out, "{} {scopes}{device}{scanner}", record.name)?;
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<KeyFile> {
    match fs::read_to_string(file) {
        Ok(text) => toml::from_str(&text).with_context(|| format!("{} is not a keys file", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(KeyFile::default()),
        Err(error) => Err(error).with_context(|| format!("{} can't be read", file.display())),
    }
}

/// Through a second file, so that nobody ever reads a half-written one.
fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut handle = options.open(&new)?;
    handle.write_all(text.as_bytes())?;
    handle.sync_all()?;
    rename::for_good(&new, file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};
    use parvis_engine::time::Timestamp;

    use super::*;
    use crate::http::auth::{Config, Keys};

    fn wanted(name: &str) -> Wanted {
        Wanted { name: name.to_owned(), scopes: BTreeSet::from([Scope::Ingest]), device: None, scanner: None }
    }

    #[test]
    fn a_key_is_printed_once_and_its_hash_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys.toml");
        let mut out = Vec::new();
        create(&file, wanted("phones"), &Entropy::seeded(1), &mut out).expect("made");
        let bound = Wanted { device: Some("phone-1".parse().expect("an id")), ..wanted("one phone") };
        create(&file, bound, &Entropy::seeded(2), &mut out).expect("made");
        let printed = String::from_utf8(out).expect("text");
        let kept = fs::read_to_string(&file).expect("written");
        for key in printed.lines() {
            assert!(key.starts_with("parvis_") && key.len() == 50 && !kept.contains(key), "{key}");
        }
        let mut listed = Vec::new();
        list(&file, &mut listed).expect("lists");
        assert_eq!(String::from_utf8(listed).expect("text"), "phones ingest\none phone ingest device phone-1\n");
        let config = Config { keys_file: "keys.toml".into(), ..Config::default() };
        let keys = Keys::read(&config, folder.path()).expect("the file opens");
        let key = printed.lines().nth(1).expect("two keys");
        let headers = [(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {key}")).expect("visible"))];
        let caller = keys.caller(&headers.into_iter().collect(), Timestamp::default()).expect("known");
        assert_eq!(caller.device.as_ref().map(DeviceId::as_str), Some("phone-1"));
        assert!(create(&file, wanted("phones"), &Entropy::seeded(3), &mut Vec::new()).is_err(), "the name is taken");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let file = Path::new("never written");
        let nothing = Wanted { scopes: BTreeSet::new(), ..wanted("x") };
        assert!(create(file, nothing, &Entropy::seeded(1), &mut Vec::new()).is_err());
        assert!(create(file, wanted(" "), &Entropy::seeded(1), &mut Vec::new()).is_err());
    }
}
