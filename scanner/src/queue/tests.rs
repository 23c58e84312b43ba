//! What the queue keeps, and what damage costs.

use proptest::prelude::*;

use super::*;

const PLENTY: u64 = 64 << 20;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn open(folder: &tempfile::TempDir) -> Queue {
    Queue::open(folder.path(), PLENTY).expect("opened")
}

fn drain(queue: &mut Queue) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let Some(record) = pop(queue) {
        records.push(record);
    }
    records
}

fn pop(queue: &mut Queue) -> Option<Vec<u8>> {
    let (place, record) = queue.oldest().expect("read").map(|(place, record)| (place, record.to_vec()))?;
    queue.remove(place).expect("removed");
    Some(record)
}

fn segments(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let numbers = numbers(folder.path()).expect("listed");
    numbers.iter().map(|number| folder.path().join(format!("{number:012}.{SUFFIX}"))).collect()
}

fn numbered(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    range.map(|number| format!("record {number}").into_bytes()).collect()
}

fn fill(queue: &mut Queue, records: &[Vec<u8>]) {
    records.iter().for_each(|record| queue.append(record).expect("appended"));
}

#[test]
fn records_come_out_in_their_order_also_after_a_restart() {
    let folder = folder();
    let mut queue = open(&folder);
    fill(&mut queue, &numbered(0..50));
    assert_eq!(queue.len(), 50);
    for expected in numbered(0..20) {
        assert_eq!(pop(&mut queue), Some(expected));
    }
    fill(&mut queue, &numbered(50..60));
    drop(queue);
    let mut queue = open(&folder);
    assert_eq!(queue.len(), 40);
    fill(&mut queue, &numbered(60..70));
    assert_eq!(drain(&mut queue), numbered(20..70));
    assert!(queue.is_empty() && segments(&folder).is_empty());
    fill(&mut queue, &numbered(70..71));
    drop(queue);
    assert_eq!(drain(&mut open(&folder)), numbered(70..71));
}

#[test]
fn a_tail_that_was_cut_costs_the_last_record_only() {
    let whole = folder();
    let mut queue = open(&whole);
    fill(&mut queue, &numbered(0..3));
    drop(queue);
    let bytes = fs::read(&segments(&whole)[0]).expect("read");
    for cut in 0..bytes.len() {
        fs::write(&segments(&whole)[0], &bytes[..cut]).expect("written");
        let _ = fs::remove_file(whole.path().join(HEAD));
        let mut queue = open(&whole);
        let left = queue.len();
        fill(&mut queue, &numbered(9..10));
        let mut records = drain(&mut queue);
        assert_eq!(records.pop(), Some(b"record 9".to_vec()));
        assert_eq!(records, numbered(0..3)[..records.len()]);
        assert_eq!((count(records.len()), records.len()), (left, cut * 3 / bytes.len()), "cut at {cut}");
        fs::write(segments_or_first(&whole), &bytes).expect("written");
    }
}

fn segments_or_first(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join(format!("{:012}.{SUFFIX}", 1))
}

#[test]
fn damage_in_the_middle_costs_what_it_hits() {
    let folder = folder();
    let mut queue = open(&folder);
    fill(&mut queue, &numbered(0..10));
    drop(queue);
    let path = &segments(&folder)[0];
    let mut bytes = fs::read(path).expect("read");
    let one = bytes.len() / 10;
    bytes[one * 4 + 15] ^= 0x40;
    bytes[one * 7 + 5] ^= 0x40;
    fs::write(path, &bytes).expect("written");
    let mut queue = open(&folder);
    let expected = [numbered(0..4), numbered(5..7), numbered(8..10)].concat();
    assert_eq!((queue.len(), drain(&mut queue)), (8, expected));
    assert_eq!(queue.take_losses(), Losses { full: 0, damaged: 2 });
}

#[test]
fn a_full_queue_gives_up_its_oldest_records() {
    let folder = folder();
    let mut queue = Queue::open(folder.path(), 4 * SEGMENT_BYTES_MAX).expect("opened");
    let records: Vec<Vec<u8>> = (0..200_u8).map(|number| vec![number; 10_000]).collect();
    for record in &records {
        queue.append(record).expect("appended");
        let on_disk: u64 = segments(&folder).iter().map(|path| path.metadata().expect("there").len()).sum();
        assert!(on_disk <= 4 * SEGMENT_BYTES_MAX);
    }
    let lost = usize::try_from(queue.take_losses().full).expect("few");
    assert!(lost > 50, "{lost}");
    assert_eq!(drain(&mut queue), records[lost..]);
}

#[test]
fn giving_up_what_is_being_read_goes_on_behind_it() {
    let folder = folder();
    let mut queue = Queue::open(folder.path(), 4 * SEGMENT_BYTES_MAX).expect("opened");
    queue.append(&[0; 10]).expect("appended");
    let (place, _) = queue.oldest().expect("read").expect("one");
    for number in 1..200_u8 {
        queue.append(&vec![number; 10_000]).expect("appended");
    }
    let lost = u8::try_from(queue.take_losses().full).expect("few");
    queue.remove(place).expect("nothing to remove");
    assert_eq!(queue.oldest().expect("read").map(|(_, record)| record[0]), Some(lost));
    queue.remove(place).expect("nothing to remove");
    assert_eq!(pop(&mut queue).map(|record| record[0]), Some(lost));
}

#[test]
fn one_process_at_a_time() {
    let folder = folder();
    let queue = open(&folder);
    assert!(Queue::open(folder.path(), PLENTY).is_err());
    drop(queue);
    assert!(Queue::open(folder.path(), PLENTY).is_ok());
}

#[test]
fn what_was_appended_is_named_for_syncing_once() {
    let folder = folder();
    let mut queue = open(&folder);
    assert_eq!(queue.unsynced().expect("listed").len(), 0);
    fill(&mut queue, &numbered(0..3));
    for file in queue.unsynced().expect("listed") {
        file.sync_all().expect("synced");
    }
    assert_eq!(queue.unsynced().expect("listed").len(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The queue against a plain list, with restarts.
    #[test]
    fn behaves_as_a_list(steps in prop::collection::vec((0_u8..4, 1_usize..90_000), 1..60)) {
        let folder = folder();
        let mut queue = open(&folder);
        let mut model = VecDeque::new();
        for (index, (kind, size)) in steps.into_iter().enumerate() {
            match kind {
                0 | 1 => {
                    let record = vec![u8::try_from(index).expect("few"); size];
                    queue.append(&record).expect("appended");
                    model.push_back(record);
                }
                2 => {
                    prop_assert_eq!(pop(&mut queue), model.pop_front());
                }
                _ => {
                    drop(queue);
                    queue = open(&folder);
                }
            }
            prop_assert_eq!(queue.len(), count(model.len()));
        }
        prop_assert_eq!(drain(&mut queue), Vec::from(model));
    }

    #[test]
    fn any_bytes_are_records_or_damage(bytes: Vec<u8>, from: u64) {
        let found = segment::records(&bytes, from);
        prop_assert!(found.records.is_empty());
    }
}
