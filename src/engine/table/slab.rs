//! Records addressed by number, with a limit that is never crossed.

use std::ops::{Index, IndexMut};

/// What a slab holds: a record knows whether it is in use, so that a slab can be walked.
pub(in crate::engine) trait Record: Clone {
    /// A record that is not in use.
    const VACANT: Self;

    /// Whether it is in use.
    fn is_live(&self) -> bool;
}

/// Up to `limit` records. Memory is reserved at once and touched as it is used.
pub(in crate::engine) struct Slab<T> {
    records: Vec<T>,
    free: Vec<u32>,
    limit: u32,
}

impl<T: Record> Slab<T> {
    pub(in crate::engine) fn new(limit: u32) -> Slab<T> {
        Slab { records: Vec::with_capacity(limit as usize), free: Vec::new(), limit }
    }

    /// Bytes that `limit` records take.
    pub(in crate::engine) fn memory(limit: u32) -> u64 {
        u64::from(limit) * (size_of::<T>() + size_of::<u32>()) as u64
    }

    /// Whether `count` more fit.
    pub(in crate::engine) fn has_room(&self, count: usize) -> bool {
        self.len() + count <= self.limit as usize
    }

    /// Records in use.
    pub(in crate::engine) fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }

    /// Puts a record in.
    ///
    /// # Panics
    /// When it is full: callers ask [`Slab::has_room`] first.
    pub(in crate::engine) fn insert(&mut self, record: T) -> u32 {
        assert!(self.has_room(1), "slab full");
        if let Some(id) = self.free.pop() {
            self.records[id as usize] = record;
            return id;
        }
        self.records.push(record);
        self.records.len() as u32 - 1
    }

    /// Takes a record out.
    pub(in crate::engine) fn remove(&mut self, id: u32) -> T {
        self.free.push(id);
        std::mem::replace(&mut self.records[id as usize], T::VACANT)
    }

    /// Every record in use, by number.
    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.records).filter(|(_, record)| record.is_live())
    }

    /// A record by a number that may be a guess.
    #[inline]
    pub(in crate::engine) fn get(&self, id: u32) -> Option<&T> {
        self.records.get(id as usize)
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: u32) -> &T {
        &self.records[id as usize]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut T {
        &mut self.records[id as usize]
    }
}
