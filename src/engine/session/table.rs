//! Sessions by number and by (mapping, remote address, remote port).

use std::net::Ipv4Addr;

use super::tcp::{Role, State};
use crate::engine::seed::HashKey;
use crate::engine::table::{HashIndex, NONE, Record, Slab, Wheel};
use crate::engine::time::{Instant, Stamp};

#[derive(Debug, Clone)]
pub(in crate::engine) struct Session {
    /// [`NONE`] marks a record that is not in use.
    pub(in crate::engine) mapping: u32,
    pub(in crate::engine) remote: Ipv4Addr,
    pub(in crate::engine) remote_port: u16,
    pub(in crate::engine) state: State,
    /// Opened from the Internet: there the client is outside.
    pub(in crate::engine) is_inbound: bool,
    /// When its idle timer started.
    pub(in crate::engine) since: Stamp,
    /// Neighbours in the mapping's list.
    pub(in crate::engine) next: u32,
    pub(in crate::engine) before: u32,
}

impl Session {
    /// Whether this is a mapping's session with this remote side.
    #[inline]
    pub(super) fn is_with(&self, mapping: u32, remote: Ipv4Addr, port: u16) -> bool {
        self.mapping == mapping && self.remote == remote && self.remote_port == port
    }

    /// Whether it waits for an answer to a connection from the Internet.
    pub(in crate::engine) fn is_inbound_half_open(&self) -> bool {
        self.is_inbound && self.state == State::Init
    }

    /// Which side of the session a packet from behind the B4 is.
    pub(in crate::engine) fn inside(&self) -> Role {
        if self.is_inbound { Role::Server } else { Role::Client }
    }

    /// Which side a packet from the Internet is.
    pub(in crate::engine) fn outside(&self) -> Role {
        if self.is_inbound { Role::Client } else { Role::Server }
    }
}

impl Record for Session {
    const VACANT: Session = Session {
        mapping: NONE,
        remote: Ipv4Addr::UNSPECIFIED,
        remote_port: 0,
        state: State::Peer,
        is_inbound: false,
        since: Instant::ZERO.stamp(),
        next: NONE,
        before: NONE,
    };

    fn is_live(&self) -> bool {
        self.mapping != NONE
    }
}

pub(in crate::engine) struct Sessions {
    pub(in crate::engine) slab: Slab<Session>,
    by_remote: HashIndex,
    key: HashKey,
    pub(in crate::engine) timers: Wheel,
}

impl Sessions {
    pub(in crate::engine) fn new(limit: u32, key: HashKey, now: Instant) -> Sessions {
        Sessions {
            slab: Slab::new(limit),
            by_remote: HashIndex::new(limit),
            key,
            timers: Wheel::new(limit, now),
        }
    }

    pub(in crate::engine) fn memory(limit: u32) -> u64 {
        Slab::<Session>::memory(limit) + HashIndex::memory(limit) + Wheel::memory(limit)
    }

    #[inline]
    fn hash(&self, mapping: u32, remote: Ipv4Addr, port: u16) -> u32 {
        self.key.hash([mapping, remote.to_bits(), u32::from(port)])
    }

    #[inline]
    pub(in crate::engine) fn find(&self, mapping: u32, remote: Ipv4Addr, port: u16) -> Option<u32> {
        self.by_remote
            .find(self.hash(mapping, remote, port), |id| self.slab[id].is_with(mapping, remote, port))
    }

    /// See [`HashIndex::peek`].
    #[inline]
    pub(in crate::engine) fn peek(&self, mapping: u32, remote: Ipv4Addr, port: u16) -> u64 {
        self.by_remote.peek(self.hash(mapping, remote, port))
    }

    pub(in crate::engine) fn has_room(&self) -> bool {
        self.slab.has_room(1)
    }

    pub(in crate::engine) fn has_room_for(&self, mapping: u32, remote: Ipv4Addr, port: u16) -> bool {
        self.slab.has_room(1) && self.by_remote.has_room(self.hash(mapping, remote, port))
    }

    /// Enters one in front of the mapping's list; the caller asked for room, and links it there.
    pub(in crate::engine) fn enter(&mut self, session: Session) -> u32 {
        let hash = self.hash(session.mapping, session.remote, session.remote_port);
        let next = session.next;
        let id = self.slab.insert(session);
        if next != NONE {
            self.slab[next].before = id;
        }
        let entered = self.by_remote.insert(hash, id);
        debug_assert!(entered);
        id
    }

    pub(in crate::engine) fn remove(&mut self, id: u32) -> Session {
        self.timers.disarm(id);
        let session = self.slab.remove(id);
        if session.next != NONE {
            self.slab[session.next].before = session.before;
        }
        if session.before != NONE {
            self.slab[session.before].next = session.next;
        }
        let hash = self.hash(session.mapping, session.remote, session.remote_port);
        self.by_remote.remove(hash, id);
        session
    }
}
