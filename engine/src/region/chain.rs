//! A closed line of many edges under a fixed hierarchy of bounding rectangles, so that questions about a place look
//! at the edges near it only. Knows nothing of fences, holes or probabilities.

use robust::{Coord, orient2d};

use super::sphere::{Rect, Site};

/// Edges under one rectangle of the lowest level.
const LEAF_EDGES: usize = 16;

/// Rectangles under one rectangle of the next level.
const FAN_OUT: usize = 8;

/// A closed line: the first position is repeated at the end.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    points: Box<[[f64; 2]]>,
    /// All levels, the lowest first.
    rects: Box<[Rect]>,
    /// Where each level begins in `rects`.
    levels: Box<[u32]>,
}

/// Some consecutive edges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Around all of them.
    pub(crate) bounds: Rect,
    /// Where the first begins.
    pub(crate) from: [f64; 2],
    /// Where the last ends.
    pub(crate) to: [f64; 2],
}

/// A question that is answered by walking along a chain.
pub(crate) trait Visit {
    /// Whether the edges of this run must be looked at. If not, the visitor has taken the run as a whole.
    fn opens(&mut self, run: &Run) -> bool;
    /// One edge of an opened run.
    fn edge(&mut self, from: [f64; 2], to: [f64; 2]);
}

/// Where a position lies as seen from a closed line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Outside,
    Border,
    Inside,
}

impl Chain {
    /// A chain over at least two positions, of which the last equals the first.
    pub(crate) fn new(points: Vec<[f64; 2]>) -> Chain {
        let edges = points.len().saturating_sub(1);
        let mut rects: Vec<Rect> = (0..edges.div_ceil(LEAF_EDGES))
            .map(|leaf| {
                let first = leaf * LEAF_EDGES;
                let last = (first + LEAF_EDGES).min(edges);
                points[first..=last].iter().fold(Rect::EMPTY, |rect, point| rect.including(*point))
            })
            .collect();
        let mut levels = vec![0];
        let mut begin = 0;
        while rects.len() - begin > FAN_OUT {
            let end = rects.len();
            let above: Vec<Rect> = rects[begin..end]
                .chunks(FAN_OUT)
                .map(|below| below.iter().fold(Rect::EMPTY, |rect, one| rect.union(*one)))
                .collect();
            rects.extend(above);
            begin = end;
            levels.push(u32::try_from(begin).unwrap_or(u32::MAX));
        }
        Chain { points: points.into(), rects: rects.into(), levels: levels.into() }
    }

    pub(crate) fn points(&self) -> &[[f64; 2]] {
        &self.points
    }

    pub(crate) fn edges(&self) -> impl Iterator<Item = ([f64; 2], [f64; 2])> {
        self.points.windows(2).map(|pair| (pair[0], pair[1]))
    }

    pub(crate) fn bounds(&self) -> Rect {
        let top = self.level(self.levels.len() - 1);
        self.rects[top].iter().fold(Rect::EMPTY, |rect, one| rect.union(*one))
    }

    /// Lets a visitor walk along all edges, in order.
    pub(crate) fn walk<V: Visit>(&self, visitor: &mut V) {
        let top = self.levels.len() - 1;
        for node in 0..self.level(top).len() {
            self.walk_node(visitor, top, node);
        }
    }

    /// Which side of the line a position is on. Exact, for edges straight in longitude and latitude.
    pub(crate) fn side(&self, point: [f64; 2]) -> Side {
        let mut ray = Ray { point, crossings_odd: false, on_border: false };
        self.walk(&mut ray);
        if ray.on_border {
            Side::Border
        } else if ray.crossings_odd {
            Side::Inside
        } else {
            Side::Outside
        }
    }

    /// Distance to the nearest edge in the flat frame of a site turned next to this chain, at most `within_m`.
    pub(crate) fn distance_m(&self, site: &Site, within_m: f64) -> f64 {
        let top = self.levels.len() - 1;
        self.nearest(site, top, 0..self.level(top).len(), within_m)
    }

    fn level(&self, level: usize) -> std::ops::Range<usize> {
        let end = self.levels.get(level + 1).map_or(self.rects.len(), |begin| *begin as usize);
        self.levels[level] as usize..end
    }

    fn children(&self, level: usize, node: usize) -> std::ops::Range<usize> {
        let first = node * FAN_OUT;
        first..(first + FAN_OUT).min(self.level(level - 1).len())
    }

    fn leaf(&self, leaf: usize) -> &[[f64; 2]] {
        let first = leaf * LEAF_EDGES;
        &self.points[first..=(first + LEAF_EDGES).min(self.points.len() - 1)]
    }

    fn walk_node<V: Visit>(&self, visitor: &mut V, level: usize, node: usize) {
        let span = LEAF_EDGES * FAN_OUT.pow(u32::try_from(level).unwrap_or(u32::MAX));
        let first = node * span;
        let run = Run {
            bounds: self.rects[self.levels[level] as usize + node],
            from: self.points[first],
            to: self.points[(first + span).min(self.points.len() - 1)],
        };
        if !visitor.opens(&run) {
            return;
        }
        if level == 0 {
            for pair in self.leaf(node).windows(2) {
                visitor.edge(pair[0], pair[1]);
            }
        } else {
            for child in self.children(level, node) {
                self.walk_node(visitor, level - 1, child);
            }
        }
    }

    /// Branch and bound over nodes of one level, the nearest first.
    fn nearest(&self, site: &Site, level: usize, nodes: std::ops::Range<usize>, within_m: f64) -> f64 {
        let mut order = [(f64::INFINITY, usize::MAX); FAN_OUT];
        let count = nodes.len().min(FAN_OUT);
        for (entry, node) in order.iter_mut().zip(nodes) {
            *entry = (self.rects[self.levels[level] as usize + node].flat_distance_m(site), node);
        }
        order[..count].sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        let mut best = within_m;
        for (distance, node) in &order[..count] {
            if *distance >= best {
                break;
            }
            best = if level == 0 {
                self.leaf(*node)
                    .windows(2)
                    .map(|pair| to_segment_m(site.flat(pair[0]), site.flat(pair[1])))
                    .fold(best, f64::min)
            } else {
                self.nearest(site, level - 1, self.children(level, *node), best)
            };
        }
        best
    }
}

/// Distance from the origin to a segment.
pub(crate) fn to_segment_m([ax, ay]: [f64; 2], [bx, by]: [f64; 2]) -> f64 {
    let (dx, dy) = (bx - ax, by - ay);
    let length_square = dx * dx + dy * dy;
    let along = if length_square > 0.0 { (-(ax * dx + ay * dy) / length_square).clamp(0.0, 1.0) } else { 0.0 };
    let (x, y) = (ax + along * dx, ay + along * dy);
    (x * x + y * y).sqrt()
}

/// Above zero if `c` lies to the left of the line from `a` to `b`, zero if on it. Exact in sign.
pub(crate) fn turn(a: [f64; 2], b: [f64; 2], c: [f64; 2]) -> f64 {
    let coord = |[x, y]: [f64; 2]| Coord { x, y };
    orient2d(coord(a), coord(b), coord(c))
}

/// A ray from a position to the east that counts the edges it crosses.
struct Ray {
    point: [f64; 2],
    crossings_odd: bool,
    on_border: bool,
}

impl Visit for Ray {
    fn opens(&mut self, run: &Run) -> bool {
        let [lon, lat] = self.point;
        let bounds = &run.bounds;
        if lat < bounds.south || lat > bounds.north || lon > bounds.east {
            return false;
        }
        if lon < bounds.west {
            self.crossings_odd ^= (run.from[1] > lat) != (run.to[1] > lat);
            return false;
        }
        true
    }

    fn edge(&mut self, from: [f64; 2], to: [f64; 2]) {
        let [lon, lat] = self.point;
        let crosses = (from[1] > lat) != (to[1] > lat);
        let beside = lon > from[0].max(to[0]) || (!crosses && lat != from[1] && lat != to[1]);
        if beside {
            return;
        }
        if lon < from[0].min(to[0]) {
            self.crossings_odd ^= crosses;
            return;
        }
        let side = turn(from, to, self.point);
        if side == 0.0 && lat >= from[1].min(to[1]) && lat <= from[1].max(to[1]) {
            self.on_border = true;
        } else if crosses {
            self.crossings_odd ^= (side > 0.0) == (to[1] > from[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Position;

    /// Counts what a question looks at.
    struct Counted<V>(V, usize);

    impl<V: Visit> Visit for Counted<V> {
        fn opens(&mut self, run: &Run) -> bool {
            self.1 += 1;
            self.0.opens(run)
        }
        fn edge(&mut self, from: [f64; 2], to: [f64; 2]) {
            self.1 += 1;
            self.0.edge(from, to);
        }
    }

    fn coast(vertices: usize) -> Chain {
        let mut points: Vec<[f64; 2]> = (0..vertices)
            .map(|index| {
                let turn = index as f64 / vertices as f64 * std::f64::consts::TAU;
                let radius = 2.0 + 0.3 * (turn * 13.0).sin() + 0.01 * (turn * 4_001.0).sin();
                [2.0 + radius * turn.cos(), 46.0 + radius * turn.sin()]
            })
            .collect();
        points.push(points[0]);
        Chain::new(points)
    }

    #[test]
    fn a_question_looks_at_few_of_many_edges() {
        let chain = coast(50_000);
        for step in 0..500 {
            let turn = f64::from(step) * 0.37;
            let point = [2.0 + 2.2 * turn.cos(), 46.0 + 2.2 * (turn * 1.7).sin()];
            let mut counted = Counted(Ray { point, crossings_odd: false, on_border: false }, 0);
            chain.walk(&mut counted);
            assert!(counted.1 < 2_000, "looked at {} of 50,000 edges at {point:?}", counted.1);
        }
    }

    #[test]
    fn the_border_is_neither_inside_nor_outside() {
        let chain = Chain::new(vec![[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [1.0, 1.0], [0.0, 2.0], [0.0, 0.0]]);
        assert_eq!(chain.side([0.0, 0.0]), Side::Border);
        assert_eq!(chain.side([1.0, 0.0]), Side::Border);
        assert_eq!(chain.side([1.5, 1.5]), Side::Border);
        assert_eq!(chain.side([1.0, 1.0]), Side::Border);
        assert_eq!(chain.side([0.5, 1.0]), Side::Inside);
        assert_eq!(chain.side([1.0, 1.5]), Side::Outside);
        assert_eq!(chain.side([-1.0, 0.0]), Side::Outside);
        assert_eq!(chain.side([-1.0, 2.0]), Side::Outside);
        assert_eq!(chain.side([3.0, 1.0]), Side::Outside);
    }

    #[test]
    fn nearest_equals_a_linear_search() {
        let chain = coast(3_000);
        for step in 0..200 {
            let turn = f64::from(step) * 0.7;
            let position = Position { lon: 2.0 + 2.1 * turn.cos(), lat: 46.0 + 2.5 * (turn * 1.3).sin() };
            let site = Site::new(position);
            let linear = chain
                .edges()
                .map(|(from, to)| to_segment_m(site.flat(from), site.flat(to)))
                .fold(f64::INFINITY, f64::min);
            assert_eq!(chain.distance_m(&site, f64::INFINITY), linear);
            assert_eq!(chain.distance_m(&site, linear / 2.0), linear / 2.0);
        }
    }
}
