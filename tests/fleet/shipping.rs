//! Shipping that is interrupted, repeated and tampered with.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aftr::attribution::fleet::{Clickhouse, Fleet, Shipper};
use aftr::attribution::query::{Archive, Question};
use aftr::attribution::seal::{Extent, seal};
use aftr::attribution::{Directory, Journal, Record};

use crate::answers::ship;
use crate::folder::Folder;
use crate::place::{Place, python};
use crate::program::{AFTR, assert_ends};
use crate::world::{START, World};

/// What counts: each partition's rows once.
const COUNTED: &str = "SELECT count(), uniqExact(segment, row) FROM intervals WHERE aftr = 'aftr-1' AND (segment, load) IN \
                       (SELECT segment, max(load) FROM segments WHERE state = 'shipped' GROUP BY segment)";
const ALL: &str = "SELECT count(), uniqExact(segment, row) FROM intervals WHERE aftr = 'aftr-1'";

#[test]
fn a_ship_that_is_killed_leaves_nothing_missing_and_nothing_doubled() {
    let Some(python) = python("chdb") else { return };
    let folder = Folder::new("killed");
    let place = Place::open(&python, &folder.join("engine"), "");
    let journal = folder.join("aftr-1");
    let mut world = World::build(&journal, 7, 3000);
    let archive = Archive::open(&world.directory).unwrap();
    let rows: u64 = archive.catalogue().partitions.iter().map(|partition| partition.rows).sum();
    assert_ends(&ship(&place, &journal, "aftr-1", &[]), 1, &["aftr journal ship --create"]);
    let (url, path) = (place.url(), journal.to_str().unwrap());
    let words = [
        "journal",
        "ship",
        "--to",
        &url,
        "--journal",
        path,
        "--as",
        "aftr-1",
        "--create",
        "--retention-days",
        "730",
    ];
    for _ in 0..12 {
        let mut child = Command::new(AFTR).args(words).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(20 + world.below(400)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_ends(&ship(&place, &journal, "aftr-1", &[]), 0, &["each proved"]);
    assert_ends(&ship(&place, &journal, "aftr-1", &[]), 0, &["shipped 0 partitions"]);
    assert_eq!(place.sql(COUNTED), format!("{rows}\t{rows}"));
    assert_ends(
        &ship(&place, &journal, "aftr-1", &["--verify"]),
        0,
        &["none is missing, doubled or changed"],
    );
    println!("after 12 kills: {rows} rows count, in the table are {}", place.sql(ALL));
    // Hours later, what the killed ones left is removed.
    let clickhouse = Clickhouse::new(&url.parse().unwrap(), None).unwrap();
    let later = || now() + 3 * 3_600_000;
    let (directory, aftr) = (&world.directory, "aftr-1");
    let shipper = Shipper { clickhouse: &clickhouse, directory, aftr, clock: &later, chance: 1 };
    let shipment = shipper.ship(&BTreeSet::new()).unwrap();
    assert_eq!((shipment.shipped.len(), shipment.findings.len()), (0, 0));
    assert_eq!(place.sql(ALL), format!("{rows}\t{rows}"));
    tampered(&place, &world, &folder);
    other_journal(&place, &folder);
}

/// A row that is deleted, doubled or changed is told, its time is unknown, and shipping it anew heals it.
fn tampered(place: &Place, world: &World, folder: &Folder) {
    let journal = folder.join("aftr-1");
    let archive = Archive::open(&world.directory).unwrap();
    let partition = archive.catalogue().partitions.iter().find(|partition| partition.rows > 20).unwrap();
    let row = &archive.rows_of(partition).unwrap()[3];
    let (name, segment) = (&partition.name, partition.number);
    let question = Question {
        address: row.holding.external,
        port: Some(row.holding.first_port),
        time: partition.last_known - 1000,
        uncertainty: 0,
        protocol: None,
    };
    let ask = || {
        let clickhouse = Clickhouse::new(&place.url().parse().unwrap(), None).unwrap();
        Fleet::open(clickhouse, None).unwrap().ask(&question).unwrap().to_json()["why"].to_string()
    };
    let sql = crate::files::block("FROM intervals")
        .replace("198.51.100.7", &row.holding.external.to_string())
        .replace("5060", &row.holding.first_port.to_string());
    let holders = place.sql(&sql);
    assert!(holders.contains(&format!("aftr-1\t{}\t64", row.holding.b4)), "{holders}");
    let good = ask();
    assert!(!good.contains("not what was shipped"), "{good}");
    let of = format!("WHERE aftr = 'aftr-1' AND segment = {segment} AND row = 3");
    for (change, why) in [
        (format!("DELETE FROM intervals {of}"), "1 missing"),
        (format!("INSERT INTO intervals SELECT * FROM intervals {of}"), "1 too many"),
        (
            format!("ALTER TABLE intervals UPDATE b4_low = b4_low + 1 {of} SETTINGS mutations_sync = 1"),
            "but not the same",
        ),
        (
            format!(
                "ALTER TABLE segments UPDATE marks = '00' WHERE aftr = 'aftr-1' AND segment = {segment} \
                 SETTINGS mutations_sync = 1"
            ),
            "its marks in ClickHouse",
        ),
    ] {
        place.sql(&change);
        assert_ends(&ship(place, &journal, "aftr-1", &["--verify"]), 1, &["WRONG", name, why]);
        assert!(ask().contains("not what was shipped"), "{change}: {}", ask());
        let repaired = ship(place, &journal, "aftr-1", &["--repair"]);
        assert_ends(&repaired, 0, &["shipped 1 partitions"]);
        assert_ends(&ship(place, &journal, "aftr-1", &["--verify"]), 0, &["none is missing"]);
        assert_eq!(ask(), good);
    }
    // A file that has changed is not shipped, and not believed; what was shipped before stays.
    let path = journal.join("sealed").join(format!("{name}.parquet"));
    let octets = std::fs::read(&path).unwrap();
    let mut bad = octets.clone();
    bad[30] ^= 1;
    std::fs::write(&path, bad).unwrap();
    assert_ends(&ship(place, &journal, "aftr-1", &["--verify"]), 1, &["has changed since it was sealed"]);
    std::fs::write(&path, octets).unwrap();
}

/// Another AFTR's journal under the same name is refused.
fn other_journal(place: &Place, folder: &Folder) {
    World::build(&folder.join("other"), 8, 500);
    let parts = ["another journal under the name aftr-1", "--as NAME"];
    assert_ends(&ship(place, &folder.join("other"), "aftr-1", &[]), 1, &parts);
    assert_ends(&ship(place, &folder.join("other"), "aftr-2", &[]), 0, &["each proved"]);
}

#[test]
fn a_password_is_wanted_and_given() {
    let Some(python) = python("chdb") else { return };
    let folder = Folder::new("password");
    let place = Place::open(&python, &folder.join("engine"), "geheim");
    World::build(&folder.join("aftr-1"), 9, 100);
    let file = folder.join("password");
    std::fs::write(&file, "geheim\n").unwrap();
    let given = ["--create", "--retention-days", "730", "--password-file", file.to_str().unwrap()];
    let refused = ["refuses (403", "Authentication failed", "--password-file FILE"];
    assert_ends(&ship(&place, &folder.join("aftr-1"), "aftr-1", &["--create"]), 1, &refused);
    assert_ends(&ship(&place, &folder.join("aftr-1"), "aftr-1", &given), 0, &["each proved"]);
}

/// A partition of more than one row group, and how fast that goes. `AFTR_FLEET_ROWS=2000000` for the largest.
#[test]
#[expect(clippy::disallowed_methods, reason = "it is measured")]
fn a_large_partition_is_shipped_row_by_row() {
    let Some(python) = python("chdb") else { return };
    let rows =
        std::env::var("AFTR_FLEET_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_100_000_u32);
    let folder = Folder::new("large");
    let place = Place::open(&python, &folder.join("engine"), "");
    let directory = Directory::new(&folder.join("aftr-1"));
    let (journal, mut recovered) = Journal::open(&directory, START).unwrap();
    for first in (0..rows).step_by(10_000) {
        let records: Vec<Record> = (first..rows.min(first + 10_000)).map(started).collect();
        recovered.log.append(START, &records);
        recovered.log.sync(START).unwrap();
    }
    drop((journal, recovered));
    assert_eq!(seal(&directory, Extent::All).unwrap().partitions[0].rows, u64::from(rows));
    let start = Instant::now();
    let more = ["--create", "--retention-days", "730"];
    assert_ends(&ship(&place, &folder.join("aftr-1"), "aftr-1", &more), 0, &["shipped 1 partitions"]);
    let spent = start.elapsed().as_secs_f64();
    let size = "SELECT sum(data_compressed_bytes) FROM system.parts WHERE active AND table = 'intervals'";
    println!(
        "{rows} rows in {spent:.1} s: {:.0} rows a second, {} octets",
        f64::from(rows) / spent,
        place.sql(size)
    );
    let start = Instant::now();
    assert_ends(&ship(&place, &folder.join("aftr-1"), "aftr-1", &["--verify"]), 0, &["none is missing"]);
    println!("verified in {:.1} s", start.elapsed().as_secs_f64());
    look_ups(&place, rows);
}

#[expect(clippy::disallowed_methods, reason = "it is measured")]
fn look_ups(place: &Place, rows: u32) {
    let clickhouse = Clickhouse::new(&place.url().parse().unwrap(), None).unwrap();
    let fleet = Fleet::open(clickhouse, None).unwrap();
    let mut spent = Vec::new();
    for number in 0..200 {
        let Record::Started { holding, .. } = started(number * 7919 % rows) else { unreachable!() };
        let (address, port) = (holding.external, Some(holding.first_port + 5));
        let start = Instant::now();
        let answer = fleet.ask(&Question { address, port, time: START, uncertainty: 0, protocol: None });
        spent.push(start.elapsed());
        assert_eq!(answer.unwrap().verdict.subscribers(), [holding.subscriber()]);
    }
    println!("the first question, with the proof of its partition: {:?}", spent[0]);
    spent.sort();
    println!("then p50 {:?}, p99 {:?}", spent[100], spent[198]);
}

fn started(number: u32) -> Record {
    let first_port = 1024 + (number % 126) as u16 * 512;
    let holding = aftr::attribution::Holding {
        external: std::net::Ipv4Addr::from_bits(0x0a00_0000 + number / 126),
        first_port,
        last_port: first_port + 511,
        protocol: 0,
        b4: std::net::Ipv6Addr::from_bits(0x2001_0db8_00b4 << 80 | u128::from(number) << 64 | 1),
        prefix_len: 64,
        pool_id: 1,
        instance: 0,
        internal: None,
    };
    Record::Started { at: START, since: START, holding }
}

#[expect(clippy::disallowed_methods, reason = "a load is as old as the host's clock says")]
fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_millis() as u64
}
