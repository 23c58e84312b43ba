//! What is wrong with a ring. Every ring is looked at, so that all problems are shown at once.

use super::{
    area::signed_area,
    chain::{Chain, Run, Side, Visit, turn},
    sphere::Rect,
};

/// How many edges may still be compared for a geofence. A border of fifty thousand positions needs some millions; only
/// edges that all lie in each other's bounds need more, and then as many as their number squared.
pub(crate) struct Comparisons(u64);

impl Comparisons {
    /// Those that one geofence has.
    pub(crate) fn new() -> Comparisons {
        Comparisons(50_000_000)
    }

    fn are_used_up(&self) -> bool {
        self.0 == 0
    }
}

/// What is said of a ring that could not be compared to the end.
const ENTANGLED: &str =
    "has too many edges beside each other to be checked; simplify it or cut it into several geofences";

/// What is wrong with the rings of one polygon: which ring, and a sentence.
pub(crate) fn polygon(rings: &[Vec<[f64; 2]>], left: &mut Comparisons) -> Vec<(Option<usize>, String)> {
    if rings.is_empty() {
        return vec![(None, "a polygon has at least one ring, its shell".to_owned())];
    }
    let mut problems = Vec::new();
    let mut chains = Vec::new();
    for (index, points) in rings.iter().enumerate() {
        match ring(points, left) {
            Ok(chain) => chains.push((index, chain)),
            Err(reasons) => problems.extend(reasons.into_iter().map(|reason| (Some(index), reason))),
        }
    }
    if let Some(((0, shell), holes)) = chains.split_first() {
        for (at, (index, hole)) in holes.iter().enumerate() {
            if let Some(reason) = misplaced(hole, shell, &holes[..at], left) {
                problems.push((Some(*index), reason));
            }
        }
    }
    if problems.is_empty() && left.are_used_up() {
        problems.push((None, ENTANGLED.to_owned()));
    }
    problems
}

/// The ring without repeated positions, or everything that is wrong with it.
fn ring(points: &[[f64; 2]], left: &mut Comparisons) -> Result<Chain, Vec<String>> {
    let mut reasons = Vec::new();
    let odd = |[lon, lat]: &[f64; 2]| !(-180.0..=180.0).contains(lon) || !(-90.0..=90.0).contains(lat);
    for (index, [lon, lat]) in points.iter().enumerate().filter(|(_, point)| odd(point)).take(3) {
        reasons.push(format!(
            "position {index} is [{lon}, {lat}]; longitude is -180 to 180 and latitude -90 to 90, in this order"
        ));
    }
    if points.len() < 4 {
        reasons.push(format!("has {} positions; a ring has at least 4, the last the same as the first", points.len()));
    }
    if points.first() != points.last() {
        reasons.push("is not closed; repeat the first position at the end".to_owned());
    }
    let bounds = points.iter().fold(Rect::EMPTY, |rect, point| rect.including(*point));
    if reasons.is_empty() && bounds.east - bounds.west > 180.0 {
        reasons.push(format!(
            "is {} degrees wide; cut what crosses the antimeridian, or is wider than 180 degrees, into the parts of a \
             MultiPolygon (RFC 7946, 3.1.9)",
            bounds.east - bounds.west
        ));
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let mut distinct = points.to_vec();
    distinct.dedup();
    if distinct.windows(3).all(|three| turn(three[0], three[1], three[2]) == 0.0) {
        return Err(vec!["encloses no area".to_owned()]);
    }
    let chain = Chain::new(distinct);
    let contact = self_contact(&chain, left);
    if left.are_used_up() {
        return Err(vec![ENTANGLED.to_owned()]);
    }
    match contact {
        Some([lon, lat]) => Err(vec![format!("crosses or touches itself near [{lon}, {lat}]")]),
        None if signed_area(chain.points()) == 0.0 => Err(vec!["encloses no area".to_owned()]),
        None => Ok(chain),
    }
}

fn misplaced(hole: &Chain, shell: &Chain, others: &[(usize, Chain)], left: &mut Comparisons) -> Option<String> {
    if let Some([lon, lat]) = hole.points().iter().find(|point| shell.side(**point) == Side::Outside) {
        return Some(format!("is a hole that leaves its shell at [{lon}, {lat}]"));
    }
    if let Some([lon, lat]) = crossing(hole, shell, left) {
        return Some(format!("is a hole that crosses its shell near [{lon}, {lat}]"));
    }
    if left.are_used_up() {
        return Some(ENTANGLED.to_owned());
    }
    let bounds = hole.bounds();
    others.iter().filter(|(_, other)| other.bounds().meets(&bounds)).find_map(|(index, other)| {
        let within = |inner: &Chain, outer: &Chain| {
            inner.points().iter().map(|point| outer.side(*point)).find(|side| *side != Side::Border)
                != Some(Side::Outside)
        };
        (crossing(hole, other, left).is_some() || within(hole, other) || within(other, hole))
            .then(|| format!("is a hole that overlaps the hole that is ring {index}"))
    })
}

/// A place where two edges of one ring meet that are not neighbours, or where a ring runs back over itself.
fn self_contact(chain: &Chain, left: &mut Comparisons) -> Option<[f64; 2]> {
    let edges = chain.points().len() - 1;
    chain.edges().enumerate().find_map(|(index, (from, to))| {
        let next = chain.points()[(index + 1) % edges + 1];
        let ahead = (next[0] - to[0]) * (to[0] - from[0]) + (next[1] - to[1]) * (to[1] - from[1]);
        if turn(from, to, next) == 0.0 && ahead < 0.0 {
            return Some(to);
        }
        let mut contact = Contact::new(from, to, left);
        contact.neighbours = true;
        chain.walk(&mut contact);
        contact.found
    })
}

/// A place where an edge of one ring properly crosses an edge of another.
fn crossing(one: &Chain, other: &Chain, left: &mut Comparisons) -> Option<[f64; 2]> {
    one.edges().find_map(|(from, to)| {
        let mut contact = Contact::new(from, to, left);
        other.walk(&mut contact);
        contact.found
    })
}

/// Looks for an edge that meets a given one.
struct Contact<'a> {
    from: [f64; 2],
    to: [f64; 2],
    bounds: Rect,
    /// Whether the edges are of the same ring: then any contact counts, but edges that share an end are neighbours.
    neighbours: bool,
    found: Option<[f64; 2]>,
    left: &'a mut Comparisons,
}

impl Contact<'_> {
    fn new(from: [f64; 2], to: [f64; 2], left: &mut Comparisons) -> Contact<'_> {
        Contact { from, to, bounds: Rect::EMPTY.including(from).including(to), neighbours: false, found: None, left }
    }
}

impl Visit for Contact<'_> {
    fn opens(&mut self, run: &Run) -> bool {
        self.found.is_none() && !self.left.are_used_up() && run.bounds.meets(&self.bounds)
    }

    fn edge(&mut self, from: [f64; 2], to: [f64; 2]) {
        self.left.0 = self.left.0.saturating_sub(1);
        if self.found.is_some() || !Rect::EMPTY.including(from).including(to).meets(&self.bounds) {
            return;
        }
        let same = from == self.from && to == self.to;
        let follows = from == self.to || to == self.from;
        if self.neighbours && (same || follows) {
            return;
        }
        let mine = [turn(self.from, self.to, from), turn(self.from, self.to, to)];
        let theirs = [turn(from, to, self.from), turn(from, to, self.to)];
        let met = if self.neighbours {
            let apart = |[one, other]: [f64; 2]| (one > 0.0 && other > 0.0) || (one < 0.0 && other < 0.0);
            !apart(mine) && !apart(theirs)
        } else {
            let through = |[one, other]: [f64; 2]| (one > 0.0 && other < 0.0) || (one < 0.0 && other > 0.0);
            through(mine) && through(theirs)
        };
        if met {
            self.found = Some(if theirs[0] == 0.0 { self.from } else { from });
        }
    }
}
