//! From records to intervals: who held which ports from when to when.
//!
//! Recovery, sealing and queries all read the log through this, so that they cannot disagree.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::record::{ClockChange, EndCause, Holding, Millis, Record, subscriber};

/// Somebody held ports for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// What, and who.
    pub holding: Holding,
    /// From when on.
    pub start: Millis,
    /// When the subscriber was given the ports: earlier than `start` where its softwire has moved.
    pub since: Millis,
    /// Until when, and why it ended; nothing while it lasts.
    pub end: Option<(Millis, EndCause)>,
    /// Records are missing since then, among which its end may be: nothing is certain after this.
    pub confirmed_until: Option<Millis>,
    /// Number of the record of its start; 0 where that is lost.
    pub start_record: u64,
    /// Number of the record of its end; 0 while there is none.
    pub end_record: u64,
    /// Its start was written while nobody vouched for the clock.
    pub start_doubtful: bool,
    /// Its end was.
    pub end_doubtful: bool,
}

/// Follows the records of a log, in their order.
#[derive(Debug, Default)]
pub struct Ledger {
    open: HashMap<u64, Interval, BuildHasherDefault<KeyHasher>>,
    /// Keys of open holdings by subscriber; kept from the first move on.
    of_subscriber: Option<HashMap<Ipv6Net, Vec<u64>>>,
    clock_is_doubtful: bool,
    /// Holdings may be open that no record tells of.
    is_incomplete: bool,
}

impl Ledger {
    /// Goes on from intervals that are open.
    #[must_use]
    pub fn with_open(open: &[Interval], clock_is_doubtful: bool, is_incomplete: bool) -> Ledger {
        let mut ledger = Ledger { clock_is_doubtful, is_incomplete, ..Ledger::default() };
        for &interval in open {
            ledger.open.insert(key(&interval.holding), interval);
        }
        ledger
    }

    /// Whether nobody vouches for the clock now.
    #[must_use]
    pub fn clock_is_doubtful(&self) -> bool {
        self.clock_is_doubtful
    }

    /// Whether holdings may be open that no record tells of: records were lost.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }

    /// What is held now, in the order of address and port.
    #[must_use]
    pub fn open(&self) -> Vec<Interval> {
        let mut open: Vec<Interval> = self.open.values().copied().collect();
        open.sort_unstable_by_key(|interval| key(&interval.holding));
        open
    }

    /// How many holdings are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Takes the record with this number (0: the reader's own); gives `closed` the intervals that it ends.
    pub fn apply(&mut self, sequence: u64, record: &Record, mut closed: impl FnMut(Interval)) {
        match *record {
            Record::Started { at, since, holding } => self.start(sequence, at, since, holding, &mut closed),
            Record::Ended { at, since, holding, cause } => {
                self.end(sequence, at, since, &holding, cause, &mut closed);
            }
            Record::Moved { at, prefix_len, from, to } => {
                self.move_softwire(sequence, at, subscriber(to, prefix_len), (from, to), &mut closed);
            }
            Record::Gap { from, lost, .. } if lost > 0 => {
                self.is_incomplete = true;
                self.open.values_mut().for_each(|open| {
                    open.confirmed_until = Some(open.confirmed_until.unwrap_or(from).min(from));
                });
            }
            Record::Clock { change, .. } => match change {
                ClockChange::Doubtful => self.clock_is_doubtful = true,
                ClockChange::Trusted => self.clock_is_doubtful = false,
                ClockChange::Step => {}
            },
            Record::Opened { last_known, .. } => {
                self.end_all(sequence, last_known, EndCause::Crash, &mut closed)
            }
            Record::Closed { at } => self.end_all(sequence, at, EndCause::Admin, &mut closed),
            Record::Complete { at } => self.end_unconfirmed(at, &mut closed),
            Record::Gap { .. } | Record::Alive { .. } | Record::Configuration { .. } => {}
        }
    }

    /// As [`Ledger::apply`] for each, in order. The table's lines are asked for first, of all records at once: one by
    /// one, recovery does little else but wait for them.
    pub fn apply_all(&mut self, records: &[(u64, Record)], mut closed: impl FnMut(Millis, Interval)) {
        let is_there = |(_, record): &(u64, Record)| match record {
            Record::Started { holding, .. } | Record::Ended { holding, .. } => {
                self.open.get(&key(holding)).is_some_and(|open| open.end_doubtful)
            }
            Record::Moved { .. }
            | Record::Alive { .. }
            | Record::Clock { .. }
            | Record::Gap { .. }
            | Record::Configuration { .. }
            | Record::Opened { .. }
            | Record::Closed { .. }
            | Record::Complete { .. } => false,
        };
        std::hint::black_box(records.iter().filter(|record| is_there(record)).count());
        for (sequence, record) in records {
            self.apply(*sequence, record, |interval| closed(record.at(), interval));
        }
    }

    fn start(
        &mut self,
        sequence: u64,
        at: Millis,
        since: Millis,
        holding: Holding,
        closed: &mut impl FnMut(Interval),
    ) {
        let key = key(&holding);
        let mut start = since;
        if let Some(open) = self.open.get_mut(&key) {
            let is_same = open.since == since
                && open.holding.subscriber() == holding.subscriber()
                && open.holding.last_port == holding.last_port;
            if is_same && open.holding.b4 == holding.b4 {
                // Said again: whatever was lost, it was not its end.
                open.confirmed_until = None;
                return;
            }
            if is_same {
                // The record of its move is lost: the past keeps its B4.
                start = at;
            }
            let lost = self.take(key);
            closed(ended_unseen(lost, start));
        }
        let interval = Interval {
            holding,
            start,
            since,
            end: None,
            confirmed_until: None,
            start_record: if start == at { sequence } else { 0 },
            end_record: 0,
            start_doubtful: self.clock_is_doubtful,
            end_doubtful: false,
        };
        self.put(key, interval);
    }

    fn end(
        &mut self,
        sequence: u64,
        at: Millis,
        since: Millis,
        holding: &Holding,
        cause: EndCause,
        closed: &mut impl FnMut(Interval),
    ) {
        let end_doubtful = self.clock_is_doubtful;
        let ended = |interval: Interval| Interval {
            end: Some((at, cause)),
            end_record: sequence,
            confirmed_until: None,
            end_doubtful,
            ..interval
        };
        let key = key(holding);
        if self.open.contains_key(&key) {
            let open = self.take(key);
            if open.since == since {
                return closed(ended(open));
            }
            closed(ended_unseen(open, since));
        }
        // The record of its start is lost; the one of its end says when that was.
        closed(ended(Interval {
            holding: *holding,
            start: since,
            since,
            end: None,
            confirmed_until: None,
            start_record: 0,
            end_record: 0,
            start_doubtful: false,
            end_doubtful: false,
        }));
    }

    fn move_softwire(
        &mut self,
        sequence: u64,
        at: Millis,
        subscriber: Ipv6Net,
        (from, to): (Ipv6Addr, Ipv6Addr),
        closed: &mut impl FnMut(Interval),
    ) {
        if self.of_subscriber.is_none() {
            let mut index: HashMap<Ipv6Net, Vec<u64>> = HashMap::new();
            for interval in self.open() {
                index.entry(interval.holding.subscriber()).or_default().push(key(&interval.holding));
            }
            self.of_subscriber = Some(index);
        }
        let keys = self.of_subscriber.as_ref().and_then(|index| index.get(&subscriber));
        for key in keys.into_iter().flatten() {
            let Some(open) = self.open.get_mut(key).filter(|open| open.holding.b4 == from) else {
                continue;
            };
            let before = *open;
            closed(Interval { end: Some((at, EndCause::Migration)), end_record: sequence, ..before });
            let holding = Holding { b4: to, ..before.holding };
            *open = Interval { holding, start: at, start_record: sequence, ..before };
        }
    }

    fn end_all(&mut self, sequence: u64, at: Millis, cause: EndCause, closed: &mut impl FnMut(Interval)) {
        for interval in self.open() {
            closed(Interval {
                end: Some((at, cause)),
                end_record: sequence,
                end_doubtful: self.clock_is_doubtful,
                ..interval
            });
        }
        self.open.clear();
        self.of_subscriber = None;
        self.is_incomplete = false;
    }

    /// What was not said again after a gap had ended in it.
    fn end_unconfirmed(&mut self, at: Millis, closed: &mut impl FnMut(Interval)) {
        for interval in self.open() {
            if interval.confirmed_until.is_some() {
                closed(ended_unseen(self.take(key(&interval.holding)), at));
            }
        }
        self.is_incomplete = false;
    }

    fn put(&mut self, key: u64, open: Interval) {
        if let Some(index) = &mut self.of_subscriber {
            index.entry(open.holding.subscriber()).or_default().push(key);
        }
        self.open.insert(key, open);
    }

    fn take(&mut self, key: u64) -> Interval {
        let open = self.open.remove(&key).expect("the caller has seen it");
        if let Some(index) = &mut self.of_subscriber {
            let subscriber = open.holding.subscriber();
            let keys = index.entry(subscriber).or_default();
            keys.retain(|&other| other != key);
            if keys.is_empty() {
                index.remove(&subscriber);
            }
        }
        open
    }
}

/// Its ports were given anew at `at`, and no record says when it ended.
fn ended_unseen(open: Interval, at: Millis) -> Interval {
    let confirmed_until = Some(open.confirmed_until.unwrap_or(open.start));
    Interval { end: Some((at, EndCause::Lost)), confirmed_until, ..open }
}

/// Holdings with one key cannot be open at the same time. Sorts by address and port.
pub(crate) fn key(holding: &Holding) -> u64 {
    u64::from(holding.external.to_bits()) << 32
        | u64::from(holding.first_port) << 16
        | u64::from(holding.protocol) << 8
        | u64::from(holding.internal.is_some())
}

/// Keys are the AFTR's own choice: nobody can make them collide, so one multiplication is enough.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, octets: &[u8]) {
        octets.iter().for_each(|&octet| self.write_u64(u64::from(octet)));
    }

    fn write_u64(&mut self, key: u64) {
        let product = u128::from(self.0 ^ key ^ 0x9e37_79b9_7f4a_7c15) * 0xa076_1d64_78bd_642f;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::record::GapCause;
    use crate::attribution::testing::holding;

    fn run(records: &[Record]) -> (Vec<Interval>, Ledger) {
        let (mut ledger, mut closed) = (Ledger::default(), Vec::new());
        for (sequence, record) in (1..).zip(records) {
            ledger.apply(sequence, record, |interval| closed.push(interval));
        }
        (closed, ledger)
    }

    fn started(at: Millis, holding: Holding) -> Record {
        Record::Started { at, since: at, holding }
    }

    fn ended(at: Millis, since: Millis, holding: Holding) -> Record {
        Record::Ended { at, since, holding, cause: EndCause::Idle }
    }

    fn gap(from: Millis, to: Millis) -> Record {
        Record::Gap { from, to, why: GapCause::QueueFull, lost: 1 }
    }

    #[test]
    fn a_holding_lasts_from_its_start_to_its_end() {
        let (closed, ledger) = run(&[started(10, holding(1)), ended(20, 10, holding(1))]);
        assert_eq!(closed.len(), 1);
        assert_eq!((closed[0].start, closed[0].end), (10, Some((20, EndCause::Idle))));
        assert_eq!((closed[0].start_record, closed[0].end_record, ledger.open_count()), (1, 2, 0));
    }

    #[test]
    fn a_crash_ends_everything_at_the_last_sign_of_life() {
        let opened = Record::Opened { at: 90, last_known: 30, was_closed: false };
        let (closed, _) = run(&[started(10, holding(1)), started(11, holding(2)), opened]);
        assert!(closed.iter().all(|interval| interval.end == Some((30, EndCause::Crash))));
        assert_eq!(closed.len(), 2);
    }

    #[test]
    fn after_a_gap_only_an_end_or_a_word_of_the_engine_makes_it_certain_again() {
        let again = Record::Started { at: 40, since: 10, holding: holding(1) };
        let records =
            [started(10, holding(1)), started(10, holding(2)), started(10, holding(3)), gap(20, 30)];
        let (_, ledger) = run(&records);
        assert!(ledger.open().iter().all(|interval| interval.confirmed_until == Some(20)));
        let (closed, ledger) = run(&[&records[..], &[again, ended(50, 10, holding(2))]].concat());
        let confirmed: Vec<_> = ledger.open().iter().map(|interval| interval.confirmed_until).collect();
        assert_eq!(confirmed, [None, Some(20)]);
        assert_eq!(closed[0].confirmed_until, None);
        let (closed, _) =
            run(&[&records[..], &[started(60, Holding { prefix_len: 64, ..holding(3) })]].concat());
        assert_eq!((closed[0].end, closed[0].confirmed_until), (Some((60, EndCause::Lost)), Some(20)));
    }

    #[test]
    fn a_move_ends_one_interval_and_begins_the_next() {
        let to: Ipv6Addr = "2001:db8:b4:1::99".parse().unwrap();
        let moved = Record::Moved { at: 20, prefix_len: 64, from: holding(1).b4, to };
        let (closed, ledger) =
            run(&[started(10, holding(1)), started(10, holding(2)), moved, ended(30, 10, holding(1))]);
        assert_eq!(closed[0].end, Some((20, EndCause::Migration)));
        assert_eq!((closed[1].start, closed[1].holding.b4, closed[1].end_record), (20, to, 4));
        assert_eq!((closed.len(), ledger.open()[0].holding), (2, holding(2)));
    }

    #[test]
    fn said_again_behind_another_b4_it_leaves_the_past_its_own() {
        let to: Ipv6Addr = "2001:db8:b4:1::99".parse().unwrap();
        let again = Record::Started { at: 40, since: 10, holding: Holding { b4: to, ..holding(1) } };
        let (closed, ledger) = run(&[started(10, holding(1)), gap(20, 30), again]);
        assert_eq!((closed[0].holding, closed[0].end), (holding(1), Some((40, EndCause::Lost))));
        assert_eq!(closed[0].confirmed_until, Some(20));
        let open = ledger.open()[0];
        assert_eq!((open.holding.b4, open.start, open.since, open.start_record), (to, 40, 10, 3));
    }

    #[test]
    fn an_end_without_its_start_says_when_that_was() {
        let (closed, _) = run(&[gap(0, 15), ended(20, 10, holding(1))]);
        assert_eq!((closed[0].start, closed[0].start_record, closed[0].end_record), (10, 0, 2));
    }
}
