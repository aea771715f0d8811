//! ICMP errors of others that cross the translator (RFC 5508 section 4).

use std::net::{Ipv4Addr, SocketAddrV4};

use aftr::engine::{DropReason, Verdict};
use aftr::wire::Side;

use crate::build;
use crate::ip::{End, Ip, has_forbidden_option, sum, translate, word};
use crate::judge::{Difference, Judge, agree};
use crate::left::Came;
use crate::model::{Entry, Model};
use crate::pieces::Sender;
use crate::story::{Kind, Outer};

/// A router on the Internet.
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 5, 5);
const WHOLE: Outer = Outer { class: 0, to_second: false, limit: 0, fragment: None };

/// Who speaks with whom.
struct Ends {
    softwire: u64,
    kind: Kind,
    internal: SocketAddrV4,
    /// How the Internet knows the host.
    external: SocketAddrV4,
    remote: SocketAddrV4,
}

/// What an error quotes.
pub(crate) struct Quoted {
    pub(crate) kind: Kind,
    pub(crate) source: SocketAddrV4,
    pub(crate) destination: SocketAddrV4,
}

/// Reads a quotation; none when it cannot be used (RFC 5508 REQ-3).
pub(crate) fn quoted(bytes: &[u8]) -> Option<Quoted> {
    let header = usize::from(bytes.first()? & 15) * 4;
    let is_usable = bytes[0] >> 4 == 4
        && header >= 20
        && bytes.len() >= header + 8
        && word(bytes, 6) & 0x1fff == 0
        && sum(&bytes[..header]) == 0xffff;
    if !is_usable {
        return None;
    }
    let segment = &bytes[header..];
    let (kind, ports) = match (bytes[9], segment[0]) {
        (6, _) => (Kind::Tcp, (word(segment, 0), word(segment, 2))),
        (17, _) => (Kind::Udp, (word(segment, 0), word(segment, 2))),
        (1, 0 | 8 | 13 | 14) => (Kind::Icmp, (word(segment, 4), word(segment, 4))),
        _ => return None,
    };
    let address = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
    Some(Quoted {
        kind,
        source: SocketAddrV4::new(address(12), ports.0),
        destination: SocketAddrV4::new(address(16), ports.1),
    })
}

/// An error with what it quotes translated, and its checksum made from scratch.
pub(crate) fn requoted(ip: &Ip, end: End, socket: SocketAddrV4) -> Ip {
    let at = ip.header();
    let mut quotation = ip.payload()[8..].to_vec();
    translate(&mut quotation, end, socket);
    let mut start = [0; 8];
    start.copy_from_slice(&ip.payload()[..8]);
    start[2..4].fill(0);
    let message = build::message(ip.source(), ip.destination(), start, &quotation);
    Ip { bytes: [&ip.bytes[..at], message.payload()].concat(), number: ip.number }
}

impl Model {
    /// The mapping that sent what an error to `to` quotes.
    fn sender_of(&self, to: Ipv4Addr, quoted: &Quoted) -> Result<usize, DropReason> {
        if to != *quoted.source.ip() {
            return Err(DropReason::IcmpQuoted);
        }
        self.at(quoted.kind, quoted.source).ok_or(DropReason::NatNoMapping)
    }
}

impl Model {
    /// Whom an error to `to` is for that quotes this: a mapping's host, or one that is known as it is.
    fn addressee_of(&self, to: Ipv4Addr, quoted: &Quoted) -> Result<(u64, SocketAddrV4), DropReason> {
        if self.has_address(to) {
            let mapping = &self.mappings[self.sender_of(to, quoted)?];
            return Ok((mapping.softwire, mapping.internal));
        }
        if to != *quoted.source.ip() {
            return Err(DropReason::IcmpQuoted);
        }
        let at = self.passed_at(quoted.kind, quoted.source, quoted.destination);
        at.map(|at| (self.passed[at].softwire, quoted.source)).ok_or(DropReason::X4Dst)
    }

    /// How the Internet knows the host behind a B4 that the quoted packet was for.
    pub(crate) fn external_of(&self, softwire: u64, quoted: &Quoted) -> Option<SocketAddrV4> {
        if let Some(at) = self.find(softwire, quoted.kind, quoted.destination) {
            return Some(self.mappings[at].external);
        }
        let at = self.passed_at(quoted.kind, quoted.destination, quoted.source)?;
        (self.passed[at].softwire == softwire).then_some(quoted.destination)
    }
}

impl Judge {
    pub(crate) fn error_from_internet(&mut self, came: &mut Came, ip: &Ip) -> Result<(), Difference> {
        let found = checked(ip).and_then(|quoted| self.model.addressee_of(ip.destination(), &quoted));
        let (softwire, internal) = match found {
            Ok(found) => found,
            Err(reason) => return self.dropped(came, reason),
        };
        agree!(came.verdict == Verdict::ToB4, "expected the error to pass, got {:?}", came.verdict);
        let error = requoted(ip, End::Source, internal);
        let error = error.with_address(End::Destination, *internal.ip());
        let error = self.one_hop_less(error);
        self.left_to_b4(came, softwire, &error)
    }

    pub(crate) fn error_from_b4(
        &mut self,
        came: &mut Came,
        ip: &Ip,
        sender: Sender,
    ) -> Result<(), Difference> {
        let (entry, external, home) = match self.may_report(ip, sender) {
            Ok(found) => found,
            Err(reason) => return self.dropped(came, reason),
        };
        self.model.settle(entry, sender.b4, sender.own);
        let error = requoted(ip, End::Destination, external);
        let error = error.with_address(End::Source, *external.ip()).with_tos(sender.tos);
        let error = self.identified(came, error, ip.destination())?;
        let Some(home) = home else {
            agree!(came.verdict == Verdict::ToInternet, "expected it to leave, got {:?}", came.verdict);
            let error = self.one_hop_less(error);
            return self.left_to_internet(came, &error);
        };
        agree!(came.verdict == Verdict::ToB4, "expected the error to pass, got {:?}", came.verdict);
        let mapping = self.model.mappings[home].clone();
        let error = requoted(&error, End::Source, mapping.internal);
        let error = error.with_address(End::Destination, *mapping.internal.ip()).with_ttl(ip.ttl() - 1);
        self.left_to_b4(came, mapping.softwire, &error)
    }

    /// Who reports, as whom the Internet knows the host, and the home that is told when it is one.
    fn may_report(
        &self,
        ip: &Ip,
        sender: Sender,
    ) -> Result<(Entry, SocketAddrV4, Option<usize>), DropReason> {
        let quoted = checked(ip)?;
        // RFC 5508 section 7.3: an error quotes what its receiver sent, and no more than may leave.
        if ip.destination() != *quoted.source.ip() || has_forbidden_option(&ip.payload()[8..]) {
            return Err(DropReason::IcmpQuoted);
        }
        let entry = self.model.enter(sender.b4)?;
        let known = match entry {
            Entry::Known(id) | Entry::Moves(id) => self.model.external_of(id, &quoted),
            Entry::Opens => None,
        };
        let external = known.ok_or(DropReason::NatNoMapping)?;
        if self.model.has_address(ip.destination()) {
            return Ok((entry, external, Some(self.model.sender_of(ip.destination(), &quoted)?)));
        }
        // RFC 6864 section 4.3; nobody is told about an error.
        if ip.df() && ip.len() > usize::from(self.model.config.nat.external_mtu) {
            return Err(DropReason::InMtu);
        }
        Ok((entry, external, None))
    }

    /// RFC 6864 section 5.3.1: many hosts send from one address.
    fn identified(&mut self, came: &Came, ip: Ip, destination: Ipv4Addr) -> Result<Ip, Difference> {
        if ip.is_atomic() {
            return Ok(ip);
        }
        let id = came.first_inner().ok_or("nothing left")?.id();
        self.model.identified(ip.source(), destination, ip.protocol(), id)?;
        Ok(ip.with_id(id))
    }

    /// A router says that a packet of the nth that lives did not arrive.
    pub(crate) fn error_down(&mut self, nth: u8, code: u8, wrong: u8) -> Result<(), Difference> {
        let Some(ends) = self.nth(nth) else { return Ok(()) };
        let lost = build::small(ends.kind, ends.external, ends.remote, true, wrong == 2);
        let to = if wrong == 1 { Ipv4Addr::new(192, 0, 2, 9) } else { *ends.external.ip() };
        let error = build::message(ROUTER, to, [3, code, 0, 0, 0, 0, 0, 0], &lost.bytes);
        let mut error = spoilt(error, wrong);
        if wrong == 5 {
            // A router inside somebody's network, which is not wrong.
            error = error.with_address(End::Source, Ipv4Addr::new(10, 255, 0, 1));
        }
        self.packet_from_internet(&error)
    }

    /// A host says that it has no use for a packet that it got.
    pub(crate) fn error_up(&mut self, nth: u8, code: u8, wrong: u8) -> Result<(), Difference> {
        let Some(ends) = self.nth(nth) else { return Ok(()) };
        let got = build::small(ends.kind, ends.remote, ends.internal, false, wrong == 2);
        let to = if wrong == 1 { build::remote_address(1) } else { *ends.remote.ip() };
        let error = build::message(*ends.internal.ip(), to, [3, code, 0, 0, 0, 0, 0, 0], &got.bytes);
        let mut error = spoilt(error, wrong);
        if code.is_multiple_of(2) {
            // As Linux sends it, without DF.
            error.bytes[6] = 0;
            error = error.with_id(u16::from(code));
        }
        let b4 = self.model.softwire(ends.softwire).b4;
        let outer = build::encapsulated(&error, b4, &WHOLE, &self.model.config).expect("all of it");
        self.packet_from_b4(&outer)
    }

    /// The nth of all mappings and of all that passes as it is.
    fn nth(&self, nth: u8) -> Option<Ends> {
        let (mappings, passed) = (&self.model.mappings, &self.model.passed);
        let nth = usize::from(nth) % (mappings.len() + passed.len()).max(1);
        if let Some(m) = mappings.get(nth) {
            let remote = SocketAddrV4::new(build::remote_address(0), 80);
            let (softwire, kind) = (m.softwire, m.kind);
            return Some(Ends { softwire, kind, internal: m.internal, external: m.external, remote });
        }
        let p = passed.get(nth - mappings.len())?;
        let (internal, external) = (p.internal, p.internal);
        Some(Ends { softwire: p.softwire, kind: p.kind, internal, external, remote: p.remote })
    }

    /// Whoever got one of the last packets, or a router before, complains.
    pub(crate) fn error_about(&mut self, nth: u8, kind: [u8; 2], quoted: u16) -> Result<(), Difference> {
        let Some((bytes, side)) = self.pick(nth) else { return Ok(()) };
        let start = [kind[0], kind[1], 0, 0, 0, 0, 5, 120];
        let inner = match side {
            Side::Internet => Some(&bytes[..]),
            Side::B4 => front_of(&bytes),
        };
        let Some(inner) = inner.filter(|inner| inner.len() >= 20) else { return Ok(()) };
        let address = |at: usize| Ipv4Addr::new(inner[at], inner[at + 1], inner[at + 2], inner[at + 3]);
        let (from, to) = (address(16), address(12));
        let quotation = &inner[..inner.len().min(usize::from(quoted))];
        if side == Side::Internet {
            return self.packet_from_internet(&build::message(ROUTER, to, start, quotation));
        }
        if to.octets()[0] == 10 {
            // Nothing leads back to a router of private use.
            return Ok(());
        }
        let error = build::message(from, to, start, quotation);
        let b4 = build::address6(&bytes, 24);
        let outer = build::encapsulated(&error, b4, &WHOLE, &self.model.config).expect("all of it");
        self.packet_from_b4(&outer)
    }

    pub(crate) fn pick(&self, nth: u8) -> Option<(Vec<u8>, Side)> {
        let (bytes, side, _) = self.lately.get(usize::from(nth) % self.lately.len().max(1))?;
        Some((bytes.clone(), *side))
    }
}

/// RFC 5508 REQ-3.
fn checked(ip: &Ip) -> Result<Quoted, DropReason> {
    if sum(ip.payload()) != 0xffff {
        return Err(DropReason::IcmpChecksum);
    }
    quoted(&ip.payload()[8..]).ok_or(DropReason::IcmpQuoted)
}

/// The inner packet of one that left to a B4, or its front; none in a later fragment, or where none is.
pub(crate) fn front_of(bytes: &[u8]) -> Option<&[u8]> {
    let (mut next, mut at) = (bytes[6], 40);
    if next == 44 {
        if word(bytes, 42) & !7 != 0 {
            return None;
        }
        (next, at) = (bytes[40], 48);
    }
    match next {
        4 => bytes.get(at..),
        60 => bytes.get(at + 8..),
        _ => None,
    }
}

/// An error with a wrong checksum, or that quotes a wrong header.
fn spoilt(mut error: Ip, wrong: u8) -> Ip {
    match wrong {
        3 => error.bytes[24] ^= 1,
        4 => {
            let mut quotation = error.payload()[8..].to_vec();
            quotation[8] ^= 1;
            let start = [error.payload()[0], error.payload()[1], 0, 0, 0, 0, 0, 0];
            error = build::message(error.source(), error.destination(), start, &quotation);
        }
        _ => {}
    }
    error
}
