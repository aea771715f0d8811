//! Reads the log from a place on: every record that can be believed, in order, and every fault between them.
//!
//! Where records are missing or changed, the reader makes a [`Record::Gap`] of its own (with number 0), so
//! that whoever follows the records follows the faults too.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use super::ahead::{Batch, Segment, read_ahead};
use super::segment::{SEGMENT_HEADER, SegmentHeader, next_batch};
use crate::attribution::digest::Digest;
use crate::attribution::record::{GapCause, Millis, RECORD_SIZE, Record};

/// A place in the log: the number of the next record, and the hash of the batch before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Records are numbered from 1.
    pub sequence: u64,
    /// All zero at the start of a journal.
    pub chain: Digest,
}

impl Position {
    /// Before the first record.
    pub const START: Position = Position { sequence: 1, chain: Digest([0; 32]) };
}

/// What is wrong in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The end of the last segment is no whole batch: a write that did not finish. Nothing durable is lost.
    Torn {
        /// The segment.
        file: PathBuf,
        /// Where the last whole batch ends.
        offset: u64,
        /// Octets behind it.
        octets: u64,
    },
    /// Octets between whole batches have changed.
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where.
        offset: u64,
        /// The first record that is lost by it.
        sequence: u64,
    },
    /// Records are missing.
    Missing {
        /// The first.
        from: u64,
        /// The first that is there again.
        to: u64,
    },
    /// A batch is whole, and does not follow the one before it: it was put there by somebody else.
    Chain {
        /// The segment.
        file: PathBuf,
        /// Number of its first record.
        sequence: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Torn { file, offset, octets } => {
                write!(
                    f,
                    "{}: the last {octets} octets, from {offset} on, are an unfinished write",
                    file.display()
                )
            }
            Fault::Damaged { file, offset, sequence } => {
                write!(
                    f,
                    "{}: octets at {offset} have changed; record {sequence} is the first lost",
                    file.display()
                )
            }
            Fault::Missing { from, to } => write!(f, "records {from} to {} are missing", to - 1),
            Fault::Chain { file, sequence } => {
                write!(
                    f,
                    "{}: record {sequence} does not follow the one before it (hash chain)",
                    file.display()
                )
            }
        }
    }
}

/// How a reading ended.
#[derive(Debug)]
pub struct Replay {
    /// Where the next record comes.
    pub next: Position,
    /// Latest time of the writer that was read; 0 for none.
    pub last_known: Millis,
    /// Records that were read.
    pub records: u64,
    /// Everything that is wrong.
    pub faults: Vec<Fault>,
    /// Header of the first segment of the last partition.
    pub(crate) partition: Option<SegmentHeader>,
}

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentFile {
    /// Number of its first record, as its name says.
    pub(crate) first: u64,
    pub(crate) path: PathBuf,
}

/// The files of a log, in order. None where there is no folder.
pub(crate) fn segments(folder: &Path) -> io::Result<Vec<SegmentFile>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".wal"));
        if let Some(first) = name.and_then(|name| name.parse().ok()) {
            files.push(SegmentFile { first, path });
        }
    }
    files.sort_by_key(|file| file.first);
    Ok(files)
}

pub(crate) fn segment_path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.wal"))
}

/// Reads every record from `from` on and gives it to `visit` with its number.
///
/// # Errors
/// A file that cannot be read. What is in it is no error, but a [`Fault`].
pub fn replay(folder: &Path, from: Position, visit: impl FnMut(u64, &Record)) -> io::Result<Replay> {
    replay_until(folder, from, None, visit)
}

/// As [`replay`], of the records before those of the segment `until`.
pub(crate) fn replay_until(
    folder: &Path,
    from: Position,
    until: Option<&SegmentHeader>,
    visit: impl FnMut(u64, &Record),
) -> io::Result<Replay> {
    let files = segments(folder)?;
    let mut reader = Reader {
        replay: Replay { next: from, last_known: 0, records: 0, faults: Vec::new(), partition: None },
        visit,
        gap: None,
    };
    // What a segment holds from the first record of the next one on was never durable and written anew.
    let ends = files.iter().skip(1).map(|next| Some(next.first)).chain([None]);
    let is_wanted = |file: &SegmentFile, end: Option<u64>| {
        until.is_none_or(|until| file.first < until.first) && end.is_none_or(|end| end > from.sequence)
    };
    let wanted: Vec<_> = files.iter().zip(ends).filter(|&(file, end)| is_wanted(file, end)).collect();
    thread::scope(|scope| {
        let segments = read_ahead(scope, wanted.iter().map(|(file, _)| file.path.clone()).collect())?;
        for (&(file, end), segment) in wanted.iter().zip(segments) {
            if let Some(segment) = segment? {
                reader.segment(file, end, segment);
            }
        }
        io::Result::Ok(())
    })?;
    reader.finish(until);
    Ok(reader.replay)
}

struct Reader<V> {
    replay: Replay,
    visit: V,
    /// Records are missing since this time.
    gap: Option<GapCause>,
}

impl<V: FnMut(u64, &Record)> Reader<V> {
    fn segment(&mut self, file: &SegmentFile, end: Option<u64>, mut segment: Segment) {
        let length = segment.octets.len();
        let mut at = match SegmentHeader::decode(&segment.octets) {
            Some(header) => {
                self.header(file, header);
                SEGMENT_HEADER
            }
            None => self.broken(file, &segment.octets, 0, end).unwrap_or(length),
        };
        while at < length {
            let Some(batch) = segment.batch(at) else {
                match self.broken(file, &segment.octets, at, end) {
                    Some(next) => at = next,
                    None => break,
                }
                continue;
            };
            let header = batch.header;
            at += header.octets();
            if end.is_some_and(|end| header.first >= end) {
                break;
            }
            let (behind, next) = (header.first + header.count as u64, &mut self.replay.next);
            if behind > next.sequence {
                self.batch(file, &batch);
            } else if behind == next.sequence {
                // The place where the caller wants to begin.
                next.chain = header.chain;
            }
        }
    }

    fn header(&mut self, file: &SegmentFile, header: SegmentHeader) {
        let next = &mut self.replay.next;
        if header.first == next.sequence && header.chain != next.chain {
            self.replay.faults.push(Fault::Chain { file: file.path.clone(), sequence: header.first });
            next.chain = header.chain;
            self.gap.get_or_insert(GapCause::Checksum);
        }
        if self.replay.partition.is_none_or(|partition| partition.partition != header.partition) {
            self.replay.partition = Some(header);
        }
    }

    /// What is at `at` is no batch. Gives where the next one is.
    fn broken(&mut self, file: &SegmentFile, octets: &[u8], at: usize, end: Option<u64>) -> Option<usize> {
        let next = next_batch(&octets[at..]).map(|next| at + next);
        let is_tail = next.is_none() && end.is_none_or(|end| end <= self.replay.next.sequence);
        let (path, offset, sequence) = (file.path.clone(), at as u64, self.replay.next.sequence);
        if is_tail && end.is_none() {
            self.replay.faults.push(Fault::Torn { file: path, offset, octets: octets.len() as u64 - offset });
        } else if !is_tail {
            self.replay.faults.push(Fault::Damaged { file: path, offset, sequence });
            self.gap = Some(GapCause::Checksum);
        }
        next
    }

    fn batch(&mut self, file: &SegmentFile, whole: &Batch<'_>) {
        let (next, batch) = (self.replay.next, &whole.header);
        if batch.first > next.sequence {
            self.replay.faults.push(Fault::Missing { from: next.sequence, to: batch.first });
            self.gap.get_or_insert(GapCause::Missing);
        } else if !whole.follows(next.chain) {
            self.replay.faults.push(Fault::Chain { file: file.path.clone(), sequence: batch.first });
            self.gap.get_or_insert(GapCause::Checksum);
        }
        if let Some(why) = self.gap.take() {
            let from = self.replay.last_known;
            let lost = batch.first.saturating_sub(next.sequence).max(1);
            (self.visit)(0, &Record::Gap { from, to: batch.made.max(from), why, lost });
        }
        for (sequence, octets) in (batch.first..).zip(whole.body.as_chunks::<RECORD_SIZE>().0) {
            if sequence >= next.sequence {
                match Record::decode(octets) {
                    Some(record) => (self.visit)(sequence, &record),
                    None => self.unreadable(file, sequence),
                }
                self.replay.records += 1;
            }
        }
        self.replay.last_known = batch.made;
        self.replay.next = Position { sequence: batch.first + batch.count as u64, chain: batch.chain };
    }

    /// A record of a kind that this version does not know.
    fn unreadable(&mut self, file: &SegmentFile, sequence: u64) {
        self.replay.faults.push(Fault::Damaged { file: file.path.clone(), offset: 0, sequence });
        let at = self.replay.last_known;
        (self.visit)(0, &Record::Gap { from: at, to: at, why: GapCause::Checksum, lost: 1 });
    }

    /// A gap that nothing follows, or only what is behind `until`.
    fn finish(&mut self, until: Option<&SegmentHeader>) {
        let (next, from) = (self.replay.next, self.replay.last_known);
        let to = until.map_or(Millis::MAX, |until| until.made.max(from));
        if let Some(until) = until.filter(|until| until.first > next.sequence) {
            self.replay.faults.push(Fault::Missing { from: next.sequence, to: until.first });
            self.gap.get_or_insert(GapCause::Missing);
            self.replay.next = Position { sequence: until.first, chain: until.chain };
        }
        if let Some(why) = self.gap.take() {
            let lost = self.replay.next.sequence - next.sequence;
            (self.visit)(0, &Record::Gap { from, to, why, lost: lost.max(1) });
        }
    }
}
