//! Short texts that many shoppers have in common, such as a language or the version of a text: each is kept once and
//! costs whoever has it a pointer. Whether a text is shared can be told from nothing but the memory that it takes. A text
//! may stay here when nobody has it any more; only who has the same text finds it.

use std::{
    fmt,
    ops::Deref,
    sync::{Mutex, PoisonError},
};

use arcstr::ArcStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use xxhash_rust::xxh3::xxh3_64;

/// A short text that others are likely to have too.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(ArcStr);

/// Each text has two places, and displaces what it finds in the second; a power of two. Texts that are met all the time
/// rarely want the same two.
const PLACES: usize = 4_096;

/// Longer texts are not shared. Texts come here before anybody has judged them, and no sound one is longer.
const SHARED_BYTES_MAX: usize = 128;

static MET: [Mutex<Option<ArcStr>>; PLACES] = [const { Mutex::new(None) }; PLACES];

impl From<&str> for Word {
    fn from(text: &str) -> Word {
        if text.len() > SHARED_BYTES_MAX {
            return Word(text.into());
        }
        let hash = xxh3_64(text.as_bytes());
        let [first, second] = [hash, hash >> 32].map(|hash| &MET[hash as usize % PLACES]);
        let known = |place: &Mutex<Option<ArcStr>>| {
            let place = place.lock().unwrap_or_else(PoisonError::into_inner);
            place.as_ref().filter(|known| **known == *text).cloned()
        };
        let word = known(first).or_else(|| known(second)).unwrap_or_else(|| {
            let mut place = first.lock().unwrap_or_else(PoisonError::into_inner);
            if place.is_some() {
                drop(place);
                place = second.lock().unwrap_or_else(PoisonError::into_inner);
            }
            place.insert(text.into()).clone()
        });
        Word(word)
    }
}

impl From<String> for Word {
    fn from(text: String) -> Word {
        Word::from(&*text)
    }
}

impl From<Word> for String {
    fn from(word: Word) -> String {
        word.to_string()
    }
}

impl Deref for Word {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Word;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
                Ok(Word::from(text))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ones_are_one_text() {
        let (one, other) = (Word::from("fr-FR"), serde_json::from_str::<Word>(r#""fr-FR""#).expect("a string"));
        assert!(ArcStr::ptr_eq(&one.0, &other.0));
        assert_eq!(serde_json::to_string(&one).expect("serialises"), r#""fr-FR""#);
        assert_eq!((&*one, size_of::<Option<Word>>()), ("fr-FR", size_of::<usize>()));
    }

    #[test]
    fn what_is_too_long_to_be_sound_is_not_kept() {
        let shared = |bytes: usize| {
            let text = "x".repeat(bytes);
            ArcStr::ptr_eq(&Word::from(&*text).0, &Word::from(text).0)
        };
        assert_eq!((shared(SHARED_BYTES_MAX), shared(SHARED_BYTES_MAX + 1)), (true, false));
    }

    #[test]
    fn any_number_of_them_stay_what_they_are() {
        let words: Vec<Word> = (0..3 * PLACES).map(|number| Word::from(number.to_string())).collect();
        assert!(words.iter().enumerate().all(|(number, word)| **word == *number.to_string()));
        assert!(words.iter().all(|word| Word::from(&**word) == *word));
    }
}
