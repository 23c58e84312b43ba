//! What holds for any bytes at the parsers that face a network or a file. The fuzz targets look for bytes for which it
//! does not; `main.rs` puts those through it that were once found.
//!
//! Each file has one `check`: it panics if something does not hold, and says whether the bytes were taken.

pub(crate) mod api;
pub(crate) mod documents;
pub(crate) mod providers;
pub(crate) mod reports;

use parvis_engine::time::Timestamp;
use serde_json::Value;

/// When everything happens.
fn now() -> Timestamp {
    Timestamp::from_millis(1_653_634_000_000)
}

/// A letter that says what follows, the rest of its line, and everything after that line.
fn parts(bytes: &[u8]) -> Option<(char, &str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let kind = line.chars().next()?;
    Some((kind, line[kind.len_utf8()..].trim(), &bytes[end + 1..]))
}

/// Equal, but for the last digit of numbers: reading one takes it only to within that.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let member = |(name, value): (&String, &Value)| other.get(name).is_some_and(|other| alike(value, other));
            one.len() == other.len() && one.iter().all(member)
        }
        (Value::Number(one), Value::Number(other)) => match (one.as_f64(), other.as_f64()) {
            (Some(one), Some(other)) => (one - other).abs() <= one.abs() * 1e-15,
            (_, _) => one == other,
        },
        (Value::Null | Value::Bool(_) | Value::String(_), _)
        | (Value::Number(_) | Value::Array(_) | Value::Object(_), _) => one == other,
    }
}

/// Whether a JSON pointer is one that can point into this: it, or what is around it, is there.
fn names_a_place(pointer: &str, within: &Value) -> bool {
    let around = pointer.rfind('/').map_or("", |end| &pointer[..end]);
    (pointer.is_empty() || pointer.starts_with('/')) && within.pointer(around).is_some()
}
