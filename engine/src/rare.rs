//! A collection that most shoppers leave empty: nothing in it costs one word of memory, and it writes and reads like
//! the collection itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::{Deref, DerefMut},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A collection that is mostly empty; it allocates when it is first changed.
#[derive(Clone)]
pub struct Rare<T>(Option<Box<T>>);

/// What can be rare: a collection that can be shown while there is none.
pub trait Collection: Default + 'static {
    /// Nothing in it.
    const EMPTY: &'static Self;
    /// Whether nothing is in it.
    fn is_empty(&self) -> bool;
}

impl<K: 'static, V: 'static> Collection for BTreeMap<K, V> {
    const EMPTY: &'static Self = &BTreeMap::new();
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<K: 'static> Collection for BTreeSet<K> {
    const EMPTY: &'static Self = &BTreeSet::new();
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<V: 'static> Collection for Vec<V> {
    const EMPTY: &'static Self = &Vec::new();
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl<T: Collection> Rare<T> {
    /// Nothing in it.
    pub const fn new() -> Rare<T> {
        Rare(None)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        Collection::is_empty(&**self)
    }

    /// The collection itself.
    pub fn into_inner(self) -> T {
        self.0.map(|held| *held).unwrap_or_default()
    }
}

impl<T> Default for Rare<T> {
    fn default() -> Rare<T> {
        Rare(None)
    }
}

impl<T: Collection> Deref for Rare<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::EMPTY)
    }
}

impl<T: Collection> DerefMut for Rare<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Collection> From<T> for Rare<T> {
    fn from(collection: T) -> Rare<T> {
        Rare((!collection.is_empty()).then(|| Box::new(collection)))
    }
}

impl<T: Collection + FromIterator<I>, I> FromIterator<I> for Rare<T> {
    fn from_iter<Items: IntoIterator<Item = I>>(items: Items) -> Rare<T> {
        Rare::from(items.into_iter().collect::<T>())
    }
}

impl<T: Collection + PartialEq> PartialEq for Rare<T> {
    fn eq(&self, other: &Rare<T>) -> bool {
        **self == **other
    }
}

impl<T: Collection + fmt::Debug> fmt::Debug for Rare<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: Collection + Serialize> Serialize for Rare<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        T::serialize(self, serializer)
    }
}

impl<'de, T: Collection + Deserialize<'de>> Deserialize<'de> for Rare<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rare<T>, D::Error> {
        T::deserialize(deserializer).map(Rare::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_collection_and_costs_a_word_while_it_is_empty() {
        let mut rare: Rare<BTreeMap<String, u8>> = Rare::new();
        assert_eq!((size_of_val(&rare), rare.len(), rare.get("a")), (size_of::<usize>(), 0, None));
        rare.insert("a".to_owned(), 1);
        let text = serde_json::to_string(&rare).expect("serialises");
        let read: Rare<BTreeMap<String, u8>> = serde_json::from_str(&text).expect("well formed");
        assert_eq!((text.as_str(), &read, rare["a"]), (r#"{"a":1}"#, &rare, 1));
        rare.clear();
        assert_eq!((rare.is_empty(), &rare), (true, &Rare::new()));
        assert!(Rare::from(rare.into_inner()).0.is_none(), "nothing is kept for nothing");
    }
}
