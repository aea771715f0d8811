//! What marks say about a time: that records are missing, that the clock is in doubt, which configuration held.

use std::ops::RangeInclusive;

use crate::attribution::digest::Digest;
use crate::attribution::record::{ClockChange, GapCause, Millis, Record};
use crate::attribution::seal::Partition;

/// What is known of the time of some partitions.
#[derive(Debug, Default)]
pub(in crate::attribution) struct Spans {
    /// Records are missing, and why.
    pub(in crate::attribution) holes: Vec<(RangeInclusive<Millis>, Hole)>,
    /// Nobody vouches for the clock.
    pub(in crate::attribution) doubts: Vec<RangeInclusive<Millis>>,
    /// Holdings may have been open that no record tells of: nobody can be excluded.
    pub(in crate::attribution) blind: Vec<RangeInclusive<Millis>>,
    /// The AFTR was stopped, in order: nobody held anything.
    pub(in crate::attribution) off: Vec<RangeInclusive<Millis>>,
    /// From when on which configuration held.
    pub(in crate::attribution) configurations: Vec<(Millis, Digest)>,
}

/// What held before the first record of a partition.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::attribution) struct Began {
    pub(in crate::attribution) doubtful: bool,
    pub(in crate::attribution) incomplete: bool,
    pub(in crate::attribution) configuration: Option<Digest>,
}

impl Began {
    /// What holds at the end of a partition.
    pub(in crate::attribution) fn behind(partition: &Partition) -> Began {
        Began {
            doubtful: partition.clock_is_doubtful,
            incomplete: partition.is_incomplete,
            configuration: partition.configuration,
        }
    }
}

/// Why records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::attribution) enum Hole {
    Gap(GapCause),
    /// A writer ended without a word.
    Down,
    /// A fleet's tables do not have the partition.
    NotShipped,
    /// They have something else than what was shipped.
    Differs,
}

/// A crash is known to the second (ATT-2).
const CRASH: Millis = 1000;

impl Spans {
    /// Takes the marks of a partition from `from` to `to`.
    pub(in crate::attribution) fn add(
        &mut self,
        marks: &[(u64, Record)],
        (from, to): (Millis, Millis),
        began: Began,
    ) {
        self.configurations.extend(began.configuration.map(|digest| (from, digest)));
        let mut doubtful_since = began.doubtful.then_some(from);
        let mut blind_since = began.incomplete.then_some(from);
        for (_, record) in marks {
            if let Record::Opened { at, .. } | Record::Closed { at } | Record::Complete { at } = *record
                && let Some(since) = blind_since.take()
            {
                self.blind.push(since.min(at)..=since.max(at));
            }
            match *record {
                Record::Gap { from, to, why, lost } if lost > 0 => {
                    blind_since = Some(blind_since.unwrap_or(from).min(from));
                    self.holes.push((from.min(to)..=from.max(to), Hole::Gap(why)));
                }
                Record::Opened { at, last_known, .. } if last_known > at => {
                    // The clock was set back while nothing ran: these moments came twice.
                    self.doubts.push(at..=last_known.saturating_add(CRASH));
                }
                Record::Opened { at, last_known, was_closed: true } if last_known > 0 => {
                    self.off.push(last_known..=at);
                }
                Record::Opened { at, last_known, was_closed: false } if last_known > 0 => {
                    if last_known + CRASH < at {
                        self.holes.push((last_known + CRASH..=at, Hole::Down));
                    }
                }
                Record::Configuration { at, digest } => self.configurations.push((at, Digest(digest))),
                Record::Clock { at, before, change } => {
                    if change != ClockChange::Trusted {
                        doubtful_since = doubtful_since.or((change == ClockChange::Doubtful).then_some(at));
                    } else if let Some(since) = doubtful_since.take() {
                        self.doubts.push(since.min(at)..=since.max(at));
                    }
                    if change == ClockChange::Step {
                        self.doubts.push(at.min(before)..=at.max(before));
                    }
                }
                Record::Gap { .. }
                | Record::Opened { .. }
                | Record::Closed { .. }
                | Record::Complete { .. }
                | Record::Started { .. }
                | Record::Ended { .. }
                | Record::Alive { .. }
                | Record::Moved { .. } => {}
            }
        }
        self.doubts.extend(doubtful_since.map(|since| since..=to.max(since)));
        self.blind.extend(blind_since.map(|since| since..=Millis::MAX));
    }

    /// Configurations that held at some moment of the window.
    pub(in crate::attribution) fn configurations_in(&self, window: &RangeInclusive<Millis>) -> Vec<Digest> {
        let before = self.configurations.iter().rfind(|(at, _)| at <= window.start());
        let inside = self.configurations.iter().filter(|(at, _)| window.contains(at) && at != window.start());
        let mut found: Vec<Digest> = before.into_iter().chain(inside).map(|&(_, digest)| digest).collect();
        found.sort();
        found.dedup();
        found
    }
}

/// Whether two spans have a moment in common.
pub(in crate::attribution) fn meet(one: &RangeInclusive<Millis>, other: &RangeInclusive<Millis>) -> bool {
    one.start() <= other.end() && other.start() <= one.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(marks: &[Record]) -> Spans {
        let marks: Vec<(u64, Record)> = (1..).zip(marks.iter().copied()).collect();
        let mut spans = Spans::default();
        spans.add(&marks, (0, 100_000), Began::default());
        spans
    }

    #[test]
    fn a_start_with_the_clock_behind_is_a_doubt_of_all_that_came_twice() {
        for was_closed in [false, true] {
            let spans = spans(&[Record::Opened { at: 5000, last_known: 9000, was_closed }]);
            assert_eq!((spans.doubts, spans.holes), (vec![5000..=10_000], Vec::new()));
        }
        assert!(spans(&[Record::Opened { at: 9000, last_known: 9000, was_closed: true }]).doubts.is_empty());
    }
}
