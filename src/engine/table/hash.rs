//! From a key to the number of the record that holds it: open addressing with linear probing.
//!
//! A slot is eight bytes: 32 bits of the keyed hash and the record's number. The key itself stays in
//! the record, so a look-up reads one line here and one there. Probing is bounded: whoever finds keys
//! that collide can fill one run of slots and no more.

use super::NONE;

/// Longest run that is probed. At half load the chance that a key needs more is below 2^-40.
const MOST_PROBES: u32 = 128;

pub(in crate::engine) struct HashIndex {
    /// Hash in the upper half, number plus one in the lower; 0 is empty. Plain integers, so that the
    /// allocator gives zero pages that take memory only when touched.
    slots: Vec<u64>,
    mask: u32,
}

impl HashIndex {
    /// An index for up to `limit` records, at most half full.
    pub(in crate::engine) fn new(limit: u32) -> HashIndex {
        let slots = Self::slots_for(limit);
        HashIndex { slots: vec![0; slots], mask: slots as u32 - 1 }
    }

    /// Bytes that an index for `limit` records takes.
    pub(in crate::engine) fn memory(limit: u32) -> u64 {
        (Self::slots_for(limit) * size_of::<u64>()) as u64
    }

    fn slots_for(limit: u32) -> usize {
        (limit.max(8) as usize * 2).next_power_of_two()
    }

    /// The record with this hash that `is_it` recognises.
    #[inline]
    pub(in crate::engine) fn find(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        for probe in 0..MOST_PROBES {
            let slot = self.slots[(hash.wrapping_add(probe) & self.mask) as usize];
            if slot == 0 {
                return None;
            }
            if (slot >> 32) as u32 == hash && is_it(slot as u32 - 1) {
                return Some(slot as u32 - 1);
            }
        }
        None
    }

    /// Reads the slot where a look-up starts, so that its line is on its way.
    #[inline]
    pub(in crate::engine) fn peek(&self, hash: u32) -> u64 {
        self.slots[(hash & self.mask) as usize]
    }

    /// The record that a look-up will most likely end at: its hash is right, its key was not read.
    #[inline]
    pub(in crate::engine) fn guess(&self, hash: u32) -> u32 {
        const PROBES: u32 = 4;
        for probe in 0..PROBES {
            let slot = self.peek(hash.wrapping_add(probe));
            if (slot >> 32) as u32 == hash {
                return (slot as u32).wrapping_sub(1);
            }
        }
        NONE
    }

    /// Enters a record; false when the run is too long, which the caller treats as a full table.
    #[must_use]
    pub(in crate::engine) fn insert(&mut self, hash: u32, id: u32) -> bool {
        for probe in 0..MOST_PROBES {
            let at = (hash.wrapping_add(probe) & self.mask) as usize;
            if self.slots[at] == 0 {
                self.slots[at] = u64::from(hash) << 32 | u64::from(id + 1);
                return true;
            }
        }
        false
    }

    /// Whether [`HashIndex::insert`] would succeed.
    pub(in crate::engine) fn has_room(&self, hash: u32) -> bool {
        (0..MOST_PROBES).any(|probe| self.slots[(hash.wrapping_add(probe) & self.mask) as usize] == 0)
    }

    /// Takes a record out, and moves what stood behind it forward, so that no run has a hole.
    pub(in crate::engine) fn remove(&mut self, hash: u32, id: u32) {
        let wanted = u64::from(hash) << 32 | u64::from(id + 1);
        let Some(mut hole) = (0..MOST_PROBES)
            .map(|probe| hash.wrapping_add(probe) & self.mask)
            .find(|&at| self.slots[at as usize] == wanted)
        else {
            return;
        };
        let mut at = hole;
        loop {
            self.slots[hole as usize] = 0;
            loop {
                at = (at + 1) & self.mask;
                let slot = self.slots[at as usize];
                if slot == 0 {
                    return;
                }
                let home = (slot >> 32) as u32 & self.mask;
                // It may move to the hole unless its home lies behind the hole.
                if at.wrapping_sub(home) & self.mask >= at.wrapping_sub(hole) & self.mask {
                    self.slots[hole as usize] = slot;
                    hole = at;
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Against an ordered map, with hashes squeezed into a few values so that runs are long and wrap.
    #[test]
    fn behaves_like_a_map_under_random_insertions_and_removals() {
        let mut index = HashIndex::new(64);
        let mut model = BTreeMap::new();
        let mut state = 1u64;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let id = (state >> 33) as u32 % 64;
            let hash = (id % 16) * 0x0800_0009 + 120;
            if model.remove(&id).is_some() {
                index.remove(hash, id);
            } else {
                assert!(index.insert(hash, id));
                model.insert(id, hash);
            }
            for probe in 0..64u32 {
                let hash = (probe % 16) * 0x0800_0009 + 120;
                let expected = model.contains_key(&probe).then_some(probe);
                assert_eq!(index.find(hash, |id| id == probe), expected);
            }
        }
    }

    #[test]
    fn a_run_that_is_too_long_refuses_instead_of_degrading() {
        let mut index = HashIndex::new(1024);
        let entered = (0..1024).take_while(|&id| index.insert(77, id)).count();
        assert_eq!(entered, MOST_PROBES as usize);
        assert!(!index.has_room(77));
    }
}
