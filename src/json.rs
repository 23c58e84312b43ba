//! Reads JSON so that a mistake is named by its place: pointer, line and column.
//!
//! Depth is bounded by the parser (128 levels); size is the caller's business.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

/// A text that is not the JSON that was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Where: a JSON pointer (RFC 6901), or empty for the whole of it.
    pub pointer: String,
    /// What is wrong, with line and column.
    pub detail: String,
}

/// Reads JSON into a type.
///
/// # Errors
/// The place of the first mistake as JSON pointer, line and column.
pub fn typed<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Malformed> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let traced = serde_path_to_error::Deserializer::new(&mut deserializer, &mut track);
    match T::deserialize(traced) {
        Ok(read) => deserializer.end().map(|()| read).map_err(|error| malformed("", &error)),
        Err(error) => Err(malformed(&pointer(&track.path()), &error)),
    }
}

/// Reads any JSON, but refuses an object that says the same name twice: readers differ in which one they take.
///
/// # Errors
/// As for [`typed`].
pub fn value(bytes: &[u8]) -> Result<Value, Malformed> {
    typed::<Once>(bytes).map(|once| once.0)
}

fn malformed(pointer: &str, error: &serde_json::Error) -> Malformed {
    Malformed { pointer: pointer.to_owned(), detail: error.to_string() }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut text = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => text.push_str(&format!("/{index}")),
            Segment::Map { key } => text.push_str(&format!("/{}", escape(key))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

/// A name as a part of a JSON pointer (RFC 6901).
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// JSON in which every object says a name once.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Once, D::Error> {
        deserializer.deserialize_any(Reader).map(Once)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }
    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }
    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Once(element)) = access.next_element()? {
            list.push(element);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = serde_json::Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if map.contains_key(&name) {
                return Err(serde::de::Error::custom(format!("{name:?} stands here twice")));
            }
            let Once(element) = access.next_value()?;
            map.insert(name, element);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_mistake_is_named() {
        let error = typed::<std::collections::BTreeMap<String, Vec<u8>>>(br#"{"a":[1,2,"x"]}"#).expect_err("wrong");
        assert_eq!(error.pointer, "/a/2");
        assert!(error.detail.contains("line 1 column 13"), "{}", error.detail);
    }

    #[test]
    fn an_object_says_a_name_once() {
        assert_eq!(value(br#"{"a":{"b":[1,null,"x",-2,0.5,true]}}"#).expect("good")["a"]["b"][4], 0.5);
        let error = value(br#"{"a":{"b":1,"b":2}}"#).expect_err("twice");
        assert_eq!(error.pointer, "/a");
    }

    #[test]
    fn hostile_json_is_refused_not_followed() {
        for text in ["[".repeat(100_000), "NaN".to_owned(), "1e999".to_owned(), "{\"a\":1}x".to_owned()] {
            assert!(value(text.as_bytes()).is_err(), "{}", &text[..text.len().min(9)]);
        }
    }
}
