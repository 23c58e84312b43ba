//! Advertisements as a busy shop has them, from their bytes to the sightings of known beacons: what has to be done
//! for each, before anything is known of it.

use divan::{Bencher, black_box, counter::ItemsCount};
use parvis_beacons::{
    Ephemeral, Frame, Ibeacon, Identity, Instance, Namespace, Uuid,
    eid::{Exponent, IdentityKey, Registration, Resolver, ephemeral},
};

const ADVERTISEMENTS: usize = 10_000;
const KNOWN: u16 = 1_000;
const NOW_MS: i64 = 1_795_000_000_000;

fn main() {
    divan::main();
}

fn uuid(retailer: u8) -> Uuid {
    Uuid([retailer; 16])
}

/// Of ten advertisements, four are of our iBeacons, one of a stranger's, one of our Eddystones, one telemetry, and three
/// are of phones and watches.
fn advertisements() -> Vec<Vec<u8>> {
    let flags = [0x02, 0x01, 0x06];
    let ibeacon = |retailer: u8, minor: u16| {
        let mut bytes = [&flags[..], &[0x1a, 0xff, 0x4c, 0x00, 0x02, 0x15], &uuid(retailer).0, &[0, 7]].concat();
        bytes.extend(minor.to_be_bytes());
        bytes.push(0xc5);
        bytes
    };
    let eddystone = |frame: &[u8]| {
        let length = u8::try_from(frame.len() + 3).expect("a short frame");
        [&flags[..], &[0x03, 0x03, 0xaa, 0xfe, length, 0x16, 0xaa, 0xfe], frame].concat()
    };
    let advertisement = |number: usize| {
        let minor = u16::try_from(number * 7_919 % usize::from(KNOWN)).expect("a minor");
        match number % 10 {
            0..4 => ibeacon(1, minor),
            4 => ibeacon(2, minor),
            5 => eddystone(&[&[0x00, 0xe3][..], &[9; 10], &[0, 0, 0, 0], &minor.to_be_bytes(), &[0, 0]].concat()),
            6 => eddystone(&[0x20, 0, 0x0b, 0x18, 0x13, 0x80, 0, 0, 0x14, 0x67, 0, 0, 0x2a, 0xc4]),
            7 => vec![
                0x02, 0x01, 0x1a, 0x02, 0x0a, 0x07, 0x0b, 0xff, 0x4c, 0, 0x10, 0x06, 0x1f, 0x19, 0x78, 0xd8, 0x9a, 0x28,
            ],
            8 => [&[0x1e, 0xff, 0x4c, 0x00, 0x12, 0x19][..], &[0xa7; 25]].concat(),
            _ => [&flags[..], &[0x03, 0x03, 0x9f, 0xfe, 0x17, 0x16, 0x9f, 0xfe], &[0; 20]].concat(),
        }
    };
    (0..ADVERTISEMENTS).map(advertisement).collect()
}

fn known() -> Vec<Identity> {
    let ibeacons = (0..KNOWN).map(|minor| Identity::Ibeacon(Ibeacon { uuid: uuid(1), major: 7, minor }));
    let eddystones = (0..KNOWN).map(|minor| {
        let [high, low] = minor.to_be_bytes();
        Identity::Eddystone { namespace: Namespace([9; 10]), instance: Instance([0, 0, 0, 0, high, low]) }
    });
    let mut known: Vec<Identity> = ibeacons.chain(eddystones).collect();
    known.sort();
    known
}

#[divan::bench]
fn parse_and_filter(bencher: Bencher<'_, '_>) {
    let (advertisements, known) = (advertisements(), known());
    let sightings = |bytes: &&Vec<u8>| {
        let identity = Frame::from_advertisement(bytes).and_then(|frame| frame.identity());
        identity.is_some_and(|identity| known.binary_search(&identity).is_ok())
    };
    assert_eq!(advertisements.iter().filter(sightings).count(), ADVERTISEMENTS / 2);
    bencher
        .counter(ItemsCount::new(ADVERTISEMENTS))
        .bench(|| black_box(&advertisements).iter().filter(sightings).count());
}

/// One lookup among more and more beacons whose identifiers rotate.
#[divan::bench(args = [100, 1_000, 10_000])]
fn resolve(bencher: Bencher<'_, '_>, beacons: u32) {
    let exponent = Exponent::try_from(10).expect("an exponent");
    let registration = |number: u32| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Registration { identity_key: IdentityKey::new(bytes), exponent, began_at_ms: NOW_MS }
    };
    let mut resolver = Resolver::new(std::time::Duration::from_secs(30));
    (0..beacons).for_each(|number| resolver.insert(number, registration(number)));
    resolver.refresh(NOW_MS);
    let heard: Vec<Ephemeral> =
        (0..1_000).map(|number| ephemeral(&registration(number * 7_919 % beacons).identity_key, exponent, 0)).collect();
    bencher
        .counter(ItemsCount::new(heard.len()))
        .bench_local(|| heard.iter().filter(|eid| resolver.resolve(**eid, NOW_MS).is_some()).count());
}
