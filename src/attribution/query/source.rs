//! Where a verdict takes its facts from: the files of a journal, or the tables of a fleet.

use std::io;
use std::ops::RangeInclusive;

use aftr_config::Config;

use super::answer::{Evidence, LogGap, Place};
use super::marks::{Began, Hole, Spans};
use crate::attribution::digest::Digest;
use crate::attribution::ledger::{Interval, key};
use crate::attribution::record::{Millis, Record};
use crate::attribution::seal::Partition;

/// An end by a crash is known to the second (ATT-2).
const CRASH: Millis = 1000;

/// Facts about who held what.
pub(in crate::attribution) trait Source {
    /// What touches the ports of the address and the time, each interval once.
    fn find(
        &self,
        external: u32,
        ports: &RangeInclusive<u16>,
        window: &RangeInclusive<Millis>,
    ) -> io::Result<Found>;

    /// The last sign of life; nothing where there is no record at all.
    fn known_until(&self) -> Option<Millis>;

    /// Nothing is known from before.
    fn known_from(&self) -> Millis;

    /// Why nothing is known behind `known_until`.
    fn missing_behind(&self) -> LogGap;

    /// The configuration with this digest; nothing where it is missing or has changed.
    fn configuration(&self, digest: Digest) -> Option<Config>;
}

/// All that is known about an address and a time.
#[derive(Debug, Default)]
pub(in crate::attribution) struct Found {
    pub(in crate::attribution) evidence: Vec<Evidence>,
    pub(in crate::attribution) spans: Spans,
}

/// Records that are no holdings, with their numbers.
pub(in crate::attribution) type Marks = Vec<(u64, Record)>;

/// A sealed partition among the others.
pub(in crate::attribution) struct Shelved<'a> {
    pub(in crate::attribution) partition: &'a Partition,
    /// What held before it.
    pub(in crate::attribution) began: Began,
    /// The partition behind it is removed, and this one not: after the clock was set back, later records have earlier
    /// times.
    pub(in crate::attribution) successor_is_gone: bool,
}

/// The time whose intervals must be looked at for the moments of a window.
pub(in crate::attribution) fn time_around(window: &RangeInclusive<Millis>) -> RangeInclusive<Millis> {
    window.start().saturating_sub(CRASH)..=window.end().saturating_add(CRASH)
}

/// Collects what sealed partitions, in their order, know about a window. `content` reads one of them; where that finds
/// that it is not what was sealed, the time of the partition is a hole: `damage`.
pub(in crate::attribution) fn gather<'a>(
    shelf: impl Iterator<Item = Shelved<'a>>,
    window: &RangeInclusive<Millis>,
    damage: Hole,
    content: impl Fn(&Partition, &RangeInclusive<Millis>) -> io::Result<(Vec<Interval>, Marks)>,
    place: impl Fn(&Partition) -> Place,
) -> io::Result<Found> {
    let time = &time_around(window);
    let mut all = Found::default();
    for Shelved { partition, began, successor_is_gone } in shelf {
        if partition.from > *time.end() || partition.to < *time.start() {
            continue;
        }
        let (mut found, marks) = match content(partition, time) {
            Err(error) if is_damage(&error) => {
                all.spans.holes.push((partition.from..=partition.to, damage));
                (Vec::new(), Vec::new())
            }
            content => content?,
        };
        // How long an interval goes on behind its partition is in the next one, which may be too early for the
        // window: the clock can have been set back between the two.
        found.retain(|row| row.end.is_some() || partition.to >= *window.start());
        if successor_is_gone {
            found.iter_mut().for_each(|row| doubt_end(row, partition.last_known));
        }
        let place = place(partition);
        all.evidence.extend(found.into_iter().map(|interval| Evidence { interval, place: place.clone() }));
        all.spans.add(&marks, (partition.from, partition.to), began);
    }
    Ok(all)
}

/// An interval that goes on behind its partition stands in the next one as well, which knows more of it.
pub(in crate::attribution) fn latest_of_each(mut rows: Vec<Evidence>) -> Vec<Evidence> {
    let same = |row: &Evidence| {
        let interval = &row.interval;
        (key(&interval.holding), interval.start, interval.start_record, interval.holding.subscriber())
    };
    // Stable: what comes from a later place stays behind what comes from an earlier one.
    rows.sort_by_key(same);
    rows.reverse();
    rows.dedup_by_key(|row| same(row));
    rows.reverse();
    rows
}

/// Of an interval that goes on behind its partition, no more is known than that.
fn doubt_end(row: &mut Interval, until: Millis) {
    if row.end.is_none() {
        row.confirmed_until = Some(row.confirmed_until.unwrap_or(until).min(until));
    }
}

/// What is gone or no longer what was sealed.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound)
}
