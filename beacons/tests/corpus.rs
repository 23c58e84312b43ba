//! Bytes that once reached somewhere: recorded advertisements and what fuzzing found, read again by every run.

use std::{fs, path::Path};

use parvis_beacons::{
    Frame,
    advertisement::{Payload, numbered, structures},
    frame::frames,
};

fn files(kind: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(kind);
    let files = fs::read_dir(folder).expect("the folder is there");
    files.map(|file| fs::read(file.expect("a file").path()).expect("is readable")).collect()
}

fn ask(frame: Frame) -> bool {
    let told = (frame.identity(), frame.measured_power_dbm(), frame.battery_v());
    told.1.is_none_or(f64::is_finite) && told.2.is_none_or(|volts| volts.is_finite() && volts > 0.0)
}

#[test]
fn advertisements() {
    let found: usize = files("advertisement")
        .iter()
        .map(|bytes| {
            let length: usize = structures(bytes).map(|structure| structure.data.len() + 2).sum();
            assert!(length <= bytes.len());
            frames(bytes).inspect(|frame| assert!(ask(*frame), "{frame:?}")).count()
        })
        .sum();
    assert!(found >= 7, "{found}");
}

#[test]
fn manufacturer_data() {
    let files = files("manufacturer");
    let read = files.iter().filter_map(|bytes| numbered(bytes));
    let found = read.filter_map(|(company, data)| Frame::from_manufacturer_data(company, data));
    assert!(found.inspect(|frame| assert!(ask(*frame), "{frame:?}")).count() >= 12);
}

#[test]
fn service_data() {
    let files = files("service");
    let read = files.iter().filter_map(|bytes| numbered(bytes));
    let found = read.filter_map(|(service, data)| Frame::from_service_data(service, data));
    assert!(found.inspect(|frame| assert!(ask(*frame), "{frame:?}")).count() >= 3);
}

#[test]
fn text() {
    let files = files("text");
    let read = files.iter().filter_map(|bytes| std::str::from_utf8(bytes).ok()?.parse::<Payload>().ok());
    assert!(read.filter(|payload| !payload.is_empty()).count() >= 3);
}
