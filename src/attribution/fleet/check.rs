//! The proof: what ClickHouse has is what was sealed, no interval missing, doubled or changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;

use super::http::{Clickhouse, number};
use super::loads::{Load, Loads, Shipped};
use super::schema::count_and_sum;
use super::sum::Sum;
use crate::attribution::digest::Digest;
use crate::attribution::directory::Directory;
use crate::attribution::record::Millis;
use crate::attribution::seal::{Catalogue, Partition, Table, check_file};

/// What a check has found.
#[derive(Debug, Default)]
pub struct Check {
    /// Partitions that were compared, with their own file or, where its retention time is over, with the ledger.
    pub segments: u64,
    /// Intervals in them.
    pub rows: u64,
    /// Names of sealed partitions that are to be shipped yet.
    pub waiting: Vec<String>,
    /// What is wrong, the earliest first.
    pub findings: Vec<Finding>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Number of the partition.
    pub segment: u64,
    /// A sentence with the name of the partition.
    pub text: String,
}

/// Compares everything that is shipped of an AFTR with the journal.
///
/// # Errors
/// A journal that cannot be read, or a ClickHouse that does not answer.
pub fn check(clickhouse: &Clickhouse, directory: &Directory, aftr: &str, now: Millis) -> io::Result<Check> {
    let catalogue = read_catalogue(directory)?;
    let loads = Loads::read(clickhouse, aftr, now)?;
    let marks = hashes_of_marks(clickhouse, aftr)?;
    let mut check = Check::default();
    let newest = loads.shipped.keys().next_back();
    for partition in
        catalogue.partitions.iter().filter(|partition| !loads.shipped.contains_key(&partition.number))
    {
        let name = &partition.name;
        if Some(&partition.number) > newest {
            check.waiting.push(name.clone());
        } else if loads.shipped.keys().next() < Some(&partition.number) {
            check.wrong(partition, format!("{name} of {aftr} is missing, though later ones are shipped"));
        }
    }
    let days: BTreeSet<&String> = loads.shipped.values().map(|shipped| &shipped.day).collect();
    let mut counted = BTreeMap::new();
    for day in days {
        counted.extend(count_day(clickhouse, aftr, day)?);
    }
    for shipped in loads.shipped.values() {
        let sum = counted.get(&(shipped.partition.number, shipped.load)).copied().unwrap_or_default();
        let marks = marks.get(&(shipped.partition.number, shipped.load));
        check.compare(directory, &catalogue, aftr, shipped, sum, marks)?;
    }
    check.configurations(clickhouse, aftr)?;
    check.findings.sort_by_key(|finding| finding.segment);
    Ok(check)
}

/// What a fleet's tables have of a load.
pub(super) fn count_load(clickhouse: &Clickhouse, aftr: &str, shipped: &Shipped) -> io::Result<Sum> {
    let sql = format!(
        "SELECT {} FROM intervals WHERE day = {{day:Date}} AND aftr = {{aftr:String}} \
         AND segment = {{segment:UInt64}} AND load = {{load:UInt64}} FORMAT RowBinary",
        count_and_sum()
    );
    let Shipped { partition, load, day, .. } = shipped;
    let parameters: [(&str, &dyn std::fmt::Display); 4] =
        [("day", day), ("aftr", &aftr), ("segment", &partition.number), ("load", load)];
    let octets = clickhouse.query(&sql, &parameters)?;
    let sum = octets.as_slice().try_into().map_err(|_| clickhouse.strange(&"no count and sum"))?;
    Ok(Sum::parse(sum))
}

/// What differs, in words.
pub(super) fn difference(found: Sum, wanted: Sum) -> Option<String> {
    let (rows, all) = (found.rows, wanted.rows);
    match rows.cmp(&all) {
        _ if found == wanted => None,
        std::cmp::Ordering::Less => {
            Some(format!("ClickHouse has {rows} intervals of {all}: {} missing", all - rows))
        }
        std::cmp::Ordering::Greater => {
            Some(format!("ClickHouse has {rows} intervals, not {all}: {} too many", rows - all))
        }
        std::cmp::Ordering::Equal => Some(format!(
            "ClickHouse has {rows} intervals, but not the same: their sum is {found}, not {wanted}"
        )),
    }
}

/// The catalogue, if it is whole.
pub(super) fn read_catalogue(directory: &Directory) -> io::Result<Catalogue> {
    let catalogue = Catalogue::read(&directory.catalogue())?;
    if let Some(bad) = &catalogue.bad {
        let why = format!("the catalogue is damaged, {bad}: `aftr journal verify` says more");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    if catalogue.last().is_none() && !directory.wal().is_dir() {
        let why = format!("{} is no journal", directory.path().display());
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    Ok(catalogue)
}

impl Check {
    fn wrong(&mut self, partition: &Partition, text: String) {
        self.findings.push(Finding { segment: partition.number, text });
    }

    fn compare(
        &mut self,
        directory: &Directory,
        catalogue: &Catalogue,
        aftr: &str,
        shipped: &Shipped,
        found: Sum,
        marks: Option<&String>,
    ) -> io::Result<()> {
        let partition = &shipped.partition;
        let name = &partition.name;
        self.segments += 1;
        self.rows += found.rows;
        let mut wanted = shipped.sum;
        if let Some(own) = catalogue.partitions.iter().find(|own| own.number == partition.number) {
            if own != partition {
                let text = format!("{name} of {aftr}: the ledger in ClickHouse tells of another partition");
                self.wrong(partition, text);
            }
            let path = directory.intervals(name);
            match check_file(&path, own.intervals_hash) {
                Ok(()) => wanted = Sum::of(&Table::open(&path)?.all()?),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    self.wrong(
                        partition,
                        format!("{error}; what was shipped of it is compared with the ledger"),
                    );
                }
                // Its retention time ended just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(why) = difference(found, wanted) {
            self.wrong(partition, format!("{name} of {aftr}: {why}"));
        }
        if marks != Some(&partition.marks_hash.to_string()) {
            let text = format!("{name} of {aftr}: its marks in ClickHouse are not what was sealed (SHA-256)");
            self.wrong(partition, text);
        }
        Ok(())
    }

    fn configurations(&mut self, clickhouse: &Clickhouse, aftr: &str) -> io::Result<()> {
        let sql = "SELECT sha256 FROM configurations WHERE aftr = {aftr:String} \
                   AND lower(hex(SHA256(text))) != sha256 FORMAT JSONCompactEachRow";
        for row in clickhouse.rows(sql, &[("aftr", &aftr)])? {
            let digest = row[0].as_str().unwrap_or_default();
            let text = format!("configuration {digest} of {aftr} has changed in ClickHouse (SHA-256)");
            self.findings.push(Finding { segment: 0, text });
        }
        Ok(())
    }
}

/// SHA-256 of the marks of each load.
fn hashes_of_marks(clickhouse: &Clickhouse, aftr: &str) -> io::Result<BTreeMap<(u64, Load), String>> {
    let sql = "SELECT segment, load, lower(hex(SHA256(unhex(marks)))) FROM segments \
               WHERE aftr = {aftr:String} AND state = 'shipped' FORMAT JSONCompactEachRow";
    let rows = clickhouse.rows(sql, &[("aftr", &aftr)])?;
    let of =
        |row: &serde_json::Value| Some(((number(&row[0])?, number(&row[1])?), row[2].as_str()?.to_owned()));
    rows.iter().map(|row| of(row).ok_or_else(|| clickhouse.strange(row))).collect()
}

fn count_day(clickhouse: &Clickhouse, aftr: &str, day: &str) -> io::Result<Vec<((u64, Load), Sum)>> {
    let sql = format!(
        "SELECT segment, load, {} FROM intervals WHERE day = {{day:Date}} AND aftr = {{aftr:String}} \
         GROUP BY segment, load FORMAT RowBinary",
        count_and_sum()
    );
    let octets = clickhouse.query(&sql, &[("day", &day), ("aftr", &aftr)])?;
    let (rows, rest) = octets.as_chunks::<56>();
    let row = |row: &[u8; 56]| {
        let word = |at: usize| Some(u64::from_le_bytes(*row[at..].first_chunk()?));
        Some(((word(0)?, word(8)?), Sum::parse(row[16..].first_chunk()?)))
    };
    let rows: Option<Vec<_>> = rows.iter().map(row).collect();
    rows.filter(|_| rest.is_empty()).ok_or_else(|| clickhouse.strange(&"no counts and sums"))
}

/// Reads a sealed file and the file of its marks, if both are what was sealed.
pub(super) fn sealed_files(directory: &Directory, partition: &Partition) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let read = |path: std::path::PathBuf, hash: Digest| {
        let octets = fs::read(&path)?;
        if Digest::of(&[&octets]) == hash {
            return Ok(octets);
        }
        let why = format!("{} has changed since it was sealed", path.display());
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    };
    let intervals = read(directory.intervals(&partition.name), partition.intervals_hash)?;
    Ok((intervals, read(directory.marks(&partition.name), partition.marks_hash)?))
}
