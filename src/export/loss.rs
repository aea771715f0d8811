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
        if self.first == 0 {
            self.first = other.first;
        }
        for class in Class::ALL {
            self.count_class(class, other.of(class), other.last);
        }
    }
}
