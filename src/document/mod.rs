//! Files that people write: read into a tree that knows its lines, so that every problem can be shown where it is.
//!
//! Nothing here knows what the files mean.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

mod typed;

pub use typed::{Typed, typed};

/// Where something was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In a file.
    File {
        /// Which.
        path: PathBuf,
        /// The line, from 1; none for the file as a whole.
        line: Option<usize>,
        /// The column in characters, from 1, where it helps.
        column: Option<usize>,
    },
    /// In an environment variable of this name.
    Environment(String),
    /// On the command line, for this key.
    Flag(String),
}

impl Place {
    /// A file as a whole.
    pub fn file(path: &Path) -> Place {
        Place::File { path: path.to_owned(), line: None, column: None }
    }

    /// A line of a file.
    pub fn line(path: &Path, line: usize) -> Place {
        Place::File { path: path.to_owned(), line: Some(line), column: None }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, line, column } => {
                write!(f, "{}", path.display())?;
                line.map_or(Ok(()), |line| write!(f, ":{line}"))?;
                column.map_or(Ok(()), |column| write!(f, ":{column}"))
            }
            Place::Environment(name) => write!(f, "environment variable {name}"),
            Place::Flag(key) => write!(f, "command line, {key}"),
        }
    }
}

/// One thing that is wrong, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Where.
    pub place: Place,
    /// Which key or object, such as `engine.track.speed_max_mps` or `store "opera": hours`; may be empty.
    pub subject: String,
    /// What is wrong and what to do, in a sentence.
    pub message: String,
}

impl Finding {
    /// Something about a place as a whole.
    pub fn new(place: Place, message: impl Into<String>) -> Finding {
        Finding { place, subject: String::new(), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let between = if self.subject.is_empty() { "" } else { ": " };
        write!(f, "{}: {}{between}{}", self.place, self.subject, self.message)
    }
}

/// The most errors of syntax that are told of one file: to find the column of one, its line is read.
const ERRORS_MAX: usize = 100;

/// A file's tree.
#[derive(Clone, Debug)]
pub struct Document {
    /// The tree; TOML's dates are text in it.
    pub tree: Value,
    lines: BTreeMap<String, usize>,
}

impl Document {
    /// A tree that was written nowhere.
    pub fn unwritten(tree: Value) -> Document {
        Document { tree, lines: BTreeMap::new() }
    }

    /// An empty tree.
    pub fn empty() -> Document {
        Document::unwritten(Value::Object(serde_json::Map::new()))
    }

    /// Reads TOML.
    ///
    /// # Errors
    /// Every error of syntax, with line and column; of very many only the first ones.
    pub fn from_toml(path: &Path, text: &str) -> Result<Document, Vec<Finding>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let breaks = LineBreaks::of(text);
        if !errors.is_empty() {
            let finding = |error: &toml::de::Error| {
                let at = error.span().map_or(0, |span| span.start);
                let column = Some(breaks.column(text, at));
                let place = Place::File { path: path.to_owned(), line: Some(breaks.line(at)), column };
                Finding::new(place, error.message().replace('\n', " "))
            };
            return Err(errors.iter().take(ERRORS_MAX).map(finding).collect());
        }
        let mut reader = TomlReader { path, breaks: &breaks, lines: BTreeMap::new(), findings: Vec::new() };
        let tree = reader.table(table.get_ref(), "");
        let TomlReader { lines, findings, .. } = reader;
        if findings.is_empty() { Ok(Document { tree, lines }) } else { Err(findings) }
    }

    /// The line of what a JSON pointer points to, or of the nearest thing around it.
    pub fn line(&self, pointer: &str) -> Option<usize> {
        let mut pointer = pointer;
        loop {
            if let Some(line) = self.lines.get(pointer) {
                return Some(*line);
            }
            pointer = &pointer[..pointer.rfind('/')?];
        }
    }
}

/// Reads a file's text; none if there is no such file.
///
/// # Errors
/// If it can't be read.
pub fn read(path: &Path) -> Result<Option<String>, Finding> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Finding::new(Place::file(path), format!("can't be read: {error}"))),
    }
}

/// Whether a pointer points to what another one points to, or into it.
pub fn within(pointer: &str, around: &str) -> bool {
    pointer.strip_prefix(around).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A JSON pointer as people write it in TOML: `/engine/track` is `engine.track`.
pub fn dotted(pointer: &str) -> String {
    let segments: Vec<Cow<'_, str>> = pointer.split('/').skip(1).map(unescape).collect();
    segments.join(".")
}

/// The byte at which the value that a JSON pointer points to begins in a JSON text, or the nearest value around it.
pub fn position(text: &str, pointer: &str) -> usize {
    let mut at = text.len() - text.trim_start().len();
    let mut rest = &text[at..];
    for segment in pointer.split('/').skip(1).map(unescape) {
        let Some(inner) = child(rest, &segment) else { break };
        at += inner.as_ptr() as usize - rest.as_ptr() as usize;
        rest = inner;
    }
    at
}

fn child<'a>(text: &'a str, segment: &str) -> Option<&'a str> {
    let value = if text.starts_with('[') {
        let elements = first::<Vec<&'a RawValue>>(text)?;
        elements.get(index(segment)?).copied()
    } else {
        let members = first::<BTreeMap<String, &'a RawValue>>(text)?;
        members.get(segment).copied()
    };
    value.map(RawValue::get)
}

/// The value at the beginning of a text; more may follow.
fn first<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    T::deserialize(&mut serde_json::Deserializer::from_str(text)).ok()
}

/// Where the lines of a text end.
#[derive(Debug)]
pub struct LineBreaks(Vec<usize>);

impl LineBreaks {
    /// Finds them.
    pub fn of(text: &str) -> LineBreaks {
        LineBreaks(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect())
    }

    /// The line of a byte, from 1.
    pub fn line(&self, at: usize) -> usize {
        self.0.partition_point(|end| *end < at) + 1
    }

    /// The column of a byte in characters, from 1.
    pub fn column(&self, text: &str, at: usize) -> usize {
        let line = self.line(at);
        let begin = if line < 2 { 0 } else { self.0[line - 2] + 1 };
        text.get(begin..at).map_or(1, |before| before.chars().count() + 1)
    }
}

struct TomlReader<'a> {
    path: &'a Path,
    breaks: &'a LineBreaks,
    lines: BTreeMap<String, usize>,
    findings: Vec<Finding>,
}

impl TomlReader<'_> {
    fn table(&mut self, table: &DeTable<'_>, pointer: &str) -> Value {
        let mut members = serde_json::Map::new();
        for (key, value) in table {
            let inner = format!("{pointer}/{}", escape(key.get_ref()));
            let value = self.value(value, &inner, key.span());
            members.insert(key.get_ref().to_string(), value);
        }
        Value::Object(members)
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, pointer: &str, written: Range<usize>) -> Value {
        let line = self.breaks.line(written.start);
        self.lines.insert(pointer.to_owned(), line);
        match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => integer.into(),
                Err(_) => self.refuse(line, pointer, "the number is too large"),
            },
            DeValue::Float(float) => match float.as_str().parse().ok().and_then(serde_json::Number::from_f64) {
                Some(number) => Value::Number(number),
                None => self.refuse(line, pointer, "the number must be finite"),
            },
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(at) => Value::String(at.to_string()),
            DeValue::Array(elements) => {
                let element = |(index, element): (usize, &Spanned<DeValue<'_>>)| {
                    self.value(element, &format!("{pointer}/{index}"), element.span())
                };
                Value::Array(elements.iter().enumerate().map(element).collect())
            }
            DeValue::Table(table) => self.table(table, pointer),
        }
    }

    fn refuse(&mut self, line: usize, pointer: &str, message: &str) -> Value {
        let place = Place::line(self.path, line);
        self.findings.push(Finding { place, subject: dotted(pointer), message: message.to_owned() });
        Value::Null
    }
}

/// RFC 6901, section 4.
fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

fn unescape(segment: &str) -> Cow<'_, str> {
    if segment.contains('~') { segment.replace("~1", "/").replace("~0", "~").into() } else { segment.into() }
}

/// The index that a segment is: digits, and no zero before others (RFC 6901, section 4).
fn index(segment: &str) -> Option<usize> {
    let plain = segment.bytes().all(|byte| byte.is_ascii_digit()) && (segment == "0" || !segment.starts_with('0'));
    segment.parse().ok().filter(|_| plain)
}

/// Puts a member into a tree, with the tables around it; false if something that is no table stands in the way.
pub fn insert(tree: &mut Value, pointer: &str, value: Value) -> bool {
    let mut place = tree;
    for segment in pointer.split('/').skip(1).map(unescape) {
        place = match place {
            Value::Object(members) => members.entry(segment).or_insert_with(|| Value::Object(serde_json::Map::new())),
            Value::Array(elements) => match index(&segment).and_then(|index| elements.get_mut(index)) {
                Some(element) => element,
                None => return false,
            },
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return false,
        };
    }
    *place = value;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_lines_of_toml() {
        let text = "a = 1\n\n[b.c]\nd = [\n  1,\n  2,\n]\n[[e]]\nf = 1\n[[e]]\nf = 2\n";
        let document = Document::from_toml(Path::new("x.toml"), text).expect("valid");
        let lines: Vec<_> =
            ["/a", "/b/c", "/b/c/d", "/b/c/d/1", "/e/1/f", "/e/1/none"].map(|at| document.line(at)).to_vec();
        assert_eq!(lines, [Some(1), Some(3), Some(4), Some(6), Some(11), Some(10)]);
    }

    #[test]
    fn tells_every_error_of_syntax_with_its_column() {
        let findings = Document::from_toml(Path::new("x.toml"), "é = 1\nb = = 2\nc = [\n").expect_err("broken");
        let text: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(text.iter().any(|line| line.starts_with("x.toml:1:1: ")), "{text:?}");
        assert!(text.iter().any(|line| line.starts_with("x.toml:2:5: ")), "{text:?}");
    }

    #[test]
    fn what_is_told_of_a_file_is_bounded() {
        let text = format!("a = [{}]", "x,".repeat(1_000));
        let findings = Document::from_toml(Path::new("x.toml"), &text).expect_err("broken");
        assert_eq!(findings.len(), ERRORS_MAX);
    }

    #[test]
    fn finds_positions_in_json() {
        let text = " {\"a\": [1, {\"b/c\":\n true}]}";
        assert_eq!(&text[position(text, "/a/1/b~1c")..][..4], "true");
        assert_eq!(&text[position(text, "/a/7")..][..2], "[1");
        assert_eq!(position(text, ""), 1);
    }

    #[test]
    fn only_digits_as_they_are_written_are_an_index() {
        let mut tree = serde_json::json!([1, 2]);
        for odd in ["/00", "/01", "/+1", "/ 1", "/"] {
            assert!(!insert(&mut tree, odd, 3.into()), "{odd}");
            assert_eq!(position("[1, 2]", odd), 0, "{odd}");
        }
        assert!(insert(&mut tree, "/1", 3.into()));
        assert_eq!(tree, serde_json::json!([1, 3]));
    }

    #[test]
    fn insert_makes_tables_but_replaces_no_values() {
        let mut tree = serde_json::json!({"a": 1});
        assert!(insert(&mut tree, "/b/c", 2.into()));
        assert!(!insert(&mut tree, "/a/c", 2.into()));
        assert_eq!(tree, serde_json::json!({"a": 1, "b": {"c": 2}}));
    }
}
