//! Advertisements of real beacons, against what other software read in them.

use parvis_beacons::{Frame, Ibeacon, Identity, advertisement::Payload, frame::frames};
use serde::Deserialize;

#[derive(Deserialize)]
struct Recorded {
    name: String,
    manufacturer_id: u16,
    data_hex: String,
    uuid: parvis_beacons::Uuid,
    major: u16,
    minor: u16,
    tx_power: f64,
}

#[test]
fn recorded_ibeacons_are_read_as_they_were() {
    let recorded: Vec<Recorded> =
        serde_json::from_str(include_str!("data/ibeacon_adv.json")).expect("the recording is JSON");
    assert_eq!(recorded.len(), 6);
    for Recorded { name, manufacturer_id, data_hex, uuid, major, minor, tx_power } in recorded {
        let data: Payload = data_hex.parse().expect("digits");
        let frame = Frame::from_manufacturer_data(manufacturer_id, &data).expect(&name);
        assert_eq!(frame.identity(), Some(Identity::Ibeacon(Ibeacon { uuid, major, minor })), "{name}");
        assert_eq!(frame.measured_power_dbm(), Some(tx_power), "{name}");

        // The same, as it was on the air.
        let flags_and_company = [2, 0x01, 0x06, 0x1a, 0xff, 0x4c, 0x00];
        assert_eq!(Frame::from_advertisement(&[&flags_and_company[..], &data].concat()), Some(frame), "{name}");
    }
}

/// Advertisements as gateways and test suites of other software give them, and who sent them.
#[test]
fn every_kind_is_found_in_its_advertisement() {
    for (text, identity, measured_power_dbm, battery_v) in [
        (
            "0x0201061AFF4C000215FDA50693A4E24FB1AFCFC6EB0764782500010002D80A09523233303330323533\
             111603185201230300FD000100020703E864",
            "fda50693-a4e2-4fb1-afcf-c6eb07647825-1-2",
            Some(-40.0),
            None,
        ),
        (
            "02011a1bff1801beac2f234454cf6d4a0fadf2f4911ba9ffa600010002c509000000",
            "2f234454-cf6d-4a0f-adf2-f4911ba9ffa6-1-2",
            Some(-59.0),
            None,
        ),
        (
            "0201060303aafe1716aafe00e3123456789012346789010000000000010000",
            "12345678901234678901-000000000001",
            Some(-70.0),
            None,
        ),
        ("0201060303aafe0d16aafe30e34549445f74657374", "4549445f74657374", Some(-70.0), None),
        ("0201061BFF99040513C85714C7CC00240008041CAB76F41C3CC6A5B9E0AD06", "c6:a5:b9:e0:ad:06", None, Some(2.971)),
    ] {
        let payload: Payload = text.parse().expect(text);
        let frame = Frame::from_advertisement(&payload).expect(text);
        assert_eq!(frame.identity().map(|identity| identity.to_string()).as_deref(), Some(identity));
        assert_eq!((frame.measured_power_dbm(), frame.battery_v()), (measured_power_dbm, battery_v), "{text}");
    }
}

#[test]
fn telemetry_says_how_a_beacon_fares_and_not_which() {
    let payload: Payload = "0201060303aafe1116aafe20000b1813000000146700002ac4e4".parse().expect("digits");
    let frame = Frame::from_advertisement(&payload).expect("telemetry");
    assert_eq!((frame.identity(), frame.battery_v()), (None, Some(2.84)));
    assert_eq!(frames(&payload).count(), 1);
}
