//! Sealing: finished partitions of the log become files that are never changed again.
//!
//! The order makes it safe to stop anywhere: files first, then their line in the catalogue, then the segments
//! go. What stands in both is read from the partition.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::catalogue::{Catalogue, Partition};
use super::marks::{Mark, is_mark, write_marks};
use super::parquet::{self, Table};
use crate::attribution::digest::Digest;
use crate::attribution::directory::Directory;
use crate::attribution::ledger::{Interval, Ledger};
use crate::attribution::moment::hour_text;
use crate::attribution::record::{Millis, Record};
use crate::attribution::wal::{
    Fault, Position, Replay, Sealed, SegmentFile, SegmentHeader, replay_until, segments,
};

/// How much of a log is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Finished partitions; a writer may be at work.
    Finished,
    /// Everything; there is no writer.
    All,
}

/// What was sealed.
#[derive(Debug, Default)]
pub struct Sealing {
    /// Partitions.
    pub partitions: Vec<Partition>,
    /// What was wrong in their records: it is a gap in them now.
    pub faults: Vec<Fault>,
}

/// Seals what is finished. One process at a time; it may be another thread than the writer's.
///
/// # Errors
/// Files that cannot be read or written. Nothing is lost then; the next call tries again.
pub fn seal(directory: &Directory, extent: Extent) -> io::Result<Sealing> {
    let mut sealing = Sealing::default();
    let catalogue = Catalogue::read(&directory.catalogue())?;
    let mut sealed = sealed_state(directory, &catalogue)?;
    remove_sealed_segments(&directory.wal(), sealed.next)?;
    while let Some((header, until)) = next_partition(&directory.wal(), &sealed, extent)? {
        let (partition, open, faults) = seal_one(directory, &sealed, &header, until.as_ref())?;
        sealed = Sealed {
            next: Some(partition.next),
            partition: partition.number,
            last_known: partition.last_known,
            open,
            clock_is_doubtful: partition.clock_is_doubtful,
            is_incomplete: partition.is_incomplete,
            was_closed: partition.was_closed,
            configuration: partition.configuration,
        };
        partition.append_to(&directory.catalogue())?;
        remove_sealed_segments(&directory.wal(), sealed.next)?;
        sealing.partitions.push(partition);
        sealing.faults.extend(faults);
    }
    Ok(sealing)
}

/// Where the sealed partitions end.
pub(crate) fn sealed_state(directory: &Directory, catalogue: &Catalogue) -> io::Result<Sealed> {
    let Some(last) = catalogue.last() else { return Ok(Sealed::default()) };
    let path = directory.intervals(&last.name);
    let mut is_incomplete = last.is_incomplete;
    let open = match check_file(&path, last.intervals_hash) {
        Ok(()) if last.open > 0 => {
            Table::open(&path)?.all()?.into_iter().filter(|interval| interval.end.is_none()).collect()
        }
        Ok(()) => Vec::new(),
        // Its retention time is over: so is whatever it held.
        Err(_) if catalogue.expired.as_ref() == Some(last) => Vec::new(),
        // What was open is not known: until everything is said again, nobody can be excluded.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            is_incomplete |= last.open > 0;
            Vec::new()
        }
        Err(error) => return Err(error),
    };
    Ok(Sealed {
        next: Some(last.next),
        partition: last.number,
        last_known: last.last_known,
        open,
        clock_is_doubtful: last.clock_is_doubtful,
        is_incomplete,
        was_closed: last.was_closed,
        configuration: last.configuration,
    })
}

/// Sealed holdings that ended at `since` or later, in the records of a writer that was there until then.
///
/// # Errors
/// A file that cannot be read. What has changed since it was sealed is left out.
pub(crate) fn ended_lately(
    directory: &Directory,
    catalogue: &Catalogue,
    since: Millis,
) -> io::Result<Vec<Interval>> {
    let mut ended = Vec::new();
    for partition in catalogue.partitions.iter().rev().take_while(|partition| partition.to >= since) {
        let path = directory.intervals(&partition.name);
        match check_file(&path, partition.intervals_hash) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound) => {
                continue;
            }
            Err(error) => return Err(error),
        }
        let rows = Table::open(&path)?.all()?.into_iter();
        ended.extend(rows.filter(|row| row.end.is_some_and(|(end, _)| end >= since)));
    }
    Ok(ended)
}

/// Whether a sealed file is still what was sealed; damaged Parquet is not even looked at.
///
/// # Errors
/// It cannot be read, or has changed ([`io::ErrorKind::InvalidData`]).
pub(crate) fn check_file(path: &Path, hash: Digest) -> io::Result<()> {
    if Digest::of(&[&fs::read(path)?]) == hash {
        return Ok(());
    }
    let why = format!("{} has changed since it was sealed", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

/// The first segment of the next partition and of the one behind it.
fn next_partition(
    wal: &Path,
    sealed: &Sealed,
    extent: Extent,
) -> io::Result<Option<(SegmentHeader, Option<SegmentHeader>)>> {
    let mut first: Option<SegmentHeader> = None;
    for file in segments(wal)? {
        // A header that cannot be read leaves its records to the partition before.
        let Some(header) = read_header(&file) else { continue };
        match first {
            None if header.partition > sealed.partition => first = Some(header),
            Some(first) if header.partition > first.partition => return Ok(Some((first, Some(header)))),
            _ => {}
        }
    }
    Ok(first.filter(|_| extent == Extent::All).map(|first| (first, None)))
}

fn read_header(file: &SegmentFile) -> Option<SegmentHeader> {
    use std::io::Read;
    let mut octets = Vec::new();
    File::open(&file.path).ok()?.take(128).read_to_end(&mut octets).ok()?;
    SegmentHeader::decode(&octets)
}

fn seal_one(
    directory: &Directory,
    sealed: &Sealed,
    header: &SegmentHeader,
    until: Option<&SegmentHeader>,
) -> io::Result<(Partition, Vec<Interval>, Vec<Fault>)> {
    let from = sealed.next.unwrap_or(Position::START);
    let content = Content::read(directory, sealed, from, until)?;
    let name = format!("{}-{:06}", hour_text(header.made), header.partition);
    let intervals_hash = content.write_intervals(&directory.intervals(&name))?;
    let marks_hash = write_marks(&directory.marks(&name), &content.marks)?;
    File::open(directory.sealed())?.sync_all()?;
    let replay = &content.replay;
    let last_known = if replay.records > 0 { replay.last_known } else { sealed.last_known };
    let partition = Partition {
        number: header.partition,
        name,
        first: from.sequence,
        next: content.replay.next,
        from: content.from,
        to: content.to.max(last_known),
        last_known,
        clock_is_doubtful: content.ledger.clock_is_doubtful(),
        is_incomplete: content.ledger.is_incomplete(),
        was_closed: content.was_closed,
        configuration: content.configuration,
        rows: content.rows.len() as u64,
        open: content.ledger.open_count() as u64,
        intervals_hash,
        marks_hash,
    };
    Ok((partition, content.ledger.open(), content.replay.faults))
}

/// What a partition will hold.
struct Content {
    rows: Vec<Interval>,
    marks: Vec<Mark>,
    ledger: Ledger,
    replay: Replay,
    from: Millis,
    to: Millis,
    was_closed: bool,
    configuration: Option<Digest>,
}

impl Content {
    fn read(
        directory: &Directory,
        sealed: &Sealed,
        from: Position,
        until: Option<&SegmentHeader>,
    ) -> io::Result<Content> {
        let mut ledger = Ledger::with_open(&sealed.open, sealed.clock_is_doubtful, sealed.is_incomplete);
        let (mut rows, mut marks) = (Vec::new(), Vec::new());
        // It begins where the one before has ended: no moment is between them.
        let (mut first, mut last) = (sealed.next.map_or(Millis::MAX, |_| sealed.last_known), 0);
        let (mut was_closed, mut configuration) = (sealed.was_closed, sealed.configuration);
        let replay = replay_until(&directory.wal(), from, until, |sequence, record| {
            was_closed = matches!(record, Record::Closed { .. });
            if let Record::Configuration { digest, .. } = *record {
                configuration = Some(Digest(digest));
            }
            ledger.apply(sequence, record, |interval| rows.push(interval));
            if is_mark(record) {
                marks.push((sequence, *record));
            }
            first = first.min(record.earliest());
            last = last.max(record.latest());
        })?;
        rows.extend(ledger.open());
        rows.sort_unstable_by_key(|row| {
            (row.holding.external, row.holding.first_port, row.start, row.start_record)
        });
        let last = if last == Millis::MAX { replay.last_known } else { last };
        Ok(Content { rows, marks, ledger, replay, from: first, to: last, was_closed, configuration })
    }

    /// Written under another name first: a partition's file is whole or not there.
    fn write_intervals(&self, path: &Path) -> io::Result<Digest> {
        let unfinished = path.with_extension("unfinished");
        let file = File::create(&unfinished)?;
        parquet::write(&file, &self.rows)?;
        fs::rename(&unfinished, path)?;
        Ok(Digest::of(&[&fs::read(path)?]))
    }
}

/// Segments whose records are all in partitions.
fn remove_sealed_segments(wal: &Path, next: Option<Position>) -> io::Result<()> {
    let Some(next) = next else { return Ok(()) };
    let files = segments(wal)?;
    for pair in files.windows(2) {
        if pair[1].first <= next.sequence {
            fs::remove_file(&pair[0].path)?;
        }
    }
    // The last one is kept while a writer may have it open, unless it is from before.
    if let Some(last) = files.last().filter(|last| last.first < next.sequence)
        && let Ok(replay) = replay_until(wal, next, None, |_, _| {})
        && replay.records == 0
    {
        fs::remove_file(&last.path)?;
    }
    Ok(())
}
