//! Checks a journal from end to end: every hash, every number, every file.

use std::fs;
use std::io;

use super::digest::Digest;
use super::directory::Directory;
use super::lines::read_lines;
use super::seal::{Catalogue, Partition, Table, read_marks, sealed_state};
use super::wal::{Position, replay};

/// What a check has found.
#[derive(Debug, Default)]
pub struct Verification {
    /// Sealed partitions that were checked.
    pub partitions: u64,
    /// Intervals in them.
    pub intervals: u64,
    /// Records of the log.
    pub records: u64,
    /// Entries of the record of queries.
    pub queries: u64,
    /// What is wrong, the earliest first; each names its place.
    pub findings: Vec<String>,
    /// What a crash leaves behind and recovery cuts: no harm.
    pub notes: Vec<String>,
}

/// Checks everything.
///
/// # Errors
/// Files that cannot be read at all; what is in them is a finding.
pub fn verify(directory: &Directory) -> io::Result<Verification> {
    let mut found = Verification::default();
    let catalogue = Catalogue::read(&directory.catalogue())?;
    if let Some(bad) = &catalogue.bad {
        found.findings.push(format!("catalogue, {bad}"));
    }
    let mut before: Option<&Partition> = catalogue.expired.as_ref();
    for partition in &catalogue.partitions {
        if let Some(before) = before.filter(|before| before.next.sequence != partition.first) {
            let (from, to) = (before.next.sequence, partition.first);
            found.findings.push(format!("partition {}: records {from} to {to} are in none", partition.name));
        }
        check_partition(directory, partition, &mut found)?;
        before = Some(partition);
    }
    let sealed = sealed_state(directory, &catalogue).unwrap_or_default();
    let replay = replay(&directory.wal(), sealed.next.unwrap_or(Position::START), |_, _| {})?;
    found.records = replay.records;
    for fault in &replay.faults {
        let is_torn = matches!(fault, super::wal::Fault::Torn { .. });
        if is_torn { &mut found.notes } else { &mut found.findings }.push(fault.to_string());
    }
    let queries = read_lines(&directory.audit())?;
    let lines = read_lines(&directory.catalogue())?;
    for (name, lines) in [("catalogue", &lines), ("audit", &queries)] {
        if lines.is_unfinished {
            let number = lines.lines.len() + 1;
            found.findings.push(format!("{name}, record {number}: is unfinished, or its end was changed"));
        }
    }
    found.queries = queries.lines.len() as u64;
    found.findings.extend(queries.bad.map(|bad| format!("audit, {bad}")));
    Ok(found)
}

fn check_partition(directory: &Directory, partition: &Partition, found: &mut Verification) -> io::Result<()> {
    found.partitions += 1;
    let (intervals, marks) = (directory.intervals(&partition.name), directory.marks(&partition.name));
    for (path, hash) in [(&intervals, partition.intervals_hash), (&marks, partition.marks_hash)] {
        match fs::read(path) {
            Ok(octets) if Digest::of(&[&octets]) == hash => {}
            Ok(_) => {
                let path = path.display();
                found.findings.push(format!("{path}: has changed since it was sealed (SHA-256)"));
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                found.findings.push(format!("{}: is missing", path.display()));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    let rows = Table::open(&intervals)?.all()?.len() as u64;
    read_marks(&marks)?;
    found.intervals += rows;
    if rows != partition.rows {
        let wanted = partition.rows;
        found.findings.push(format!("{}: has {rows} intervals, not {wanted}", intervals.display()));
    }
    Ok(())
}
