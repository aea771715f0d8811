//! After a crash: the log is read, an unfinished write is cut off and kept aside, and what was open is over.
//!
//! Nothing that a packet has used can be in the unfinished write: packets wait until their record is durable.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use super::log::{Log, Partition};
use super::replay::{Fault, Position, replay};
use crate::attribution::digest::Digest;
use crate::attribution::ledger::{Interval, Ledger};
use crate::attribution::record::{ClockChange, Millis, Record};

/// Ports of lost holdings rest this long (RFC 6888 REQ-8: "SHOULD wait … at least 120 seconds").
pub const QUARANTINE: Millis = 120_000;

/// Records that the ledger takes at once.
const AT_ONCE: usize = 64;

/// Ports that nobody may get for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// External address.
    pub external: Ipv4Addr,
    /// Ports.
    pub ports: RangeInclusive<u16>,
    /// Until when.
    pub until: Millis,
}

/// A log that can be written again.
#[derive(Debug)]
pub struct Recovered {
    /// The log. Its first record says that a writer has begun; it is not durable before the first sync.
    pub log: Log,
    /// What to leave alone, in the order of address and port.
    pub quarantine: Vec<Block>,
    /// Holdings that were open: they ended at `last_known`, by a crash. In the order of address and port.
    pub ended: Vec<Interval>,
    /// Time of the last sign of life; 0 for a new journal.
    pub last_known: Millis,
    /// Everything that was wrong.
    pub faults: Vec<Fault>,
    /// Where the unfinished write is kept.
    pub kept_aside: Option<PathBuf>,
    /// Records that were read.
    pub records: u64,
}

/// What is known from sealed partitions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sealed {
    /// Where the log goes on behind them.
    pub(crate) next: Option<Position>,
    /// The last partition.
    pub(crate) partition: u64,
    /// Time of its last sign of life.
    pub(crate) last_known: Millis,
    /// What was open at its end.
    pub(crate) open: Vec<Interval>,
    pub(crate) clock_is_doubtful: bool,
    /// Holdings may be open that no record tells of.
    pub(crate) is_incomplete: bool,
    /// Its last record says that the writer was told to stop.
    pub(crate) was_closed: bool,
    /// SHA-256 of the configuration in effect at its end.
    pub(crate) configuration: Option<Digest>,
}

/// Reads the log in `folder` from the sealed partitions on and makes it ready to be written.
///
/// # Errors
/// A log that cannot be read, or whose end cannot be cut.
pub(crate) fn recover(folder: &Path, aside: &Path, sealed: &Sealed, now: Millis) -> io::Result<Recovered> {
    let mut ledger = Ledger::with_open(&sealed.open, sealed.clock_is_doubtful, sealed.is_incomplete);
    let mut resting = VecDeque::new();
    let from = sealed.next.unwrap_or(Position::START);
    let mut was_closed = sealed.was_closed;
    let mut some = Vec::with_capacity(AT_ONCE);
    let replay = replay(folder, from, |sequence, record| {
        was_closed = matches!(record, Record::Closed { .. });
        some.push((sequence, *record));
        let step = step_of(record);
        if some.len() == AT_ONCE || step.is_some() {
            ledger.apply_all(&some, |at, interval| rest(&mut resting, &interval, at));
            some.clear();
        }
        if let Some((before, at)) = step {
            resting.iter_mut().for_each(|(then, _)| *then = shifted(*then, before, at));
        }
    })?;
    ledger.apply_all(&some, |at, interval| rest(&mut resting, &interval, at));
    let kept_aside = replay.faults.iter().try_fold(None, |kept, fault| match fault {
        Fault::Torn { file, offset, .. } => cut(file, *offset, aside).map(Some),
        Fault::Damaged { .. } | Fault::Missing { .. } | Fault::Chain { .. } => io::Result::Ok(kept),
    })?;
    // Not the later one: the clock may have been set back.
    let last_known = if replay.records > 0 { replay.last_known } else { sealed.last_known };
    let ended = ledger.open();
    for interval in &ended {
        rest(&mut resting, interval, last_known);
    }
    let mut log = Log::new(folder, replay.next, partition(&replay, sealed, now));
    log.append(now, &[Record::Opened { at: now, last_known, was_closed }]);
    Ok(Recovered {
        log,
        quarantine: quarantine(resting, now),
        ended,
        last_known,
        faults: replay.faults,
        kept_aside,
        records: replay.records,
    })
}

/// The time before a step of the clock, and after it.
fn step_of(record: &Record) -> Option<(Millis, Millis)> {
    if let Record::Clock { at, before, change: ClockChange::Step } = *record {
        Some((before, at))
    } else {
        None
    }
}

/// A time of the clock before a step, as the clock behind it counts: ports rest as long as they did.
fn shifted(time: Millis, before: Millis, at: Millis) -> Millis {
    if at >= before { time.saturating_add(at - before) } else { time.saturating_sub(before - at) }
}

/// Ports and since when they rest, of the last [`QUARANTINE`] of the log.
fn rest(resting: &mut VecDeque<(Millis, Interval)>, interval: &Interval, at: Millis) {
    while resting.front().is_some_and(|(then, _)| then + QUARANTINE < at) {
        resting.pop_front();
    }
    resting.push_back((at, *interval));
}

fn quarantine(resting: VecDeque<(Millis, Interval)>, now: Millis) -> Vec<Block> {
    let block = |(_, interval): (Millis, Interval)| Block {
        external: interval.holding.external,
        ports: interval.holding.first_port..=interval.holding.last_port,
        until: now + QUARANTINE,
    };
    let mut blocks: Vec<Block> = resting.into_iter().map(block).collect();
    blocks.sort_unstable_by_key(|block| (block.external, *block.ports.start(), *block.ports.end()));
    blocks.dedup();
    blocks
}

/// Moves what is behind `offset` to a file of its own.
fn cut(file: &Path, offset: u64, aside: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(aside)?;
    let name = file.file_stem().and_then(|name| name.to_str()).unwrap_or("segment");
    let kept = aside.join(format!("{name}-{offset}.torn"));
    let octets = fs::read(file)?;
    fs::write(&kept, &octets[offset as usize..])?;
    let file = File::options().write(true).open(file)?;
    file.set_len(offset)?;
    file.sync_all()?;
    Ok(kept)
}

fn partition(replay: &super::replay::Replay, sealed: &Sealed, now: Millis) -> Partition {
    const HOUR: Millis = 3_600_000;
    match replay.partition {
        Some(segment) if segment.partition > sealed.partition => {
            Partition { number: segment.partition, hour: segment.made / HOUR, first: segment.first }
        }
        _ => Partition { number: sealed.partition + 1, hour: now / HOUR, first: replay.next.sequence },
    }
}

#[cfg(test)]
mod tests {
    use super::super::segments;
    use super::*;
    use crate::attribution::record::{EndCause, Holding};
    use crate::attribution::testing::{Folder, holding};

    fn opened(folder: &Path, now: Millis) -> Recovered {
        recover(&folder.join("wal"), &folder.join("aside"), &Sealed::default(), now).unwrap()
    }

    fn started(at: Millis, holding: Holding) -> Record {
        Record::Started { at, since: at, holding }
    }

    /// Two blocks granted, one ended; the writer dies at 3000.
    fn crashed(folder: &Path) {
        let mut log = opened(folder, 1000).log;
        log.append(1000, &[started(1000, holding(1)), started(1000, holding(2))]);
        log.sync(1000).unwrap();
        let ended = Record::Ended { at: 2000, since: 1000, holding: holding(1), cause: EndCause::Idle };
        log.append(2000, &[ended]);
        log.sync(2000).unwrap();
        log.append(3000, &[Record::Alive { at: 3000 }]);
        log.sync(3000).unwrap();
    }

    #[test]
    fn what_was_open_ends_at_the_last_sign_of_life_and_rests() {
        let folder = Folder::new("recovery");
        crashed(&folder);
        let recovered = opened(&folder, 9000);
        assert_eq!((recovered.ended.len(), recovered.last_known, recovered.faults.len()), (1, 3000, 0));
        let ports: Vec<u16> = recovered.quarantine.iter().map(|block| *block.ports.start()).collect();
        assert_eq!(ports, [holding(1).first_port, holding(2).first_port]);
        assert!(recovered.quarantine.iter().all(|block| block.until == 129_000));
    }

    #[test]
    fn a_step_of_the_clock_takes_nothing_out_of_the_quarantine_and_leaves_nothing_in() {
        for (step, last, rests) in [(4_000_000u64, 4_005_000u64, true), (500_000, 630_000, false)] {
            let folder = Folder::new("stepped");
            let mut log = opened(&folder, 1_000_000).log;
            log.append(1_000_000, &[started(1_000_000, holding(1)), started(1_000_000, holding(2))]);
            let ended = |at, of| Record::Ended { at, since: 1_000_000, holding: of, cause: EndCause::Idle };
            log.append(1_001_000, &[ended(1_001_000, holding(1))]);
            let change = ClockChange::Step;
            log.append(step, &[Record::Clock { at: step, before: 1_002_000, change }]);
            log.append(last, &[ended(last, holding(2))]);
            log.sync(last).unwrap();
            drop(log);
            let ports: Vec<u16> =
                opened(&folder, last + 1).quarantine.iter().map(|block| *block.ports.start()).collect();
            assert_eq!(ports.contains(&holding(1).first_port), rests, "{step}");
            assert!(ports.contains(&holding(2).first_port));
        }
    }

    /// Power lost in the middle of a write: at each octet.
    #[test]
    fn a_log_that_is_torn_at_any_octet_is_cut_there_and_goes_on() {
        let folder = Folder::new("torn");
        crashed(&folder);
        let file = segments(&folder.join("wal")).unwrap()[0].path.clone();
        let whole = fs::read(&file).unwrap();
        for length in 0..=whole.len() {
            let _ = fs::remove_dir_all(folder.join("wal"));
            fs::create_dir_all(folder.join("wal")).unwrap();
            fs::write(&file, &whole[..length]).unwrap();
            let mut recovered = opened(&folder, 9000);
            assert!(recovered.faults.iter().all(|fault| matches!(fault, Fault::Torn { .. })), "{length}");
            assert_eq!(recovered.faults.is_empty(), recovered.kept_aside.is_none());
            let left = fs::metadata(&file).unwrap().len();
            assert!(left <= length as u64 && recovered.records <= 5, "{length}");
            recovered.log.append(9000, &[Record::Alive { at: 9000 }]);
            let last = recovered.log.sync(9000).unwrap();
            let again = opened(&folder, 9001);
            assert_eq!((again.records, again.last_known), (last, 9000), "{length}: {:?}", again.faults);
            assert_eq!(again.faults, [], "{length}");
        }
    }
}
