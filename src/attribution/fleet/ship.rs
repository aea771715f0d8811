//! Shipping: what is sealed and not yet there is loaded, proved, and then said to be there.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io;

use serde_json::json;

use super::check::{count_load, difference, read_catalogue, sealed_files};
use super::http::{Clickhouse, number};
use super::loads::{Leftover, Loads, Shipped, at, day_of, insert, load_at, note_shipped, note_state};
use super::schema::insert_intervals;
use super::sum::Sum;
use crate::attribution::digest::Digest;
use crate::attribution::directory::Directory;
use crate::attribution::query::Began;
use crate::attribution::record::{Millis, Record};
use crate::attribution::seal::{Catalogue, Partition, Table, decode_marks};

/// One who ships the sealed partitions of a journal.
pub struct Shipper<'a> {
    /// Where to.
    pub clickhouse: &'a Clickhouse,
    /// The journal.
    pub directory: &'a Directory,
    /// Name of the AFTR, of its own in the fleet.
    pub aftr: &'a str,
    /// The wall clock.
    pub clock: &'a dyn Fn() -> Millis,
    /// Some number that another shipper does not have.
    pub chance: u64,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Shipment {
    /// Names of partitions that were shipped now.
    pub shipped: Vec<String>,
    /// Intervals in them.
    pub rows: u64,
    /// Octets of their files.
    pub octets: u64,
    /// Partitions that were there before.
    pub before: u64,
    /// Loads of an attempt that came to no end, or of partitions that were shipped anew, whose rows were removed.
    pub removed: u64,
    /// What is wrong; each names its partition.
    pub findings: Vec<String>,
}

/// What became of a partition.
enum Outcome {
    /// It is there, and proved to be.
    Shipped,
    /// Its file is gone, or has changed.
    NoFile,
    /// What arrived is not what was sent.
    Differs,
}

impl Shipper<'_> {
    /// Ships what is sealed and not there yet, and anew what `anew` names.
    ///
    /// # Errors
    /// A journal that cannot be read, another shipper at work, another journal under this name, or a ClickHouse that
    /// does not take it. What was shipped before the error stays.
    pub fn ship(&self, anew: &BTreeSet<u64>) -> io::Result<Shipment> {
        let catalogue = read_catalogue(self.directory)?;
        let _lock = self.lock()?;
        let loads = Loads::read(self.clickhouse, self.aftr, (self.clock)())?;
        self.check_same_journal(&catalogue, &loads)?;
        let mut shipment = Shipment::default();
        self.remove(&loads.leftovers, &mut shipment)?;
        let oldest = loads.shipped.keys().next().copied();
        let mut before = catalogue.expired.as_ref();
        for partition in &catalogue.partitions {
            let began = before.map(Began::behind).unwrap_or_default();
            before = Some(partition);
            let is_there = loads.shipped.contains_key(&partition.number);
            // What is older than the oldest there was there, and its retention time is over.
            if Some(partition.number) < oldest || is_there && !anew.contains(&partition.number) {
                shipment.before += 1;
                continue;
            }
            match self.ship_one(partition, began, &mut shipment)? {
                Outcome::Shipped => {
                    let replaced = loads.shipped.get(&partition.number).map(Leftover::of);
                    self.remove(replaced.as_slice(), &mut shipment)?;
                }
                Outcome::NoFile => {}
                // It would differ again: something is wrong with that ClickHouse.
                Outcome::Differs => break,
            }
        }
        Ok(shipment)
    }

    fn ship_one(&self, partition: &Partition, began: Began, shipment: &mut Shipment) -> io::Result<Outcome> {
        let (clickhouse, aftr, name) = (self.clickhouse, self.aftr, &partition.name);
        let (intervals, marks) = match sealed_files(self.directory, partition) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_expired(partition)? => {
                return Ok(Outcome::NoFile);
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                shipment.findings.push(format!("{name} of {aftr} cannot be shipped: {error}"));
                return Ok(Outcome::NoFile);
            }
            files => files?,
        };
        let sum = Sum::of(&Table::open(&self.directory.intervals(name))?.all()?);
        self.ship_configurations(partition, began, &marks)?;
        let (now, day) = ((self.clock)(), day_of(partition));
        let load = load_at(now, self.chance);
        let begun = Leftover { segment: partition.number, load, day: day.clone() };
        note_state(clickhouse, aftr, &begun, "begun", now)?;
        clickhouse.insert(
            &insert_intervals(),
            &[("aftr", &aftr), ("segment", &partition.number), ("load", &load), ("day", &day)],
            &intervals,
        )?;
        let shipped = Shipped { partition: partition.clone(), began, load, day, sum };
        if let Some(why) = difference(count_load(clickhouse, aftr, &shipped)?, sum) {
            shipment.findings.push(format!("{name} of {aftr} is not shipped: {why}"));
            return Ok(Outcome::Differs);
        }
        note_shipped(clickhouse, aftr, &shipped, &marks, (self.clock)())?;
        shipment.shipped.push(name.clone());
        shipment.rows += sum.rows;
        shipment.octets += intervals.len() as u64;
        Ok(Outcome::Shipped)
    }

    fn is_expired(&self, partition: &Partition) -> io::Result<bool> {
        let now = read_catalogue(self.directory)?;
        Ok(now.partitions.iter().all(|other| other.number != partition.number))
    }

    /// Own ranges follow from the texts. One that is not kept here is no finding: the journal itself answers `unknown`.
    fn ship_configurations(&self, partition: &Partition, began: Began, marks: &[u8]) -> io::Result<()> {
        let marks = decode_marks(marks).unwrap_or_default();
        let named = marks.iter().filter_map(|(_, record)| match record {
            Record::Configuration { digest, .. } => Some(Digest(*digest)),
            Record::Started { .. }
            | Record::Ended { .. }
            | Record::Moved { .. }
            | Record::Alive { .. }
            | Record::Clock { .. }
            | Record::Gap { .. }
            | Record::Opened { .. }
            | Record::Closed { .. }
            | Record::Complete { .. } => None,
        });
        let digests: BTreeSet<Digest> =
            named.chain(began.configuration).chain(partition.configuration).collect();
        for digest in digests {
            let there = self.clickhouse.rows(
                "SELECT count() FROM configurations WHERE aftr = {aftr:String} AND sha256 = {sha256:String} \
                 FORMAT JSONCompactEachRow",
                &[("aftr", &self.aftr), ("sha256", &digest)],
            )?;
            if there.first().is_some_and(|row| number(&row[0]) > Some(0)) {
                continue;
            }
            let Ok(text) = fs::read_to_string(self.directory.configuration(digest)) else { continue };
            if Digest::of(&[text.as_bytes()]) == digest {
                let now = at((self.clock)());
                let row = json!({ "aftr": self.aftr, "sha256": digest.to_string(), "text": text, "at": now });
                insert(self.clickhouse, "INSERT INTO configurations FORMAT JSONEachRow", &row)?;
            }
        }
        Ok(())
    }

    /// Rows that do not count.
    fn remove(&self, leftovers: &[Leftover], shipment: &mut Shipment) -> io::Result<()> {
        for leftover in leftovers {
            self.clickhouse.query(
                "DELETE FROM intervals WHERE day = {day:Date} AND aftr = {aftr:String} AND segment = {segment:UInt64} \
                 AND load = {load:UInt64}",
                &[
                    ("day", &leftover.day),
                    ("aftr", &self.aftr),
                    ("segment", &leftover.segment),
                    ("load", &leftover.load),
                ],
            )?;
            note_state(self.clickhouse, self.aftr, leftover, "removed", (self.clock)())?;
            shipment.removed += 1;
        }
        Ok(())
    }

    /// Two AFTRs under one name would be taken for each other.
    fn check_same_journal(&self, catalogue: &Catalogue, loads: &Loads) -> io::Result<()> {
        let is_other =
            |own: &Partition| loads.shipped.get(&own.number).is_some_and(|there| there.partition != *own);
        let is_behind = |newest: &Partition| match catalogue.last() {
            Some(last) if last.number >= newest.number => last.next.sequence < newest.next.sequence,
            _ => true,
        };
        let newest = loads.shipped.values().next_back().map(|shipped| &shipped.partition);
        if catalogue.partitions.iter().any(is_other) || newest.is_some_and(is_behind) {
            let why = format!(
                "{} has partitions of another journal under the name {}\n  give this AFTR a name of its own: --as NAME",
                self.clickhouse.address(),
                self.aftr
            );
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        Ok(())
    }

    /// One at a time; the daemon may write and seal meanwhile.
    fn lock(&self) -> io::Result<File> {
        let file = File::open(self.directory.sealed())?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                let why = format!("{} is being shipped by another process", self.directory.path().display());
                Err(io::Error::new(io::ErrorKind::ResourceBusy, why))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}
