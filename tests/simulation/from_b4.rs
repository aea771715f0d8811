//! What the model expects of a packet from the access network, step by step.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use aftr::engine::{DropReason, Verdict};
use aftr::wire::Side;

use crate::ip::{End, Icmp, Ip, Segment};
use crate::judge::{Difference, Judge, agree};
use crate::left::Came;
use crate::model::{Entry, Flow};
use crate::pieces::{Arrival, Fate, Ports, Sender};
use crate::story::Kind;
use crate::whole::{Arrived, Outer6};

/// Why a packet goes no further, and ICMPv4 type, code and MTU that its sender is told.
pub(crate) type Refusal = (DropReason, Option<(u8, u8, usize)>);

/// All that was found out about a packet that will go through.
struct Passage {
    entry: Entry,
    known: Option<usize>,
    /// The mapping that is called, when it is a home's.
    called: Option<usize>,
}

impl Judge {
    pub(crate) fn packet_from_b4(&mut self, outer: &Outer6) -> Result<(), Difference> {
        let mut came = self.offer(&outer.bytes, Side::B4);
        let owner = self.model.home_of(outer.b4);
        match self.model.reassembly.arrives(outer, owner, self.model.now) {
            Arrived::Held => {
                agree!(came.verdict == Verdict::Hold, "a fragment became {:?}", came.verdict);
                self.held += 1;
            }
            Arrived::Refused(reason, told) => self.told6(&mut came, reason, told, &outer.bytes)?,
            Arrived::Whole(whole) => self.inner_from_b4(&whole, &mut came)?,
        }
        self.nothing_more(&came)
    }

    fn inner_from_b4(&mut self, outer: &Outer6, came: &mut Came) -> Result<(), Difference> {
        let inner = if outer.next == 60 { &outer.data[8..] } else { &outer.data[..] };
        let ip = match Ip::read(inner, outer.number) {
            Ok(ip) => ip,
            Err((reason, _)) => return self.dropped(came, reason),
        };
        if ip.has_forbidden_option() {
            return self.dropped(came, DropReason::InOpt);
        }
        let Some(tos) = decapsulated_tos(ip.tos(), outer.class) else {
            return self.dropped(came, DropReason::Ecn);
        };
        let sender = Sender { b4: outer.b4, own: outer.own, tos };
        if ip.destination() == Ipv4Addr::new(192, 0, 0, 1) {
            return self.local_reply(came, &ip, sender);
        }
        if ip.ttl() <= 1 {
            return self.refused(came, (DropReason::InTtl, Some((11, 0, 0))), &ip, sender);
        }
        if !ip.is_piece() {
            return self.transport_from_b4(came, &ip, sender, None).map(|_| ());
        }
        let owner = self.model.home_of(sender.b4);
        match self.model.from_b4.arrives(&ip, Some(sender), owner, self.model.now) {
            Arrival::Waits => self.waits(came),
            Arrival::Refused(reason) => self.refused(came, (reason, None), &ip, sender),
            Arrival::Follows(ports) => match self.follow_from_b4(came, &ip, sender, ports)? {
                None => self.is_verdict(came, ip.destination()),
                Some(reason) => self.dropped(came, reason),
            },
            Arrival::First(key) => {
                let given = self.model.from_b4.find(key).and_then(|context| match context.fate {
                    Fate::Passes(ports) => Some(ports.id),
                    Fate::Unknown | Fate::Refused(_) => None,
                });
                let fate = self.transport_from_b4(came, &ip, sender, given)?;
                self.draw_after(came, key, fate, owner)
            }
        }
    }

    pub(crate) fn waits(&mut self, came: &Came) -> Result<(), Difference> {
        agree!(came.verdict == Verdict::Hold, "a piece that waits became {:?}", came.verdict);
        self.held += 1;
        Ok(())
    }

    fn is_verdict(&self, came: &Came, to: Ipv4Addr) -> Result<(), Difference> {
        let expected = if self.model.has_address(to) { Verdict::ToB4 } else { Verdict::ToInternet };
        agree!(came.verdict == expected, "expected {expected:?}, got {:?}", came.verdict);
        Ok(())
    }

    /// Refused for something; a want of resources is told as 3/1.
    pub(crate) fn refused(
        &mut self,
        came: &mut Came,
        (reason, told): Refusal,
        cause: &Ip,
        sender: Sender,
    ) -> Result<(), Difference> {
        use DropReason::{NatPool, NatQuota, NatRate, PassClash};
        let told = told.or(matches!(reason, NatPool | NatQuota | NatRate | PassClash).then_some((3, 1, 0)));
        match told {
            Some(told) => self.told(came, reason, told, cause, Some((sender.b4, sender.own))),
            None => self.dropped(came, reason),
        }
    }

    /// A packet, or a first piece, of which `given` is the identification that its datagram has already.
    fn transport_from_b4(
        &mut self,
        came: &mut Came,
        ip: &Ip,
        sender: Sender,
        given: Option<u16>,
    ) -> Result<Fate, Difference> {
        let segment = match ip.segment() {
            Ok(segment) if segment.icmp == Icmp::Error => {
                return self.error_from_b4(came, ip, sender).map(|()| Fate::Unknown);
            }
            Ok(segment) if segment.icmp == Icmp::Reply => Err(DropReason::IcmpType),
            Ok(segment) if self.model.passes_through(segment.kind, segment.destination) => {
                return self.passes_untranslated(came, ip, &segment, sender);
            }
            other => other,
        };
        let refusal = match segment.map_err(|reason| (reason, None)) {
            Err(refusal) => refusal,
            Ok(segment) => match self.may_pass(ip, &segment, sender) {
                Ok(passage) => return self.passes(came, ip, &segment, sender, &passage, given),
                Err((reason, _)) if is_unsolicited(reason, &segment) => {
                    return self.unsolicited(came, &segment, Some(sender.b4), reason);
                }
                Err(refusal) => refusal,
            },
        };
        self.refused(came, refusal, ip, sender)?;
        Ok(Fate::Refused(refusal.0))
    }

    /// An unsolicited SYN: kept in silence while there is room.
    pub(crate) fn unsolicited(
        &mut self,
        came: &Came,
        segment: &Segment,
        b4: Option<Ipv6Addr>,
        reason: DropReason,
    ) -> Result<Fate, Difference> {
        if self.model.hold_syn(segment.destination, segment.source, b4) {
            agree!(came.verdict == Verdict::Hold, "expected silence, got {:?}", came.verdict);
            return Ok(Fate::Refused(DropReason::NatNoMapping));
        }
        self.dropped(came, reason)?;
        Ok(Fate::Refused(reason))
    }

    /// Every check, in the order of the catalogue's ORD-1.
    fn may_pass(&self, ip: &Ip, segment: &Segment, sender: Sender) -> Result<Passage, Refusal> {
        let silent = |reason| (reason, None);
        let flow = Flow { kind: segment.kind, flags: segment.flags };
        let (model, remote) = (&self.model, segment.destination);
        let entry = model.enter(sender.b4).map_err(silent)?;
        let known = match entry {
            Entry::Known(id) | Entry::Moves(id) => model.find(id, segment.kind, segment.source),
            Entry::Opens => None,
        };
        let home = model.home_of(sender.b4);
        model.may_send(home, known, flow, remote).map_err(silent)?;
        let mut called = None;
        if model.has_address(*remote.ip()) {
            let at = match segment.kind {
                Kind::Icmp => None,
                Kind::Tcp | Kind::Udp => model.at(segment.kind, remote),
            };
            let at = at.ok_or(silent(DropReason::NatNoMapping))?;
            let paired = model.homes.get(&home).and_then(|home| home.address);
            let unknown = SocketAddrV4::new(paired.unwrap_or(Ipv4Addr::UNSPECIFIED), 0);
            let seen_as = known.map_or(unknown, |at| model.mappings[at].external);
            model.may_enter(at, flow, seen_as).map_err(silent)?;
            if let Some(mtu) = self.honoured_mtu(ip, model.mappings[at].softwire) {
                return Err((DropReason::InMtu, Some((3, 4, mtu))));
            }
            called = Some(at);
        }
        if known.is_none() {
            model.may_create(home, segment.kind).map_err(silent)?;
        }
        let mtu = usize::from(model.config.nat.external_mtu);
        if called.is_none() && ip.df() && ip.len() > mtu {
            return Err((DropReason::InMtu, Some((3, 4, mtu))));
        }
        Ok(Passage { entry, known, called })
    }

    /// RFC 2473 section 7.2 a, where the operator wants it: the MTU that a packet exceeds.
    pub(crate) fn honoured_mtu(&self, ip: &Ip, softwire: u64) -> Option<usize> {
        let mtu = self.model.tunnel_mtu(softwire);
        let honours = self.model.config.softwire.df_policy == aftr_config::DfPolicy::Honour;
        (honours && ip.df() && ip.len() > mtu).then_some(mtu)
    }

    fn passes(
        &mut self,
        came: &mut Came,
        ip: &Ip,
        segment: &Segment,
        sender: Sender,
        passage: &Passage,
        given: Option<u16>,
    ) -> Result<Fate, Difference> {
        self.is_verdict(came, ip.destination())?;
        let flow = Flow { kind: segment.kind, flags: segment.flags };
        let first = came.first_inner().ok_or("nothing left")?;
        let external = SocketAddrV4::new(first.source(), first.source_port(segment.kind));
        let at = self.caller(
            passage.entry,
            passage.known,
            (sender.b4, sender.own),
            segment.kind,
            segment.source,
            external,
        )?;
        let (external, softwire) = (self.model.mappings[at].external, self.model.mappings[at].softwire);
        self.model.passed(at, flow, segment.destination, true);
        let id = match given {
            _ if ip.is_atomic() => ip.id(),
            Some(given) => given,
            None => {
                let protocol = ip.protocol();
                self.model.identified(*external.ip(), ip.destination(), protocol, first.id())?;
                first.id()
            }
        };
        let mss = self.model.most_mss(softwire);
        let sent = ip.clone().with_end(End::Source, external).with_tos(sender.tos).with_id(id);
        let sent = sent.with_mss_of_at_most(mss);
        match passage.called {
            None => {
                let sent = self.one_hop_less(sent);
                self.left_to_internet(came, &sent)?;
            }
            Some(called) => {
                self.model.passed(called, flow, external, false);
                let mapping = self.model.mappings[called].clone();
                let mss = self.model.most_mss(mapping.softwire);
                let sent = sent.with_end(End::Destination, mapping.internal).with_mss_of_at_most(mss);
                self.left_to_b4(came, mapping.softwire, &sent.with_ttl(ip.ttl() - 1))?;
            }
        }
        let (source, destination) = (segment.source.port(), segment.destination.port());
        Ok(Fate::Passes(Ports { source, destination, id }))
    }

    /// A piece that is not the first: its datagram's mapping, and no ports. Gives why it is dropped.
    pub(crate) fn follow_from_b4(
        &mut self,
        came: &mut Came,
        ip: &Ip,
        sender: Sender,
        ports: Ports,
    ) -> Result<Option<DropReason>, Difference> {
        let (model, lost) = (&self.model, Ok(Some(DropReason::V4FragNoContext)));
        let kind = ip.kind();
        if model.passes_through(kind, SocketAddrV4::new(ip.destination(), ports.destination)) {
            return self.follows_untranslated(came, ip, sender, ports);
        }
        let internal = SocketAddrV4::new(ip.source(), ports.source);
        let Some(softwire) = model.softwire_at(sender.b4) else { return lost };
        let Some(at) = model.find(softwire, kind, internal) else { return lost };
        let external = *model.mappings[at].external.ip();
        let sent = ip.clone().with_address(End::Source, external).with_tos(sender.tos).with_id(ports.id);
        if !model.has_address(ip.destination()) {
            if ip.df() && ip.len() > usize::from(model.config.nat.external_mtu) {
                return Ok(Some(DropReason::InMtu));
            }
            let sent = self.one_hop_less(sent);
            self.left_to_internet(came, &sent)?;
            return Ok(None);
        }
        let called = SocketAddrV4::new(ip.destination(), ports.destination);
        let Some(called) = model.at(kind, called) else { return lost };
        let mapping = &model.mappings[called];
        let (softwire, internal) = (mapping.softwire, *mapping.internal.ip());
        if self.honoured_mtu(ip, softwire).is_some() {
            return Ok(Some(DropReason::InMtu));
        }
        let sent = sent.with_address(End::Destination, internal).with_ttl(ip.ttl() - 1);
        self.left_to_b4(came, softwire, &sent)?;
        Ok(None)
    }
}

/// RFC 6040 figure 4, and the uniform model of RFC 2983.
fn decapsulated_tos(inner: u8, outer: u8) -> Option<u8> {
    let figure = [
        [Some(0), Some(0), Some(0), None],
        [Some(1), Some(1), Some(1), Some(3)],
        [Some(2), Some(1), Some(2), Some(3)],
        [Some(3); 4],
    ];
    figure[usize::from(inner & 3)][usize::from(outer & 3)].map(|ecn| outer & !3 | ecn)
}

/// RFC 5382 REQ-4: whether a packet that is refused for this is kept for six seconds.
pub(crate) fn is_unsolicited(reason: DropReason, segment: &Segment) -> bool {
    let is_syn = segment.kind == Kind::Tcp && segment.flags & 0x12 == 2;
    is_syn && matches!(reason, DropReason::NatNoMapping | DropReason::NatFilter)
}
