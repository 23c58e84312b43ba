//! TOML read key by key, so that every problem is found and each one names its line.
//!
//! Knows nothing of what the keys mean.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use parvis_beacons::{Identity, Mac, Namespace, Uuid};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The line, from 1; 0 if it concerns the file as a whole.
    pub line: usize,
    /// Which key, such as `server.url`; may be empty.
    pub key: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}: ", self.line)?;
        }
        let between = if self.key.is_empty() { "" } else { ": " };
        write!(f, "{}{between}{}", self.key, self.message)
    }
}

/// A file that is being read.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    tables: BTreeMap<String, (usize, DeTable<'a>)>,
    /// How many errors of syntax there are; they come first.
    torn: usize,
    /// What was found so far.
    pub problems: Vec<Problem>,
}

/// One of its tables.
#[derive(Debug)]
pub struct Section<'r, 'a> {
    reader: &'r mut Reader<'a>,
    name: &'static str,
    line: usize,
    table: DeTable<'a>,
}

impl<'a> Reader<'a> {
    /// Begins to read a text whose top level consists of tables only.
    pub(super) fn new(text: &'a str) -> Reader<'a> {
        let mut reader = Reader { text, tables: BTreeMap::new(), torn: 0, problems: Vec::new() };
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let line = error.span().map_or(0, |span| reader.line(span.start));
            reader.refuse(line, String::new(), error.message().replace('\n', " "));
        }
        reader.torn = errors.len();
        for (key, value) in root.into_inner() {
            let line = reader.line(key.span().start);
            match value.into_inner() {
                DeValue::Table(table) => drop(reader.tables.insert(key.into_inner().into_owned(), (line, table))),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => {
                    let message = "must stand in a table, such as [server]".to_owned();
                    reader.refuse(line, key.into_inner().into_owned(), message);
                }
            }
        }
        reader
    }

    /// One of the tables; an empty one if it is not there.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'_, 'a> {
        let (line, table) = self.tables.remove(name).unwrap_or_default();
        Section { reader: self, name, line, table }
    }

    /// Everything that is wrong, once all tables were read. What errors of syntax have torn apart is not judged.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        if self.torn > 0 {
            self.problems.truncate(self.torn);
            return self.problems;
        }
        for (name, (line, _)) in std::mem::take(&mut self.tables) {
            self.refuse(line, name, "there is no such table".to_owned());
        }
        self.problems.sort();
        self.problems
    }

    fn refuse(&mut self, line: usize, key: String, message: String) {
        self.problems.push(Problem { line, key, message });
    }

    fn line(&self, at: usize) -> usize {
        self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
    }
}

impl Section<'_, '_> {
    /// The value of a key, if it is there and can be read.
    pub fn optional<T: Value>(&mut self, key: &'static str) -> Option<T> {
        let (key, value) = self.table.remove_entry(key)?;
        match T::read(value.get_ref()) {
            Ok(value) => Some(value),
            Err(message) => {
                let line = self.reader.line(key.span().start);
                self.reader.refuse(line, format!("{}.{}", self.name, key.get_ref()), message);
                None
            }
        }
    }

    /// The value of a key, or what stands for it.
    pub fn value<T: Value>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// The value of a key that must be there and pass a check; the stand-in otherwise.
    pub fn checked<T: Value>(
        &mut self,
        key: &'static str,
        default: T,
        check: impl FnOnce(&T) -> Result<(), String>,
    ) -> T {
        let line = self.line_of(key);
        let Some(value) = self.optional::<T>(key) else { return default };
        if let Err(message) = check(&value) {
            self.reader.refuse(line, format!("{}.{key}", self.name), message);
        }
        value
    }

    /// The value of a key that must be there.
    pub fn required<T: Value>(&mut self, key: &'static str) -> Option<T> {
        if !self.table.contains_key(key) {
            let (line, name) = (self.line, format!("{}.{key}", self.name));
            self.reader.refuse(line, name, "is missing".to_owned());
        }
        self.optional(key)
    }

    /// Where a key stands, or its table.
    pub fn line_of(&self, key: &str) -> usize {
        self.table.get_key_value(key).map_or(self.line, |(key, _)| self.reader.line(key.span().start))
    }

    /// Tells of something wrong with a key.
    pub fn refuse(&mut self, line: usize, key: &str, message: impl Into<String>) {
        let name = format!("{}.{key}", self.name);
        self.reader.refuse(line, name, message.into());
    }

    /// Refuses the keys that nobody asked for.
    pub fn finish(self) {
        for (key, _) in self.table {
            let line = self.reader.line(key.span().start);
            let name = format!("{}.{}", self.name, key.get_ref());
            self.reader.refuse(line, name, "there is no such key".to_owned());
        }
    }
}

/// What a key can hold.
pub trait Value: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    fn read(value: &DeValue<'_>) -> Result<Self, String>;
}

fn text<'v>(value: &'v DeValue<'_>, what: &str) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| format!("must be {what}, in quotes"))
}

impl Value for String {
    fn read(value: &DeValue<'_>) -> Result<String, String> {
        text(value, "text").map(str::to_owned)
    }
}

impl Value for PathBuf {
    fn read(value: &DeValue<'_>) -> Result<PathBuf, String> {
        let path = text(value, "a path")?;
        if path.is_empty() { Err("is empty".to_owned()) } else { Ok(path.into()) }
    }
}

impl Value for bool {
    fn read(value: &DeValue<'_>) -> Result<bool, String> {
        value.as_bool().ok_or_else(|| "must be true or false".to_owned())
    }
}

impl Value for u16 {
    fn read(value: &DeValue<'_>) -> Result<u16, String> {
        let integer =
            value.as_integer().and_then(|integer| u16::from_str_radix(integer.as_str(), integer.radix()).ok());
        integer.ok_or_else(|| "must be a whole number from 0 to 65535".to_owned())
    }
}

impl Value for f64 {
    fn read(value: &DeValue<'_>) -> Result<f64, String> {
        let number = match value {
            DeValue::Integer(integer) => integer.as_str().parse().ok(),
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::String(_) | DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                None
            }
        };
        number.filter(|number: &f64| number.is_finite()).ok_or_else(|| "must be a number".to_owned())
    }
}

impl Value for Duration {
    fn read(value: &DeValue<'_>) -> Result<Duration, String> {
        let what = "a duration such as \"30s\", \"500ms\" or \"2h\"";
        let written = text(value, what)?;
        let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        let read = units.iter().find_map(|(unit, milliseconds)| {
            let number: u64 = written.strip_suffix(unit)?.trim_end().parse().ok()?;
            number.checked_mul(*milliseconds)
        });
        read.map(Duration::from_millis).ok_or_else(|| format!("{written:?} is not {what}"))
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Value for Bytes {
    fn read(value: &DeValue<'_>) -> Result<Bytes, String> {
        let what = "a size such as \"64MiB\" or \"512KiB\"";
        let written = text(value, what)?;
        let read = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
            .iter()
            .find_map(|(unit, bytes)| written.strip_suffix(unit)?.trim_end().parse::<u64>().ok()?.checked_mul(*bytes));
        read.map(Bytes).ok_or_else(|| format!("{written:?} is not {what}"))
    }
}

macro_rules! parsed {
    ($($type:ty: $what:literal),* $(,)?) => {$(
        impl Value for $type {
            fn read(value: &DeValue<'_>) -> Result<$type, String> {
                <$type>::from_str(text(value, $what)?)
            }
        }
    )*};
}

parsed! {
    Mac: "a Bluetooth address",
    Uuid: "a UUID",
    Namespace: "a namespace of 20 hexadecimal digits",
}

/// As reports show it: `<uuid>-<major>-<minor>` or `<namespace>-<instance>`.
impl Value for Identity {
    fn read(value: &DeValue<'_>) -> Result<Identity, String> {
        let what = "a beacon as \"<uuid>-<major>-<minor>\" or \"<namespace>-<instance>\"";
        let written = text(value, what)?;
        let (rest, last) = written.rsplit_once('-').unwrap_or((written, ""));
        if let (Ok(namespace), Ok(instance)) = (rest.parse(), last.parse()) {
            return Ok(Identity::Eddystone { namespace, instance });
        }
        let (uuid, major) = rest.rsplit_once('-').unwrap_or((rest, ""));
        match (uuid.parse(), major.parse(), last.parse()) {
            (Ok(uuid), Ok(major), Ok(minor)) => Ok(Identity::Ibeacon(parvis_beacons::Ibeacon { uuid, major, minor })),
            (Ok(_) | Err(_), Ok(_) | Err(_), Ok(_) | Err(_)) => Err(format!("{written:?} is not {what}")),
        }
    }
}

impl<T: Value> Value for Vec<T> {
    fn read(value: &DeValue<'_>) -> Result<Vec<T>, String> {
        let elements = value.as_array().ok_or_else(|| "must be a list, in square brackets".to_owned())?;
        let element = |(index, element): (usize, &Spanned<DeValue<'_>>)| {
            T::read(element.get_ref()).map_err(|message| format!("element {}: {message}", index + 1))
        };
        elements.iter().enumerate().map(element).collect()
    }
}
