//! All regions, found by id and by place. Knows nothing of devices.

use std::{num::NonZero, sync::Arc};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    Geofence,
    sphere::{DEGREE_M, EARTH_RADIUS_M, Rect, Site, reach_lon_deg},
};
use crate::{
    id::RegionId,
    observation::Position,
    rtree::{Bounds, RTree},
};

/// How much further than `approach_m` a device must go before it can approach again.
pub(crate) const REARM: f64 = 1.2;

/// All regions, indexed. Geofences are shared, so that a changed set costs an index and no geometry.
#[derive(Clone, Debug)]
pub struct Regions {
    /// In the order of their ids.
    fences: Vec<Arc<Geofence>>,
    by_id: Places,
    tree: RTree<Slot>,
    /// The least of the fences' own exit probabilities.
    exit_least: f64,
}

/// What a rectangle is around: a fence, or a piece of one, with everything that may count as approaching it.
#[derive(Clone, Copy, Debug)]
struct Slot {
    place: u32,
    /// Whether this fence has further rectangles.
    several: bool,
}

/// A fence that a query has found.
pub(crate) struct Candidate<'a> {
    pub(crate) fence: &'a Arc<Geofence>,
    /// See [`Regions::place`].
    pub(crate) place: u32,
    /// A lower bound in metres on the distance to the fence grown by all that may count as approaching it, as long as
    /// it is below the radius of the query.
    pub(crate) lower_m: f64,
    /// The diagonal of the rectangle that this is the distance to, or more.
    pub(crate) span_m: f64,
}

impl Candidate<'_> {
    /// Whether the distance to the rectangle says nearly as much as the distance to the fence; looking at the fence
    /// costs several times as much.
    pub(crate) fn looks_small(&self) -> bool {
        self.lower_m >= self.span_m
    }
}

impl Default for Regions {
    fn default() -> Regions {
        Regions::new(Vec::new())
    }
}

impl Regions {
    /// Indexes the fences. Of two with the same id the later counts.
    pub fn new(mut fences: Vec<Arc<Geofence>>) -> Regions {
        fences.reverse();
        fences.sort_by(|a, b| a.region.id.cmp(&b.region.id));
        fences.dedup_by(|a, b| a.region.id == b.region.id);
        let numbered = || fences.iter().zip(0_u32..);
        let mut by_id = Places::free(fences.len());
        numbered().for_each(|(fence, place)| by_id.put(hash(&fence.region.id), place));
        let exit_least = fences.iter().filter_map(|fence| fence.exit_probability).fold(1.0, f64::min);
        Regions {
            by_id,
            tree: RTree::new(numbered().flat_map(|(fence, place)| slots(fence, place))),
            exit_least,
            fences,
        }
    }

    /// The same regions with some put in or replaced, then some taken out. Costs a new index (tens of milliseconds
    /// for 100,000 fences); whoever holds the old regions goes on with them meanwhile.
    #[must_use]
    pub fn with(&self, changed: Vec<Arc<Geofence>>, removed: &[RegionId]) -> Regions {
        let mut fences = self.fences.clone();
        fences.extend(changed);
        fences.retain(|fence| !removed.contains(&fence.region.id));
        Regions::new(fences)
    }

    /// The fence with this id.
    pub fn get(&self, id: &RegionId) -> Option<&Arc<Geofence>> {
        self.place(id).map(|place| self.fence(place))
    }

    /// Which of these fences has this id: a number that tells it from all others, quicker to compare than the id.
    pub(crate) fn place(&self, id: &RegionId) -> Option<u32> {
        self.by_id.find(hash(id), |place| self.fence(place).region.id == *id)
    }

    /// The fence at this place.
    pub(crate) fn fence(&self, place: u32) -> &Arc<Geofence> {
        &self.fences[place as usize]
    }

    /// The least of the fences' own exit probabilities; 1 if none has any.
    pub(crate) fn exit_least(&self) -> f64 {
        self.exit_least
    }

    /// Every fence, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Geofence>> {
        self.fences.iter()
    }

    /// How many fences there are.
    pub fn len(&self) -> usize {
        self.fences.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.fences.is_empty()
    }

    /// The fences that a position is in, border included, in the order of their ids.
    pub fn at(&self, position: Position) -> Vec<&Arc<Geofence>> {
        let mut found = Vec::new();
        self.near(&Site::new(position), 0.0, |candidate| {
            if candidate.fence.contains(position) {
                found.push(candidate.fence);
            }
        });
        found.sort_by(|a, b| a.region.id.cmp(&b.region.id));
        found
    }

    /// Every fence of which something, or of whose surroundings something that counts as approaching it, may be
    /// within `radius_m` of a site; each once, in no particular order.
    pub(crate) fn near<'a>(&'a self, site: &Site, radius_m: f64, mut visit: impl FnMut(Candidate<'a>)) {
        let Position { lat, lon } = site.position;
        let upright = radius_m / DEGREE_M;
        let sideways = reach_lon_deg(lat, radius_m);
        let whole = sideways >= 180.0 || lat.abs() == 90.0;
        let rect = Rect {
            west: if whole { -180.0 } else { lon - sideways },
            east: if whole { 180.0 } else { lon + sideways },
            south: lat - upright,
            north: lat + upright,
        };
        let poleward = (lat.abs().to_radians() + radius_m / EARTH_RADIUS_M).min(std::f64::consts::FRAC_PI_2);
        let narrow_m = DEGREE_M * poleward.cos();
        self.search(rect, |bounds, slot| {
            let bounds = bounds.rect();
            let lower_m = if slot.several { 0.0 } else { lower_m(&bounds, site, narrow_m) };
            visit(Candidate { fence: self.fence(slot.place), place: slot.place, lower_m, span_m: span_m(&bounds) });
        });
    }

    /// Every fence that a rectangle, which may reach beyond the antimeridian, may meet; each once.
    pub(crate) fn meeting<'a>(&'a self, rect: Rect, mut visit: impl FnMut(&'a Arc<Geofence>)) {
        self.search(rect, |_, slot| visit(self.fence(slot.place)));
    }

    fn search(&self, rect: Rect, mut visit: impl FnMut(Bounds, &Slot)) {
        let pieces = rect.wrapped();
        let cut = pieces[1].is_some();
        // Only fences and queries at the antimeridian can meet twice.
        let mut met: Vec<u32> = Vec::new();
        for piece in pieces.iter().flatten() {
            self.tree.meeting(piece, |bounds, slot| {
                if cut || slot.several {
                    if met.contains(&slot.place) {
                        return;
                    }
                    met.push(slot.place);
                }
                visit(bounds, slot);
            });
        }
    }
}

/// The diagonal of a rectangle, or more.
fn span_m(bounds: &Rect) -> f64 {
    let [east, north] = [bounds.east - bounds.west, bounds.north - bounds.south].map(|degrees| degrees * DEGREE_M);
    (east * east + north * north).sqrt()
}

/// A lower bound on the distance of a site to a rectangle, if no degree of longitude between them is shorter than
/// `narrow_m`.
fn lower_m(bounds: &Rect, site: &Site, narrow_m: f64) -> f64 {
    let Position { lat, lon } = site.position;
    let Rect { west, south, east, north } = *bounds;
    let north_m = (south - lat).max(lat - north).max(0.0) * DEGREE_M;
    let straight = (west - lon).max(lon - east).max(0.0);
    let around = if lon < west { lon + 360.0 - east } else { west + 360.0 - lon };
    let east_m = straight.min(around.max(0.0)) * narrow_m;
    (north_m * north_m + east_m * east_m).sqrt()
}

fn hash(id: &RegionId) -> u64 {
    xxh3_64(id.as_str().as_bytes())
}

/// Places by the hash of an id: half of the hash is compared before the name, to which there are two pointers to follow.
/// A hash stands where its last bits say, or behind that if others were there before; half of all is left free.
#[derive(Clone, Debug)]
struct Places(Box<[Spot]>);

/// The first half of a hash, and the place counted from one; none if it is free.
type Spot = Option<(u32, NonZero<u32>)>;

impl Places {
    /// Room for so many.
    fn free(count: usize) -> Places {
        Places(vec![None; (2 * count).next_power_of_two()].into())
    }

    fn put(&mut self, hash: u64, place: u32) {
        let free = Places::way(hash, self.0.len()).find(|spot| self.0[*spot].is_none());
        self.0[free.expect("half of it is free")] =
            Some(((hash >> 32) as u32, NonZero::<u32>::MIN.saturating_add(place)));
    }

    fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let taken = Places::way(hash, self.0.len()).map_while(|spot| self.0[spot]);
        let mut same = taken.filter(|(half, _)| *half == (hash >> 32) as u32).map(|(_, number)| number.get() - 1);
        same.find(|place| is_it(*place))
    }

    /// Where to look for a hash, one after the other.
    fn way(hash: u64, spots: usize) -> impl Iterator<Item = usize> {
        (0..spots).map(move |step| (hash as usize).wrapping_add(step) & (spots - 1))
    }
}

fn slots(fence: &Geofence, place: u32) -> impl Iterator<Item = (Rect, Slot)> {
    let margin_m = fence.approach_m.map_or(0.0, |approach_m| approach_m * REARM);
    let pieces: Vec<Rect> =
        fence.bounds().into_iter().flat_map(|rect| rect.grown(margin_m).wrapped()).flatten().collect();
    let several = pieces.len() > 1;
    pieces.into_iter().map(move |rect| (rect, Slot { place, several }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_where_hashes_collide_and_run_over_the_end() {
        // The lower half says where a hash stands, the upper half what is compared first.
        let hashes = [u64::MAX, 1 << 32 | 7, 7, 2 << 32 | 7, 7, 3 << 32 | 6];
        let mut places = Places::free(hashes.len());
        (0..).zip(hashes).for_each(|(place, hash)| places.put(hash, place));
        assert_eq!(places.0.len(), 16);
        for (place, hash) in (0..).zip(hashes) {
            assert_eq!(places.find(hash, |found| found == place), Some(place));
        }
        assert_eq!(places.find(7, |_| false), None, "two have this hash, and neither this name");
        assert_eq!(places.find(9 << 32 | 7, |_| true), None);
        assert_eq!(Places::free(0).find(7, |_| true), None);
    }
}
