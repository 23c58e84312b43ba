//! How cost grows with fences, vertices, devices, campaigns and nodes: one table each, one column a size, and beneath
//! each cost how many times it is that of the first column.

mod campaigns;
mod devices;
mod fences;
mod nodes;
mod vertices;

pub(crate) use self::{
    campaigns::part as campaigns, devices::part as devices, fences::part as fences, nodes::part as nodes,
    vertices::part as vertices,
};
use crate::rate::processor_us;

/// The sizes of the columns.
pub(crate) struct Growth {
    pub(crate) fences: &'static [usize],
    pub(crate) vertices: &'static [usize],
    pub(crate) devices: &'static [usize],
    pub(crate) campaigns: &'static [usize],
    pub(crate) nodes: &'static [usize],
    /// How long each cell is measured, microseconds of processor. The system counts them in hundredths of a second.
    pub(crate) cell_us: f64,
}

pub(crate) const WHOLE: Growth = Growth {
    fences: &[100, 1_000, 10_000, 100_000, 1_000_000],
    vertices: &[10, 100, 1_000, 10_000, 100_000],
    devices: &[1_000, 10_000, 100_000, 1_000_000],
    campaigns: &[1, 10, 100, 1_000, 10_000],
    nodes: &[1, 2, 3],
    cell_us: 1e6,
};

pub(crate) const SMOKE: Growth = Growth {
    fences: &[10, 1_000],
    vertices: &[10, 1_000],
    devices: &[300, 600],
    campaigns: &[1, 100],
    nodes: &[1, 3],
    cell_us: 0.0,
};

fn head(what: &str, sizes: &[usize]) {
    let cells: Vec<String> = sizes.iter().map(|size| grouped(*size)).collect();
    println!("\n| {what} | {} |\n|---|{}", cells.join(" | "), "---:|".repeat(sizes.len()));
}

/// A row of microseconds, and a row of how many times each is the first.
fn costs(what: &str, costs: &[f64]) {
    row(what, costs.iter().map(|cost| format!("{cost:.2} µs")));
    let ratio = |cost: &f64| if costs[0] > 0.0 { format!("{:.1}", cost / costs[0]) } else { String::new() };
    row("times the first", costs.iter().map(ratio));
}

fn row(what: &str, cells: impl Iterator<Item = String>) {
    println!("| {what} | {} |", cells.collect::<Vec<_>>().join(" | "));
}

/// Processor time of one of `count` pings, measured for as long as a cell takes.
fn each_us(growth: &Growth, count: usize, mut pings: impl FnMut()) -> f64 {
    // Warms up.
    pings();
    let (begun, mut rounds) = (processor_us(), 0);
    loop {
        pings();
        rounds += 1;
        let used = processor_us() - begun;
        if used >= growth.cell_us {
            return used / (rounds * count) as f64;
        }
    }
}

fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group));
    groups.collect::<Vec<_>>().join(",")
}
