//! Who may send to whom, and the states of connections: RFC 4787 REQ-8, RFC 5382, RFC 7857 section 2.

use std::net::{Ipv6Addr, SocketAddrV4};

use aftr::engine::DropReason;
use aftr_config::Filtering;

use crate::model::{Flow, Mapping, Model, Phase, Session, Syn, Time};
use crate::story::Kind;

impl Model {
    /// The port that a session of this kind is known by; none when peers are not looked at.
    pub(crate) fn tracked(&self, kind: Kind, port: u16) -> Option<u16> {
        let types = &self.config.nat.filtering_type;
        match (kind, if kind == Kind::Udp { types.udp } else { types.icmp }) {
            (Kind::Tcp, _) => Some(port),
            (_, Filtering::EndpointIndependent) => None,
            (Kind::Udp, Filtering::AddressAndPortDependent) => Some(port),
            _ => Some(0),
        }
    }

    pub(crate) fn session(&self, mapping: usize, kind: Kind, remote: SocketAddrV4) -> Option<usize> {
        let port = self.tracked(kind, remote.port())?;
        self.mappings[mapping].sessions.iter().position(|session| session.remote == (*remote.ip(), port))
    }

    /// Whether the host may send this at all.
    pub(crate) fn may_send(
        &self,
        prefix: u128,
        mapping: Option<usize>,
        flow: Flow,
        remote: SocketAddrV4,
    ) -> Result<(), DropReason> {
        if self.tracked(flow.kind, remote.port()).is_none() {
            return Ok(());
        }
        if mapping.is_some_and(|m| self.session(m, flow.kind, remote).is_some()) {
            return Ok(());
        }
        if flow.kind == Kind::Tcp && !flow.is_syn() {
            return if mapping.is_some() { Ok(()) } else { Err(DropReason::TcpNoSession) };
        }
        self.room_for_session(prefix, mapping)
    }

    pub(crate) fn room_for_session(&self, prefix: u128, mapping: Option<usize>) -> Result<(), DropReason> {
        let limits = &self.config.nat.session_limits;
        let of_home: usize =
            self.mappings.iter().filter(|m| m.home == prefix).map(|m| m.sessions.len()).sum();
        let of_mapping = mapping.map_or(0, |m| self.mappings[m].sessions.len());
        let full = of_home >= limits.limit_per_subscriber as usize
            || of_mapping >= limits.limit_per_mapping as usize;
        if full { Err(DropReason::NatQuota) } else { Ok(()) }
    }

    /// Whether a remote side is let in. `caller` is none for a home that has no external port yet.
    pub(crate) fn may_enter(
        &self,
        mapping: usize,
        flow: Flow,
        remote: SocketAddrV4,
    ) -> Result<(), DropReason> {
        if self.tracked(flow.kind, remote.port()).is_none()
            || self.session(mapping, flow.kind, remote).is_some()
        {
            return Ok(());
        }
        let m = &self.mappings[mapping];
        let types = &self.config.nat.filtering_type;
        let admitted = match if m.kind == Kind::Tcp {
            types.tcp
        } else if m.kind == Kind::Udp {
            types.udp
        } else {
            types.icmp
        } {
            Filtering::EndpointIndependent => true,
            Filtering::AddressDependent => m.sessions.iter().any(|session| session.remote.0 == *remote.ip()),
            Filtering::AddressAndPortDependent => false,
        };
        if !admitted {
            return Err(DropReason::NatFilter);
        }
        if flow.is_syn() {
            let limits = &self.config.nat.session_limits;
            let waits = |m: &Mapping| m.sessions.iter().filter(|s| s.is_inbound_half_open()).count();
            let of_home: usize = self.mappings.iter().filter(|other| other.home == m.home).map(waits).sum();
            if waits(m) >= limits.inbound_half_open_per_mapping as usize
                || of_home >= limits.inbound_half_open_per_subscriber as usize
            {
                return Err(DropReason::TcpInFlood);
            }
            self.room_for_session(m.home, Some(mapping))?;
        }
        Ok(())
    }

    /// A packet passed between the host of a mapping and a remote side.
    pub(crate) fn passed(&mut self, mapping: usize, flow: Flow, remote: SocketAddrV4, from_inside: bool) {
        let (now, tracked) = (self.now, self.tracked(flow.kind, remote.port()));
        let known = self.session(mapping, flow.kind, remote);
        let m = &mut self.mappings[mapping];
        if from_inside || flow.kind == Kind::Tcp {
            m.seen = now;
        }
        let Some(port) = tracked else { return };
        match known {
            Some(at) => m.sessions[at].packet(flow, from_inside, now),
            None if flow.kind == Kind::Tcp && !flow.is_syn() => {}
            None if flow.kind != Kind::Tcp && !from_inside => {}
            None => {
                let phase = if flow.kind == Kind::Tcp { Phase::Init } else { Phase::Peer };
                m.sessions.push(Session {
                    remote: (*remote.ip(), port),
                    phase,
                    client_is_inside: from_inside,
                    since: now,
                });
            }
        }
        if flow.is_syn() && from_inside {
            let external = m.external;
            self.syns.retain(|syn| (syn.attacked, syn.caller, syn.b4) != (external, remote, None));
        }
    }

    /// RFC 5382 REQ-4; false when there is no room. Homes leave half of it to the Internet.
    pub(crate) fn hold_syn(
        &mut self,
        attacked: SocketAddrV4,
        caller: SocketAddrV4,
        b4: Option<Ipv6Addr>,
    ) -> bool {
        let latest = self.now;
        let is_it = |syn: &&mut Syn| (syn.attacked, syn.caller, syn.b4) == (attacked, caller, b4);
        if let Some(syn) = self.syns.iter_mut().find(is_it) {
            syn.latest = latest;
            return true;
        }
        let most = self.config.nat.syn_held_max as usize;
        let has_room = self.syns.len() < if b4.is_some() { most - most / 2 } else { most };
        if has_room {
            self.syns.push(Syn { attacked, caller, b4, latest });
        }
        has_room
    }
}

impl Session {
    /// Opened by the Internet, and not answered yet.
    pub(crate) fn is_inbound_half_open(&self) -> bool {
        self.phase == Phase::Init && !self.client_is_inside
    }

    /// The table of section 7, row by row.
    pub(crate) fn packet(&mut self, flow: Flow, from_inside: bool, now: Time) {
        if self.phase == Phase::Peer {
            if from_inside {
                self.since = now;
            }
            return;
        }
        let by_client = from_inside == self.client_is_inside;
        let (fin, syn, rst) = (flow.flags & 1 != 0, flow.flags & 2 != 0, flow.flags & 4 != 0);
        let (phase, restarts) = match self.phase {
            Phase::Peer => unreachable!(),
            Phase::Init if syn && !by_client => (Phase::Established, true),
            Phase::Init => (Phase::Init, rst || (flow.is_syn() && by_client)),
            Phase::BothFins if flow.is_syn() && by_client => (Phase::Init, true),
            Phase::BothFins => (Phase::BothFins, rst),
            Phase::Trans if flow.is_syn() && by_client => (Phase::Init, true),
            Phase::Trans if rst => (Phase::Trans, true),
            Phase::Trans => (Phase::Established, true),
            Phase::Established | Phase::OneFin { .. } if rst => (Phase::Trans, true),
            Phase::Established if fin => (Phase::OneFin { of_client: by_client }, true),
            Phase::OneFin { of_client } if fin && of_client != by_client => (Phase::BothFins, true),
            same @ (Phase::Established | Phase::OneFin { .. }) => (same, true),
        };
        self.phase = phase;
        if restarts {
            self.since = now;
        }
    }
}
