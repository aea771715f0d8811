//! What is not sealed yet, in memory: intervals by address and port, and marks.

use std::io;
use std::ops::RangeInclusive;

use super::marks::Began;
use crate::attribution::ledger::{Interval, Ledger};
use crate::attribution::record::{Millis, Record};
use crate::attribution::seal::{is_mark, touches};
use crate::attribution::wal::{Fault, Position, Sealed, replay};

/// The records behind the last sealed partition.
#[derive(Debug)]
pub(super) struct Recent {
    /// Sorted by address, first port and start.
    intervals: Vec<Interval>,
    /// Most ports that one of them has, less one.
    widest: u16,
    pub(super) marks: Vec<(u64, Record)>,
    /// Its records are from here …
    pub(super) from: Millis,
    /// … to here; nothing where there are none.
    pub(super) to: Option<Millis>,
    /// What held before the first.
    pub(super) began: Began,
    pub(super) faults: Vec<Fault>,
    /// Where the log ends.
    pub(super) end: Position,
}

impl Recent {
    pub(super) fn read(wal: &std::path::Path, sealed: &Sealed) -> io::Result<Recent> {
        let mut ledger = Ledger::with_open(&sealed.open, sealed.clock_is_doubtful, sealed.is_incomplete);
        let (mut intervals, mut marks) = (Vec::new(), Vec::new());
        let mut from = sealed.next.map_or(Millis::MAX, |_| sealed.last_known);
        let start = sealed.next.unwrap_or(Position::START);
        let replay = replay(wal, start, |sequence, record| {
            ledger.apply(sequence, record, |interval| intervals.push(interval));
            from = from.min(record.earliest());
            if is_mark(record) {
                marks.push((sequence, *record));
            }
        })?;
        intervals.extend(ledger.open());
        intervals.sort_unstable_by_key(|row: &Interval| {
            (row.holding.external, row.holding.first_port, row.start, row.start_record)
        });
        let width = |row: &Interval| row.holding.last_port.saturating_sub(row.holding.first_port);
        Ok(Recent {
            widest: intervals.iter().map(width).max().unwrap_or(0),
            intervals,
            marks,
            from,
            to: (replay.records > 0).then_some(replay.last_known),
            began: Began {
                doubtful: sealed.clock_is_doubtful,
                incomplete: sealed.is_incomplete,
                configuration: sealed.configuration,
            },
            faults: replay.faults,
            end: replay.next,
        })
    }

    /// Every interval that touches the ports of the address and the time.
    pub(super) fn find(
        &self,
        external: u32,
        ports: &RangeInclusive<u16>,
        time: &RangeInclusive<Millis>,
    ) -> impl Iterator<Item = &Interval> {
        let place = |row: &Interval| (row.holding.external.to_bits(), row.holding.first_port);
        let first = (external, ports.start().saturating_sub(self.widest));
        let start = self.intervals.partition_point(|row| place(row) < first);
        let end = self.intervals.partition_point(|row| place(row) <= (external, *ports.end()));
        self.intervals[start..end.max(start)]
            .iter()
            .filter(move |row| row.holding.last_port >= *ports.start() && touches(row, time))
    }

    pub(super) fn rows(&self) -> &[Interval] {
        &self.intervals
    }
}
