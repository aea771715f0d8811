//! What a packet does to sessions: decided first, carried out once nothing can drop the packet any more.

use std::net::Ipv4Addr;

use aftr_config::Filtering;

use super::table::Session;
use super::tcp::{State, step};
use crate::engine::aftr::Aftr;
use crate::engine::table::{NONE, Record};
use crate::engine::time::Instant;
use crate::engine::transport::Flow;
use crate::engine::verdict::DropReason;
use aftr_config::Protocol;

/// The session that a packet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Use {
    /// It needs none.
    Nothing,
    Existing(u32),
    /// One is to be opened.
    Open,
}

impl Aftr {
    /// For a packet from a B4; `mapping` is none when it will be made for it.
    #[inline(always)]
    pub(in crate::engine) fn plan_session_from_b4(
        &self,
        mapping: Option<u32>,
        subscriber: Option<u32>,
        flow: &Flow,
    ) -> Result<Use, DropReason> {
        let Some(port) = self.tracked_port(flow.protocol, flow.destination_port) else {
            return Ok(Use::Nothing);
        };
        let session = mapping.and_then(|id| self.session_with(id, flow.destination, port));
        match session {
            Some(id) => Ok(Use::Existing(id)),
            None if flow.protocol != Protocol::Tcp || flow.opens_tcp() => {
                self.room_for_session(mapping, subscriber, flow.destination, port)?;
                Ok(Use::Open)
            }
            // Section 7, CLOSED: with a mapping it is forwarded and changes nothing; without one
            // (RFC 5382 section 5) only a SYN opens.
            None if mapping.is_some() => Ok(Use::Nothing),
            None => Err(DropReason::TcpNoSession),
        }
    }

    /// For a packet from `remote` on the Internet, or hairpinned, at a mapping: filtering (RFC 4787
    /// REQ-8, RFC 5382 REQ-3), and the limits on what the Internet may open.
    #[inline(always)]
    pub(in crate::engine) fn plan_session_from_internet(
        &self,
        mapping: u32,
        flow: &Flow,
        remote: Ipv4Addr,
        remote_port: u16,
    ) -> Result<Use, DropReason> {
        let Some(port) = self.tracked_port(flow.protocol, remote_port) else { return Ok(Use::Nothing) };
        if let Some(id) = self.session_with(mapping, remote, port) {
            return Ok(Use::Existing(id));
        }
        self.filter(mapping, remote)?;
        if !flow.opens_tcp() {
            return Ok(Use::Nothing);
        }
        let limits = &self.settings.config.nat.session_limits;
        let record = &self.mappings.slab[mapping];
        let subscriber = self.softwires.slab[record.softwire].subscriber;
        if record.inbound_half_open >= limits.inbound_half_open_per_mapping
            || self.subscribers.slab[subscriber].inbound_half_open >= limits.inbound_half_open_per_subscriber
        {
            return Err(DropReason::TcpInFlood);
        }
        self.room_for_session(Some(mapping), Some(subscriber), remote, port)?;
        Ok(Use::Open)
    }

    /// The session of a mapping with a remote side. Most mappings have one: no index is asked for that.
    #[inline(always)]
    fn session_with(&self, mapping: u32, remote: Ipv4Addr, port: u16) -> Option<u32> {
        let record = &self.mappings.slab[mapping];
        let first = self.sessions.slab.get(record.first_session)?;
        if first.is_with(mapping, remote, port) {
            return Some(record.first_session);
        }
        if record.sessions > 1 { self.sessions.find(mapping, remote, port) } else { None }
    }

    /// The remote port that sessions of this protocol are known by; none when nothing is tracked:
    /// with endpoint-independent filtering UDP and ICMP have no state per peer.
    #[inline(always)]
    fn tracked_port(&self, protocol: Protocol, remote_port: u16) -> Option<u16> {
        match (protocol, self.settings.filtering(protocol)) {
            (Protocol::Tcp, _) => Some(remote_port),
            (_, Filtering::EndpointIndependent) => None,
            (Protocol::Icmp, _) | (_, Filtering::AddressDependent) => Some(0),
            (Protocol::Udp, Filtering::AddressAndPortDependent) => Some(remote_port),
        }
    }

    /// Whether a remote side without a session of its own is let in.
    fn filter(&self, mapping: u32, remote: Ipv4Addr) -> Result<(), DropReason> {
        let record = &self.mappings.slab[mapping];
        let admitted = record.is_static
            || match self.settings.filtering(record.protocol) {
                Filtering::EndpointIndependent => true,
                // Others than TCP are known by their address: they were looked for already.
                Filtering::AddressDependent => {
                    record.protocol == Protocol::Tcp && self.has_session_with(mapping, remote)
                }
                Filtering::AddressAndPortDependent => false,
            };
        admitted.then_some(()).ok_or(DropReason::NatFilter)
    }

    fn has_session_with(&self, mapping: u32, remote: Ipv4Addr) -> bool {
        let mut id = self.mappings.slab[mapping].first_session;
        while id != NONE {
            let session = &self.sessions.slab[id];
            if session.remote == remote {
                return true;
            }
            id = session.next;
        }
        false
    }

    /// RFC 6888 REQ-5: the caps on sessions.
    fn room_for_session(
        &self,
        mapping: Option<u32>,
        subscriber: Option<u32>,
        remote: Ipv4Addr,
        port: u16,
    ) -> Result<(), DropReason> {
        let limits = &self.settings.config.nat.session_limits;
        let of_mapping = mapping.map_or(0, |id| self.mappings.slab[id].sessions);
        let of_subscriber = subscriber.map_or(0, |id| self.subscribers.slab[id].sessions);
        if of_mapping >= limits.limit_per_mapping || of_subscriber >= limits.limit_per_subscriber {
            return Err(DropReason::NatQuota);
        }
        let has_room = match mapping {
            Some(id) => self.sessions.has_room_for(id, remote, port),
            None => self.sessions.has_room(),
        };
        has_room.then_some(()).ok_or(DropReason::NatMem)
    }

    /// Carries a plan out for a packet from behind the B4.
    #[inline(always)]
    pub(in crate::engine) fn use_session_from_b4(
        &mut self,
        plan: Use,
        mapping: u32,
        flow: &Flow,
        now: Instant,
    ) {
        match plan {
            Use::Nothing => {}
            Use::Existing(id) => {
                let from = self.sessions.slab[id].inside();
                self.step_session(id, from, flow.flags, now);
            }
            Use::Open => {
                let port = self.tracked_port(flow.protocol, flow.destination_port).unwrap_or(0);
                self.open_session(mapping, flow.destination, port, false, now);
            }
        }
    }

    /// Carries a plan out for a packet from `remote`.
    #[inline(always)]
    pub(in crate::engine) fn use_session_from_internet(
        &mut self,
        plan: Use,
        mapping: u32,
        flow: &Flow,
        (remote, remote_port): (Ipv4Addr, u16),
        now: Instant,
    ) {
        match plan {
            Use::Nothing => {}
            Use::Existing(id) => {
                let session = &self.sessions.slab[id];
                // RFC 4787 REQ-6: a peer that answers does not keep its session alive.
                let refreshes =
                    self.settings.config.nat.udp_inbound_refresh && flow.protocol == Protocol::Udp;
                if session.state != State::Peer || refreshes {
                    self.step_session(id, session.outside(), flow.flags, now);
                }
            }
            // A caller's new mapping may have a port that the called side knows already.
            Use::Open => match self.sessions.find(mapping, remote, remote_port) {
                Some(id) => {
                    let from = self.sessions.slab[id].outside();
                    self.step_session(id, from, flow.flags, now);
                }
                None => self.open_session(mapping, remote, remote_port, true, now),
            },
        }
    }

    fn open_session(
        &mut self,
        mapping: u32,
        remote: Ipv4Addr,
        remote_port: u16,
        is_inbound: bool,
        now: Instant,
    ) {
        let record = &self.mappings.slab[mapping];
        let state = if record.protocol == Protocol::Tcp { State::Init } else { State::Peer };
        let session = Session {
            mapping,
            remote,
            remote_port,
            state,
            is_inbound,
            since: now.stamp(),
            next: record.first_session,
            ..Session::VACANT
        };
        let half_open = session.is_inbound_half_open();
        let timeout = self.session_timeout(&session);
        let id = self.sessions.enter(session);
        self.sessions.timers.arm(id, now.plus_secs(timeout));
        self.mappings.slab[mapping].first_session = id;
        self.count_session(mapping, half_open);
    }

    fn step_session(&mut self, id: u32, from: super::tcp::Role, flags: u8, now: Instant) {
        let session = &mut self.sessions.slab[id];
        let was_half_open = session.is_inbound_half_open();
        let (state, restarts) = step(session.state, from, flags);
        if restarts {
            session.since = now.stamp();
        }
        if state == session.state {
            return;
        }
        session.state = state;
        let (mapping, half_open) = (session.mapping, session.is_inbound_half_open());
        let deadline = session.since.plus_secs(self.session_timeout(&self.sessions.slab[id]), now);
        self.sessions.timers.disarm(id);
        self.sessions.timers.arm(id, deadline);
        if was_half_open != half_open {
            self.change_half_open(mapping, half_open);
        }
    }
}
