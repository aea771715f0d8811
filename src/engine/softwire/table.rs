//! Softwires by number and by B4 address. Mappings name a softwire by its number, so that a B4 that
//! changes its address keeps them (RFC 7785 section 4.3).

use std::net::Ipv6Addr;

use crate::engine::counters::Traffic;
use crate::engine::seed::HashKey;
use crate::engine::table::{HashIndex, NONE, Record, Slab};
use crate::engine::time::Instant;

/// One IPv4-in-IPv6 tunnel: a line of the cache.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Softwire {
    /// The B4's address now.
    pub(in crate::engine) b4: Ipv6Addr,
    /// Its subscriber; [`NONE`] marks a record that is not in use.
    pub(in crate::engine) subscriber: u32,
    /// The subscriber's next softwire.
    pub(in crate::engine) next: u32,
    /// Which of our addresses the B4 used last: answers carry it as their source.
    pub(in crate::engine) aftr: u8,
    /// MTU of the path to the B4 where it is smaller than the access network's; 0 when it is not known to be.
    path_mtu: u16,
    /// When that was learnt, in seconds: they do not wrap.
    path_mtu_at: u32,
    /// Inner packets from the B4.
    pub(in crate::engine) from_b4: Traffic,
    /// Inner packets to the B4.
    pub(in crate::engine) to_b4: Traffic,
}

impl Record for Softwire {
    const VACANT: Softwire = Softwire {
        b4: Ipv6Addr::UNSPECIFIED,
        subscriber: NONE,
        next: NONE,
        aftr: 0,
        path_mtu: 0,
        path_mtu_at: 0,
        from_b4: Traffic { packets: 0, octets: 0 },
        to_b4: Traffic { packets: 0, octets: 0 },
    };

    fn is_live(&self) -> bool {
        self.subscriber != NONE
    }
}

impl Softwire {
    /// The MTU that was learnt, while it counts (RFC 8201 section 4).
    #[inline]
    pub(in crate::engine) fn path_mtu(&self, now: Instant) -> Option<u16> {
        /// Ten minutes, as RFC 8201 section 5.3 recommends.
        const LIFE: u64 = 600;
        let is_fresh = || now.millis() / 1000 < u64::from(self.path_mtu_at) + LIFE;
        (self.path_mtu != 0 && is_fresh()).then_some(self.path_mtu)
    }
}

pub(in crate::engine) struct Softwires {
    pub(in crate::engine) slab: Slab<Softwire>,
    by_b4: HashIndex,
    key: HashKey,
}

impl Softwires {
    pub(in crate::engine) fn new(limit: u32, key: HashKey) -> Softwires {
        Softwires { slab: Slab::new(limit), by_b4: HashIndex::new(limit), key }
    }

    pub(in crate::engine) fn memory(limit: u32) -> u64 {
        Slab::<Softwire>::memory(limit) + HashIndex::memory(limit)
    }

    /// The softwire that ends at this B4 address.
    #[inline]
    pub(in crate::engine) fn find(&self, b4: Ipv6Addr) -> Option<u32> {
        self.by_b4.find(self.hash(b4), |id| self.slab[id].b4 == b4)
    }

    /// The same, by a number that is right if the key is.
    #[inline(always)]
    pub(in crate::engine) fn find_near(&self, guess: u32, b4: Ipv6Addr) -> Option<u32> {
        match self.slab.get(guess) {
            Some(softwire) if softwire.b4 == b4 && softwire.is_live() => Some(guess),
            _ => self.find(b4),
        }
    }

    #[inline]
    pub(in crate::engine) fn hash(&self, b4: Ipv6Addr) -> u32 {
        self.key.hash_v6(b4.to_bits())
    }

    /// See [`HashIndex::peek`].
    #[inline]
    pub(in crate::engine) fn peek(&self, hash: u32) -> u64 {
        self.by_b4.peek(hash)
    }

    /// See [`HashIndex::guess`].
    #[inline]
    pub(in crate::engine) fn guess(&self, hash: u32) -> u32 {
        self.by_b4.guess(hash)
    }

    pub(in crate::engine) fn has_room(&self, b4: Ipv6Addr) -> bool {
        self.slab.has_room(1) && self.by_b4.has_room(self.hash(b4))
    }

    /// Opens one; the caller asked [`Softwires::has_room`].
    pub(in crate::engine) fn open(&mut self, b4: Ipv6Addr, aftr: u8, subscriber: u32, next: u32) -> u32 {
        let id = self.slab.insert(Softwire { b4, subscriber, next, aftr, ..Softwire::VACANT });
        let entered = self.by_b4.insert(self.hash(b4), id);
        debug_assert!(entered);
        id
    }

    /// Has nobody find a softwire by its B4's address any more, while its ports wait to be given back.
    pub(in crate::engine) fn shut(&mut self, id: u32) {
        self.by_b4.remove(self.hash(self.slab[id].b4), id);
    }

    /// Has a softwire found again that was shut and whose B4 is allowed once more.
    pub(in crate::engine) fn reopen(&mut self, id: u32) {
        let b4 = self.slab[id].b4;
        if self.find(b4).is_none() {
            let _ = self.by_b4.insert(self.hash(b4), id);
        }
    }

    /// Closes one.
    pub(in crate::engine) fn close(&mut self, id: u32) -> Softwire {
        let softwire = self.slab.remove(id);
        self.by_b4.remove(self.hash(softwire.b4), id);
        softwire
    }

    /// Remembers what a path takes; an error never raises it (RFC 8201 section 4).
    pub(in crate::engine) fn learn_mtu(&mut self, id: u32, mtu: u32, now: Instant) {
        let softwire = &mut self.slab[id];
        let known = softwire.path_mtu(now).unwrap_or(u16::MAX);
        if mtu <= u32::from(known) {
            (softwire.path_mtu, softwire.path_mtu_at) = (mtu as u16, (now.millis() / 1000) as u32);
        }
    }

    /// Has a softwire end at another B4 address, to which another path leads.
    pub(in crate::engine) fn migrate(&mut self, id: u32, b4: Ipv6Addr) {
        let old = std::mem::replace(&mut self.slab[id].b4, b4);
        self.slab[id].path_mtu = 0;
        self.by_b4.remove(self.hash(old), id);
        let entered = self.by_b4.insert(self.hash(b4), id);
        debug_assert!(entered);
    }
}
