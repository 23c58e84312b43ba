//! The identity keys of beacons that change what they say on the air: `id = "32 hexadecimal digits"`.
//!
//! Keys are secrets: they are never put through the API, never shown and never logged.

use std::{collections::BTreeMap, fmt, ops::Deref, path::Path, sync::Arc};

use parvis_engine::id::BeaconId;

use super::{
    Config, Kind,
    objects::{Compiled, Entry, Objects},
};
use crate::document::{self, Document, Finding, Place};

/// Bytes of a key (Eddystone-EID).
const KEY_BYTES: usize = 16;

/// The keys, by beacon.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EidKeys(BTreeMap<BeaconId, [u8; KEY_BYTES]>);

impl Deref for EidKeys {
    type Target = BTreeMap<BeaconId, [u8; KEY_BYTES]>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl fmt::Debug for EidKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl FromIterator<(BeaconId, [u8; KEY_BYTES])> for EidKeys {
    fn from_iter<T: IntoIterator<Item = (BeaconId, [u8; KEY_BYTES])>>(keys: T) -> EidKeys {
        EidKeys(keys.into_iter().collect())
    }
}

/// The file of keys as it was read.
#[derive(Debug)]
pub struct Written {
    /// The keys that are right.
    pub keys: EidKeys,
    document: Document,
}

impl Written {
    /// The line on which a beacon's key stands.
    pub fn place(&self, path: &Path, id: &str) -> Place {
        self.document.line(&pointer(id)).map_or(Place::file(path), |line| Place::line(path, line))
    }
}

/// Reads the file of keys; one that is missing under its default name holds none.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(config: &Config, folder: &Path) -> Result<Written, Vec<Finding>> {
    let path = folder.join(&config.eid_keys);
    let document = match document::read(&path).map_err(|finding| vec![finding])? {
        Some(text) => Document::from_toml(&path, &text).map_err(|findings| without_values(findings, &path))?,
        None if config.eid_keys == Config::default().eid_keys => Document::empty(),
        None => return Err(vec![Finding::new(Place::file(&path), "there is no such file")]),
    };
    let (mut keys, mut findings) = (BTreeMap::new(), Vec::new());
    let mut beacons: BTreeMap<[u8; KEY_BYTES], BeaconId> = BTreeMap::new();
    for (name, value) in document.tree.as_object().into_iter().flatten() {
        let place = || document.line(&pointer(name)).map_or(Place::file(&path), |line| Place::line(&path, line));
        let mut refuse = |message| findings.push(Finding { place: place(), subject: name.clone(), message });
        let id: BeaconId = match name.parse() {
            Ok(id) => id,
            Err(why) => {
                refuse(why);
                continue;
            }
        };
        let Some(key) = value.as_str().and_then(key) else {
            refuse(format!("a key is a text of {} hexadecimal digits", 2 * KEY_BYTES));
            continue;
        };
        if let Some(other) = beacons.insert(key, id.clone()) {
            refuse(format!("this is the key of {other:?} too; nobody could tell the two apart"));
        }
        keys.insert(id, key);
    }
    if findings.is_empty() { Ok(Written { keys: EidKeys(keys), document }) } else { Err(findings) }
}

/// Whether a beacon changes its identity and so needs a key.
pub fn needs_key(entry: &Entry) -> bool {
    matches!(&entry.compiled, Compiled::Beacon(beacon) if beacon.spec.eid.is_some())
}

/// The beacons that need a key and have none.
pub fn without_key<'a>(objects: &'a Objects, keys: &'a EidKeys) -> impl Iterator<Item = (&'a str, &'a Arc<Entry>)> {
    let beacons = objects.of(Kind::Beacon).iter();
    let lacking = beacons.filter(|(id, entry)| needs_key(entry) && !keys.contains_key(&***id));
    lacking.map(|(id, entry)| (&**id, entry))
}

/// The keys of which no beacon has any use.
pub fn without_beacon<'a>(objects: &'a Objects, keys: &'a EidKeys) -> impl Iterator<Item = &'a BeaconId> {
    keys.keys().filter(|id| !objects.of(Kind::Beacon).get(id.as_str()).is_some_and(|entry| needs_key(entry)))
}

/// Errors of syntax may quote the line, and with it a key.
fn without_values(findings: Vec<Finding>, path: &Path) -> Vec<Finding> {
    let bare = |finding: Finding| match finding.place {
        Place::File { line: Some(line), .. } => {
            Finding::new(Place::line(path, line), "can't be read; each line is: id = \"32 hexadecimal digits\"")
        }
        Place::File { .. } | Place::Environment(_) | Place::Flag(_) => finding,
    };
    findings.into_iter().map(bare).collect()
}

fn pointer(id: &str) -> String {
    format!("/{}", id.replace('~', "~0").replace('/', "~1"))
}

fn key(text: &str) -> Option<[u8; KEY_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * KEY_BYTES || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let number = u128::from_str_radix(text, 16).ok()?;
    Some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Written, Vec<String>> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("eid-keys.toml"), text).expect("writable");
        let told = |findings: Vec<Finding>| {
            let folder = format!("{}/", folder.path().display());
            findings.iter().map(|finding| finding.to_string().replace(&folder, "")).collect()
        };
        read(&Config::default(), folder.path()).map_err(told)
    }

    #[test]
    fn keys_are_read_and_not_shown() {
        let written = read_text("cart-1 = \"000102030405060708090a0b0c0d0eFF\"\n").expect("valid");
        let key = written.keys.get("cart-1").expect("it is there");
        assert_eq!((key[0], key[1], key[15]), (0, 1, 255));
        assert_eq!(format!("{:?}", written.keys), "{\"cart-1\"}");
        assert_eq!(written.place(Path::new("k"), "cart-1"), Place::line(Path::new("k"), 1));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_key() {
        let hex = "000102030405060708090a0b0c0d0eff";
        let text = format!("a = \"{hex}\"\nb = \"{hex}\"\nc = \"+0102030405060708090a0b0c0d0e0ff\"\nd = 5\n");
        let expected = [
            "eid-keys.toml:2: b: this is the key of \"a\" too; nobody could tell the two apart",
            "eid-keys.toml:3: c: a key is a text of 32 hexadecimal digits",
            "eid-keys.toml:4: d: a key is a text of 32 hexadecimal digits",
        ];
        assert_eq!(read_text(&text).map(drop), Err(expected.map(str::to_owned).to_vec()));
        let broken = read_text(&format!("a = {hex}\n")).map(drop).expect_err("no text");
        assert!(broken.iter().all(|line| !line.contains(&hex[..8])), "{broken:?}");
    }
}
