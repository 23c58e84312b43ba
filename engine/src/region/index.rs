//! All regions, found by id and by place. Knows nothing of devices.

use std::{ops::ControlFlow, sync::Arc};

use rstar::{AABB, RTree, RTreeObject};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Geofence,
    sphere::{DEGREE_M, EARTH_RADIUS_M, Rect, Site, reach_lon_deg},
};
use crate::{id::RegionId, observation::Position};

/// How much further than `approach_m` a device must go before it can approach again.
pub(crate) const REARM: f64 = 1.2;

/// All regions, indexed. Geofences are shared, so that a changed set costs an index and no geometry.
#[derive(Clone, Debug, Default)]
pub struct Regions {
    /// In the order of their ids.
    fences: Vec<Arc<Geofence>>,
    /// Hash of the id, and place in `fences`; sorted. Comparing hashes side by side in memory is several times
    /// faster than following pointers to names.
    by_hash: Vec<(u64, u32)>,
    tree: RTree<Slot>,
}

/// A rectangle around (a piece of) a fence with everything that may count as approaching it.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Rounded outwards: halves the memory that a query walks through.
    low: [f32; 2],
    high: [f32; 2],
    fence: u32,
    /// Whether this fence has further rectangles.
    several: bool,
}

impl RTreeObject for Slot {
    type Envelope = AABB<[f32; 2]>;

    fn envelope(&self) -> AABB<[f32; 2]> {
        AABB::from_corners(self.low, self.high)
    }
}

/// A fence that a query has found.
pub(crate) struct Candidate<'a> {
    pub(crate) fence: &'a Arc<Geofence>,
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

impl Regions {
    /// Indexes the fences. Of two with the same id the later counts.
    pub fn new(mut fences: Vec<Arc<Geofence>>) -> Regions {
        fences.reverse();
        fences.sort_by(|a, b| a.region.id.cmp(&b.region.id));
        fences.dedup_by(|a, b| a.region.id == b.region.id);
        let numbered = || fences.iter().zip(0_u32..);
        let mut by_hash: Vec<(u64, u32)> = numbered().map(|(fence, at)| (hash(&fence.region.id), at)).collect();
        by_hash.sort_unstable();
        let slots: Vec<Slot> = numbered().flat_map(|(fence, at)| slots(fence, at)).collect();
        Regions { by_hash, tree: RTree::bulk_load(slots), fences }
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
        let wanted = hash(id);
        let first = self.by_hash.partition_point(|(hash, _)| *hash < wanted);
        self.by_hash[first..]
            .iter()
            .take_while(|(hash, _)| *hash == wanted)
            .map(|(_, at)| &self.fences[*at as usize])
            .find(|fence| fence.region.id == *id)
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
        self.search(rect, |slot| {
            let lower_m = slot.lower_m(site, narrow_m);
            visit(Candidate { fence: &self.fences[slot.fence as usize], lower_m, span_m: slot.span_m() });
        });
    }

    /// Every fence that a rectangle, which may reach beyond the antimeridian, may meet; each once.
    pub(crate) fn meeting<'a>(&'a self, rect: Rect, mut visit: impl FnMut(&'a Arc<Geofence>)) {
        self.search(rect, |slot| visit(&self.fences[slot.fence as usize]));
    }

    fn search(&self, rect: Rect, mut visit: impl FnMut(&Slot)) {
        let pieces = rect.wrapped();
        let cut = pieces[1].is_some();
        // Only fences and queries at the antimeridian can meet twice.
        let mut met: Vec<u32> = Vec::new();
        for piece in pieces.into_iter().flatten() {
            let (low, high) = outwards(&piece);
            let _: ControlFlow<()> =
                self.tree.locate_in_envelope_intersecting_int(AABB::from_corners(low, high), |slot| {
                    if cut || slot.several {
                        if met.contains(&slot.fence) {
                            return ControlFlow::Continue(());
                        }
                        met.push(slot.fence);
                    }
                    visit(slot);
                    ControlFlow::Continue(())
                });
        }
    }
}

impl Slot {
    fn span_m(&self) -> f64 {
        let [east, north] = [0, 1].map(|axis| f64::from(self.high[axis] - self.low[axis]) * DEGREE_M);
        (east * east + north * north).sqrt()
    }

    fn lower_m(&self, site: &Site, narrow_m: f64) -> f64 {
        if self.several {
            return 0.0;
        }
        let Position { lat, lon } = site.position;
        let [west, south] = self.low.map(f64::from);
        let [east, north] = self.high.map(f64::from);
        let north_m = (south - lat).max(lat - north).max(0.0) * DEGREE_M;
        let straight = (west - lon).max(lon - east).max(0.0);
        let around = if lon < west { lon + 360.0 - east } else { west + 360.0 - lon };
        let east_m = straight.min(around.max(0.0)) * narrow_m;
        (north_m * north_m + east_m * east_m).sqrt()
    }
}

fn hash(id: &RegionId) -> u64 {
    xxh3_64(id.as_str().as_bytes())
}

fn slots(fence: &Geofence, at: u32) -> Vec<Slot> {
    let margin_m = fence.approach_m.map_or(0.0, |approach_m| approach_m * REARM);
    let pieces: Vec<Rect> =
        fence.bounds().into_iter().flat_map(|rect| rect.grown(margin_m).wrapped()).flatten().collect();
    let several = pieces.len() > 1;
    pieces
        .iter()
        .map(|rect| {
            let (low, high) = outwards(rect);
            Slot { low, high, fence: at, several }
        })
        .collect()
}

/// A rectangle in single precision that holds the given one.
#[allow(clippy::cast_possible_truncation, reason = "rounding is corrected outwards by one step")]
fn outwards(rect: &Rect) -> ([f32; 2], [f32; 2]) {
    let low = |value: f64| (value as f32).next_down();
    let high = |value: f64| (value as f32).next_up();
    ([low(rect.west), low(rect.south)], [high(rect.east), high(rect.north)])
}
