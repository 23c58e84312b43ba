//! What is kept for each device of a shopper. Most shoppers have one device: a tree would set aside room for eleven.

use std::{borrow::Borrow, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::DeviceId;

/// A map over the few devices of a shopper, in the order of their ids.
#[derive(Clone, PartialEq)]
pub struct PerDevice<V>(Vec<(DeviceId, V)>);

impl<V> PerDevice<V> {
    /// Nothing yet.
    pub const fn new() -> PerDevice<V> {
        PerDevice(Vec::new())
    }

    /// How many devices there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is kept for this device.
    pub fn get<Q: Ord + ?Sized>(&self, device: &Q) -> Option<&V>
    where
        DeviceId: Borrow<Q>,
    {
        self.place(device).ok().map(|at| &self.0[at].1)
    }

    /// What is kept for this device, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, device: &Q) -> Option<&mut V>
    where
        DeviceId: Borrow<Q>,
    {
        self.place(device).ok().map(|at| &mut self.0[at].1)
    }

    /// Whether anything is kept for this device.
    pub fn contains_key(&self, device: &DeviceId) -> bool {
        self.place(device).is_ok()
    }

    /// Keeps a value, and gives the one that was kept before.
    pub fn insert(&mut self, device: DeviceId, value: V) -> Option<V> {
        match self.place(&device) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.reserve_exact(1);
                self.0.insert(at, (device, value));
                None
            }
        }
    }

    /// Keeps nothing for this device any more, and gives what was kept.
    pub fn remove(&mut self, device: &DeviceId) -> Option<V> {
        self.place(device).ok().map(|at| self.0.remove(at).1)
    }

    /// Keeps nothing any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The device's id as it is kept here, so that others can share its text.
    pub fn key(&self, device: &DeviceId) -> Option<&DeviceId> {
        self.place(device).ok().map(|at| &self.0[at].0)
    }

    /// Every device with what is kept for it.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&DeviceId, &V)> + Clone {
        self.0.iter().map(|(device, value)| (device, value))
    }

    /// Every device.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &DeviceId> + Clone {
        self.0.iter().map(|(device, _)| device)
    }

    /// What is kept for every device.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + Clone {
        self.0.iter().map(|(_, value)| value)
    }

    /// The same, to be changed.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    fn place<Q: Ord + ?Sized>(&self, device: &Q) -> Result<usize, usize>
    where
        DeviceId: Borrow<Q>,
    {
        self.0.binary_search_by(|(known, _)| known.borrow().cmp(device))
    }
}

impl<V> Default for PerDevice<V> {
    fn default() -> PerDevice<V> {
        PerDevice::new()
    }
}

impl<V: fmt::Debug> fmt::Debug for PerDevice<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<V> FromIterator<(DeviceId, V)> for PerDevice<V> {
    fn from_iter<I: IntoIterator<Item = (DeviceId, V)>>(entries: I) -> PerDevice<V> {
        let mut map = PerDevice::new();
        for (device, value) in entries {
            map.insert(device, value);
        }
        map
    }
}

impl<V: Serialize> Serialize for PerDevice<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for PerDevice<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PerDevice<V>, D::Error> {
        struct Entries<V>(std::marker::PhantomData<V>);
        impl<'de, V: Deserialize<'de>> de::Visitor<'de> for Entries<V> {
            type Value = PerDevice<V>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map by device id")
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut entries: A) -> Result<PerDevice<V>, A::Error> {
                let mut map = PerDevice::new();
                while let Some((device, value)) = entries.next_entry()? {
                    map.insert(device, value);
                }
                Ok(map)
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_map_in_the_order_of_ids() {
        let id = |text: &str| text.parse::<DeviceId>().expect("an id");
        let mut map: PerDevice<u8> = [(id("b"), 2), (id("a"), 1), (id("b"), 3)].into_iter().collect();
        assert_eq!(map.iter().map(|(id, value)| (id.as_str(), *value)).collect::<Vec<_>>(), [("a", 1), ("b", 3)]);
        assert_eq!((map.get("b"), map.get(&id("c")), map.contains_key(&id("a"))), (Some(&3), None, true));
        let text = serde_json::to_string(&map).expect("serialises");
        assert_eq!(
            (text.as_str(), serde_json::from_str::<PerDevice<u8>>(&text).ok().as_ref()),
            (r#"{"a":1,"b":3}"#, Some(&map))
        );
        assert_eq!((map.key(&id("a")), map.key(&id("c"))), (Some(&id("a")), None));
        assert_eq!((map.remove(&id("a")), map.remove(&id("a")), map.len()), (Some(1), None, 1));
    }
}
