//! A shop floor of square zones with scanners on the ceiling, or beacons at the shelves.

/// A place on the floor, metres.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spot {
    pub(crate) x_m: f64,
    pub(crate) y_m: f64,
}

impl Spot {
    pub(crate) fn distance_m(self, other: Spot) -> f64 {
        (self.x_m - other.x_m).hypot(self.y_m - other.y_m)
    }

    /// The point this share of the way to another.
    pub(crate) fn towards(self, other: Spot, share: f64) -> Spot {
        Spot { x_m: self.x_m + (other.x_m - self.x_m) * share, y_m: self.y_m + (other.y_m - self.y_m) * share }
    }
}

/// What hears, or is heard, at a fixed place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) zone: usize,
    pub(crate) spot: Spot,
}

/// Zones in rows, numbered along the first row, then the next.
#[derive(Clone, Debug)]
pub(crate) struct Shop {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    pub(crate) pitch_m: f64,
    pub(crate) sources: Vec<Source>,
    /// How far above the walker's hand the sources are.
    pub(crate) height_m: f64,
}

impl Shop {
    /// Eight zones with so many sources each, spread evenly.
    pub(crate) fn new(pitch_m: f64, sources_per_zone: usize, height_m: f64) -> Shop {
        let spots: &[(f64, f64)] = match sources_per_zone {
            1 => &[(0.5, 0.5)],
            2 => &[(0.25, 0.5), (0.75, 0.5)],
            3 => &[(0.2, 0.25), (0.8, 0.25), (0.5, 0.8)],
            _ => &[(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)],
        };
        let (columns, rows) = (4, 2);
        let mut shop = Shop { columns, rows, pitch_m, sources: Vec::new(), height_m };
        for zone in 0..shop.zones() {
            for (x, y) in spots {
                shop.sources.push(Source { zone, spot: shop.at(zone, *x, *y) });
            }
        }
        shop
    }

    pub(crate) fn zones(&self) -> usize {
        self.columns * self.rows
    }

    /// The point of a zone at these shares of its width and depth.
    pub(crate) fn at(&self, zone: usize, x: f64, y: f64) -> Spot {
        let (column, row) = ((zone % self.columns) as f64, (zone / self.columns) as f64);
        Spot { x_m: (column + x) * self.pitch_m, y_m: (row + y) * self.pitch_m }
    }

    pub(crate) fn zone_of(&self, spot: Spot) -> usize {
        let cell = |metres: f64, count: usize| ((metres / self.pitch_m).max(0.0) as usize).min(count - 1);
        cell(spot.y_m, self.rows) * self.columns + cell(spot.x_m, self.columns)
    }
}
