//! Records on their way to one target: in order, bounded, never waited for by who puts them in. When there is
//! no room the least dear go first, and what goes is counted.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::loss::Loss;
use super::record::{Class, Record};

/// Octets that a record takes.
pub(super) const ENTRY: usize = size_of::<(u64, Record)>();

/// A bounded queue for one reader.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    wake: Condvar,
    /// Records that fit.
    most: usize,
    /// As many as make it worth to wake the reader.
    batch: usize,
}

#[derive(Default)]
struct Inner {
    /// By class, each with its place in the order of all.
    lanes: [VecDeque<(u64, Record)>; 3],
    next: u64,
    loss: Loss,
    is_closed: bool,
}

impl Queue {
    /// A queue of so many octets, whose reader is woken when `batch` records wait.
    pub(super) fn new(octets: u64, batch: usize) -> Queue {
        let most = usize::try_from(octets).unwrap_or(usize::MAX) / ENTRY;
        Queue { inner: Mutex::default(), wake: Condvar::new(), most: most.max(1), batch }
    }

    /// Puts records in; `now` is the wall clock's time, for what is lost.
    pub(super) fn push(&self, records: &[Record], now: u64) {
        let mut inner = self.lock();
        let had = inner.len();
        for record in records {
            if inner.len() >= self.most {
                inner.make_room(record.class(), now);
            }
            if inner.len() < self.most {
                let place = inner.next;
                inner.next += 1;
                inner.lanes[record.class() as usize].push_back((place, *record));
            } else {
                inner.loss.count(record, now);
            }
        }
        if had < self.batch && inner.len() >= self.batch {
            self.wake.notify_one();
        }
    }

    /// Moves up to `most` of the oldest records to `into`.
    pub(super) fn take(&self, most: usize, into: &mut Vec<Record>) {
        let mut inner = self.lock();
        for _ in 0..most {
            let place = |class: &Class| inner.lanes[*class as usize].front().map(|&(place, _)| place);
            let Some(class) = Class::ALL.into_iter().filter(|class| place(class).is_some()).min_by_key(place)
            else {
                break;
            };
            into.extend(inner.lanes[class as usize].pop_front().map(|(_, record)| record));
        }
    }

    /// Waits until there is a batch, or it is closed, or time is over.
    pub(super) fn wait(&self, time: Duration) {
        let inner = self.lock();
        let goes_on = |inner: &mut Inner| inner.len() < self.batch && !inner.is_closed;
        drop(self.wake.wait_timeout_while(inner, time, goes_on));
    }

    /// Waits for time to pass, or until it is closed.
    pub(super) fn rest(&self, time: Duration) {
        let inner = self.lock();
        drop(self.wake.wait_timeout_while(inner, time, |inner| !inner.is_closed));
    }

    /// Ends the reader's waiting for good.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.wake.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn loss(&self) -> Loss {
        self.lock().loss
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    /// Gives up the oldest record of a class that is less dear, the least dear first.
    fn make_room(&mut self, class: Class, now: u64) {
        for lane in &mut self.lanes[..class as usize] {
            if let Some((_, record)) = lane.pop_front() {
                self.loss.count(&record, now);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::message::tests::assorted;

    fn taken(queue: &Queue) -> Vec<Record> {
        let mut records = Vec::new();
        queue.take(usize::MAX, &mut records);
        records
    }

    #[test]
    fn records_leave_in_the_order_in_which_they_came() {
        let records = assorted(100);
        let queue = Queue::new(1 << 20, 10);
        queue.push(&records, 1);
        let mut first = Vec::new();
        queue.take(30, &mut first);
        assert_eq!(first, records[..30]);
        assert_eq!(taken(&queue), records[30..]);
        assert_eq!(queue.loss(), Loss::default());
    }

    /// IPX-42
    #[test]
    fn the_least_dear_are_lost_first_and_all_are_counted() {
        let records = assorted(700);
        let of = |class| records.iter().filter(move |record| record.class() == class).count() as u64;
        let (grants, mappings) = (of(Class::Grant), of(Class::Mapping));
        for most in [grants + mappings, grants + 10, grants, grants - 5, 1] {
            let queue = Queue::new(most * ENTRY as u64, 10);
            queue.push(&records, 1);
            let left = taken(&queue);
            assert_eq!(left.len() as u64, most);
            let kept = |class| left.iter().filter(|record| record.class() == class).count() as u64;
            assert_eq!(kept(Class::Grant), grants.min(most));
            assert_eq!(kept(Class::Notice), 0);
            for class in Class::ALL {
                assert_eq!(queue.loss().of(class), of(class) - kept(class), "{class:?} of {most}");
            }
        }
    }
}
