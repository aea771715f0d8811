//! How much was lost to one collector, and when.

use super::record::{Class, Record};

/// What was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loss {
    /// Records, by [`Class`].
    pub records: [u64; 3],
    /// The first time, in milliseconds since 1970; 0 for never.
    pub first: u64,
    /// The last time.
    pub last: u64,
}

impl Loss {
    /// Records of all classes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.records.iter().sum()
    }

    /// Records of a class.
    #[must_use]
    pub fn of(&self, class: Class) -> u64 {
        self.records[class as usize]
    }

    /// Counts a record that was lost at that time.
    pub(super) fn count(&mut self, record: &Record, unix_millis: u64) {
        self.count_class(record.class(), 1, unix_millis);
    }

    pub(super) fn count_class(&mut self, class: Class, count: u64, unix_millis: u64) {
        if count == 0 {
            return;
        }
        self.records[class as usize] += count;
        self.first = if self.first == 0 { unix_millis } else { self.first };
        self.last = unix_millis;
    }

    pub(super) fn add(&mut self, other: &Loss) {
        for class in Class::ALL {
            self.records[class as usize] += other.of(class);
        }
        self.first = [self.first, other.first].into_iter().filter(|&at| at > 0).min().unwrap_or(0);
        self.last = self.last.max(other.last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// IPX-42: the times are those of the first and of the last loss, wherever it was.
    #[test]
    fn losses_of_two_places_are_one() {
        let mut queue = Loss::default();
        queue.count_class(Class::Grant, 2, 20);
        let mut spool = Loss::default();
        spool.count_class(Class::Notice, 1, 10);
        spool.count_class(Class::Grant, 1, 15);
        let mut sum = queue;
        sum.add(&spool);
        let expected = Loss { first: 10, last: 20, ..sum };
        assert_eq!((sum, sum.total(), sum.of(Class::Grant)), (expected, 4, 3));
        sum.add(&Loss::default());
        assert_eq!(sum, expected);
        let mut none = Loss::default();
        none.add(&queue);
        assert_eq!(none, queue);
    }
}
