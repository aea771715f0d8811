//! Subscribers by number and by prefix. All that is shared between the softwires, hosts and protocols
//! of one household is here: its external address, its port sets and every count that a quota looks at
//! (RFC 7785 section 4.2, RFC 6888 REQ-2 and REQ-4).

use crate::engine::bucket::Bucket;
use crate::engine::seed::HashKey;
use crate::engine::table::{HashIndex, NONE, Record, Slab};
use crate::engine::time::Instant;

#[derive(Debug, Clone)]
pub(in crate::engine) struct Subscriber {
    /// The B4 prefix that names it, its other bits zero.
    pub(in crate::engine) prefix: u128,
    /// Number of the external address that it is paired with, or [`NONE`] before its first port.
    pub(in crate::engine) address: u32,
    /// First of its port sets.
    pub(in crate::engine) first_port_set: u32,
    /// How many it has.
    pub(in crate::engine) port_sets: u8,
    /// First of its softwires; [`NONE`] marks a record that is not in use.
    pub(in crate::engine) first_softwire: u32,
    /// How many it has.
    pub(in crate::engine) softwires: u8,
    /// When a softwire last moved to another B4 address.
    pub(in crate::engine) moved: Option<Instant>,
    /// Mappings by protocol, static ones included.
    pub(in crate::engine) mappings: [u32; 3],
    /// Sessions of all mappings.
    pub(in crate::engine) sessions: u32,
    /// Of those, opened from the Internet and not yet answered.
    pub(in crate::engine) inbound_half_open: u32,
    /// Untranslated sessions.
    pub(in crate::engine) passed_through: u32,
    /// New mappings.
    pub(in crate::engine) creation: Bucket,
}

impl Subscriber {
    /// Whether anything is left that names it.
    pub(in crate::engine) fn holds_something(&self) -> bool {
        self.port_sets > 0 || self.passed_through > 0 || self.mappings != [0; 3]
    }
}

impl Record for Subscriber {
    const VACANT: Subscriber = Subscriber {
        prefix: 0,
        address: NONE,
        first_port_set: NONE,
        port_sets: 0,
        first_softwire: NONE,
        softwires: 0,
        moved: None,
        mappings: [0; 3],
        sessions: 0,
        inbound_half_open: 0,
        passed_through: 0,
        creation: Bucket::FULL,
    };

    fn is_live(&self) -> bool {
        self.first_softwire != NONE
    }
}

pub(in crate::engine) struct Subscribers {
    pub(in crate::engine) slab: Slab<Subscriber>,
    by_prefix: HashIndex,
    key: HashKey,
}

impl Subscribers {
    pub(in crate::engine) fn new(limit: u32, key: HashKey) -> Subscribers {
        Subscribers { slab: Slab::new(limit), by_prefix: HashIndex::new(limit), key }
    }

    pub(in crate::engine) fn memory(limit: u32) -> u64 {
        Slab::<Subscriber>::memory(limit) + HashIndex::memory(limit)
    }

    pub(in crate::engine) fn find(&self, prefix: u128) -> Option<u32> {
        self.by_prefix.find(self.key.hash_v6(prefix), |id| self.slab[id].prefix == prefix)
    }

    pub(in crate::engine) fn has_room(&self, prefix: u128) -> bool {
        self.slab.has_room(1) && self.by_prefix.has_room(self.key.hash_v6(prefix))
    }

    /// Enters one; the caller asked [`Subscribers::has_room`].
    pub(in crate::engine) fn enter(&mut self, prefix: u128) -> u32 {
        let id = self.slab.insert(Subscriber { prefix, ..Subscriber::VACANT });
        let entered = self.by_prefix.insert(self.key.hash_v6(prefix), id);
        debug_assert!(entered);
        id
    }

    pub(in crate::engine) fn remove(&mut self, id: u32) -> Subscriber {
        let subscriber = self.slab.remove(id);
        self.by_prefix.remove(self.key.hash_v6(subscriber.prefix), id);
        subscriber
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::session::Sessions;
    use crate::engine::softwire::Softwires;

    /// `docs/architecture.md` says what a record takes.
    #[test]
    fn records_are_as_small_as_the_architecture_says() {
        let each = |memory: fn(u32) -> u64| (memory(1 << 20) - memory(1 << 19)) / (1 << 19);
        let subscriber = size_of::<Subscriber>() as u64;
        assert_eq!(subscriber, 80);
        assert_eq!(each(Subscribers::memory), subscriber + 4 + 16);
        assert_eq!(each(Softwires::memory), 64 + 4 + 16);
        assert_eq!(each(Sessions::memory), 24 + 4 + 16 + 8);
    }
}
