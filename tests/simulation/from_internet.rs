//! The mirror, from the Internet; and what becomes of the pieces that a first one draws after it.

use std::net::SocketAddrV4;

use aftr::engine::{DropReason, TtlBy, Verdict};
use aftr::wire::Side;

use crate::from_b4::is_unsolicited;
use crate::ip::{End, Icmp, Ip, Segment};
use crate::judge::{Difference, Judge, agree};
use crate::left::Came;
use crate::model::Flow;
use crate::pieces::{Arrival, Fate, Key, Ports};

impl Judge {
    pub(crate) fn packet_from_internet(&mut self, ip: &Ip) -> Result<(), Difference> {
        let mut came = self.offer(&ip.bytes, Side::Internet);
        self.checked_from_internet(&mut came, ip)?;
        self.nothing_more(&came)
    }

    fn checked_from_internet(&mut self, came: &mut Came, ip: &Ip) -> Result<(), Difference> {
        if ip.has_forbidden_option() {
            return self.dropped(came, DropReason::X4Opt);
        }
        if !self.model.has_address(ip.destination()) && !self.model.may_be_passed(ip) {
            return self.dropped(came, DropReason::X4Dst);
        }
        if ip.ttl() <= u8::from(self.ttl == TtlBy::Engine) {
            return self.told(came, DropReason::X4Ttl, (11, 0, 0), ip, None);
        }
        if !ip.is_piece() {
            return self.transport_from_internet(came, ip).map(|_| ());
        }
        let owner = u128::from(ip.destination().to_ipv6_mapped());
        match self.model.from_internet.arrives(ip, None, owner, self.model.now) {
            Arrival::Waits => self.waits(came),
            Arrival::Refused(reason) => self.dropped(came, reason),
            Arrival::Follows(ports) => match self.follow_from_internet(came, ip, ports)? {
                None => self.reaches_a_b4(came),
                Some((reason @ DropReason::X4Mtu, mtu)) => self.told(came, reason, (3, 4, mtu), ip, None),
                Some((reason, _)) => self.dropped(came, reason),
            },
            Arrival::First(key) => {
                let (fate, home) = self.transport_from_internet(came, ip)?;
                self.draw_after(came, key, fate, home)
            }
        }
    }

    pub(crate) fn reaches_a_b4(&self, came: &Came) -> Result<(), Difference> {
        agree!(came.verdict == Verdict::ToB4, "expected it to reach a B4, got {:?}", came.verdict);
        Ok(())
    }

    /// Gives what becomes of the other pieces, and the home that pays for them.
    fn transport_from_internet(&mut self, came: &mut Came, ip: &Ip) -> Result<(Fate, u128), Difference> {
        let segment = match ip.segment() {
            Ok(segment) if segment.icmp == Icmp::Error => {
                return self.error_from_internet(came, ip).map(|()| (Fate::Unknown, 0));
            }
            Ok(segment) if segment.icmp == Icmp::Request => Err(DropReason::NatNoMapping),
            Ok(segment) if !self.model.has_address(ip.destination()) => {
                return self.comes_untranslated(came, ip, &segment);
            }
            other => other,
        };
        let entered = segment.and_then(|segment| Ok((segment, self.may_come_in(&segment)?)));
        let reason = match (entered, segment) {
            (Ok((segment, at)), _) => return self.comes_in(came, ip, &segment, at),
            (Err(reason), Ok(segment)) if is_unsolicited(reason, &segment) => {
                return self.unsolicited(came, &segment, None, reason).map(|fate| (fate, 0));
            }
            (Err(reason), _) => reason,
        };
        self.dropped(came, reason)?;
        Ok((Fate::Refused(reason), 0))
    }

    fn may_come_in(&self, segment: &Segment) -> Result<usize, DropReason> {
        let at = self.model.at(segment.kind, segment.destination).ok_or(DropReason::NatNoMapping)?;
        let flow = Flow { kind: segment.kind, flags: segment.flags };
        self.model.may_enter(at, flow, segment.source).map(|()| at)
    }

    fn comes_in(
        &mut self,
        came: &mut Came,
        ip: &Ip,
        segment: &Segment,
        at: usize,
    ) -> Result<(Fate, u128), Difference> {
        let mapping = self.model.mappings[at].clone();
        if let Some(mtu) = self.honoured_mtu(ip, mapping.softwire) {
            self.told(came, DropReason::X4Mtu, (3, 4, mtu), ip, None)?;
            return Ok((Fate::Refused(DropReason::X4Mtu), 0));
        }
        self.reaches_a_b4(came)?;
        self.model.passed(at, Flow { kind: segment.kind, flags: segment.flags }, segment.source, false);
        let mss = self.model.most_mss(mapping.softwire);
        let sent = ip.clone().with_end(End::Destination, mapping.internal).with_mss_of_at_most(mss);
        let sent = self.one_hop_less(sent);
        self.left_to_b4(came, mapping.softwire, &sent)?;
        let (source, destination) = (segment.source.port(), segment.destination.port());
        Ok((Fate::Passes(Ports { source, destination, id: ip.id() }), mapping.home))
    }

    /// Gives why it is dropped, and the MTU if that is why.
    fn follow_from_internet(
        &mut self,
        came: &mut Came,
        ip: &Ip,
        ports: Ports,
    ) -> Result<Option<(DropReason, usize)>, Difference> {
        if !self.model.has_address(ip.destination()) {
            return self.comes_after_untranslated(came, ip, ports);
        }
        let to = SocketAddrV4::new(ip.destination(), ports.destination);
        let Some(at) = self.model.at(ip.kind(), to) else {
            return Ok(Some((DropReason::V4FragNoContext, 0)));
        };
        let mapping = self.model.mappings[at].clone();
        if let Some(mtu) = self.honoured_mtu(ip, mapping.softwire) {
            return Ok(Some((DropReason::X4Mtu, mtu)));
        }
        let sent = ip.clone().with_address(End::Destination, *mapping.internal.ip());
        let sent = self.one_hop_less(sent);
        self.left_to_b4(came, mapping.softwire, &sent)?;
        Ok(None)
    }

    /// What became of the first piece becomes of those that waited for it.
    pub(crate) fn draw_after(
        &mut self,
        came: &mut Came,
        key: Key,
        fate: Fate,
        owner: u128,
    ) -> Result<(), Difference> {
        let before = self.model.pieces(key.side()).find(key).map(|context| context.fate);
        let (ports, owner) = match (fate, before) {
            (Fate::Passes(ports), _) => (ports, Some(owner)),
            // The same piece again that is refused now: its datagram goes on as it did.
            (_, Some(Fate::Passes(ports))) => (ports, None),
            (Fate::Refused(reason), _) => {
                self.model.pieces(key.side()).refuse(key, reason);
                return Ok(());
            }
            (Fate::Unknown, _) => return Err("an error is no first piece".to_owned()),
        };
        let Some(owner) = owner else { return Ok(()) };
        for (ip, sender) in self.model.pieces(key.side()).passes(key, ports, owner) {
            self.resumed += 1;
            let lost = match sender {
                Some(sender) => self.follow_from_b4(came, &ip, sender, ports)?,
                None => self.follow_from_internet(came, &ip, ports)?.map(|(reason, _)| reason),
            };
            if let Some(reason) = lost {
                self.drops[reason as usize] += 1;
            }
        }
        Ok(())
    }
}
