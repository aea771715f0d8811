//! Datagrams of which only a part has come, by whatever tells them apart, within bounds for each owner and
//! for all: a flood of fragments pushes out its own sender's, and nobody else's (RFC 4787 REQ-14a).

use aftr_config::FragmentLimits;

use crate::engine::seed::HashKey;
use crate::engine::table::{HashIndex, NONE, Record, Slab, Wheel};
use crate::engine::time::{Instant, Stamp};

/// What tells one datagram from another.
pub(in crate::engine) trait DatagramKey: Copy + PartialEq {
    /// Any value, for records that are not in use.
    const ANY: Self;

    fn hash(&self, key: &HashKey) -> u32;
}

#[derive(Clone)]
struct Entry<K, T> {
    key: K,
    owner: u32,
    /// The owner's datagram before this one.
    older: u32,
    octets: u32,
    since: Stamp,
    /// None marks a record that is not in use.
    value: Option<T>,
}

impl<K: DatagramKey, T: Clone> Record for Entry<K, T> {
    const VACANT: Entry<K, T> =
        Entry { key: K::ANY, owner: NONE, older: NONE, octets: 0, since: Instant::ZERO.stamp(), value: None };

    fn is_live(&self) -> bool {
        self.value.is_some()
    }
}

/// Who sent them, or whom they are for.
#[derive(Clone)]
struct Owner {
    name: u128,
    newest: u32,
    /// How many; 0 marks a record that is not in use.
    datagrams: u32,
    octets: u32,
}

impl Record for Owner {
    const VACANT: Owner = Owner { name: 0, newest: NONE, datagrams: 0, octets: 0 };

    fn is_live(&self) -> bool {
        self.datagrams > 0
    }
}

/// The table.
pub(in crate::engine) struct Datagrams<K, T> {
    limits: FragmentLimits,
    entries: Slab<Entry<K, T>>,
    by_key: HashIndex,
    owners: Slab<Owner>,
    by_name: HashIndex,
    key: HashKey,
    octets: u32,
    timers: Wheel,
    evicted: Vec<T>,
}

impl<K: DatagramKey, T: Clone> Datagrams<K, T> {
    pub(in crate::engine) fn new(limits: &FragmentLimits, key: HashKey, now: Instant) -> Datagrams<K, T> {
        Datagrams {
            limits: *limits,
            entries: Slab::new(limits.limit),
            by_key: HashIndex::new(limits.limit),
            owners: Slab::new(limits.limit),
            by_name: HashIndex::new(limits.limit),
            key,
            octets: 0,
            timers: Wheel::new(limits.limit, now),
            evicted: Vec::new(),
        }
    }

    pub(in crate::engine) fn memory(limits: &FragmentLimits) -> u64 {
        Slab::<Entry<K, T>>::memory(limits.limit)
            + Slab::<Owner>::memory(limits.limit)
            + 2 * HashIndex::memory(limits.limit)
            + Wheel::memory(limits.limit)
            + u64::from(limits.octets)
    }

    pub(in crate::engine) fn find(&self, key: &K) -> Option<u32> {
        // Most of the time no datagram is in pieces.
        if self.entries.len() == 0 {
            return None;
        }
        self.by_key.find(key.hash(&self.key), |id| self.entries[id].key == *key)
    }

    /// Enters a datagram. An owner that has as many as it may loses its oldest; none when the table is full.
    pub(in crate::engine) fn open(&mut self, key: K, owner: u128, value: T, now: Instant) -> Option<u32> {
        let owner = self.owner_with_room(owner)?;
        if !self.entries.has_room(1) || !self.by_key.has_room(key.hash(&self.key)) {
            self.forget_idle_owner(owner);
            return None;
        }
        let entry = Entry { key, since: now.stamp(), value: Some(value), ..Entry::VACANT };
        let id = self.entries.insert(entry);
        let entered = self.by_key.insert(key.hash(&self.key), id);
        debug_assert!(entered);
        self.link(id, owner);
        Some(id)
    }

    /// Gives a datagram to another owner, which may lose its oldest for it. When there is no room for another
    /// owner it stays where it is.
    pub(in crate::engine) fn hand_over(&mut self, id: u32, owner: u128) {
        if self.owners[self.entries[id].owner].name == owner {
            return;
        }
        if let Some(owner) = self.owner_with_room(owner) {
            self.unlink(id);
            self.link(id, owner);
        }
    }

    /// Charges octets to a datagram. Its owner's older ones make room for them; false when there is none.
    pub(in crate::engine) fn charge(&mut self, id: u32, octets: u32) -> bool {
        let owner = self.entries[id].owner;
        while self.owners[owner].octets.saturating_add(octets) > self.limits.octets_per_subscriber {
            let oldest = self.oldest_of(owner);
            if oldest == id {
                return false;
            }
            self.evict(oldest);
        }
        if self.octets.saturating_add(octets) > self.limits.octets {
            return false;
        }
        self.octets += octets;
        self.owners[owner].octets += octets;
        self.entries[id].octets += octets;
        true
    }

    /// Takes a datagram's charge back: it keeps nothing any more.
    pub(in crate::engine) fn discharge(&mut self, id: u32) {
        let octets = std::mem::take(&mut self.entries[id].octets);
        let owner = self.entries[id].owner;
        self.owners[owner].octets -= octets;
        self.octets -= octets;
    }

    pub(in crate::engine) fn remove(&mut self, id: u32) -> Option<T> {
        self.timers.disarm(id);
        self.unlink(id);
        let entry = self.entries.remove(id);
        self.octets -= entry.octets;
        self.by_key.remove(entry.key.hash(&self.key), id);
        entry.value
    }

    /// What had to go for something newer of the same owner.
    pub(in crate::engine) fn pop_evicted(&mut self) -> Option<T> {
        self.evicted.pop()
    }

    pub(in crate::engine) fn value(&self, id: u32) -> Option<&T> {
        self.entries.get(id)?.value.as_ref()
    }

    pub(in crate::engine) fn value_mut(&mut self, id: u32) -> Option<&mut T> {
        self.entries[id].value.as_mut()
    }

    /// Milliseconds since the first piece came.
    pub(in crate::engine) fn age(&self, id: u32, now: Instant) -> u32 {
        self.entries[id].since.age(now)
    }

    /// Wants [`Datagrams::pop_due`] to give this datagram `secs` after its first piece came.
    pub(in crate::engine) fn arm(&mut self, id: u32, secs: u32, now: Instant) {
        let deadline = self.entries[id].since.plus_secs(secs, now);
        self.timers.arm(id, deadline);
    }

    pub(in crate::engine) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        self.timers.pop_due(now)
    }

    pub(in crate::engine) fn next_look(&self) -> Option<Instant> {
        self.timers.next_look()
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How much of its limits is in use, of the one that is nearer.
    pub(in crate::engine) fn percent(&self) -> u8 {
        let of = |used: u64, limit: u32| used * 100 / u64::from(limit);
        let entries = of(self.entries.len() as u64, self.limits.limit);
        entries.max(of(u64::from(self.octets), self.limits.octets)).min(100) as u8
    }

    /// Takes over changed limits; the size of the table is what it was made for.
    pub(in crate::engine) fn limit(&mut self, limits: &FragmentLimits) {
        self.limits = FragmentLimits { limit: self.limits.limit, ..*limits };
    }

    fn hash_name(&self, name: u128) -> u32 {
        self.key.hash_v6(name)
    }

    /// The owner's record, with room for one more datagram.
    fn owner_with_room(&mut self, name: u128) -> Option<u32> {
        let hash = self.hash_name(name);
        while let Some(id) = self.by_name.find(hash, |id| self.owners[id].name == name) {
            if self.owners[id].datagrams < self.limits.limit_per_subscriber {
                return Some(id);
            }
            self.evict(self.oldest_of(id));
        }
        if !self.owners.has_room(1) || !self.by_name.has_room(hash) {
            return None;
        }
        let id = self.owners.insert(Owner { name, ..Owner::VACANT });
        let entered = self.by_name.insert(hash, id);
        debug_assert!(entered);
        Some(id)
    }

    fn oldest_of(&self, owner: u32) -> u32 {
        let mut id = self.owners[owner].newest;
        while self.entries[id].older != NONE {
            id = self.entries[id].older;
        }
        id
    }

    fn evict(&mut self, id: u32) {
        let value = self.remove(id);
        self.evicted.extend(value);
    }

    fn link(&mut self, id: u32, owner: u32) {
        let record = &mut self.owners[owner];
        let entry = &mut self.entries[id];
        (entry.owner, entry.older) = (owner, record.newest);
        record.newest = id;
        record.datagrams += 1;
        record.octets += entry.octets;
    }

    fn unlink(&mut self, id: u32) {
        let Entry { owner, older, octets, .. } = self.entries[id];
        let record = &mut self.owners[owner];
        record.datagrams -= 1;
        record.octets -= octets;
        if record.newest == id {
            record.newest = older;
        } else {
            let mut newer = record.newest;
            while self.entries[newer].older != id {
                newer = self.entries[newer].older;
            }
            self.entries[newer].older = older;
        }
        self.forget_idle_owner(owner);
    }

    fn forget_idle_owner(&mut self, owner: u32) {
        if self.owners[owner].datagrams == 0 {
            let name = self.owners.remove(owner).name;
            self.by_name.remove(self.hash_name(name), owner);
        }
    }
}
