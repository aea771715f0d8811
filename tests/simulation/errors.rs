//! ICMP errors of others: those that cross the translator (RFC 5508 section 4), and those from inside the
//! tunnel (RFC 2473 section 8, RFC 8201).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use aftr::engine::{DropReason, Verdict};
use aftr::wire::Side;

use crate::build;
use crate::ip::{End, Ip, has_forbidden_option, sum, translate, word};
use crate::judge::{Difference, Judge, agree};
use crate::left::Came;
use crate::limits::Purse;
use crate::model::{Entry, Model};
use crate::pieces::Sender;
use crate::story::{Kind, Outer};

/// A router on the Internet, and one of the access network that is nobody's B4.
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 5, 5);
const ROUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xfffe, 0, 0, 0, 0, 1);
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

/// A packet that was lost in the tunnel.
struct Lost {
    softwire: u64,
    /// The inner one, or its front; none in a later fragment.
    inner: Option<Vec<u8>>,
    /// The identification of a later fragment.
    piece: Option<Vec<u8>>,
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
fn requoted(ip: &Ip, end: End, socket: SocketAddrV4) -> Ip {
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
    fn external_of(&self, softwire: u64, quoted: &Quoted) -> Option<SocketAddrV4> {
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
        self.packet_from_internet(&spoilt(error, wrong))
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
        let error = build::message(from, to, start, quotation);
        let b4 = build::address6(&bytes, 24);
        let outer = build::encapsulated(&error, b4, &WHOLE, &self.model.config).expect("all of it");
        self.packet_from_b4(&outer)
    }

    fn pick(&self, nth: u8) -> Option<(Vec<u8>, Side)> {
        let (bytes, side, _) = self.lately.get(usize::from(nth) % self.lately.len().max(1))?;
        Some((bytes.clone(), *side))
    }

    /// A router in the access network could not forward one of our packets, or says so.
    pub(crate) fn tunnel_error(
        &mut self,
        nth: u8,
        kind: [u8; 2],
        parameter: u32,
        length: u16,
        forged: u8,
    ) -> Result<(), Difference> {
        let Some((mut quotation, Side::B4)) = self.pick(nth) else { return Ok(()) };
        quotation.truncate(usize::from(length).min(1232));
        forge(&mut quotation, forged);
        let to = self.model.config.softwire.aftr_ipv6_addr[usize::from(nth & 1)];
        let mut bytes = build::icmpv6(ROUTER6, to, kind, parameter, &quotation);
        bytes[42] ^= u8::from(forged == 5);
        let mut came = self.offer(&bytes, Side::B4);
        if forged == 5 {
            return self.dropped(&came, DropReason::Icmp6Checksum);
        }
        let Some(Lost { softwire, inner, piece }) = self.sent_by_us(&quotation) else {
            return self.dropped(&came, DropReason::Icmp6Quote);
        };
        let told = match kind {
            [2, _] if parameter < 1280 => return self.dropped(&came, DropReason::Icmp6PtbSmall),
            [2, _] if u32::from(word(&quotation, 4)) + 40 <= parameter => {
                return self.dropped(&came, DropReason::Icmp6Quote);
            }
            [2, _] if !self.may_have_sent(softwire, inner.as_deref(), piece) => {
                return self.dropped(&came, DropReason::Icmp6Quote);
            }
            [2, _] => {
                self.model.learn_path(softwire, parameter);
                let honours = self.model.config.softwire.df_policy == aftr_config::DfPolicy::Honour;
                honours.then(|| (4, self.model.tunnel_mtu(softwire)))
            }
            [1, _] | [3, 0] => Some((1, 0)),
            [4, 0] if parameter == 44 => Some((1, 0)),
            _ => return self.dropped(&came, DropReason::Icmp6Type),
        };
        agree!(came.verdict == Verdict::Hold, "expected it to be taken, got {:?}", came.verdict);
        if let (Some(told), Some(inner)) = (told, inner) {
            self.sender_is_told(&mut came, softwire, &inner, told)?;
        }
        self.nothing_more(&came)
    }

    /// What a quotation says of a packet that we put into an open softwire.
    fn sent_by_us(&self, quotation: &[u8]) -> Option<Lost> {
        if quotation.len() < 40 {
            return None;
        }
        let own = build::address6(quotation, 8);
        if !self.model.config.softwire.aftr_ipv6_addr.contains(&own) {
            return None;
        }
        let softwire = self.model.softwire_at(build::address6(quotation, 24))?;
        let (mut next, mut at, mut piece) = (quotation[6], 40, None);
        if next == 44 {
            let fragment = quotation.get(40..48)?;
            (next, at) = (fragment[0], 48);
            piece = (word(fragment, 2) & !7 != 0).then(|| fragment[4..8].to_vec());
        }
        if piece.is_some() {
            return (next == 4 || next == 60).then_some(Lost { softwire, inner: None, piece });
        }
        if next == 60 {
            (next, at) = (*quotation.get(at)?, at + 8);
        }
        let inner = quotation.get(at..).map(<[u8]>::to_vec);
        (next == 4).then_some(Lost { softwire, inner, piece })
    }

    /// RFC 8201 section 4: the packet is for a mapping, or a later piece of one that left.
    fn may_have_sent(&self, softwire: u64, inner: Option<&[u8]>, piece: Option<Vec<u8>>) -> bool {
        if let Some(id) = piece {
            return self.ids6.contains(&(self.model.softwire(softwire).b4, id));
        }
        let lost = inner.and_then(quoted);
        lost.is_some_and(|lost| self.model.external_of(softwire, &lost).is_some())
    }

    fn sender_is_told(
        &mut self,
        came: &mut Came,
        softwire: u64,
        inner: &[u8],
        (code, mtu): (u8, usize),
    ) -> Result<(), Difference> {
        let Some(lost) = quoted(inner) else { return Ok(()) };
        let Some(external) = self.model.external_of(softwire, &lost) else { return Ok(()) };
        // Where sessions are known, nobody else learns what the host looks like from outside.
        let called = self.model.find(softwire, lost.kind, lost.destination);
        let is_strange = |called| self.model.session(called, lost.kind, lost.source).is_none();
        if lost.kind == Kind::Tcp && called.is_some_and(is_strange) {
            return Ok(());
        }
        let home = self.model.at(lost.kind, lost.source);
        // A packet of our own, or of a mapping that is no more: nobody waits for the error.
        if *lost.source.ip() == Ipv4Addr::new(192, 0, 0, 1)
            || (home.is_none() && self.model.has_address(*lost.source.ip()))
        {
            return Ok(());
        }
        let purses = match home {
            Some(home) => Purse::of_home(self.model.mappings[home].home),
            None => Purse::of_recipient(*lost.source.ip()),
        };
        if !self.may_tell(came, &[vec![Purse::Tunnel], purses].concat())? {
            return Ok(());
        }
        let source = if home.is_some() { Ipv4Addr::new(192, 0, 0, 1) } else { *external.ip() };
        let start = [3, code, 0, 0, 0, 0, (mtu >> 8) as u8, mtu as u8];
        let quotation = &inner[..inner.len().min(548)];
        let error = build::message(source, *lost.source.ip(), start, quotation).with_tos(inner[1] & !3);
        let error = requoted(&error, End::Destination, external);
        let Some(home) = home else {
            let bytes = came.next(Side::Internet)?;
            agree!(bytes == error.bytes, "told {bytes:02x?}\nexpected {:02x?}", error.bytes);
            return Ok(());
        };
        let caller = self.model.mappings[home].clone();
        let error = requoted(&error, End::Source, caller.internal);
        let error = error.with_address(End::Destination, *caller.internal.ip());
        let softwire = self.model.softwire(caller.softwire);
        let expected = self.encapsulated(&error, softwire.b4, softwire.own);
        let bytes = came.next(Side::B4)?;
        agree!(bytes == expected, "told {bytes:02x?}\nexpected {expected:02x?}");
        Ok(())
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

/// Makes a quotation one of something that we never sent.
fn forge(quotation: &mut Vec<u8>, forged: u8) {
    match forged {
        // A B4 without a softwire, a source that is not ours, another payload, and too little of it.
        1 if quotation.len() >= 40 => quotation[30] = 0x7f,
        2 if quotation.len() >= 40 => quotation[23] ^= 0x40,
        3 if quotation.len() >= 40 => quotation[6] = 58,
        4 => quotation.truncate(39),
        // A piece that never was.
        6 if quotation.len() >= 48 && quotation[6] == 44 => quotation[44] ^= 0x80,
        _ => {}
    }
}
