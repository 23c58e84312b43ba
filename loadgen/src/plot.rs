//! Plots as SVG: waits by percentile, and rate and waits over time. Colours are told apart by everybody (the palette of
//! Okabe and Ito, 2008), and lines also by their dashes.

use std::fmt::Write as _;

use crate::report::{Report, Stretch};

const WIDTH: f64 = 840.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
/// Blue, vermilion, bluish green, reddish purple; and how their lines are broken.
const STYLES: [(&str, &str); 4] = [("#0072B2", ""), ("#D55E00", "8 4"), ("#009E73", "2 3"), ("#CC79A7", "10 3 2 3")];

/// A line in a plot.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// How numbers lie along an axis.
struct Axis {
    label: &'static str,
    log: bool,
    low: f64,
    high: f64,
    /// Where marks are, and what they say.
    marks: Vec<(f64, String)>,
}

/// File names and contents.
pub(crate) fn all(report: &Report) -> Vec<(&'static str, String)> {
    let title = format!("{}: ", report.scenario.name);
    let waits = percentiles(&report.stretches);
    let over_time = |pick: fn(&crate::measure::Second) -> f64| -> Vec<Line> {
        let line = |stretch: &Stretch| Line {
            name: stretch.load.clone(),
            points: stretch.series.iter().map(|second| (second.at_s, pick(second))).collect(),
        };
        report.stretches.iter().map(line).collect()
    };
    let (rate, p99) = (over_time(|second| second.per_s), over_time(|second| second.p99_ms));
    vec![
        (
            "percentiles.svg",
            draw(&(title.clone() + "waits by percentile"), (&percents(&waits), &wait_axis(&waits)), &waits),
        ),
        ("rate.svg", draw(&(title.clone() + "pings accepted"), (&seconds(&rate), &rate_axis(&rate)), &rate)),
        ("p99.svg", draw(&(title + "99th percentile from ping to answer"), (&seconds(&p99), &wait_axis(&p99)), &p99)),
    ]
}

fn percentiles(stretches: &[Stretch]) -> Vec<Line> {
    let mut lines = Vec::new();
    for stretch in stretches {
        let line = |what: &str, curve: &[(f64, f64)]| Line {
            name: format!("{what}, {}", stretch.load),
            points: curve.iter().map(|(share, wait_ms)| (1.0 / share, *wait_ms)).collect(),
        };
        lines.push(line("ping to answer", &stretch.answer.curve));
        if let Some(arrival) = stretch.arrival.as_ref().filter(|arrival| arrival.count > 0) {
            lines.push(line("ping to accepted", &arrival.curve));
        }
    }
    lines
}

/// One in ten is the 90th percentile, one in a hundred the 99th.
fn percents(lines: &[Line]) -> Axis {
    let high = most(lines, |point| point.0).max(100.0);
    let name = |nines: i32| match nines {
        0 => "0".to_owned(),
        1 => "90".to_owned(),
        2 => "99".to_owned(),
        _ => format!("99.{}", "9".repeat(nines.unsigned_abs() as usize - 2)),
    };
    let marks = (0..=high.log10().floor() as i32).map(|nines| (10_f64.powi(nines), name(nines))).collect();
    Axis { label: "percentile of pings (logarithmic towards 100)", log: true, low: 1.0, high, marks }
}

fn wait_axis(lines: &[Line]) -> Axis {
    let least = lines.iter().flat_map(|line| &line.points).map(|point| point.1).filter(|wait_ms| *wait_ms > 0.0);
    let low = 10_f64.powf(least.fold(1.0, f64::min).max(0.001).log10().floor());
    let high = 10_f64.powf(most(lines, |point| point.1).max(low * 10.0).log10().ceil());
    let decades = low.log10().round() as i32..=high.log10().round() as i32;
    let marks = decades.map(|power| (10_f64.powi(power), 10_f64.powi(power).to_string())).collect();
    Axis { label: "milliseconds (logarithmic)", log: true, low, high, marks }
}

fn seconds(lines: &[Line]) -> Axis {
    linear("seconds since the beginning", most(lines, |point| point.0))
}

fn rate_axis(lines: &[Line]) -> Axis {
    linear("pings a second", most(lines, |point| point.1))
}

/// From 0 to a round number, with about five marks.
fn linear(label: &'static str, most: f64) -> Axis {
    let rough = most.max(1.0) / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let count = (most.max(1.0) / step).ceil();
    let marks = (0..=count as u32).map(|mark| f64::from(mark) * step).map(|at| (at, thousands(at))).collect();
    Axis { label, log: false, low: 0.0, high: count * step, marks }
}

fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    if number < 5.0 {
        return number.to_string();
    }
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn most(lines: &[Line], pick: fn(&(f64, f64)) -> f64) -> f64 {
    lines.iter().flat_map(|line| &line.points).map(pick).fold(0.0, f64::max)
}

impl Axis {
    /// Where a number lies, 0 to 1.
    fn share(&self, number: f64) -> f64 {
        let place = |number: f64| if self.log { number.max(self.low).log10() } else { number };
        (place(number) - place(self.low)) / (place(self.high) - place(self.low)).max(f64::MIN_POSITIVE)
    }
}

fn draw(title: &str, (across, up): (&Axis, &Axis), lines: &[Line]) -> String {
    let x = |number: f64| LEFT + across.share(number) * (WIDTH - LEFT - RIGHT);
    let y = |number: f64| HEIGHT - BOTTOM - up.share(number) * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<title>{title}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n",
        title = escaped(title)
    );
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (at, name) in &up.marks {
        let y = y(*at);
        let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ccc\"/>");
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>", LEFT - 8.0, y + 4.0);
    }
    for (at, name) in &across.marks {
        let x = x(*at);
        let _ = writeln!(svg, "<path d=\"M{x:.1} {TOP}V{bottom}\" stroke=\"#ccc\"/>");
        let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{name}</text>", bottom + 18.0);
    }
    let (middle, centre) = ((LEFT + right) / 2.0, (TOP + bottom) / 2.0);
    let _ =
        writeln!(svg, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>", HEIGHT - 16.0, across.label);
    let _ = writeln!(
        svg,
        "<text transform=\"translate(18 {centre}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        up.label
    );
    for (index, line) in lines.iter().enumerate() {
        let (colour, dashes) = STYLES[index % STYLES.len()];
        let stroke = format!("stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\" fill=\"none\"");
        let points = line.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)));
        let _ = writeln!(svg, "<polyline points=\"{}\" {stroke}/>", points.collect::<Vec<_>>().join(" "));
        // Names stand below the title, beside a piece of their line.
        let (at, row) = (LEFT + 190.0 * (index % 4) as f64, 34.0 + 14.0 * (index / 4) as f64);
        let _ = writeln!(svg, "<path d=\"M{at} {row}h24\" {stroke}/>");
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" font-size=\"11\">{}</text>",
            at + 30.0,
            row + 4.0,
            escaped(&line.name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_numbers_that_cover_all() {
        let axis = linear("pings a second", 262_144.0);
        let names: Vec<_> = axis.marks.iter().map(|mark| mark.1.as_str()).collect();
        assert_eq!(names, ["0", "100,000", "200,000", "300,000"]);
        assert!((axis.high - 300_000.0).abs() < 1e-6 && (axis.share(150_000.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_logarithmic_axis_gives_each_decade_the_same_room() {
        let lines = [Line { name: "a".to_owned(), points: vec![(1.0, 0.2), (1_000.0, 73.0)] }];
        let (across, up) = (percents(&lines), wait_axis(&lines));
        let names: Vec<_> = across.marks.iter().map(|mark| mark.1.as_str()).collect();
        assert_eq!(names, ["0", "90", "99", "99.9"]);
        assert!((up.low - 0.1).abs() < 1e-9 && (up.high - 100.0).abs() < 1e-9);
        assert!((up.share(1.0) - 1.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_plot_is_whole_even_without_points() {
        let lines = [Line { name: "a < b".to_owned(), points: Vec::new() }];
        let svg = draw("nothing", (&seconds(&lines), &wait_axis(&lines)), &lines);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n") && svg.contains("a &lt; b"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
