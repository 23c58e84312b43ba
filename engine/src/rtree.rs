//! A packed R-tree: rectangles of longitudes and latitudes in one flat array, laid out once and never changed.
//!
//! What lies near each other on the Hilbert curve is put under one node, so that nodes are full and small (Kamel and
//! Faloutsos, On packing R-trees, 1993). Nodes hold no pointers: the children of one stand side by side.

use crate::region::sphere::Rect;

/// Rectangles under one node. The search compares all of them without a branch.
const FAN_OUT: usize = 16;

/// Entries, found by where they are.
#[derive(Clone, Debug)]
pub(crate) struct RTree<T> {
    /// All levels: those of the entries first, each level followed by the one above it.
    bounds: Box<[Bounds]>,
    /// Where each level begins in `bounds`, and at the end where the last one ends.
    levels: Box<[usize]>,
    /// In the order of the lowest level.
    entries: Box<[T]>,
}

/// A rectangle, rounded outwards to single precision: that halves the memory that a search walks through. East and north
/// are negated, so that one comparison of four numbers tells whether two rectangles meet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds([f32; 4]);

impl Bounds {
    #[allow(clippy::cast_possible_truncation, reason = "rounding is corrected outwards by one step")]
    fn new(rect: &Rect) -> Bounds {
        Bounds([rect.west, rect.south, -rect.east, -rect.north].map(|value| (value as f32).next_down()))
    }

    pub(crate) fn rect(self) -> Rect {
        let [west, south, east, north] = self.0.map(f64::from);
        Rect { west, south, east: -east, north: -north }
    }

    fn union(self, other: Bounds) -> Bounds {
        let mut both = self.0;
        both.iter_mut().zip(other.0).for_each(|(own, other)| *own = own.min(other));
        Bounds(both)
    }

    /// What another one's numbers must not be above if it is to meet this one.
    fn limits(self) -> [f32; 4] {
        let [west, south, east, north] = self.0;
        [-east, -north, -west, -south]
    }

    fn is_within(&self, limits: &[f32; 4]) -> bool {
        // No short cut: four comparisons at once are quicker than one branch.
        self.0.iter().zip(limits).fold(true, |within, (own, limit)| within & (own <= limit))
    }
}

impl<T> RTree<T> {
    /// Indexes rectangles that keep to longitudes from -180 to 180.
    pub(crate) fn new(entries: impl IntoIterator<Item = (Rect, T)>) -> RTree<T> {
        let mut sorted: Vec<(u64, Bounds, T)> =
            entries.into_iter().map(|(rect, entry)| (along_curve(&rect), Bounds::new(&rect), entry)).collect();
        sorted.sort_by_key(|(along, ..)| *along);
        let mut bounds: Vec<Bounds> = sorted.iter().map(|(_, bounds, _)| *bounds).collect();
        let mut levels = vec![0];
        loop {
            let begin = levels[levels.len() - 1];
            let end = bounds.len();
            levels.push(end);
            if end - begin <= FAN_OUT {
                break;
            }
            for child in (begin..end).step_by(FAN_OUT) {
                let children = &bounds[child..(child + FAN_OUT).min(end)];
                bounds.push(children.iter().copied().reduce(Bounds::union).expect("a node has children"));
            }
        }
        let entries = sorted.into_iter().map(|(.., entry)| entry).collect();
        RTree { bounds: bounds.into(), levels: levels.into(), entries }
    }

    /// Shows every entry whose rectangle meets this one, and perhaps some that miss it by no more than rounding.
    pub(crate) fn meeting<'a>(&'a self, rect: &Rect, mut visit: impl FnMut(Bounds, &'a T)) {
        let top = self.levels.len() - 2;
        self.search(&Bounds::new(rect).limits(), top, 0, &mut visit);
    }

    /// Searches under one node, of which only the number of its first child is known.
    fn search<'a>(&'a self, limits: &[f32; 4], level: usize, first: usize, visit: &mut impl FnMut(Bounds, &'a T)) {
        let [begin, end] = [self.levels[level], self.levels[level + 1]];
        let children = &self.bounds[begin + first..(begin + first + FAN_OUT).min(end)];
        let mut meets = 0_u32;
        for (at, child) in children.iter().enumerate() {
            meets |= u32::from(child.is_within(limits)) << at;
        }
        while meets != 0 {
            let at = meets.trailing_zeros() as usize;
            meets &= meets - 1;
            if level == 0 {
                visit(children[at], &self.entries[first + at]);
            } else {
                self.search(limits, level - 1, (first + at) * FAN_OUT, visit);
            }
        }
    }
}

impl<T> Default for RTree<T> {
    fn default() -> RTree<T> {
        RTree::new([])
    }
}

/// Where the middle of a rectangle comes along the Hilbert curve through the world.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "parts of the world are from 0 to 1")]
fn along_curve(rect: &Rect) -> u64 {
    let cell = |part: f64| (part * f64::from(u32::MAX)) as u32;
    let mut x = cell((rect.west + rect.east) / 720.0 + 0.5);
    let mut y = cell((rect.south + rect.north) / 360.0 + 0.5);
    let mut along = 0;
    for bit in (0..u32::BITS).rev() {
        let (right, upper) = ((x >> bit) & 1, (y >> bit) & 1);
        along = (along << 2) | u64::from((3 * right) ^ upper);
        // Turns the quarter, so that the curve within it begins where the one before has ended.
        if upper == 0 {
            if right == 1 {
                (x, y) = (!x, !y);
            }
            (x, y) = (y, x);
        }
    }
    along
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rects(count: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<Rect>> {
        let side = || prop_oneof![Just(0.0), 0.0..0.01, 0.0..30.0];
        let rect = (-180.0..180.0, -90.0..90.0, side(), side()).prop_map(|(west, south, wide, high)| Rect {
            west,
            south,
            east: f64::min(west + wide, 180.0),
            north: f64::min(south + high, 90.0),
        });
        proptest::collection::vec(rect, count)
    }

    proptest! {
        #[test]
        fn a_search_finds_what_a_walk_over_all_finds(all in rects(0..600), wanted in rects(1..20)) {
            let tree = RTree::new(all.iter().copied().zip(0..));
            for wanted in wanted {
                let mut found: Vec<usize> = Vec::new();
                tree.meeting(&wanted, |bounds, entry| {
                    let rect = bounds.rect();
                    assert!(rect.union(all[*entry]) == rect, "it is around its entry");
                    found.push(*entry);
                });
                found.sort_unstable();
                let limits = Bounds::new(&wanted).limits();
                let meets = |entry: &usize| Bounds::new(&all[*entry]).is_within(&limits);
                prop_assert_eq!(&found, &(0..all.len()).filter(meets).collect::<Vec<_>>());
                prop_assert!((0..all.len()).filter(|entry| all[*entry].meets(&wanted)).all(|entry| found.contains(&entry)));
            }
        }
    }

    #[test]
    fn an_empty_tree_finds_nothing() {
        let world = Rect { west: -180.0, south: -90.0, east: 180.0, north: 90.0 };
        RTree::<()>::default().meeting(&world, |_, ()| unreachable!("there is nothing"));
    }

    #[test]
    fn a_search_of_a_little_looks_at_little() {
        let place = |at: u32| (f64::from(at % 300) * 0.01, f64::from(at / 300) * 0.01);
        let rect = |(west, south): (f64, f64)| Rect { west, south, east: west + 0.005, north: south + 0.005 };
        let tree = RTree::new((0..90_000).map(|at| (rect(place(at)), at)));
        assert_eq!(tree.levels.len() - 1, 5);
        let opened = |level: usize, wanted: &Rect| {
            let limits = Bounds::new(wanted).limits();
            let nodes = &tree.bounds[tree.levels[level]..tree.levels[level + 1]];
            nodes.iter().filter(|node| node.is_within(&limits)).count()
        };
        for at in (0..90_000).step_by(1_234) {
            let (x, y) = place(at);
            let wanted = Rect { west: x - 0.01, south: y - 0.01, east: x + 0.01, north: y + 0.01 };
            let leaves = opened(1, &wanted);
            assert!(leaves <= 6, "{leaves} nodes of the lowest level for 9 entries at {x}, {y}");
        }
    }

    #[test]
    fn neighbours_on_the_curve_are_neighbours_on_the_map() {
        let cells = 32;
        let side = 1.0 / f64::from(cells);
        let at = |x: u32, y: u32| Rect {
            west: 360.0 * (f64::from(x) + 0.5) * side - 180.0,
            east: 360.0 * (f64::from(x) + 0.5) * side - 180.0,
            south: 180.0 * (f64::from(y) + 0.5) * side - 90.0,
            north: 180.0 * (f64::from(y) + 0.5) * side - 90.0,
        };
        let mut all: Vec<(u64, u32, u32)> =
            (0..cells * cells).map(|n| (n % cells, n / cells)).map(|(x, y)| (along_curve(&at(x, y)), x, y)).collect();
        all.sort_unstable();
        for pair in all.windows(2) {
            let ((_, ax, ay), (_, bx, by)) = (pair[0], pair[1]);
            assert_eq!(ax.abs_diff(bx) + ay.abs_diff(by), 1, "{pair:?}");
        }
    }
}
