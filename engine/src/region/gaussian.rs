//! How much of a circular Gaussian around a fix lies in a shape. Lengths are in standard deviations, the fix is the
//! origin. Knows nothing of degrees or fences.

use std::f64::consts::{FRAC_1_SQRT_2, PI, TAU};

/// Beyond this distance lies a thousandth of the mass: `exp(-3.72^2 / 2)`.
pub(crate) const SHARP: f64 = 3.72;

/// Where the integrals stop: `exp(-4.5^2 / 2)` is 4e-5.
const HORIZON: f64 = 4.5;

/// Standard deviation along one axis, metres, of a fix whose 68 % radius is `accuracy_m`: for a circular Gaussian the
/// distance is Rayleigh distributed, and `1 - exp(-r^2 / 2)` is 0.68 at `sqrt(-2 ln 0.32)`.
pub(crate) fn sigma_m(accuracy_m: f64) -> f64 {
    accuracy_m / 1.509_592_166
}

/// What one directed edge contributes to the mass within a closed line: the signed mass of the triangle between the
/// origin and the edge. In polar coordinates that is the integral of `(1 - exp(-r^2 / 2)) / 2 pi` over the angle under
/// which the edge is seen (Green's theorem).
pub(crate) fn triangle(from: [f64; 2], to: [f64; 2]) -> f64 {
    let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
    let length = dx.hypot(dy);
    let cross = from[0] * to[1] - from[1] * to[0];
    if length == 0.0 || cross == 0.0 {
        return 0.0;
    }
    let height = cross.abs() / length;
    if height >= HORIZON {
        return angle(from, to) / TAU;
    }
    let foot = -(from[0] * dx + from[1] * dy) / length;
    let half = (HORIZON * HORIZON - height * height).sqrt();
    let (begin, end) = ((foot - half).clamp(0.0, length), (foot + half).clamp(0.0, length));
    let at = |along: f64| [from[0] + dx * along / length, from[1] + dy * along / length];
    let far = angle(from, at(begin)) + angle(at(end), to);
    let density = |along: f64| {
        let offset = along - foot;
        falling(height * height + offset * offset)
    };
    (far + height.copysign(cross) * integral(begin, end, density)) / TAU
}

/// The angle from one direction to another, as seen from the origin.
pub(crate) fn angle(from: [f64; 2], to: [f64; 2]) -> f64 {
    (from[0] * to[1] - from[1] * to[0]).atan2(from[0] * to[0] + from[1] * to[1])
}

/// The mass in a disc: the chords across it, weighted by the density along their common normal. The substitution of a
/// sine removes the roots at the ends of the disc.
pub(crate) fn disc(distance: f64, radius: f64) -> f64 {
    const NODES: usize = 32;
    let low = (-radius).max(distance - HORIZON - 0.5);
    let high = radius.min(distance + HORIZON + 0.5);
    if low >= high {
        return 0.0;
    }
    let (middle, half) = ((low + high) / 2.0, (high - low) / 2.0);
    let step = PI / NODES as f64;
    let sum: f64 = (0..NODES)
        .map(|node| {
            let (sin, cos) = ((node as f64 + 0.5) * step - PI / 2.0).sin_cos();
            let across = middle + half * sin;
            let chord = (radius * radius - across * across).max(0.0).sqrt();
            let offset = across - distance;
            (-offset * offset / 2.0).exp() * erf(chord * FRAC_1_SQRT_2) * cos
        })
        .sum();
    (sum * step * half / TAU.sqrt()).clamp(0.0, 1.0)
}

/// The mass of a half-plane whose border is `distance` ahead; negative if the origin is beyond it.
pub(crate) fn half_plane(distance: f64) -> f64 {
    (1.0 - erf(distance * FRAC_1_SQRT_2)) / 2.0
}

/// `(1 - exp(-x / 2)) / x`, smooth at zero.
fn falling(square: f64) -> f64 {
    if square < 1e-6 { 0.5 - square / 8.0 } else { -(-square / 2.0).exp_m1() / square }
}

/// Gauss-Legendre with eight nodes in pieces of at most two and a half deviations, with fewer on short pieces.
fn integral(begin: f64, end: f64, density: impl Fn(f64) -> f64) -> f64 {
    const TWO: [(f64, f64); 1] = [(0.577_350_269_189_625_8, 1.0)];
    const FOUR: [(f64, f64); 2] =
        [(0.339_981_043_584_856_3, 0.652_145_154_862_546_1), (0.861_136_311_594_052_6, 0.347_854_845_137_453_9)];
    const EIGHT: [(f64, f64); 4] = [
        (0.183_434_642_495_649_8, 0.362_683_783_378_362),
        (0.525_532_409_916_329, 0.313_706_645_877_887_3),
        (0.796_666_477_413_626_7, 0.222_381_034_453_374_5),
        (0.960_289_856_497_536_3, 0.101_228_536_290_376_3),
    ];
    let span = end - begin;
    let (pieces, nodes) = match span {
        ..0.25 => (1.0, &TWO[..]),
        0.25..1.25 => (1.0, &FOUR[..]),
        _ => ((span / 2.5).ceil(), &EIGHT[..]),
    };
    let half = span / pieces / 2.0;
    let mut sum = 0.0;
    let mut middle = begin + half;
    while middle < end {
        for (node, weight) in nodes {
            sum += weight * (density(middle - half * node) + density(middle + half * node));
        }
        middle += 2.0 * half;
    }
    sum * half
}

/// Error function to 1.5e-7 (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26).
fn erf(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let poly =
        t * (0.254_829_592 + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (1.0 - poly * (-x * x).exp()).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_thirds_lie_within_the_accuracy() {
        assert!((disc(0.0, 1.0 / sigma_m(1.0)) - 0.68).abs() < 1e-4);
        assert!(((-SHARP * SHARP / 2.0).exp() - 0.001).abs() < 2e-5);
    }

    #[test]
    fn a_disc_agrees_with_its_polygon() {
        for radius in [0.05, 0.5, 1.0, 3.0, 40.0, 1_000.0] {
            for offset in [0.0, 0.3, 0.9999, 1.0, 1.5] {
                for distance in [radius * offset, radius + offset - 1.0] {
                    let corner = |index: u32| {
                        let turn = f64::from(index) / 4_000.0 * TAU;
                        [radius * turn.cos() - distance, radius * turn.sin()]
                    };
                    let polygon: f64 = (0..4_000).map(|index| triangle(corner(index), corner(index + 1))).sum();
                    let exact = disc(distance.abs(), radius);
                    assert!((polygon - exact).abs() < 1e-3, "{radius} at {distance}: {polygon} and {exact}");
                }
            }
        }
    }

    #[test]
    fn a_point_on_the_border_is_half_inside() {
        let square = [[-50.0, 0.0], [50.0, 0.0], [50.0, 100.0], [-50.0, 100.0], [-50.0, 0.0]];
        let mass: f64 = square.windows(2).map(|pair| triangle(pair[0], pair[1])).sum();
        assert!((mass - 0.5).abs() < 1e-4, "{mass}");
        assert!((half_plane(0.0) - 0.5).abs() < 1e-6);
        assert!((half_plane(1.0) - 0.158_655).abs() < 1e-5);
    }
}
