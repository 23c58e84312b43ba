//! The volatile tracks of this node's own commits, in bounded memory, and those that other nodes tell of. Valid only while
//! the shopper has the version that they were computed at; losing them costs sharpness, never a message.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use parvis_engine::{id::ShopperId, per_device::PerDevice, shopper::Track, time::Timestamp};

use super::record::split_line;
use crate::store::{Error, codec};

/// How many shoppers' tracks are kept at most: twice this. A track takes about half a kilobyte.
const HALF: usize = 100_000;

/// The tracks.
#[derive(Debug)]
pub(super) struct Tracks {
    held: Mutex<Held>,
    half: usize,
}

/// When the young are many they become the old, and the old go: whoever is seen again in time stays.
#[derive(Debug, Default)]
struct Held {
    young: HashMap<ShopperId, (u64, PerDevice<Track>)>,
    old: HashMap<ShopperId, (u64, PerDevice<Track>)>,
}

impl Tracks {
    pub(super) fn new() -> Tracks {
        Tracks { held: Mutex::default(), half: HALF }
    }

    /// The tracks of a shopper who has this version.
    pub(super) fn of(&self, id: &ShopperId, version: u64) -> Option<PerDevice<Track>> {
        let held = self.held();
        let known = held.young.get(id).or_else(|| held.old.get(id));
        known.filter(|(known, _)| *known == version).map(|(_, tracks)| tracks.clone())
    }

    pub(super) fn keep(&self, id: ShopperId, version: u64, tracks: PerDevice<Track>) {
        if tracks.is_empty() {
            return self.forget(&id);
        }
        let mut held = self.held();
        held.young.insert(id, (version, tracks));
        if held.young.len() >= self.half {
            held.old = std::mem::take(&mut held.young);
        }
    }

    pub(super) fn forget(&self, id: &ShopperId) {
        let mut held = self.held();
        held.young.remove(id);
        held.old.remove(id);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether other nodes need these tracks before the shopper changes: scanners who hear one tag reach different nodes, and
/// a fix that is held waits for the next one, wherever that arrives. Anything else is not worth a write.
pub(super) fn concern_others(tracks: &PerDevice<Track>) -> bool {
    let heard = |track: &Track| track.radio.as_ref().is_some_and(|radio| !radio.sources.is_empty());
    tracks.values().any(|track| track.held.is_some() || heard(track))
}

/// What was told as `<version>\n<tracks>`; none if it belongs to another version.
pub(super) fn read(bytes: &[u8], version: u64, place: impl Fn() -> String) -> Result<Option<PerDevice<Track>>, Error> {
    let (told, body) = split_line(bytes).ok_or_else(|| Error::Corrupt(format!("{}: no tracks", place())))?;
    if told != version.to_string() {
        return Ok(None);
    }
    codec::decode(body, place).map(Some)
}

/// Of each device the newer track.
pub(super) fn newest(own: Option<PerDevice<Track>>, told: Option<PerDevice<Track>>) -> PerDevice<Track> {
    let (mut own, told) = match (own, told) {
        (Some(own), Some(told)) => (own, told),
        (own, told) => return own.or(told).unwrap_or_default(),
    };
    for (device, track) in told.iter() {
        if own.get(device).is_none_or(|known| seen_at(known) < seen_at(track)) {
            own.insert(device.clone(), track.clone());
        }
    }
    own
}

/// When the device was last seen or heard.
fn seen_at(track: &Track) -> Option<Timestamp> {
    let sources = track.radio.iter().flat_map(|radio| &radio.sources);
    let heard = sources.map(|source| Timestamp::from_millis(source.level.at_ms));
    let held = track.held.iter().map(|place| place.at);
    track.last.iter().map(|place| place.at).chain(held).chain(heard).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(second: i64) -> Track {
        let position = parvis_engine::observation::Position { lat: 48.8, lon: 2.3 };
        let at = Timestamp::from_millis(second * 1_000);
        let last = Some(parvis_engine::observation::Place { at, position, accuracy_m: 5.0 });
        Track { last, settled_at: Some(at), ..Track::default() }
    }

    #[test]
    fn of_own_and_told_tracks_the_newer_counts_and_only_for_its_version() {
        let named =
            |name: &str, track| [(name.parse().expect("an id"), track)].into_iter().collect::<PerDevice<Track>>();
        let told: PerDevice<Track> = named("phone", seen(7))
            .iter()
            .chain(named("tag", seen(1)).iter())
            .map(|(device, track)| (device.clone(), track.clone()))
            .collect();
        let bytes = [b"12\n", &codec::encode(&told).expect("encodes")[..]].concat();
        assert_eq!(read(&bytes, 12, String::new), Ok(Some(told.clone())));
        assert_eq!(read(&bytes, 11, String::new), Ok(None));
        assert!(matches!(read(b"12", 12, String::new), Err(Error::Corrupt(_))));
        assert_eq!(newest(Some(named("phone", seen(6))), Some(told.clone())), told);
        let own = newest(Some(named("phone", seen(8))), Some(told.clone()));
        assert_eq!((own.get("phone"), own.get("tag")), (Some(&seen(8)), Some(&seen(1))));
        assert_eq!((newest(None, Some(told.clone())), newest(None, None)), (told, PerDevice::new()));
    }

    #[test]
    fn the_newest_are_kept_and_only_for_their_version() {
        let tracks = Tracks { half: 3, ..Tracks::new() };
        let id = |number: usize| -> ShopperId { format!("C-{number}").parse().expect("an id") };
        let one: PerDevice<Track> = [("phone".parse().expect("an id"), Track::default())].into_iter().collect();
        for number in 0..100 {
            tracks.keep(id(number), 7, one.clone());
            tracks.keep(id(0), 7, one.clone());
        }
        let held = (0..100).filter(|number| tracks.of(&id(*number), 7).is_some()).count();
        assert!((2..=6).contains(&held), "{held}");
        assert!(tracks.of(&id(0), 7).is_some() && tracks.of(&id(99), 7).is_some());
        assert_eq!(tracks.of(&id(99), 8), None);
        tracks.keep(id(99), 8, PerDevice::new());
        assert_eq!(tracks.of(&id(99), 7), None);
    }
}
