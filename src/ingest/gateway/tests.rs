//! Samples in the shapes that gateways send. The files of Ruuvi and ESPresense, the first two rows of Theengs and
//! `minew-milliseconds` are as published; the others are put together from published parts.

use parvis_engine::{beacons::report::Report, observation::Rejection};
use proptest::prelude::*;

use super::*;

const THEENGS: &[u8] = include_bytes!("samples/theengs.json");
const MINEW: &[u8] = include_bytes!("samples/minew.json");
const MINEW_MILLISECONDS: &[u8] = include_bytes!("samples/minew-milliseconds.json");
const RUUVI_HTTP: &[u8] = include_bytes!("samples/ruuvi-http.json");
const RUUVI_HTTP_WITHOUT_CLOCK: &[u8] = include_bytes!("samples/ruuvi-http-without-clock.json");
const RUUVI_MQTT: &[u8] = include_bytes!("samples/ruuvi-mqtt.json");
const ESPRESENSE: &[u8] = include_bytes!("samples/espresense.json");
const RAW: &[u8] = include_bytes!("samples/raw.json");

const ESPRESENSE_TOPIC: &str = "espresense/devices/iBeacon:426c7565-4368-6172-6d42-6561636f6e73-3838-4949/office";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn of(format: Format, topic: Option<&str>, bytes: &[u8]) -> Batch {
    read(format, topic, bytes, at("2022-05-27T06:46:30Z")).expect("a message of this format")
}

fn scanner_of(batch: &Batch) -> Option<&str> {
    batch.scanner.as_ref().map(ScannerId::as_str)
}

fn counts(batch: &Batch) -> (usize, usize, usize) {
    (batch.sightings.len(), batch.rejected.len(), batch.ignored)
}

fn refusal(batch: &Batch) -> &str {
    assert_eq!(counts(batch), (0, 1, 0), "{batch:?}");
    assert_eq!(batch.rejected[0].1.reason, Rejection::Invalid);
    &batch.rejected[0].1.detail
}

#[test]
fn formats_are_named_as_they_are_written() {
    for format in Format::ALL {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert!("Minew".parse::<Format>().expect_err("upper case").contains("theengs, minew"));
}

mod theengs_samples {
    use super::*;

    #[test]
    fn decoded_and_undecoded_beacons_are_read() {
        let batch = of(Format::Theengs, Some("home/OpenMQTTGateway_1/BTtoMQTT/6087574C9BC2"), THEENGS);
        assert_eq!(scanner_of(&batch), Some("OpenMQTTGateway_1"));
        assert_eq!((batch.rejected.len(), batch.ignored), (0, 2), "{:?}", batch.rejected);
        let told: Vec<_> = batch
            .sightings
            .iter()
            .map(|heard| (heard.index, heard.identity.to_string(), heard.measured_power_dbm, heard.battery_v))
            .collect();
        let ours = "1de4b189-115e-45f6-b44e-509352269977-0-0";
        let radioland = "fda50693-a4e2-4fb1-afcf-c6eb07647825-1-2";
        let expected = [
            (0, ours, Some(-66.0), None),
            (1, ours, Some(-66.0), None),
            (2, radioland, None, Some(2.6)),
            (3, radioland, Some(-59.0), None),
            (4, "c6:a5:b9:e0:ad:06", None, Some(2.899)),
            (7, "2f234454-cf6d-4a0f-adf2-f4911ba9ffa6-1-2", Some(-59.0), None),
            (8, "12345678901234678901-000000000001", Some(-70.0), None),
            (9, "ac:23:3f:a0:00:02", None, Some(2.84)),
        ];
        let expected: Vec<_> = expected.into_iter().map(|(at, id, dbm, v)| (at, id.to_owned(), dbm, v)).collect();
        assert_eq!(told, expected);
        assert!(batch.sightings.iter().all(|heard| heard.at.is_none()));
        // Once as the id, once in a field of its own beside the UUID.
        assert_eq!(batch.sightings[0].mac, Some("60:87:57:4c:9b:c2".parse().expect("an address")));
        assert_eq!(batch.sightings[0].mac, batch.sightings[1].mac);
    }

    #[test]
    fn the_topic_names_the_gateway() {
        let named = |topic| of(Format::Theengs, Some(topic), br#"{"id":"x"}"#).scanner;
        assert_eq!(named("home/floor/1/G2/BTtoMQTT/AABB").as_ref().map(ScannerId::as_str), Some("G2"));
        assert_eq!(named("home/presence/G2").as_ref().map(ScannerId::as_str), Some("G2"));
        assert_eq!(of(Format::Theengs, None, THEENGS).scanner, None);
        // What the gateway says of itself is not even JSON.
        assert_eq!(counts(&of(Format::Theengs, Some("home/G2/LWT"), b"online")), (0, 0, 1));
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |text: &str| refusal(&of(Format::Theengs, None, text.as_bytes())).to_owned();
        assert!(refused(r#"{"uuid":"1de4","major":0,"minor":0,"rssi":-1}"#).contains("`uuid`"));
        let uuid = "1de4b189115e45f6b44e509352269977";
        assert!(refused(&format!(r#"{{"uuid":"{uuid}","major":65536,"minor":0,"rssi":-1}}"#)).contains("`major`"));
        assert!(refused(&format!(r#"{{"uuid":"{uuid}","major":0,"minor":0}}"#)).contains("`rssi` is missing"));
        assert!(refused(&format!(r#"{{"uuid":"{uuid}","major":0,"minor":0,"rssi":127}}"#)).contains("127"));
        assert!(refused(r#"{"manufacturerdata":"4c0","rssi":-1}"#).contains("`manufacturerdata` has an odd number"));
        assert_eq!(read(Format::Theengs, None, b"{", Timestamp::default()).expect_err("cut").pointer, "");
    }
}

mod minew_samples {
    use super::*;

    #[test]
    fn beacons_are_read_decoded_and_raw() {
        let batch = read(Format::Minew, None, MINEW, at("2019-08-01T05:54:27Z")).expect("an upload");
        assert_eq!(scanner_of(&batch), Some("ac233fc001ea"));
        assert_eq!(counts(&batch), (2, 0, 3));
        let first = Heard {
            index: 1,
            identity: Identity::Ibeacon(parvis_engine::beacons::Ibeacon {
                uuid: "fda50693-a4e2-4fb1-afcf-c6eb07647825".parse().expect("a UUID"),
                major: 10_002,
                minor: 5_208,
            }),
            rssi_dbm: -67.0,
            measured_power_dbm: Some(-59.0),
            count: None,
            battery_v: None,
            at: Some(at("2019-08-01T05:54:26Z")),
            mac: Some("19:18:fc:05:1f:5a".parse().expect("an address")),
        };
        assert_eq!(batch.sightings[0], first);
        assert_eq!((batch.sightings[1].index, batch.sightings[1].measured_power_dbm), (5, Some(-40.0)));

        let batch = read(Format::Minew, None, MINEW_MILLISECONDS, at("2022-01-20T13:22:50Z")).expect("an upload");
        assert_eq!((scanner_of(&batch), counts(&batch)), (Some("ac233fc0bc43"), (2, 0, 0)));
        assert_eq!(batch.sightings[1].at, Some(at("2022-01-20T13:22:49.431Z")));
    }

    #[test]
    fn a_clock_that_was_not_set_is_not_believed() {
        let row = |time: &str| {
            let text = format!(
                r#"[{{"mac":"DF51FD4A4CAF","rssi":"-61","timestamp":{time},
                    "rawData":"0201061AFF4C000215FDA50693A4E24FB1AFCFC6EB0764782500010002D8"}}]"#
            );
            let batch =
                read(Format::Minew, Some("/gw/ac233fc001ea/status"), text.as_bytes(), at("2026-11-21T12:00:00Z"));
            let batch = batch.expect("an upload");
            assert_eq!((scanner_of(&batch), counts(&batch)), (Some("ac233fc001ea"), (1, 0, 0)), "{batch:?}");
            batch.sightings[0].at
        };
        assert_eq!(row(r#""1970-01-01T00:00:31Z""#), None);
        assert_eq!(row("31000"), None);
        assert_eq!(row(r#""2019-08-01T05:54:26Z""#), None);
        assert_eq!(row(r#""2026-11-23T12:00:00Z""#), None);
        assert_eq!(row("null"), None);
        assert_eq!(row(r#""2026-11-21T11:59:58Z""#), Some(at("2026-11-21T11:59:58Z")));
        assert_eq!(row("1795262398000"), Some(at("2026-11-21T11:59:58Z")));
        // Wrong, but by a clock that was set: it is for the operator to see.
        assert_eq!(row(r#""2026-11-21T04:00:00Z""#), Some(at("2026-11-21T04:00:00Z")));
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |row: &str| refusal(&of(Format::Minew, None, format!("[{row}]").as_bytes())).to_owned();
        assert!(refused(r#"{"type":"iBeacon","rssi":-1}"#).contains("`ibeaconUuid` is missing"));
        let beacon = r#""type":"iBeacon","ibeaconUuid":"FDA50693A4E24FB1AFCFC6EB07647825","ibeaconMajor":1"#;
        assert!(refused(&format!("{{{beacon}}}")).contains("`ibeaconMinor`"));
        assert!(refused(&format!(r#"{{{beacon},"ibeaconMinor":1.5}}"#)).contains("`ibeaconMinor`"));
        assert!(refused(&format!(r#"{{{beacon},"ibeaconMinor":2,"rssi":0}}"#)).contains("`rssi` is 0"));
        let time = format!(r#"{{{beacon},"ibeaconMinor":2,"rssi":-60,"timestamp":"noon"}}"#);
        assert!(refused(&time).contains("`timestamp`"));
        assert!(refused(r#"{"rawData":"0201zz","rssi":-1}"#).contains("`rawData` has no hexadecimal digit at 4"));
        assert!(read(Format::Minew, None, b"{}", Timestamp::default()).is_err());
    }
}

mod ruuvi_samples {
    use super::*;

    #[test]
    fn an_upload_is_read_with_its_times() {
        let batch = of(Format::Ruuvi, None, RUUVI_HTTP);
        assert_eq!((scanner_of(&batch), batch.nonce), (Some("c8252d8e9c2c"), Some(2_636_366_621)));
        assert_eq!(counts(&batch), (1, 0, 0));
        let heard = &batch.sightings[0];
        assert_eq!(heard.identity.to_string(), "c6:a5:b9:e0:ad:06");
        assert_eq!((heard.rssi_dbm, heard.battery_v, heard.at), (-71.0, Some(2.971), Some(at("2022-05-27T06:46:26Z"))));
    }

    #[test]
    fn without_a_clock_there_are_no_times() {
        let batch = of(Format::Ruuvi, None, RUUVI_HTTP_WITHOUT_CLOCK);
        assert_eq!(counts(&batch), (2, 0, 0));
        assert!(batch.sightings.iter().all(|heard| heard.at.is_none() && heard.mac.is_some()));
        assert_eq!(batch.sightings[1].identity.to_string(), "f4:1f:0c:28:cb:d6");
    }

    #[test]
    fn one_packet_has_its_tag_in_the_topic() {
        let topic = "ruuvi/C8:25:2D:8E:9C:2C/C6:A5:B9:E0:AD:06";
        let batch = of(Format::Ruuvi, Some(topic), RUUVI_MQTT);
        assert_eq!((scanner_of(&batch), counts(&batch)), (Some("c8252d8e9c2c"), (1, 0, 0)));
        assert_eq!(batch.sightings[0].mac, Some("c6:a5:b9:e0:ad:06".parse().expect("an address")));
        assert_eq!(batch.sightings[0].at, Some(at("2022-05-27T16:13:47Z")));
        let status = of(Format::Ruuvi, Some("ruuvi/C8:25:2D:8E:9C:2C/gw_status"), br#"{"state":"online"}"#);
        assert_eq!(counts(&status), (0, 0, 1));
    }

    #[test]
    fn mistakes_are_named_with_the_tag() {
        let tag = |tag: &str| format!(r#"{{"data":{{"gw_mac":"x","tags":{{"C6:A5:B9:E0:AD:06":{tag}}}}}}}"#);
        let refused = |text: &str| refusal(&of(Format::Ruuvi, None, tag(text).as_bytes())).to_owned();
        assert!(refused(r#"{"rssi":-1}"#).starts_with("C6:A5:B9:E0:AD:06: `data` is missing"));
        assert!(refused(r#"{"rssi":-1,"data":"02 01 0"}"#).contains("`data` has an odd number"));
        let ruuvi = "0201061BFF99040513C85714C7CC00240008041CAB76F41C3CC6A5B9E0AD06";
        assert!(refused(&format!(r#"{{"data":"{ruuvi}"}}"#)).contains("`rssi` is missing"));
        assert!(refused(&format!(r#"{{"data":"{ruuvi}","rssi":-1,"timestamp":"0"}}"#)).contains("`timestamp`"));
        for (text, pointer) in [("[]", "/data"), (r#"{"data":{}}"#, "/data/tags"), (r#"{"data":5}"#, "/data")] {
            let error = read(Format::Ruuvi, None, text.as_bytes(), Timestamp::default()).expect_err(text);
            assert_eq!(error.pointer, pointer, "{text}");
        }
    }
}

mod espresense_samples {
    use super::*;

    fn identity(id: &str) -> Option<String> {
        let text = format!(r#"{{"id":"{id}","rssi":-70.25,"rssi@1m":30,"mV":2950}}"#);
        let batch = of(Format::Espresense, None, text.as_bytes());
        assert!(batch.rejected.is_empty(), "{id}");
        let heard = batch.sightings.first()?;
        // What a beacon without calibration announces is no signal strength.
        assert_eq!((heard.rssi_dbm, heard.measured_power_dbm, heard.battery_v), (-70.25, None, Some(2.95)));
        Some(heard.identity.to_string())
    }

    #[test]
    fn a_device_is_read_in_its_room() {
        let batch = of(Format::Espresense, Some(ESPRESENSE_TOPIC), ESPRESENSE);
        assert_eq!((scanner_of(&batch), counts(&batch)), (Some("office"), (1, 0, 0)));
        let heard = &batch.sightings[0];
        assert_eq!(heard.identity.to_string(), "426c7565-4368-6172-6d42-6561636f6e73-3838-4949");
        assert_eq!((heard.rssi_dbm, heard.measured_power_dbm, heard.at), (-81.1, Some(-59.0), None));
        assert_eq!(heard.mac, Some("dd:88:00:00:37:77".parse().expect("an address")));
    }

    #[test]
    fn the_id_says_of_which_kind_it_is() {
        let uuid = "426c7565-4368-6172-6d42-6561636f6e73";
        assert_eq!(identity(&format!("altBeacon:{uuid}-1-2")), Some(format!("{uuid}-1-2")));
        let eddystone = Some("00112233445566778899-0a0b0c0d0e0f".to_owned());
        assert_eq!(identity("eddy:00112233445566778899-0a0b0c0d0e0f"), eddystone);
        assert_eq!(identity("eddy:0011223344445566778899-0a0b0c0d0e0f"), eddystone, "with the fifth byte twice");
        assert_eq!(identity("known:eeede852bd0b"), Some("ee:ed:e8:52:bd:0b".to_owned()));
        assert_eq!(identity("eeede852bd0b"), Some("ee:ed:e8:52:bd:0b".to_owned()));
        for stranger in ["apple:1006:10-12", "name:watch", "irk:00", "tile:c2", "md:0157:5", "d8a07885c1d"] {
            assert_eq!(identity(stranger), None, "{stranger}");
        }
    }

    #[test]
    fn other_topics_are_passed_over() {
        for topic in ["espresense/rooms/office/status", "espresense/devices/x/office/battery", "espresense"] {
            assert_eq!(counts(&of(Format::Espresense, Some(topic), b"online")), (0, 0, 1), "{topic}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |text: &str| refusal(&of(Format::Espresense, None, text.as_bytes())).to_owned();
        assert!(refused("5").contains("`id` is missing"));
        assert!(refused(r#"{"id":"iBeacon:426c7565-1-2","rssi":-1}"#).contains("iBeacon:426c7565-1-2"));
        assert!(refused(r#"{"id":"eeede852bd0b"}"#).contains("`rssi`"));
        assert!(refused(r#"{"id":"eeede852bd0b","rssi":12}"#).contains("`rssi` is 12"));
    }
}

mod raw_samples {
    use super::*;

    #[test]
    fn digits_are_read_however_they_are_written() {
        let batch = of(Format::Raw, Some("shop/scans/door-1"), RAW);
        assert_eq!((scanner_of(&batch), counts(&batch)), (Some("door-1"), (3, 0, 1)));
        let told: Vec<_> = batch.sightings.iter().map(|heard| (heard.identity.to_string(), heard.at)).collect();
        let time = Some(at("2022-05-27T06:46:26Z"));
        let expected = [
            ("c6:a5:b9:e0:ad:06", time),
            ("fda50693-a4e2-4fb1-afcf-c6eb07647825-1-2", None),
            ("b5b182c7-eab1-4988-aa99-b5c1517008d9-1-53092", time),
        ];
        assert_eq!(told, expected.map(|(identity, time)| (identity.to_owned(), time)));
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |text: &str| refusal(&of(Format::Raw, None, text.as_bytes())).to_owned();
        assert!(refused("7").contains("`data` is missing"));
        assert!(refused(r#"{"mac":"1","data":"0201"}"#).contains("`mac`"));
        assert!(refused(r#"{"adv":"zz"}"#).contains("`adv` has no hexadecimal digit"));
        let beacon = "1aff4c000215fda50693a4e24fb1afcfc6eb0764782500010002d8";
        assert!(refused(&format!(r#"{{"data":"{beacon}"}}"#)).contains("`rssi`"));
        assert!(refused(&format!(r#"{{"data":"{beacon}","rssi":-60,"ts":"noon"}}"#)).contains("`ts`"));
    }
}

mod reports {
    use super::*;

    const TEXT: &str = r#"{"scanner":"opera-3","boot":"b1","seq":7,"heard":[
        {"age_ms":1500,"uuid":"f7826da6-4fa2-4e98-8024-bc5b71e0893e","major":7,"minor":1,"rssi_dbm":-63,
            "measured_power_dbm":-59,"count":4},
        {"age_ms":0,"mac":"c6:a5:b9:e0:ad:06","rssi_dbm":-71,"battery_v":2.9},
        {"age_ms":18446744073709551615,"eid":"0011223344556677","rssi_dbm":42}]}"#;

    #[test]
    fn ages_are_reckoned_from_the_arrival() {
        let batch = of(Format::Parvis, None, TEXT.as_bytes());
        assert_eq!((scanner_of(&batch), batch.nonce, counts(&batch)), (Some("opera-3"), Some(7), (2, 1, 0)));
        assert_eq!(batch.sightings[0].at, Some(at("2022-05-27T06:46:28.500Z")));
        assert_eq!(batch.sightings[1].at, Some(at("2022-05-27T06:46:30Z")));
        assert_eq!((batch.sightings[1].battery_v, batch.sightings[1].mac.is_some()), (Some(2.9), true));
        assert!(batch.rejected[0].1.detail.contains("`rssi_dbm` is 42"), "{:?}", batch.rejected);
        let report: Report = serde_json::from_str(TEXT).expect("a report");
        assert_eq!(report::sightings(&report, at("2022-05-27T06:46:30Z")), Ok(batch));
    }

    #[test]
    fn a_report_that_is_none_is_refused_with_the_place() {
        let error = |text: &str| read(Format::Parvis, None, text.as_bytes(), Timestamp::default()).expect_err(text);
        assert_eq!(error(&TEXT.replace("opera-3", "opera 3")).pointer, "/scanner");
        assert_eq!(error(&TEXT.replace("\"seq\":7", "\"seq\":-7")).pointer, "/seq");
    }
}

fn json_of_gateways() -> impl Strategy<Value = Value> {
    const NAMES: &str = "data tags gw_mac rssi timestamp ts type mac rawData ibeaconUuid ibeaconMajor ibeaconMinor id \
        uuid major minor txpower power volt manufacturerdata servicedata servicedatauuid model_id rssi@1m adv scanner \
        boot seq heard age_ms rssi_dbm nonce state";
    let names = prop::sample::select(NAMES.split_whitespace().collect::<Vec<&str>>());
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(vec![
            "Gateway",
            "iBeacon",
            "RuuviTag_RAWv2",
            "0xfeaa",
            "C6:A5:B9:E0:AD:06",
            "1de4b189115e45f6b44e509352269977",
            "iBeacon:426c7565-4368-6172-6d42-6561636f6e73-3838-4949",
            "eddy:0011223344445566778899-0a0b0c0d0e0f",
            "0201061AFF4C000215FDA50693A4E24FB1AFCFC6EB0764782500010002D8",
            "2019-08-01T05:54:25Z",
            "-60",
            "",
        ])
        .prop_map(Value::from),
        ".{0,30}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 8, move |inner| {
        let members = prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner.clone(), 0..8);
        prop_oneof![
            prop::collection::vec(inner, 0..6).prop_map(Value::from),
            members.prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, topic in prop::option::of("[a-zA-Z:/]{0,40}"), now: i64) {
        for format in Format::ALL {
            let _ = read(format, topic.as_deref(), &bytes, Timestamp::from_millis(now));
        }
    }

    #[test]
    fn no_json_panics_or_is_lost(
        value in json_of_gateways(),
        topic in prop::sample::select(vec![None, Some("home/g/BTtoMQTT/x"), Some(ESPRESENSE_TOPIC)]),
        now: i64,
    ) {
        let bytes = value.to_string();
        for format in Format::ALL {
            let Ok(batch) = read(format, topic, bytes.as_bytes(), Timestamp::from_millis(now)) else { continue };
            let noted = batch.sightings.len() + batch.rejected.len() + batch.ignored;
            let elements = value.as_array().map_or(1, Vec::len);
            match format {
                Format::Theengs if topic != Some(ESPRESENSE_TOPIC) => prop_assert_eq!(noted, elements),
                Format::Raw => prop_assert_eq!(noted, elements),
                Format::Parvis | Format::Minew | Format::Ruuvi | Format::Espresense | Format::Theengs => {}
            }
            prop_assert!(batch.sightings.iter().all(|heard| (-127.0..0.0).contains(&heard.rssi_dbm)));
        }
    }

    /// One character of a real message is another one.
    #[test]
    fn no_damaged_sample_panics(place in 0.0_f64..1.0, byte: u8, now: i64) {
        let samples = [
            (Format::Theengs, THEENGS),
            (Format::Minew, MINEW),
            (Format::Ruuvi, RUUVI_HTTP),
            (Format::Ruuvi, RUUVI_MQTT),
            (Format::Espresense, ESPRESENSE),
            (Format::Raw, RAW),
        ];
        for (format, sample) in samples {
            let mut bytes = sample.to_vec();
            let place = (place * bytes.len() as f64) as usize;
            bytes[place] = byte;
            let _ = read(format, None, &bytes, Timestamp::from_millis(now));
        }
    }
}
