//! What a rule leaves untranslated (RFC 6888 REQ-6): the AFTR remembers whose it is, as private addresses
//! overlap.

use std::net::{Ipv4Addr, SocketAddrV4};

use aftr::engine::{DropReason, Verdict};

use crate::from_b4::Refusal;
use crate::ip::{Ip, Segment};
use crate::judge::{Difference, Judge, agree};
use crate::left::Came;
use crate::model::{Entry, Model, Time};
use crate::pieces::{Fate, Ports, Sender};
use crate::story::Kind;

/// A session that is not translated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    pub(crate) softwire: u64,
    pub(crate) home: u128,
    pub(crate) kind: Kind,
    pub(crate) internal: SocketAddrV4,
    pub(crate) remote: SocketAddrV4,
    seen: Time,
}

impl Model {
    pub(crate) fn passes_through(&self, kind: Kind, remote: SocketAddrV4) -> bool {
        let protocol = match kind {
            Kind::Tcp => aftr_config::Protocol::Tcp,
            Kind::Udp => aftr_config::Protocol::Udp,
            Kind::Icmp => aftr_config::Protocol::Icmp,
        };
        self.config.nat.nat_pass_through.iter().any(|rule| {
            rule.prefix.contains(remote.ip())
                && rule.protocol.is_none_or(|only| only == protocol)
                && rule.port.is_none_or(|only| only == remote.port())
        })
    }

    /// Whether what the Internet sends may be for a host that is known as it is. Routers on the way send
    /// errors.
    pub(crate) fn may_be_passed(&self, ip: &Ip) -> bool {
        let rules = &self.config.nat.nat_pass_through;
        let is_by_rule = rules.iter().any(|rule| rule.prefix.contains(&ip.source()));
        let is_private = ip.destination().octets()[0] == 10;
        is_private && (is_by_rule || (ip.protocol() == 1 && !rules.is_empty()))
    }

    pub(crate) fn passed_at(
        &self,
        kind: Kind,
        internal: SocketAddrV4,
        remote: SocketAddrV4,
    ) -> Option<usize> {
        self.passed.iter().position(|p| (p.kind, p.internal, p.remote) == (kind, internal, remote))
    }

    fn may_pass_untranslated(
        &self,
        ip: &Ip,
        segment: &Segment,
        sender: Sender,
    ) -> Result<(Entry, Option<usize>), Refusal> {
        let entry = self.enter(sender.b4).map_err(|reason| (reason, None))?;
        let known = self.passed_at(segment.kind, segment.source, segment.destination);
        if let Some(at) = known {
            let is_own = match entry {
                Entry::Known(id) | Entry::Moves(id) => self.passed[at].softwire == id,
                Entry::Opens => false,
            };
            return if is_own {
                self.fits_outside(ip, (entry, known))
            } else {
                Err((DropReason::PassClash, None))
            };
        }
        let home = self.home_of(sender.b4);
        let of_home = self.passed.iter().filter(|passed| passed.home == home).count();
        if of_home >= self.config.nat.session_limits.limit_per_subscriber as usize {
            return Err((DropReason::NatQuota, None));
        }
        if self.missing(home) + 1000 > u64::from(self.config.nat.port_quota.new_mappings_burst) * 1000 {
            return Err((DropReason::NatRate, None));
        }
        self.fits_outside(ip, (entry, None))
    }

    fn fits_outside<T>(&self, ip: &Ip, found: T) -> Result<T, Refusal> {
        let mtu = usize::from(self.config.nat.external_mtu);
        let is_large = ip.df() && ip.len() > mtu;
        if is_large { Err((DropReason::InMtu, Some((3, 4, mtu)))) } else { Ok(found) }
    }

    pub(crate) fn passed_end(&self, passed: &Passed) -> Time {
        let timers = &self.config.nat.timers;
        let seconds = match passed.kind {
            Kind::Tcp => timers.tcp_idle_timeout,
            Kind::Udp => timers.udp_timeout,
            Kind::Icmp => timers.icmp_timeout,
        };
        passed.seen + u64::from(seconds) * 1000
    }
}

impl Judge {
    /// A packet from a B4 that a rule leaves as it is.
    pub(crate) fn passes_untranslated(
        &mut self,
        came: &mut Came,
        ip: &Ip,
        segment: &Segment,
        sender: Sender,
    ) -> Result<Fate, Difference> {
        let (entry, known) = match self.model.may_pass_untranslated(ip, segment, sender) {
            Ok(found) => found,
            Err(refusal) => {
                self.refused(came, refusal, ip, sender)?;
                return Ok(Fate::Refused(refusal.0));
            }
        };
        agree!(came.verdict == Verdict::ToInternet, "expected it to pass, got {:?}", came.verdict);
        let model = &mut self.model;
        let (softwire, now) = (model.settle(entry, sender.b4, sender.own), model.now);
        match known {
            Some(at) => model.passed[at].seen = now,
            None => {
                let home = model.home_of(sender.b4);
                let missing = model.missing(home);
                model.homes.get_mut(&home).expect("settled before").bucket = (missing + 1000, now);
                let (kind, internal, remote) = (segment.kind, segment.source, segment.destination);
                model.passed.push(Passed { softwire, home, kind, internal, remote, seen: now });
            }
        }
        self.left_untranslated(came, ip, sender)?;
        let (source, destination) = (segment.source.port(), segment.destination.port());
        Ok(Fate::Passes(Ports { source, destination, id: ip.id() }))
    }

    fn left_untranslated(&mut self, came: &mut Came, ip: &Ip, sender: Sender) -> Result<(), Difference> {
        let sent = self.one_hop_less(ip.clone().with_tos(sender.tos));
        self.left_to_internet(came, &sent)
    }

    /// A later piece. Gives why it is dropped.
    pub(crate) fn follows_untranslated(
        &mut self,
        came: &mut Came,
        ip: &Ip,
        sender: Sender,
        ports: Ports,
    ) -> Result<Option<DropReason>, Difference> {
        let (internal, remote) = ends(ip, ports);
        let softwire = self.model.softwire_at(sender.b4);
        let at = self.model.passed_at(ip.kind(), internal, remote);
        if at.is_none_or(|at| Some(self.model.passed[at].softwire) != softwire) {
            return Ok(Some(DropReason::V4FragNoContext));
        }
        if ip.df() && ip.len() > usize::from(self.model.config.nat.external_mtu) {
            return Ok(Some(DropReason::InMtu));
        }
        self.left_untranslated(came, ip, sender).map(|()| None)
    }

    /// From the Internet, for a host that is known as it is.
    pub(crate) fn comes_untranslated(
        &mut self,
        came: &mut Came,
        ip: &Ip,
        segment: &Segment,
    ) -> Result<(Fate, u128), Difference> {
        let found = self.model.passed_at(segment.kind, segment.destination, segment.source);
        let Some(at) = found else {
            self.dropped(came, DropReason::X4Dst)?;
            return Ok((Fate::Refused(DropReason::X4Dst), 0));
        };
        let home = self.model.passed[at].home;
        if let Some(mtu) = self.enters_untranslated(came, ip, at)? {
            self.told(came, DropReason::X4Mtu, (3, 4, mtu), ip, None)?;
            return Ok((Fate::Refused(DropReason::X4Mtu), 0));
        }
        self.reaches_a_b4(came)?;
        let (source, destination) = (segment.source.port(), segment.destination.port());
        Ok((Fate::Passes(Ports { source, destination, id: ip.id() }), home))
    }

    /// A later piece. Gives why it is dropped, and the MTU if that is why.
    pub(crate) fn comes_after_untranslated(
        &mut self,
        came: &mut Came,
        ip: &Ip,
        ports: Ports,
    ) -> Result<Option<(DropReason, usize)>, Difference> {
        let (remote, internal) = ends(ip, ports);
        match self.model.passed_at(ip.kind(), internal, remote) {
            None => Ok(Some((DropReason::V4FragNoContext, 0))),
            Some(at) => Ok(self.enters_untranslated(came, ip, at)?.map(|mtu| (DropReason::X4Mtu, mtu))),
        }
    }

    /// Gives the MTU that it exceeds. A peer keeps only a TCP session alive (RFC 4787 REQ-6).
    fn enters_untranslated(
        &mut self,
        came: &mut Came,
        ip: &Ip,
        at: usize,
    ) -> Result<Option<usize>, Difference> {
        let softwire = self.model.passed[at].softwire;
        if let Some(mtu) = self.honoured_mtu(ip, softwire) {
            return Ok(Some(mtu));
        }
        if ip.kind() == Kind::Tcp {
            self.model.passed[at].seen = self.model.now;
        }
        let sent = self.one_hop_less(ip.clone());
        self.left_to_b4(came, softwire, &sent).map(|()| None)
    }
}

/// Source and destination of a piece.
fn ends(ip: &Ip, ports: Ports) -> (SocketAddrV4, SocketAddrV4) {
    let end = |address: Ipv4Addr, port| SocketAddrV4::new(address, port);
    (end(ip.source(), ports.source), end(ip.destination(), ports.destination))
}
