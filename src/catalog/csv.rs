//! Beacons as a table: CSV with a header, a row for each. What a beacon may be is the engine's to say.

use std::{path::Path, sync::Arc};

use parvis_engine::problem::Problem;
use serde_json::{Map, Value, json};

use super::{Kind, objects::Entry};
use crate::document::LineBreaks;

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The line that it begins on, from 1.
    pub line: usize,
    /// The beacon as JSON, without the cells that can't be read.
    pub beacon: Value,
    /// The cells that can't be read, with pointers into the beacon.
    pub problems: Vec<Problem>,
}

impl Row {
    /// Checks the beacon.
    ///
    /// # Errors
    /// Everything that is wrong with the row; pointers name columns.
    pub fn compile(&self, file: Option<Arc<Path>>) -> Result<(Arc<str>, Entry), Vec<Problem>> {
        // What could not be read is not what its author left out, so the rest can't be judged.
        if !self.problems.is_empty() {
            return Err(self.problems.clone());
        }
        let compiled = Entry::compile(Kind::Beacon, self.beacon.clone(), file);
        compiled.map_err(|problems| problems.into_iter().map(column).collect())
    }
}

/// A problem of a beacon as one of a row: columns are called what the innermost fields are.
pub fn column(problem: Problem) -> Problem {
    let name = problem.path.rsplit_once('/').map(|(_, name)| format!("/{name}"));
    Problem { path: name.unwrap_or_default(), ..problem }
}

/// What is wrong with a table as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The line, from 1.
    pub line: usize,
    /// What to do about it.
    pub message: String,
}

/// What stands in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Text,
    Whole,
    Number,
}

/// The columns: their names, where their cells go, and what stands in them.
const COLUMNS: [(&str, &str, Cell); 17] = [
    ("id", "/id", Cell::Text),
    ("role", "/role", Cell::Text),
    ("store", "/store", Cell::Text),
    ("zone", "/zone", Cell::Text),
    ("uuid", "/uuid", Cell::Text),
    ("major", "/major", Cell::Whole),
    ("minor", "/minor", Cell::Whole),
    ("namespace", "/namespace", Cell::Text),
    ("instance", "/instance", Cell::Text),
    ("mac", "/mac", Cell::Text),
    ("lat", "/position/lat", Cell::Number),
    ("lon", "/position/lon", Cell::Number),
    ("x_m", "/plan/x_m", Cell::Number),
    ("y_m", "/plan/y_m", Cell::Number),
    ("floor", "/plan/floor", Cell::Whole),
    ("measured_power_dbm", "/measured_power_dbm", Cell::Number),
    ("name", "/name", Cell::Text),
];

/// Columns that say nothing without each other.
const TOGETHER: [&[&str]; 4] =
    [&["uuid", "major", "minor"], &["namespace", "instance"], &["lat", "lon"], &["x_m", "y_m"]];

/// The ways of saying who a beacon is.
const WHO: [&str; 3] = ["uuid", "namespace", "mac"];

/// So many wrong columns and so many wrong rows are told: a table with more has one cause that the first ones show.
const TOLD_MAX: usize = 1_000;

/// Reads a table, up to the row at which enough rows are wrong.
///
/// # Errors
/// Everything that is wrong with its header, or what is no CSV.
pub fn rows(text: &str) -> Result<Vec<Row>, Vec<Broken>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines { text, breaks: LineBreaks::of(text) };
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).has_headers(false).trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut records = reader.records();
    let header = match records.next() {
        Some(header) => header.map_err(|error| vec![lines.broken(&error)])?,
        None => return Err(vec![Broken { line: 1, message: format!("is empty; it begins with {}", names()) }]),
    };
    let line = lines.of(header.position());
    let columns = columns(&header)
        .map_err(|messages| messages.into_iter().map(|message| Broken { line, message }).collect::<Vec<_>>())?;
    let (mut rows, mut wrong) = (Vec::new(), 0);
    for record in records {
        let record = record.map_err(|error| vec![lines.broken(&error)])?;
        let (beacon, problems) = row(&columns, &record);
        wrong += usize::from(!problems.is_empty());
        rows.push(Row { line: lines.of(record.position()), beacon, problems });
        if wrong == TOLD_MAX {
            break;
        }
    }
    Ok(rows)
}

type Column = (&'static str, &'static str, Cell);

fn columns(header: &csv::StringRecord) -> Result<Vec<Column>, Vec<String>> {
    let (mut columns, mut messages): (Vec<Column>, Vec<String>) = (Vec::new(), Vec::new());
    for name in header {
        if messages.len() == TOLD_MAX {
            break;
        }
        match COLUMNS.into_iter().find(|(known, ..)| *known == name) {
            Some((known, ..)) if columns.iter().any(|(other, ..)| *other == known) => {
                messages.push(format!("the column {known} stands here twice"));
            }
            Some(column) => columns.push(column),
            None => messages.push(format!("there is no column {name:?}; there are {}", names())),
        }
    }
    let has = |name: &str| columns.iter().any(|(known, ..)| *known == name);
    if !has("id") {
        messages.push("the column id is missing".to_owned());
    }
    for group in TOGETHER.into_iter().filter(|group| group.iter().any(|name| has(name))) {
        let missing = group.iter().filter(|name| !has(name));
        messages.extend(missing.map(|name| format!("the column {name} is missing; it goes with {}", group.join(", "))));
    }
    if !WHO.into_iter().any(has) {
        let message =
            "columns that say who a beacon is are missing: uuid, major, minor; or namespace, instance; or mac";
        messages.push(message.to_owned());
    }
    if messages.is_empty() { Ok(columns) } else { Err(messages) }
}

fn row(columns: &[Column], record: &csv::StringRecord) -> (Value, Vec<Problem>) {
    let mut beacon = Map::new();
    let mut problems = Vec::new();
    if record.len() != columns.len() {
        let message = format!("has {} cells, but the header has {} columns", record.len(), columns.len());
        problems.push(Problem::new("", message));
    }
    for ((name, pointer, cell), text) in columns.iter().zip(record).filter(|(_, text)| !text.is_empty()) {
        match value(*cell, text) {
            Ok(value) => put(&mut beacon, pointer, value),
            Err(what) => problems.push(Problem::new(format!("/{name}"), format!("{text:?} is no {what}"))),
        }
    }
    (Value::Object(beacon), problems)
}

fn value(cell: Cell, text: &str) -> Result<Value, &'static str> {
    match cell {
        Cell::Text => Ok(text.into()),
        Cell::Whole => text.parse::<i64>().map(Value::from).map_err(|_| "whole number"),
        Cell::Number => {
            let number = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
            number.map(Value::Number).ok_or("number")
        }
    }
}

fn put(beacon: &mut Map<String, Value>, pointer: &str, value: Value) {
    match pointer[1..].split_once('/') {
        None => drop(beacon.insert(pointer[1..].to_owned(), value)),
        Some((outer, inner)) => beacon.entry(outer).or_insert_with(|| json!({}))[inner] = value,
    }
}

fn names() -> String {
    COLUMNS.map(|(name, ..)| name).join(",")
}

/// Where a record stands in its text.
struct Lines<'a> {
    text: &'a str,
    breaks: LineBreaks,
}

impl Lines<'_> {
    /// The line that the record at a position begins on. Readers count it from the end of the record before, which
    /// may be followed by line breaks.
    fn of(&self, position: Option<&csv::Position>) -> usize {
        let at = position.map_or(0, |position| usize::try_from(position.byte()).unwrap_or(usize::MAX));
        let rest = self.text.get(at..).unwrap_or_default();
        self.breaks.line(at + rest.len() - rest.trim_start_matches(['\r', '\n']).len())
    }

    fn broken(&self, error: &csv::Error) -> Broken {
        Broken { line: self.of(error.position()), message: format!("is no CSV: {error}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_beacon() {
        let text = "\u{feff}id,uuid,major,minor,lat,lon,x_m,y_m,floor,measured_power_dbm,name\r\n\
            \"a-1\",f7826da6-4fa2-4e98-8024-bc5b71e0893e,1,2,48.5,2.25,3,4.5,-1,-61,\"Wall, left\"\n\n\
            a-2 ,,,,,,,,,,\n";
        let rows = rows(text).expect("a table");
        let expected = json!({"id": "a-1", "uuid": "f7826da6-4fa2-4e98-8024-bc5b71e0893e", "major": 1, "minor": 2,
            "position": {"lat": 48.5, "lon": 2.25}, "plan": {"x_m": 3.0, "y_m": 4.5, "floor": -1},
            "measured_power_dbm": -61.0, "name": "Wall, left"});
        assert_eq!(rows[0], Row { line: 2, beacon: expected, problems: Vec::new() });
        assert_eq!(rows[1], Row { line: 4, beacon: json!({"id": "a-2"}), problems: Vec::new() });
    }

    #[test]
    fn every_wrong_cell_is_told() {
        let rows = rows("id,mac,lat,lon\na,x,north,inf\nb,y\n").expect("a table");
        let problems: Vec<String> = rows[0].problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, ["/lat: \"north\" is no number", "/lon: \"inf\" is no number"]);
        assert_eq!(rows[1].problems, [Problem::new("", "has 2 cells, but the header has 4 columns")]);
    }

    #[test]
    fn what_is_told_of_a_table_is_bounded() {
        let broken = rows(&",".repeat(100_000)).expect_err("no columns");
        assert!(broken.len() < 2 * TOLD_MAX, "{}", broken.len());
        let rows = rows(&format!("id,mac\n{}", "a\n".repeat(100_000))).expect("a table");
        assert_eq!(rows.len(), TOLD_MAX);
    }

    #[test]
    fn every_wrong_column_is_told() {
        let told = |text: &str| -> Vec<String> {
            rows(text).expect_err("a broken header").into_iter().map(|it| it.message).collect()
        };
        let messages = told("ID,uuid,major,uuid,lat\n");
        assert!(messages[0].starts_with("there is no column \"ID\"; there are id,role,store,"), "{messages:?}");
        let others = [
            "the column uuid stands here twice",
            "the column id is missing",
            "the column minor is missing; it goes with uuid, major, minor",
            "the column lon is missing; it goes with lat, lon",
        ];
        assert_eq!(messages[1..], others);
        assert!(told("id,name\n")[0].starts_with("columns that say who a beacon is are missing"));
        assert!(told("")[0].starts_with("is empty"));
    }
}
