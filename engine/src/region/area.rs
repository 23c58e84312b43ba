//! Polygons with holes.

use super::{
    Outlook, Way,
    chain::{Chain, Run, Side, Visit, to_segment_m, turn},
    gaussian::{angle, triangle},
    sphere::{EARTH_RADIUS_M, Rect, Site, turn_towards},
};
use crate::observation::Position;

/// One or more polygons; the border belongs to the area.
#[derive(Clone, Debug)]
pub(crate) struct Area {
    pub(crate) parts: Box<[Part]>,
    area_m2: f64,
}

/// One polygon: its shell, then its holes.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) rings: Box<[Ring]>,
}

/// One ring as it was given, in whichever direction.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    pub(crate) chain: Chain,
    pub(crate) bounds: Rect,
    /// What the ring adds to the area's mass for a whole turn to the left: 1 or -1.
    sign: f64,
}

/// Size of a run under which its chord stands for it, in standard deviations.
const CHORD: f64 = 1.0 / 32.0;

/// Beyond this distance an edge counts by its angle alone.
const FAR: f64 = 4.5;

impl Area {
    /// An area of checked rings.
    pub(crate) fn new(parts: Vec<Vec<Vec<[f64; 2]>>>) -> Area {
        let parts: Box<[Part]> = parts
            .into_iter()
            .map(|rings| Part {
                rings: rings.into_iter().enumerate().map(|(at, ring)| Ring::new(ring, at > 0)).collect(),
            })
            .collect();
        let area_m2 = parts.iter().flat_map(|part| part.rings.iter()).map(Ring::signed_area_m2).sum();
        Area { parts, area_m2 }
    }

    /// One rectangle, or two if the parts lie on both sides of the antimeridian.
    pub(crate) fn bounds(&self) -> Vec<Rect> {
        let shells = || self.parts.iter().map(|part| part.rings[0].bounds);
        let all = shells().fold(Rect::EMPTY, Rect::union);
        if all.east - all.west <= 180.0 {
            return vec![all];
        }
        [true, false]
            .into_iter()
            .map(|west| shells().filter(|rect| (rect.center_lon() < 0.0) == west).fold(Rect::EMPTY, Rect::union))
            .filter(|rect| rect.west <= rect.east)
            .collect()
    }

    pub(crate) fn area_m2(&self) -> f64 {
        self.area_m2
    }

    pub(crate) fn contains(&self, position: Position) -> bool {
        self.parts.iter().any(|part| part.contains(position))
    }

    /// Where a site stands, with the border no further than `within_m`.
    pub(crate) fn outlook(&self, site: &Site, within_m: f64) -> Outlook {
        let border_m = if site.is_polar() {
            self.polar_edges(site).map(|(from, to)| to_segment_m(from, to)).fold(within_m, f64::min)
        } else {
            self.rings().fold(within_m, |best, ring| {
                let site = site.turned(ring.bounds.center_lon());
                if ring.bounds.flat_distance_m(&site) >= best { best } else { ring.chain.distance_m(&site, best) }
            })
        };
        Outlook { inside: self.contains(site.position), border_m }
    }

    pub(crate) fn probability(&self, site: &Site, sigma_m: f64) -> f64 {
        let scaled = |[x, y]: [f64; 2]| [x / sigma_m, y / sigma_m];
        let mass: f64 = if site.is_polar() {
            self.rings()
                .map(|ring| ring.sign * polar(ring, site).map(|(a, b)| triangle(scaled(a), scaled(b))).sum::<f64>())
                .sum()
        } else {
            self.rings()
                .map(|ring| {
                    let mut mass = Mass { site: site.turned(ring.bounds.center_lon()), sigma_m, sum: 0.0 };
                    ring.chain.walk(&mut mass);
                    ring.sign * mass.sum
                })
                .sum()
        };
        mass.clamp(0.0, 1.0)
    }

    /// From the first to the last border on a way.
    pub(crate) fn crossing(&self, way: &Way) -> Option<(f64, f64)> {
        let mut cut = Cut { from: [0.0; 2], to: [0.0; 2], first: f64::INFINITY, last: f64::NEG_INFINITY };
        for ring in self.rings() {
            let shift = turn_towards(way.from.lon, ring.bounds.center_lon());
            let from = [way.from.lon + shift, way.from.lat];
            let to = [way.to.lon + turn_towards(way.to.lon, from[0]), way.to.lat];
            (cut.from, cut.to) = (from, to);
            ring.chain.walk(&mut cut);
        }
        (cut.first <= cut.last).then_some((cut.first, cut.last))
    }

    fn rings(&self) -> impl Iterator<Item = &Ring> {
        self.parts.iter().flat_map(|part| part.rings.iter())
    }

    fn polar_edges<'a>(&'a self, site: &'a Site) -> impl Iterator<Item = ([f64; 2], [f64; 2])> + 'a {
        self.rings().flat_map(move |ring| polar(ring, site))
    }
}

impl Part {
    fn contains(&self, position: Position) -> bool {
        let side = |ring: &Ring| {
            let Position { lat, lon } = position;
            if lat.abs() == 90.0 {
                // A pole has every longitude; a ring that comes up to it has it on its border.
                let touches = if lat > 0.0 { ring.bounds.north } else { ring.bounds.south } == lat;
                return if touches { Side::Border } else { Side::Outside };
            }
            ring.chain.side([lon + turn_towards(lon, ring.bounds.center_lon()), lat])
        };
        match side(&self.rings[0]) {
            Side::Outside => false,
            Side::Border => true,
            Side::Inside => self.rings[1..].iter().all(|hole| side(hole) != Side::Inside),
        }
    }
}

impl Ring {
    fn new(points: Vec<[f64; 2]>, hole: bool) -> Ring {
        let chain = Chain::new(points);
        let left = signed_area(chain.points()) > 0.0;
        Ring { bounds: chain.bounds(), sign: if left == hole { -1.0 } else { 1.0 }, chain }
    }

    /// Area between the ring and the equator, edges straight in longitude and latitude: the integral of the sine of
    /// latitude over longitude.
    fn signed_area_m2(&self) -> f64 {
        let sum: f64 = self
            .chain
            .edges()
            .map(|(from, to)| {
                let [low, high] = [from[1].to_radians(), to[1].to_radians()];
                let middle = (low + high) / 2.0;
                let half = (high - low) / 2.0;
                let spread = if half.abs() < 1e-9 { 1.0 } else { half.sin() / half };
                (from[0] - to[0]).to_radians() * middle.sin() * spread
            })
            .sum();
        sum * self.sign * EARTH_RADIUS_M * EARTH_RADIUS_M
    }
}

/// The signed area in square degrees, positive for a turn to the left; taken from the first position so that
/// small rings far from the origin keep their digits.
pub(crate) fn signed_area(points: &[[f64; 2]]) -> f64 {
    let Some(origin) = points.first() else { return 0.0 };
    let from_origin = |point: &[f64; 2]| [point[0] - origin[0], point[1] - origin[1]];
    points
        .windows(2)
        .map(|pair| {
            let ([ax, ay], [bx, by]) = (from_origin(&pair[0]), from_origin(&pair[1]));
            ax * by - ay * bx
        })
        .sum::<f64>()
        / 2.0
}

/// A ring's edges in the azimuthal projection, cut so that a straight piece stands for the curve that it is there.
fn polar<'a>(ring: &'a Ring, site: &'a Site) -> impl Iterator<Item = ([f64; 2], [f64; 2])> + 'a {
    const PIECE_DEG: f64 = 0.1;
    ring.chain.edges().flat_map(move |(from, to)| {
        let pieces = ((to[0] - from[0]).abs().max((to[1] - from[1]).abs()) / PIECE_DEG).ceil().max(1.0);
        let at = move |piece: f64| {
            let along = piece / pieces;
            site.azimuthal([from[0] + (to[0] - from[0]) * along, from[1] + (to[1] - from[1]) * along])
        };
        std::iter::successors(Some(0.0), move |piece| (piece + 1.0 < pieces).then_some(piece + 1.0))
            .map(move |piece| (at(piece), at(piece + 1.0)))
    })
}

/// Sums the mass within a ring.
struct Mass {
    site: Site,
    sigma_m: f64,
    sum: f64,
}

impl Mass {
    fn scaled(&self, point: [f64; 2]) -> [f64; 2] {
        self.site.flat(point).map(|metres| metres / self.sigma_m)
    }
}

impl Visit for Mass {
    fn opens(&mut self, run: &Run) -> bool {
        if run.bounds.flat_distance_m(&self.site) > FAR * self.sigma_m {
            self.sum += angle(self.scaled(run.from), self.scaled(run.to)) / std::f64::consts::TAU;
            return false;
        }
        let [width, height] = {
            let [west, south] = self.scaled([run.bounds.west, run.bounds.south]);
            let [east, north] = self.scaled([run.bounds.east, run.bounds.north]);
            [east - west, north - south]
        };
        if width.max(height) <= CHORD {
            self.edge(run.from, run.to);
            return false;
        }
        true
    }

    fn edge(&mut self, from: [f64; 2], to: [f64; 2]) {
        self.sum += triangle(self.scaled(from), self.scaled(to));
    }
}

/// Looks for the borders on a way.
struct Cut {
    from: [f64; 2],
    to: [f64; 2],
    first: f64,
    last: f64,
}

impl Visit for Cut {
    fn opens(&mut self, run: &Run) -> bool {
        run.bounds.meets(&Rect::EMPTY.including(self.from).including(self.to))
    }

    fn edge(&mut self, from: [f64; 2], to: [f64; 2]) {
        let across = [turn(self.from, self.to, from), turn(self.from, self.to, to)];
        let along = [turn(from, to, self.from), turn(from, to, self.to)];
        let apart = |[one, other]: [f64; 2]| (one > 0.0 && other > 0.0) || (one < 0.0 && other < 0.0);
        if apart(across) || apart(along) || along[0] == along[1] {
            return;
        }
        let at = along[0] / (along[0] - along[1]);
        self.first = self.first.min(at);
        self.last = self.last.max(at);
    }
}
