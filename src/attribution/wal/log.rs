//! The log as it is written: append to memory, then one write and one sync for all of it.
//!
//! What was appended stays in memory until it is durable. After an error the segment is given up at its last
//! durable octet and what is pending is written to a new one: a file whose sync failed once is never asked
//! again, for the kernel may have forgotten what it could not write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::replay::{Position, segment_path};
use super::segment::{MOST_RECORDS, SEGMENT_HEADER, SegmentHeader, encode_batch};
use crate::attribution::digest::Digest;
use crate::attribution::record::{Millis, Record};

/// A segment is finished when it is longer than this.
const MOST_OCTETS: u64 = 64 << 20;
/// A partition is finished when it has this many records: what is sealed at once is bounded.
const MOST_PARTITION: u64 = 2 << 20;
const HOUR: Millis = 3_600_000;

/// An open log.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    segment: Option<Segment>,
    /// Where the next record comes.
    next: Position,
    /// Where the first record comes that is not durable.
    durable: Position,
    /// Batches that are not durable.
    pending: Vec<u8>,
    partition: Partition,
}

#[derive(Debug)]
struct Segment {
    file: File,
    /// Octets that are durable.
    length: u64,
}

/// What is sealed together: the records of an hour of the writer's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partition {
    pub(super) number: u64,
    /// Hours since 1970.
    pub(super) hour: u64,
    /// Number of its first record.
    pub(super) first: u64,
}

impl Partition {
    fn is_over(&self, now: Millis, next: u64) -> bool {
        now / HOUR != self.hour || next - self.first >= MOST_PARTITION
    }

    fn after(self, now: Millis, next: u64) -> Partition {
        Partition { number: self.number + 1, hour: now / HOUR, first: next }
    }
}

impl Log {
    /// A log that goes on at `next`; recovery knows where. Opens no file before the first sync.
    pub(super) fn new(folder: &Path, next: Position, partition: Partition) -> Log {
        Log { folder: folder.to_owned(), segment: None, next, durable: next, pending: Vec::new(), partition }
    }

    /// Appends records, in memory only; gives the number of the last. `now` is the writer's clock.
    pub fn append(&mut self, now: Millis, records: &[Record]) -> u64 {
        // Only between syncs: what is pending belongs to the segment that it was appended to.
        if self.pending.is_empty() && self.partition.is_over(now, self.next.sequence) {
            self.partition = self.partition.after(now, self.next.sequence);
            self.segment = None;
        }
        for records in records.chunks(MOST_RECORDS) {
            let Position { sequence, chain } = self.next;
            let chain = encode_batch(&mut self.pending, chain, sequence, now, records);
            self.next = Position { sequence: sequence + records.len() as u64, chain };
        }
        self.next.sequence - 1
    }

    /// Makes everything durable that was appended; gives the number of the last record.
    ///
    /// # Errors
    /// Whatever the disk says. Nothing is lost by it: the next call tries again, with a new segment.
    pub fn sync(&mut self, now: Millis) -> io::Result<u64> {
        if !self.pending.is_empty() {
            self.write(now).inspect_err(|_| self.give_up_segment())?;
            self.pending.clear();
            self.pending.shrink_to(MOST_RECORDS * 64);
            self.durable = self.next;
            self.segment.take_if(|segment| segment.length >= MOST_OCTETS);
        }
        Ok(self.durable.sequence - 1)
    }

    /// Records that are not durable yet.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.next.sequence - self.durable.sequence
    }

    /// Octets that wait in memory.
    pub(super) fn pending_octets(&self) -> usize {
        self.pending.len()
    }

    fn write(&mut self, now: Millis) -> io::Result<()> {
        let segment = match &mut self.segment {
            Some(segment) => segment,
            None => self.segment.insert(Segment::create(
                &self.folder,
                &SegmentHeader {
                    first: self.durable.sequence,
                    chain: self.durable.chain,
                    made: now,
                    partition: self.partition.number,
                },
            )?),
        };
        segment.file.write_all(&self.pending)?;
        segment.file.sync_data()?;
        segment.length += self.pending.len() as u64;
        Ok(())
    }

    fn give_up_segment(&mut self) {
        if let Some(segment) = self.segment.take() {
            // If this fails too, readers leave out what stands twice: the next segment says where it begins.
            let _ = segment.file.set_len(segment.length);
        }
    }

    /// Hash of the last batch that is durable.
    #[must_use]
    pub fn chain(&self) -> Digest {
        self.durable.chain
    }
}

impl Segment {
    fn create(folder: &Path, header: &SegmentHeader) -> io::Result<Segment> {
        fs::create_dir_all(folder)?;
        let path = segment_path(folder, header.first);
        // One that is there has nothing durable: its name is the first record that is not.
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(path)?;
        file.write_all(&header.encode())?;
        File::open(folder)?.sync_all()?;
        Ok(Segment { file, length: SEGMENT_HEADER as u64 })
    }
}

#[cfg(test)]
mod tests {
    use super::super::replay::replay;
    use super::*;
    use crate::attribution::testing::Folder;

    fn read(folder: &Path) -> (Vec<u64>, super::super::replay::Replay) {
        let mut times = Vec::new();
        let replay = replay(folder, Position::START, |_, record| times.push(record.at())).unwrap();
        (times, replay)
    }

    fn log(folder: &Path) -> Log {
        Log::new(folder, Position::START, Partition { number: 1, hour: 0, first: 1 })
    }

    #[test]
    fn what_was_synced_is_read_again() {
        let folder = Folder::new("log-read");
        let mut log = log(&folder);
        assert_eq!(log.append(1, &[Record::Alive { at: 1 }, Record::Alive { at: 2 }]), 2);
        assert_eq!((log.pending(), log.sync(1).unwrap(), log.pending()), (2, 2, 0));
        assert_eq!(log.append(3, &[Record::Alive { at: 3 }]), 3);
        log.sync(3).unwrap();
        log.append(4, &[Record::Alive { at: 4 }]);
        let (times, replay) = read(&folder);
        assert_eq!(times, [1, 2, 3]);
        assert_eq!((replay.next.sequence, replay.last_known, replay.faults.as_slice()), (4, 3, &[][..]));
        assert_eq!(replay.next.chain, log.chain());
    }

    #[test]
    fn an_hour_ends_a_partition_and_its_segment() {
        let folder = Folder::new("log-hour");
        let mut log = log(&folder);
        for at in [HOUR - 1, HOUR, HOUR + 1, 2 * HOUR] {
            log.append(at, &[Record::Alive { at }]);
            log.sync(at).unwrap();
        }
        let firsts: Vec<u64> =
            super::super::segments(&folder).unwrap().iter().map(|file| file.first).collect();
        assert_eq!(firsts, [1, 2, 4]);
        assert_eq!(read(&folder).1.faults, []);
    }

    #[test]
    fn after_an_error_everything_is_in_the_next_segment() {
        let folder = Folder::new("log-error");
        let mut log = log(&folder);
        log.append(1, &[Record::Alive { at: 1 }]);
        log.sync(1).unwrap();
        // A file that cannot be written: opened for reading.
        let reading = File::open(segment_path(&folder, 1)).unwrap();
        let file = std::mem::replace(&mut log.segment.as_mut().unwrap().file, reading);
        log.append(2, &[Record::Alive { at: 2 }]);
        assert!(log.sync(2).is_err());
        // As if the write had come through and only its sync had failed.
        (&file).write_all(&log.pending).unwrap();
        log.append(3, &[Record::Alive { at: 3 }]);
        assert_eq!(log.sync(3).unwrap(), 3);
        let (times, replay) = read(&folder);
        assert_eq!((times.as_slice(), replay.faults.as_slice()), (&[1, 2, 3][..], &[][..]));
    }
}
