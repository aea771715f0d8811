//! Mappings by number and by internal key. A mapping is one line of the cache: what a packet in either
//! direction needs is in it.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::ports::Place;
use crate::engine::seed::HashKey;
use crate::engine::table::{HashIndex, NONE, Record, Slab, Wheel};
use crate::engine::time::{Instant, Stamp};
use aftr_config::Protocol;

/// An endpoint-independent mapping (RFC 4787 REQ-1): softwire, internal address, protocol and port on
/// one side, external address and port on the other.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(in crate::engine) struct Mapping {
    /// [`NONE`] marks a record that is not in use.
    pub(in crate::engine) softwire: u32,
    pub(in crate::engine) internal: Ipv4Addr,
    pub(in crate::engine) external: Ipv4Addr,
    /// Number of the external address.
    pub(in crate::engine) address: u32,
    pub(in crate::engine) internal_port: u16,
    pub(in crate::engine) external_port: u16,
    pub(in crate::engine) protocol: Protocol,
    /// Configured: has no timer and survives its last session (RFC 6888 REQ-9).
    pub(in crate::engine) is_static: bool,
    /// A session ended otherwise than by the tracked state machine: its port must be held (RFC 6888 REQ-8a).
    pub(in crate::engine) must_hold: bool,
    /// Number of the port set, or [`NONE`] for a static mapping outside every set.
    pub(in crate::engine) port_set: u32,
    /// The last packet that kept it alive.
    pub(in crate::engine) last_seen: Stamp,
    /// Seconds that it lives after that; sessions decide instead for TCP.
    pub(in crate::engine) lifetime: u32,
    /// First of its sessions.
    pub(in crate::engine) first_session: u32,
    pub(in crate::engine) sessions: u32,
    /// Sessions opened from the Internet and not yet answered.
    pub(in crate::engine) inbound_half_open: u32,
    /// When it was made, in seconds.
    pub(in crate::engine) made: u32,
    /// The address's pool then: a reload may move the address to another.
    pub(in crate::engine) pool_id: u32,
}

impl Mapping {
    /// Whether this is its internal side. No softwire is [`NONE`], so nothing is at a vacant record.
    #[inline(always)]
    fn is_at(&self, softwire: u32, protocol: Protocol, internal: Ipv4Addr, port: u16) -> bool {
        self.softwire == softwire
            && self.internal == internal
            && self.internal_port == port
            && self.protocol == protocol
    }

    pub(in crate::engine) fn place(&self) -> Place {
        Place { address: self.address, protocol: self.protocol, port: self.external_port }
    }

    #[inline]
    pub(in crate::engine) fn internal(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.internal, self.internal_port)
    }

    #[inline]
    pub(in crate::engine) fn external(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.external, self.external_port)
    }
}

impl Record for Mapping {
    const VACANT: Mapping = Mapping {
        softwire: NONE,
        internal: Ipv4Addr::UNSPECIFIED,
        external: Ipv4Addr::UNSPECIFIED,
        address: NONE,
        internal_port: 0,
        external_port: 0,
        protocol: Protocol::Udp,
        is_static: false,
        must_hold: false,
        port_set: NONE,
        last_seen: Instant::ZERO.stamp(),
        lifetime: 0,
        first_session: NONE,
        sessions: 0,
        inbound_half_open: 0,
        made: 0,
        pool_id: 0,
    };

    fn is_live(&self) -> bool {
        self.softwire != NONE
    }
}

pub(in crate::engine) struct Mappings {
    pub(in crate::engine) slab: Slab<Mapping>,
    by_internal: HashIndex,
    key: HashKey,
    /// UDP and ICMP: a TCP mapping ends with its last session.
    pub(in crate::engine) timers: Wheel,
}

impl Mappings {
    pub(in crate::engine) fn new(limit: u32, key: HashKey, now: Instant) -> Mappings {
        Mappings {
            slab: Slab::new(limit),
            by_internal: HashIndex::new(limit),
            key,
            timers: Wheel::new(limit, now),
        }
    }

    pub(in crate::engine) fn memory(limit: u32) -> u64 {
        Slab::<Mapping>::memory(limit) + HashIndex::memory(limit) + Wheel::memory(limit)
    }

    #[inline]
    pub(in crate::engine) fn hash(
        &self,
        softwire: u32,
        protocol: Protocol,
        internal: Ipv4Addr,
        port: u16,
    ) -> u32 {
        self.key.hash([softwire, internal.to_bits(), (protocol as u32) << 16 | u32::from(port)])
    }

    /// The mapping of an internal address and port behind a softwire.
    #[inline]
    pub(in crate::engine) fn find(
        &self,
        softwire: u32,
        protocol: Protocol,
        internal: Ipv4Addr,
        port: u16,
    ) -> Option<u32> {
        self.by_internal.find(self.hash(softwire, protocol, internal, port), |id| {
            self.slab[id].is_at(softwire, protocol, internal, port)
        })
    }

    /// The same, by a number that is right if the key is.
    #[inline(always)]
    pub(in crate::engine) fn find_near(
        &self,
        guess: u32,
        softwire: u32,
        protocol: Protocol,
        internal: Ipv4Addr,
        port: u16,
    ) -> Option<u32> {
        match self.slab.get(guess) {
            Some(mapping) if mapping.is_at(softwire, protocol, internal, port) => Some(guess),
            _ => self.find(softwire, protocol, internal, port),
        }
    }

    /// See [`HashIndex::peek`].
    #[inline]
    pub(in crate::engine) fn peek(&self, hash: u32) -> u64 {
        self.by_internal.peek(hash)
    }

    /// See [`HashIndex::guess`].
    #[inline]
    pub(in crate::engine) fn guess(&self, hash: u32) -> u32 {
        self.by_internal.guess(hash)
    }

    pub(in crate::engine) fn has_room(&self) -> bool {
        self.slab.has_room(1)
    }

    pub(in crate::engine) fn has_room_at(&self, hash: u32) -> bool {
        self.slab.has_room(1) && self.by_internal.has_room(hash)
    }

    /// Enters one; the caller asked for room.
    pub(in crate::engine) fn enter(&mut self, mapping: Mapping) -> u32 {
        let hash = self.hash(mapping.softwire, mapping.protocol, mapping.internal, mapping.internal_port);
        let id = self.slab.insert(mapping);
        let entered = self.by_internal.insert(hash, id);
        debug_assert!(entered);
        id
    }

    pub(in crate::engine) fn remove(&mut self, id: u32) -> Mapping {
        self.timers.disarm(id);
        let mapping = self.slab.remove(id);
        let hash = self.hash(mapping.softwire, mapping.protocol, mapping.internal, mapping.internal_port);
        self.by_internal.remove(hash, id);
        mapping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_one_line_of_the_cache() {
        assert_eq!(size_of::<Mapping>(), 64);
    }
}
