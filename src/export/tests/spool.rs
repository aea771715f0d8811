use std::path::Path;

use super::*;
use crate::engine::Instant;
use crate::export::message::tests::assorted;

const START: u64 = 1_793_193_845_067;

fn now(millis: u64) -> Now {
    Now { monotonic: Instant::from_millis(millis), unix_millis: START + millis }
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("aftr-spool-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn spool(folder: &Path, most_octets: u64) -> Spool {
    let config = aftr_config::Spool { directory: folder.to_owned(), most_octets, most_hours: 1 };
    Spool::open(&config, 9, now(0)).unwrap()
}

fn drained(spool: &mut Spool) -> Vec<Record> {
    let mut records = Vec::new();
    while let Some((number, more)) = spool.next() {
        records.extend(more);
        spool.release(number);
    }
    records
}

/// IPX-41, IPX-47
#[test]
fn what_is_put_in_comes_out_in_order_and_survives_a_restart() {
    let folder = folder("restart");
    let records = assorted(200_000);
    let mut first = spool(&folder, 1 << 30);
    for batch in records[..120_000].chunks(7000) {
        first.append(batch, now(1)).unwrap();
    }
    drop(first);
    let mut second = spool(&folder, 1 << 30);
    second.append(&records[120_000..], now(2)).unwrap();
    assert!(fs::read_dir(&folder).unwrap().count() > 2);
    assert!(drained(&mut second) == records);
    assert_eq!((second.octets(), second.loss), (0, Loss::default()));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_older_goes_before_what_is_there() {
    let folder = folder("before");
    let records = assorted(30);
    let mut spool = spool(&folder, 1 << 30);
    spool.append(&records[20..], now(1)).unwrap();
    spool.prepend(&records[10..20], now(1)).unwrap();
    spool.prepend(&records[..10], now(1)).unwrap();
    assert!(drained(&mut spool) == records);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_torn_end_costs_no_more_than_its_message() {
    let folder = folder("torn");
    let records = assorted(20);
    let mut first = spool(&folder, 1 << 30);
    first.append(&records[..10], now(1)).unwrap();
    first.append(&records[10..], now(1)).unwrap();
    let path = first.path(FIRST);
    drop(first);
    let octets = fs::read(&path).unwrap();
    fs::write(&path, &octets[..octets.len() - 5]).unwrap();
    let mut second = spool(&folder, 1 << 30);
    second.append(&records[10..], now(2)).unwrap();
    assert!(drained(&mut second) == records);
    fs::remove_dir_all(folder).unwrap();
}

/// IPX-42
#[test]
fn a_full_spool_gives_up_notices_then_mappings_then_the_oldest() {
    let folder = folder("full");
    let records = assorted(300_000);
    let of = |class| records.iter().filter(|record| record.class() == class).count() as u64;
    for (most_octets, lost) in [
        (13 << 20, [of(Class::Notice), 0, 0]),
        (9 << 20, [of(Class::Notice), of(Class::Mapping), 0]),
        (5 << 20, [of(Class::Notice), of(Class::Mapping), of(Class::Grant)]),
    ] {
        let mut spool = spool(&folder, most_octets);
        for batch in records.chunks(5000) {
            spool.append(batch, now(1)).unwrap();
            assert!(spool.octets() <= most_octets);
        }
        let loss = spool.loss.records;
        for (class, (&loss, &most)) in loss.iter().zip(&lost).enumerate() {
            assert!(loss <= most, "{loss} of class {class} at {most_octets}");
        }
        let left = drained(&mut spool);
        for class in Class::ALL {
            let kept = left.iter().filter(|record| record.class() == class).count() as u64;
            assert_eq!(kept + spool.loss.of(class), of(class), "{class:?} at {most_octets}");
        }
        let is_sorted = left.windows(2).all(|pair| pair[0].at > pair[1].at);
        assert!(is_sorted, "records of the samples are made later first");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_too_old_goes() {
    let folder = folder("old");
    let records = assorted(10);
    let mut spool = spool(&folder, 1 << 30);
    spool.append(&records, now(0)).unwrap();
    spool.keep_caps(now(3_600_000));
    assert_eq!(spool.loss.total(), 0);
    spool.keep_caps(now(3_600_001));
    assert_eq!(spool.loss.total(), 10);
    assert!(spool.is_empty());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_disk_that_refuses_is_an_error_and_loses_nothing_that_it_has() {
    let folder = folder("refuses");
    let records = assorted(20);
    let mut spool = spool(&folder, 1 << 30);
    spool.append(&records[..10], now(1)).unwrap();
    spool.open = None;
    // The name of the next file is taken by a folder.
    fs::create_dir(spool.path(FIRST + 1)).unwrap();
    assert!(spool.append(&records[10..], now(1)).is_err());
    assert_eq!(drained(&mut spool), records[..10]);
    fs::remove_dir_all(folder).unwrap();
}
